"""What a service manager hears from the daemon, with the test as the service manager."""

import os
import signal
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.broker import free_port
from tests.support.daemon import PUMP_MODEL, Client, Daemon
from tests.support.notify import NotifySocket

STALL = Path(__file__).resolve().parents[1] / "support" / "stall"
CONFIG = """
gateway: {{id: gw-1, state_dir: state, log_level: {level}}}
brokers:
  local: {{host: 127.0.0.1, port: {local}}}
  cloud: {{host: 127.0.0.1, port: {cloud}}}
streams:
  pump:
    from: local
    topic: site/{{line}}/{{device}}/telemetry
    channels: {{temperature: {{unit: °C}}, vibration: {{unit: g}}, pressure: {{unit: bar}}, current: {{unit: A}}}}
    model: {model}
    publish: {{to: cloud}}
"""
READING = {"temperature": 36.0, "vibration": 0.2, "pressure": 3.6, "current": 8.8}


def config(local, cloud, *, level="info"):
    return CONFIG.format(local=local, cloud=cloud, level=level, model=PUMP_MODEL)


@pytest.fixture
def manager(tmp_path):
    with NotifySocket(tmp_path / "notify") as manager:
        yield manager


def is_ready(notice):
    return "READY" in notice


def watched(manager, usec="4000000", **environment):
    return {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": usec, **environment}


def pings(notices):
    return [notice.at_s for notice in notices if "WATCHDOG" in notice]


def longest_silence(notices):
    """Seconds between two pings, by the times of their arrival here."""
    return max(later - earlier for earlier, later in pairwise(pings(notices)))


@pytest.mark.broker
def test_case_29_every_reload_is_answered_whatever_the_file_says(tmp_path, broker, manager):
    good = config(broker.port, broker.port)
    with Daemon(tmp_path, good, environment={"NOTIFY_SOCKET": manager.address}) as daemon:
        manager.until(is_ready)

        def reload(text, times=1):
            daemon.config.write_text(text)
            sent_usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            for _ in range(times):
                daemon.process.send_signal(signal.SIGHUP)
                time.sleep(0.02)
            begun = manager.until(lambda notice: "RELOADING" in notice)
            assert begun.values["RELOADING"] == "1"
            assert int(begun.values["MONOTONIC_USEC"]) >= sent_usec
            return manager.until(is_ready)

        done = reload(config(broker.port, broker.port, level="debug"))
        assert "refused" not in done.values["STATUS"]
        daemon.wait_for("config_reloaded")

        done = reload("gateway: {id: gw-1, colour: red}\n")
        assert "reload refused, the old configuration stays active" in done.values["STATUS"]
        assert daemon.wait_for("reload_refused")["level"] == "error"
        # it stands there as long as the situation lasts, not just for a second
        later = manager.until(lambda notice: "STATUS" in notice and not is_ready(notice))
        assert "the old configuration stays active" in later.values["STATUS"]

        reload(good, times=3)
        manager.collect(3.0)
        kinds = [next(iter(notice.values)) for notice in manager.notices]
        assert "READY" in kinds[len(kinds) - kinds[::-1].index("RELOADING") :]  # the last one is answered too
        assert "refused" not in [n.values["STATUS"] for n in manager.notices if is_ready(n)][-1]
        assert daemon.stop() == 0
    manager.collect()
    assert any("STOPPING" in notice for notice in manager.notices)


@pytest.mark.broker
def test_case_29_without_a_service_manager_all_works_and_nothing_is_complained_about(tmp_path, broker):
    with Daemon(tmp_path, config(broker.port, broker.port)) as daemon:
        assert "NOTIFY_SOCKET" not in os.environ
        daemon.ready()
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("config_reloaded")
        assert daemon.stop() == 0
        assert [event for event in daemon.events() if event["level"] in ("error", "critical")] == []


def test_case_30_ready_comes_without_a_broker_and_the_status_says_so(tmp_path, manager):
    text = config(free_port(), free_port())
    with Daemon(tmp_path, text, environment=watched(manager)) as daemon:
        ready = manager.until(is_ready)
        assert "waiting for broker local" in ready.values["STATUS"]
        # by the daemon's own clock: from its first line to READY
        first, said = daemon.wait_for("config_loaded"), daemon.wait_for("service_ready")
        assert said["is_subscribed"] is False
        assert first["timestamp"] < said["timestamp"]
        assert longest_silence(manager.collect(8.0)) <= 2.0
        assert daemon.stop() == 0


@pytest.mark.broker
def test_case_30_the_watchdog_is_fed_when_idle_and_under_full_load(tmp_path, broker, manager):
    with Daemon(tmp_path, config(broker.port, broker.port), environment=watched(manager)) as daemon:
        manager.until(is_ready)
        assert longest_silence(manager.collect(8.0)) <= 2.0
        flooding = threading.Event()
        flooding.set()

        def flood():
            with Client(broker.port) as sensors:
                while flooding.is_set():
                    for device in range(20):
                        sensors.publish(f"site/a/pump-{device}/telemetry", READING, qos=0)
                    time.sleep(0.002)

        thread = threading.Thread(target=flood)
        thread.start()
        try:
            busy = manager.collect(8.0)
        finally:
            flooding.clear()
            thread.join()
        assert longest_silence(busy) <= 2.0
        assert daemon.stop() == 0
        assert daemon.last_figures()["readings"] > 0


@pytest.mark.broker
def test_case_30_the_pings_stop_when_scoring_hangs(tmp_path, broker, manager):
    trigger = tmp_path / "stall"
    environment = watched(manager, PYTHONPATH=str(STALL), GATEWAYD_TEST_STALL=str(trigger))
    with (
        Daemon(tmp_path, config(broker.port, broker.port), environment=environment),
        Client(broker.port) as sensors,
    ):
        manager.until(is_ready)
        manager.until(lambda notice: "WATCHDOG" in notice)
        trigger.touch()
        sensors.publish("site/a/pump-1/telemetry", READING).wait_for_publish(30)
        blocked_at_s = time.monotonic()
        after = manager.collect(9.0)
        assert [at_s - blocked_at_s for at_s in pings(after) if at_s > blocked_at_s + 4.0] == []
        trigger.unlink()
        manager.until(lambda notice: "WATCHDOG" in notice)  # it was the stall, and nothing else


@pytest.mark.broker
def test_case_30_a_hanging_upstream_broker_does_not_stop_the_pings(tmp_path, make_broker, manager):
    local, cloud = make_broker(), make_broker()
    with (
        Daemon(tmp_path, config(local.port, cloud.port), environment=watched(manager)) as daemon,
        Client(local.port) as sensors,
    ):
        manager.until(is_ready)
        daemon.wait_for("link_opened", count=2)
        cloud.freeze()
        for _ in range(100):
            sensors.publish("site/a/pump-1/telemetry", READING)
        assert longest_silence(manager.collect(8.0)) <= 2.0
        cloud.thaw()
        assert daemon.stop() == 0
