"""What the wiring decides: clients, subscriptions, and what a reload may change. The rest is tests/integration."""

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from gatewayd import app
from gatewayd.config.secret import Secret
from gatewayd.config.settings import Settings
from gatewayd.domain.figures import DeliveryFigures, LineFigures, OutboxFigures
from gatewayd.errors import StartupError
from gatewayd.startup import prepare
from gatewayd.store.checkpoint import Checkpoint
from gatewayd.store.folder import StateFolder
from tests.support.models import copy_bundle, golden_bundle

BASE = {
    "gateway": {"id": "gw", "state_dir": "state"},
    "brokers": {"local": {"host": "127.0.0.1"}, "cloud": {"host": "127.0.0.1", "tls": {"ca_file": "ca.pem"}}},
    "streams": {
        "one": {
            "from": "local",
            "topic": "site/{device}",
            "qos": 0,
            "channels": {"a": {}},
            "model": "m",
            "publish": {"to": "cloud"},
        },
        "two": {
            "from": "local",
            "topic": "site/{machine}",
            "device": "d",
            "channels": {"a": {}},
            "model": "m",
            "publish": {"to": "cloud"},
        },
    },
}


@dataclass(frozen=True)
class FakeLoaded:
    settings: Settings

    def resolve(self, path):
        return Path("/etc/gatewayd") / path


@dataclass(frozen=True)
class FakePrepared:
    loaded: FakeLoaded
    secrets: dict

    @property
    def settings(self):
        return self.loaded.settings


def prepared(*, secret="first", **changes):
    secrets = {} if secret is None else {"cloud": Secret(secret)}
    return FakePrepared(FakeLoaded(Settings.model_validate({**BASE, **changes})), secrets)


def from_cloud():
    """Streams that come from where they are published to: its link has the client id that was the source's."""
    streams = {name: {**stream, "from": "cloud"} for name, stream in BASE["streams"].items()}
    return prepared(streams=streams)


def test_the_two_links_of_one_broker_have_two_client_ids(monkeypatch):
    made = []
    monkeypatch.setattr(app, "Session", lambda _broker, *, client_id, **_: made.append(client_id))
    for given in (prepared(), from_cloud()):
        app._source_session(given)
        app._upstream_session(given, "cloud", [])
    assert made == ["gw-local", "gw-cloud", "gw-cloud", "gw-cloud-out"]


def test_a_state_folder_that_is_held_ends_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr(app.logs, "configure", lambda _level: None)  # the process's own
    given = prepared(gateway={"id": "gw", "state_dir": str(tmp_path)})
    with StateFolder(tmp_path), pytest.raises(StartupError, match="in use by another gatewayd"):
        app.run(given)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock"]


class FakeSession:
    """A link that never opens."""

    last_error = None

    def __init__(self, *_, **__):
        pass


class FakeLine:
    """Takes every configuration at once."""

    figures = LineFigures()

    def __init__(self, *, flow, **_):
        self.flow = flow

    def replace(self, flow, _source, *, timeout_s):
        assert timeout_s > 0
        self.flow = flow
        return True


FILE = """
gateway: {id: gw, state_dir: state}
brokers: {local: {host: 127.0.0.1}}
streams:
  one:
    {from: local, topic: "one/{device}", channels: {c0: {}, c1: {}, c2: {}, c3: {}}, model: one, publish: {to: local}}
  two:
    {from: local, topic: "two/{device}", channels: {c0: {}, c1: {}, c2: {}, c3: {}}, model: two, publish: {to: local}}
"""


@pytest.fixture
def gateway(tmp_path, monkeypatch):
    monkeypatch.setattr(app, "Session", FakeSession)
    monkeypatch.setattr(
        app, "Deliverer", lambda *_, **__: SimpleNamespace(figures=DeliveryFigures(broker="b"))
    )
    monkeypatch.setattr(app, "Line", FakeLine)
    for name in ("one", "two"):
        copy_bundle(golden_bundle("dense_int8"), tmp_path / name)
    (tmp_path / "gatewayd.yaml").write_text(FILE)
    outbox = SimpleNamespace(figures=OutboxFigures)
    return app._Gateway(prepare(tmp_path / "gatewayd.yaml"), outbox, Checkpoint(tmp_path / "flow.state"))


def put_version(folder, version):
    bundle = golden_bundle("dense_int8")
    copy_bundle(bundle, folder, spec=replace(bundle.spec, version=version))


def versions(gateway):
    return [stream.spec.version for stream in gateway.line.flow._streams]


def test_a_broken_bundle_does_not_hold_up_one_that_changed_beside_it(gateway, tmp_path):
    (tmp_path / "one" / "model.tflite").write_bytes(b"half")
    put_version(tmp_path / "two", "2")
    with capture_logs() as logs:
        gateway.tick()
        gateway.tick()
    assert versions(gateway) == ["1", "2"]
    found = [(e["event"], e["stream"]) for e in logs if e["event"].startswith("model_")]
    assert found == [("model_refused", "one"), ("model_loaded", "two")]
    put_version(tmp_path / "one", "3")
    gateway.tick()
    assert versions(gateway) == ["3", "2"]


def test_a_bundle_that_changes_while_a_reload_reads_is_taken_by_the_next_tick(gateway, tmp_path, monkeypatch):
    def slow(path):
        found = prepare(path)
        put_version(tmp_path / "one", "2")
        return found

    monkeypatch.setattr(app, "prepare", slow)
    assert gateway.reload() is None
    assert versions(gateway) == ["1", "1"]
    gateway.tick()
    assert versions(gateway) == ["2", "1"]


def test_a_refused_reload_changes_nothing_and_says_so_in_a_line(gateway, tmp_path):
    before = gateway.line.flow
    (tmp_path / "gatewayd.yaml").write_text(FILE.replace("topic", "tropic") + "outbox: {}\n")
    with capture_logs() as logs:
        answer = gateway.reload()
    assert answer.startswith("reload refused, the old configuration stays active: ")
    assert "tropic" in answer
    assert "\n" not in answer
    assert len(next(e for e in logs if e["event"] == "reload_refused")["problems"]) >= 2
    assert gateway.line.flow is before


def test_nothing_changed_is_no_reason_to_restart():
    app._refuse_restart_needed(prepared(secret="x"), prepared(secret="x"))


def test_streams_and_the_local_broker_may_change():
    changed = prepared(
        brokers={**BASE["brokers"], "local": {"host": "127.0.0.2"}},
        gateway={**BASE["gateway"], "log_level": "debug"},
    )
    app._refuse_restart_needed(prepared(), changed)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (
            prepared(gateway={**BASE["gateway"], "figures_interval_s": 5.0}),
            "gateway.figures_interval_s changed",
        ),
        (prepared(outbox={"durability": "none"}), "outbox changed"),
        (prepared(line={"linger_ms": 0.0}), "line changed"),
        (prepared(secret="other"), "the password of brokers.cloud changed"),
        (from_cloud(), "the broker that streams come from changed"),
        (prepared(brokers={**BASE["brokers"], "cloud": {"host": "127.0.0.3"}}), "brokers.cloud changed"),
    ],
)
def test_what_needs_a_restart_is_named(changed, named):
    with pytest.raises(StartupError, match=named) as caught:
        app._refuse_restart_needed(prepared(), changed)
    assert "restart" in str(caught.value)
    assert "other" not in str(caught.value)


def test_another_group_of_sparkplug_needs_a_restart():
    """Its births, and the topic of its commands, belong to a session of its own."""

    def grouped(group):
        streams = {
            name: {**stream, "publish": {**stream["publish"], "encoding": "sparkplug_b", "group": group}}
            for name, stream in BASE["streams"].items()
        }
        return prepared(streams=streams)

    app._refuse_restart_needed(grouped("a"), grouped("a"))
    with pytest.raises(StartupError, match="Sparkplug changed"):
        app._refuse_restart_needed(grouped("a"), grouped("b"))
