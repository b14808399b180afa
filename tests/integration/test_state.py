"""What the daemon remembers across a stop, and across a kill."""

import itertools
import json

import pytest

from tests.support.daemon import Client, Daemon, until
from tests.support.sparkplug import AT_MS, EdgeNode

pytestmark = pytest.mark.broker

START = 1_700_000_000.0
CONFIG = """
gateway: {{id: gw-1, state_dir: state, figures_interval_s: 1}}
brokers:
  local: {{host: 127.0.0.1, port: {port}}}
streams:
  boiler:
    from: local
    topic: site/{{device}}/telemetry
    time: {{field: ts}}
    channels: {{temperature: {{unit: °C}}}}
    baseline: {{warm_up: 10, length: {length}}}
    window: {{hop: {length}}}
    alert: {{raise: 1 of 1, clear: 1 of 1}}
    publish: {{to: local, topic: "plant/{{gateway}}/{{stream}}/{{device}}", alert_state: on}}
"""


def feed(client, values, *, first=0):
    for index, value in enumerate(values, start=first):
        client.publish(
            "site/b1/telemetry", json.dumps({"ts": START + index, "temperature": value})
        ).wait_for_publish(30)


def figures_reach(daemon, **wanted):
    def reached():
        return daemon.events("figures") and all(
            daemon.last_figures()[name] == wanted[name] for name in wanted
        )

    until(reached, 60, lambda: f"{wanted} not reached:\n{daemon.log_path.read_text()}")


def test_case_11_a_half_full_window_goes_on_after_a_stop(tmp_path, make_broker):
    broker = make_broker()
    daemon = Daemon(tmp_path, CONFIG.format(port=broker.port, length=10))
    with Client(broker.port) as sensors, daemon:
        daemon.ready()
        feed(sensors, [float(value) for value in range(1, 8)])
        figures_reach(daemon, readings=7, waiting=7)
        assert daemon.stop() == 0
        assert daemon.events("readings_discarded") == []
        daemon.start()
        daemon.wait_for("service_ready", count=2)
        restored = daemon.events("state_restored")[-1]
        assert (restored["devices"], restored["waiting"]) == (1, 7)
        feed(sensors, [8.0, 9.0, 10.0], first=7)
        figures_reach(daemon, readings=10, waiting=0, windows=1, scored=10)
        assert daemon.stop() == 0


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_standing_alert_is_cleared_by_the_process_after(tmp_path, make_broker, end):
    broker = make_broker()
    daemon = Daemon(tmp_path, CONFIG.format(port=broker.port, length=1))
    with Client(broker.port, "plant/#") as upstream, Client(broker.port) as sensors, daemon:
        daemon.ready()
        feed(sensors, [20.0, 20.2] * 10 + [90.0])
        raised = upstream.wait_for("/alert", 1)[0]
        until((tmp_path / "state" / "flow.state").exists, 60, lambda: "nothing kept")
        if end == "stop":
            assert daemon.stop() == 0
        else:
            daemon.process.kill()
            daemon.process.wait(30)
        daemon.start()
        daemon.wait_for("service_ready", count=2)
        assert daemon.events("state_restored")[-1]["alerts_standing"] == 1
        feed(sensors, [20.0], first=21)
        # after a kill the raise may come twice, with one id
        cleared = until(
            lambda: [d for d in upstream.documents("/alert") if d["state"] == "cleared"],
            60,
            lambda: "not cleared",
        )[0]
        assert raised["id"] == cleared["id"]
        with Client(broker.port, "plant/#") as late:
            feed(sensors, [20.0], first=22)
            late.wait_for("/prediction", 1)
            assert late.documents("/anomaly") == []


def test_a_late_subscriber_sees_what_stands(tmp_path, make_broker):
    broker = make_broker()
    daemon = Daemon(tmp_path, CONFIG.format(port=broker.port, length=1))
    with Client(broker.port) as sensors, daemon:
        daemon.ready()
        feed(sensors, [20.0, 20.2] * 10 + [90.0])
        daemon.wait_for("alert_raised")
        with Client(broker.port, "plant/gw-1/boiler/b1/alert/state/#") as late:
            standing = late.wait_for("/anomaly", 1)[0]
        assert (standing["state"], standing["status"]) == ("raised", "unacknowledged")


def test_a_damaged_state_is_set_aside_and_the_daemon_runs(tmp_path, make_broker):
    broker = make_broker()
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "flow.state").write_bytes(b"gwstate\n" + bytes(60))
    with Daemon(tmp_path, CONFIG.format(port=broker.port, length=1)) as daemon:
        daemon.ready()
        assert "damaged-1" in daemon.events("state_damaged")[0]["reason"]
        assert daemon.stop() == 0
    assert (tmp_path / "state" / "flow.state.damaged-1").exists()


def test_a_sparkplug_node_that_lost_nothing_goes_on_by_its_aliases_and_one_that_did_is_asked(
    tmp_path, make_broker
):
    broker, edge = make_broker(), EdgeNode("n")
    text = CONFIG.format(port=broker.port, length=100)
    for old, new in (
        ("site/{device}/telemetry", "spBv1.0/g/#"),
        ("time: {field: ts}", "format: sparkplug_b"),
        ("{temperature: {unit: °C}}", "{p: {}, q: {}}"),
    ):
        assert old in text
        text = text.replace(old, new)
    daemon, times = Daemon(tmp_path, text), itertools.count(AT_MS, 1000)

    def say(*kinds):
        for kind in kinds:
            plant.publish(*edge.say(kind, 1.0, 2.0, next(times))).wait_for_publish(30)

    with Client(broker.port, "spBv1.0/g/NCMD/n") as plant, daemon:
        daemon.ready()
        say("NBIRTH", "DBIRTH", "DDATA")
        figures_reach(daemon, readings=3)
        assert daemon.stop() == 0
        daemon.start()
        daemon.wait_for("service_ready", count=2)
        say("DDATA")
        figures_reach(daemon, readings=4, unread={})
        assert plant.received == []
        assert daemon.stop() == 0
        edge.say("DDATA", 1.0, 2.0)  # to nobody
        daemon.start()
        daemon.wait_for("service_ready", count=3)
        say("DDATA")
        until(lambda: plant.received, 60, lambda: "no birth was asked for")
        say("NBIRTH", "DBIRTH", "DDATA")  # with other aliases
        figures_reach(
            daemon,
            readings=7,
            unread={"message_before_birth": 1, "rebirth_requested": 1, "unannounced_metric": 2},
        )
        assert daemon.stop() == 0
