"""Sensor topics in, predictions and alerts out: the daemon as a process, through a real mosquitto."""

import json
import re

import pytest

from gatewayd.workbench.simulate import CHANNELS, BearingFault, Pump
from tests.support.daemon import PUMP_MODEL, Client, Daemon, until
from tests.support.schemas import validator

pytestmark = pytest.mark.broker

START = 1_700_000_000.0
CONFIG = """
gateway: {{id: gw-1, state_dir: state, figures_interval_s: 1}}
brokers:
  local: {{host: 127.0.0.1, port: {local}, tap: {tap}}}
  cloud: {{host: 127.0.0.1, port: {cloud}, tap: {tap}}}
streams:
  pump:
    from: local
    topic: site/{{line}}/{{device}}/telemetry
    time: {{field: ts}}
    channels:
      temperature: {{unit: °C}}
      vibration: {{unit: g}}
      pressure: {{unit: bar}}
      current: {{unit: A}}
    model: {model}
    publish: {{to: cloud, topic: "plant/{{gateway}}/{{stream}}/{{device}}"}}
"""


def config(local, cloud, *, tap="true", model=PUMP_MODEL):
    return CONFIG.format(local=local.port, cloud=cloud.port, tap=tap, model=model)


def readings(seed, count, *, fault=None, start=START):
    """One pump's messages, 50 ms apart."""
    pump = Pump(seed=seed, interval_s=0.05, fault=fault)
    names = [name for name, _ in CHANNELS]
    return [
        json.dumps({"ts": round(start + 0.05 * row, 3), **dict(zip(names, pump.step(), strict=True))})
        for row in range(count)
    ]


def feed(client, device, messages):
    for message in messages:
        client.publish(f"site/line1/{device}/telemetry", message)


@pytest.mark.parametrize("tap", ["true", "false"])
def test_every_window_gives_a_prediction_and_the_bad_pump_an_alert(tmp_path, make_broker, tap):
    local, cloud = make_broker(), make_broker()
    count = 600
    fault = BearingFault(begins_s=8.0, lasts_s=8.0)
    with (
        Client(cloud.port, "plant/#", "gatewayd/#") as upstream,
        Client(local.port) as sensors,
        Daemon(tmp_path, config(local, cloud, tap=tap)) as daemon,
    ):
        daemon.ready()
        feed(sensors, "pump-1", readings(1, count))
        feed(sensors, "pump-2", readings(2, count, fault=fault))
        expected = 2 * ((count - 32) // 8 + 1)
        predictions = upstream.wait_for("/prediction", expected)
        alerts = upstream.wait_for("/alert", 2)
        assert daemon.stop() == 0
        status = upstream.wait_for("/status", 2)

    assert len(predictions) == expected
    assert len({p["id"] for p in predictions}) == expected
    for kind, documents in (("prediction", predictions), ("alert", alerts), ("status", status)):
        check = validator(kind)
        for document in documents:
            check.validate(document)
    assert [(a["device"], a["state"]) for a in alerts] == [("pump-2", "raised"), ("pump-2", "cleared")]
    assert alerts[0]["id"] == alerts[1]["id"]
    assert alerts[0]["causes"][0]["channel"] == "vibration"
    assert [s["status"] for s in status] == ["online", "offline"]
    first = next(p for p in predictions if p["device"] == "pump-1")
    assert first["labels"] == {"line": "line1"}
    assert first["window"] == {
        "start": "2023-11-14T22:13:20Z",
        "end": "2023-11-14T22:13:21.550Z",
        "samples": 32,
    }
    by_device = [p["window"]["end"] for p in predictions if p["device"] == "pump-1"]
    assert by_device == sorted(by_device)
    figures = daemon.last_figures()
    assert figures["messages"] == figures["readings"] == 2 * count
    assert figures["dropped"] == figures["rejected"] == figures["refused"] == {}
    assert figures["scored"] + figures["waiting"] == figures["readings"]
    assert figures["deliveries"]["cloud"]["acknowledged"] == expected + 2
    assert figures["outbox"]["records"] == 0


def test_bad_input_is_counted_and_costs_nothing_else(tmp_path, broker):
    with (
        Client(broker.port, "plant/#") as client,
        Daemon(tmp_path, config(broker, broker)) as daemon,
    ):
        daemon.ready()
        good = readings(1, 40)
        feed(client, "pump-1", good[:16])
        for bad in ("{", "[1]", '{"other": 1}', '{"ts": 1, "vibration": "fast"}', ""):
            client.publish("site/line1/pump-1/telemetry", bad)
        feed(client, "pump-1", [good[3], good[15]])  # late, and once more
        feed(client, "pump-1", good[16:])
        client.wait_for("/prediction", 2)
        assert daemon.stop() == 0
    figures = daemon.last_figures()
    assert figures["rejected"] == {"not_json": 1, "not_an_object": 1, "no_channel": 1, "not_a_number": 1}
    assert figures["refused"] == {"empty": 1}
    assert figures["dropped"] == {"late": 1, "duplicate": 1}
    assert figures["predictions"] == 2
    assert figures["messages"] == 47


def test_results_wait_while_upstream_is_away_and_after_a_stop(tmp_path, make_broker):
    """Upstream is down from the start; the daemon is stopped and started again; nothing is lost."""
    local, cloud = make_broker(), make_broker()
    cloud.stop()
    daemon = Daemon(tmp_path, config(local, cloud))
    with daemon, Client(local.port) as sensors:
        daemon.ready()
        feed(sensors, "pump-1", readings(1, 80))
        until(
            lambda: daemon.events("figures") and daemon.last_figures()["predictions"] == 7,
            60,
            lambda: "not scored",
        )
        assert daemon.stop() == 0
        assert daemon.last_figures()["outbox"]["records"] == 7
        assert daemon.events("readings_discarded") == []
    cloud.start()
    with Client(cloud.port, "plant/#") as upstream, daemon:
        assert len(upstream.wait_for("/prediction", 7)) == 7
        until(
            lambda: daemon.events("figures") and daemon.last_figures()["outbox"]["records"] == 0,
            60,
            lambda: "stuck",
        )
        assert daemon.stop() == 0


def test_offline_is_said_by_the_broker_when_the_daemon_dies(tmp_path, broker):
    with (
        Client(broker.port, "gatewayd/gw-1/status") as upstream,
        Daemon(tmp_path, config(broker, broker)) as daemon,
    ):
        assert upstream.wait_for("/status", 1)[0]["status"] == "online"
        daemon.process.kill()
        assert upstream.wait_for("/status", 2)[1]["status"] == "offline"


def test_two_daemons_on_one_state_folder_are_refused(tmp_path, broker):
    with Daemon(tmp_path, config(broker, broker)) as first:
        first.ready()
        second = Daemon(tmp_path, config(broker, broker))
        second.log_path = tmp_path / "second.log"
        with second:
            assert second.process.wait(60) == 78
        assert re.search(r"state.*in use by another gatewayd", second.log_path.read_text())
        assert first.stop() == 0
