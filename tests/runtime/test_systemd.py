"""What is said to systemd, heard at a real datagram socket."""

import os
import time
import uuid

import pytest

from gatewayd.runtime.systemd import Notifier
from tests.support.notify import NotifySocket


@pytest.fixture
def manager(tmp_path):
    with NotifySocket(tmp_path / "notify") as manager:
        yield manager


def said(manager):
    return [notice.values for notice in manager.collect()]


def test_each_message_is_one_datagram(manager):
    notifier = Notifier(manager.address, watchdog_interval_s=30.0)
    notifier.ready("receiving: 5 devices")
    notifier.status("waiting")
    notifier.watchdog()
    notifier.stopping(within_s=8.5)
    assert said(manager) == [
        {"READY": "1", "STATUS": "receiving: 5 devices"},
        {"STATUS": "waiting"},
        {"WATCHDOG": "1"},
        {"STOPPING": "1", "EXTEND_TIMEOUT_USEC": "8500000"},
    ]
    notifier.close()


def test_reloading_carries_the_monotonic_time_in_the_same_datagram(manager):
    notifier = Notifier(manager.address)
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    (notice,) = said(manager)
    assert notice["RELOADING"] == "1"
    assert before <= int(notice["MONOTONIC_USEC"]) <= after
    notifier.close()


def test_an_abstract_socket_is_spoken_to():
    with NotifySocket(f"@gatewayd-test-{uuid.uuid4()}") as manager:
        notifier = Notifier(manager.address)
        notifier.ready()
        assert said(manager) == [{"READY": "1"}]
        notifier.close()


def test_a_status_stays_one_line(manager):
    """A line break in it would be read as another assignment."""
    notifier = Notifier(manager.address)
    notifier.status("refused\nMAINPID=1")
    assert said(manager) == [{"STATUS": "refused MAINPID=1"}]
    notifier.close()


@pytest.mark.parametrize(
    ("usec", "pid", "interval_s"),
    [
        ("30000000", None, 30.0),
        ("4000000", "own", 4.0),
        ("4000000", "1", None),
        ("0", None, None),
        ("soon", None, None),
        ("", None, None),
        ("-1", None, None),
        ("²", None, None),
    ],
)
def test_the_watchdog_is_taken_from_the_environment_where_it_is_meant_for_us(manager, usec, pid, interval_s):
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": usec}
    if pid is not None:
        environment["WATCHDOG_PID"] = str(os.getpid()) if pid == "own" else pid
    notifier = Notifier.from_environment(environment)
    assert notifier.watchdog_interval_s == interval_s
    notifier.watchdog()
    assert said(manager) == ([{"WATCHDOG": "1"}] if interval_s else [])
    notifier.close()


def test_a_child_does_not_inherit_what_is_meant_for_us(manager):
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "HOME": "/"}
    Notifier.from_environment(environment).close()
    assert environment == {"HOME": "/"}


@pytest.mark.parametrize("address", [None, "", "relative/socket", "vsock:2:1234"])
def test_without_a_socket_it_can_use_nothing_happens(address):
    notifier = Notifier(address, watchdog_interval_s=1.0)
    assert not notifier.is_connected
    notifier.ready("ready")
    notifier.reloading()
    notifier.watchdog()
    notifier.stopping(within_s=1.0)
    notifier.close()


@pytest.mark.parametrize("name", ["gone", "x" * 200])
def test_a_manager_that_is_not_there_is_no_error(tmp_path, name):
    notifier = Notifier(str(tmp_path / name))
    notifier.ready("ready")
    notifier.close()
    notifier.status("closed")


def test_a_manager_that_does_not_listen_holds_nobody_up(manager):
    """Its queue fills up after a few datagrams; each call still returns at once."""
    notifier = Notifier(manager.address)
    for number in range(5000):
        notifier.status(str(number))
    assert 0 < len(said(manager)) < 5000
    notifier.close()
