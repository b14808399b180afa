"""The link upstream goes and comes back, and nothing is missing: the daemon as a process, real mosquittos."""

import contextlib
import json
import signal
import sqlite3
import time
from datetime import datetime

import pytest

from tests.support.daemon import Client, Daemon, until

pytestmark = pytest.mark.broker

# A score for every reading but a device's first two: what arrives upstream is counted by the readings' own times.
CONFIG = """
gateway: {{id: gw, state_dir: state, figures_interval_s: 1, log_level: {level}}}
brokers:
  local: {{host: 127.0.0.1, port: {local}}}
  cloud: {{host: 127.0.0.1, port: {cloud}, reconnect_min_s: 0.1, reconnect_max_s: 1, keepalive_s: 5}}
streams:
  s:
    from: local
    topic: in/{{device}}
    time: {{field: ts}}
    channels: {{t: {{}}}}
    baseline: {{readings: 1000, warm_up: 2}}
    alert: {{threshold: 1000000}}
    publish: {{to: cloud, topic: "out/{{device}}"}}
"""
START = 1_700_000_000
DEVICES = 5


def config(local, cloud, *, level="info"):
    return CONFIG.format(local=local.port, cloud=cloud.port, level=level)


def feed(client, first, count):
    for number in range(first, first + count):
        client.publish(f"in/d{number % DEVICES}", json.dumps({"ts": START + number, "t": number % 7}))


def await_figures(daemon, condition):
    until(
        lambda: daemon.events("figures") and condition(daemon.last_figures()),
        60,
        lambda: f"never so: {daemon.events('figures')[-1:]}",
    )


def is_away(figures):
    return not figures["deliveries"]["cloud"]["is_open"]


def numbers(documents):
    """Of the readings whose predictions these are."""
    return [round(datetime.fromisoformat(d["window"]["end"]).timestamp()) - START for d in documents]


def first_arrivals(documents):
    return list(dict.fromkeys(numbers(documents)))


def assert_in_order_by_device(found):
    for device in range(DEVICES):
        own = [number for number in found if number % DEVICES == device]
        assert own == sorted(own)


@pytest.mark.parametrize("outage", ["killed", "frozen"])
def test_case_21_what_comes_while_upstream_is_away_arrives_in_order(tmp_path, make_broker, outage):
    """100 readings, 500 while the broker is away, 100 more: all arrive, each device's in order, newer ones behind.

    The case takes thirty seconds for it; what matters is that all 500 are scored before the broker is back. A frozen
    one goes on to take bytes and says nothing: what was in flight comes twice, with the same id.
    """
    local, cloud = make_broker(), make_broker()
    with contextlib.ExitStack() as listeners:
        upstream = listeners.enter_context(Client(cloud.port, "out/#"))
        sensors = listeners.enter_context(Client(local.port))
        daemon = listeners.enter_context(Daemon(tmp_path, config(local, cloud)))
        daemon.ready()
        feed(sensors, 0, 100)
        await_figures(daemon, lambda f: f["predictions"] == 100 - 2 * DEVICES and f["outbox"]["records"] == 0)
        before = daemon.last_figures()["deliveries"]["cloud"]["acknowledged"]
        documents = list(upstream.wait_for("/prediction", before))
        if outage == "killed":
            cloud._process.kill()
            cloud._process.wait()
        else:
            cloud.freeze()
        feed(sensors, 100, 500)
        await_figures(daemon, lambda f: f["outbox"]["records"] == 500 and is_away(f))
        assert daemon.last_figures()["deliveries"]["cloud"]["acknowledged"] == before
        if outage == "killed":
            daemon.process.send_signal(signal.SIGSTOP)  # it must not be back before somebody listens again
            cloud.start()
            again = listeners.enter_context(Client(cloud.port, "out/#"))
            daemon.process.send_signal(signal.SIGCONT)
        else:
            cloud.thaw()
        feed(sensors, 600, 100)
        await_figures(daemon, lambda f: f["outbox"]["appended"] == before + 600)
        await_figures(daemon, lambda f: f["outbox"]["records"] == 0)
        if outage == "killed":
            documents += again.wait_for("/prediction", 600)
        else:
            documents = until(
                lambda: (
                    len(set(numbers(found := upstream.documents("/prediction")))) == before + 600 and found
                ),
                60,
                lambda: "not all came",
            )
        assert daemon.stop() == 0
    found = first_arrivals(documents)
    assert sorted(found) == list(range(2 * DEVICES, 700))
    assert_in_order_by_device(found)
    ids = {}
    for number, document in zip(numbers(documents), documents, strict=True):
        assert ids.setdefault(number, document["id"]) == document["id"]
    if outage == "killed":
        assert len(documents) - len(found) < 7  # one in a hundred


@pytest.mark.parametrize("event", ["reload", "kill"])
def test_case_26_a_backlog_outlives_a_reload_and_a_kill(tmp_path, make_broker, event):
    local, cloud = make_broker(), make_broker()
    cloud.stop()
    daemon = Daemon(tmp_path, config(local, cloud))
    with daemon, Client(local.port) as sensors:
        daemon.ready()
        feed(sensors, 0, 200 + 2 * DEVICES)
        await_figures(daemon, lambda f: f["predictions"] == f["outbox"]["records"] == 200)
        waiting = daemon.last_figures()["outbox"]["records"]
        if event == "reload":
            daemon.config.write_text(config(local, cloud, level="debug"))
            daemon.process.send_signal(signal.SIGHUP)
            daemon.wait_for("config_reloaded")
        else:
            daemon.process.kill()
            daemon.process.wait(30)
            daemon.start()
            daemon.wait_for("service_ready", count=2)
        daemon.process.send_signal(signal.SIGSTOP)
        cloud.start()
        with Client(cloud.port, "out/#") as upstream:
            daemon.process.send_signal(signal.SIGCONT)
            documents = upstream.wait_for("/prediction", waiting)
            await_figures(daemon, lambda f: f["outbox"]["records"] == 0)
            assert daemon.stop() == 0
    found = first_arrivals(documents)
    assert len(found) == waiting >= 200
    assert_in_order_by_device(found)


def test_case_26_a_lock_on_the_spool_costs_delay_but_no_reading(tmp_path, make_broker):
    """Somebody holds the file while readings arrive: longer than SQLite waits, shorter than the line's patience."""
    local, cloud = make_broker(), make_broker()
    with (
        Client(local.port) as sensors,
        Client(cloud.port, "out/#") as upstream,
        Daemon(tmp_path, config(local, cloud)) as daemon,
    ):
        daemon.ready()
        feed(sensors, 0, 2 * DEVICES)
        await_figures(daemon, lambda f: f["readings"] == 2 * DEVICES)
        other = sqlite3.connect(tmp_path / "state" / "outbox.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        lines = len(daemon.events())
        feed(sensors, 2 * DEVICES, 200)
        daemon.wait_for("outbox_failed")
        time.sleep(3)  # the subject is what a lock of some seconds costs
        other.execute("ROLLBACK")
        other.close()
        daemon.wait_for("outbox_recovered")
        documents = upstream.wait_for("/prediction", 200)
        await_figures(daemon, lambda f: f["outbox"]["records"] == 0)
        told = [event["event"] for event in daemon.events()[lines:] if event["event"] != "figures"]
        assert daemon.stop() == 0
    assert sorted(set(numbers(documents)) | set(range(2 * DEVICES))) == list(range(200 + 2 * DEVICES))
    assert daemon.last_figures()["unstored"] == {}
    assert len(told) < 20
