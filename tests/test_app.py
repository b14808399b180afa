"""What the wiring decides: clients, subscriptions, and what a reload may change. The rest is tests/integration."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from gatewayd import app
from gatewayd.config.secret import Secret
from gatewayd.config.settings import Settings
from gatewayd.errors import StartupError
from gatewayd.store.folder import StateFolder

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


def test_a_filter_of_two_streams_is_subscribed_to_once_with_the_higher_qos():
    assert app._subscriptions(prepared()) == [("site/+", 1)]


def test_tls_files_are_looked_for_beside_the_configuration():
    assert app._broker(prepared(), "cloud").tls.ca_file == "/etc/gatewayd/ca.pem"
    assert app._broker(prepared(), "local").tls is None


def test_the_two_links_of_one_broker_have_two_client_ids(monkeypatch):
    made = []
    monkeypatch.setattr(app, "Session", lambda _broker, *, client_id, **_: made.append(client_id))
    for given in (prepared(), from_cloud()):
        app._source_session(given)
        app._upstream_session(given, "cloud")
    assert made == ["gw-local", "gw-cloud", "gw-cloud", "gw-cloud-out"]


def test_a_state_folder_that_is_held_ends_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr(app.logs, "configure", lambda _level: None)  # the process's own
    given = prepared(gateway={"id": "gw", "state_dir": str(tmp_path)})
    with StateFolder(tmp_path), pytest.raises(StartupError, match="in use by another gatewayd"):
        app.run(given)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock"]


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
