"""Signals, sent for real to this process."""

import os
import signal
import threading
import time

import pytest

from gatewayd.runtime import signals


@pytest.fixture
def events():
    with signals.install() as events:
        yield events


def test_nothing_has_arrived_at_first(events):
    assert events.stop_signal is None
    assert events.take_reloads() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_stop_signal_is_kept_and_later_ones_change_nothing(events, number):
    os.kill(os.getpid(), number)
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    assert events.stop_signal == number.name


def test_reloads_are_counted_and_taken_once(events):
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGHUP)
    assert events.take_reloads() == 3
    assert events.take_reloads() == 0
    os.kill(os.getpid(), signal.SIGHUP)
    assert events.take_reloads() == 1


def test_a_signal_that_came_before_the_wait_ends_it_at_once(events):
    """Else a SIGTERM between the look at the flag and the wait would be slept over."""
    os.kill(os.getpid(), signal.SIGTERM)
    started = time.monotonic()
    events.wait(60.0)
    assert time.monotonic() - started < 30.0


def test_a_signal_and_a_wake_end_the_wait(events):
    for call in (lambda: os.kill(os.getpid(), signal.SIGHUP), events.wake):
        timer = threading.Timer(0.05, call)
        timer.start()
        started = time.monotonic()
        events.wait(60.0)
        assert time.monotonic() - started < 30.0
        timer.join()


def test_a_wait_takes_all_that_woke_it(events):
    """Else the main loop would spin."""
    for _ in range(100_000):
        events.wake()
    events.wait(60.0)
    started = time.monotonic()
    events.wait(0.05)
    assert time.monotonic() - started >= 0.05


def test_closing_puts_the_old_handlers_back():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    with signals.install():
        assert signal.getsignal(signal.SIGTERM) is not before[0]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)] == before
    assert signal.set_wakeup_fd(-1) == -1
