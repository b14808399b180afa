"""The supervisor with real threads, real signals and a real notify socket."""

import os
import signal
import threading
import time

import pytest
from structlog.testing import capture_logs

from gatewayd.errors import ModelError
from gatewayd.runtime import signals
from gatewayd.runtime.supervisor import Ending, Supervisor, Tick, Worker
from gatewayd.runtime.systemd import Notifier
from tests.support.notify import NotifySocket


class Loop:
    """A worker that turns until it is told to stop, and counts its turns."""

    def __init__(self, name, journal=None, *, hangs=False):
        self.name = name
        self.turns = 0
        self.left_s = None
        self.blocked = threading.Event()  # set: the turns stop
        self._journal = journal if journal is not None else []
        self._stopped = threading.Event()
        self.released = threading.Event()
        self._hangs = hangs

    def run(self):
        while not self._stopped.wait(0.005):
            if not self.blocked.is_set():
                self.turns += 1
        if self._hangs:
            self.released.wait(60)
        self._journal.append(f"{self.name} ended")

    def stop(self, left_s):
        self.left_s = left_s
        self._journal.append(f"{self.name} told")
        self._stopped.set()

    def worker(self):
        return Worker(name=self.name, run=self.run, stop=self.stop)


@pytest.fixture
def events():
    with signals.install() as events:
        yield events


@pytest.fixture
def manager(tmp_path):
    with NotifySocket(tmp_path / "notify") as manager:
        yield manager


@pytest.fixture
def notifier(manager):
    notifier = Notifier(manager.address)
    yield notifier
    notifier.close()


def supervise(
    events, stages, *, notifier=None, on_tick=None, on_reload=None, progress=None, stop_timeout_s=30.0
):
    supervisor = Supervisor(
        stages=stages,
        signals=events,
        notifier=notifier or Notifier(),
        stop_timeout_s=stop_timeout_s,
        progress=progress or (lambda: 0),
    )
    return supervisor.run(
        on_tick=on_tick or (lambda: Tick(status="", is_subscribed=True)),
        on_reload=on_reload or (lambda: None),
    )


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def test_stages_stop_one_after_the_other_and_the_exit_code_is_0(events):
    journal = []
    line, cloud = Loop("line", journal), Loop("deliver", journal)
    terminate()
    with capture_logs() as logged:
        ending = supervise(events, [[line.worker()], [cloud.worker()]], stop_timeout_s=20.0)
    assert ending == Ending(exit_code=0)
    assert journal == ["line told", "line ended", "deliver told", "deliver ended"]
    assert 0 < cloud.left_s <= line.left_s <= 20.0
    assert [entry["event"] for entry in logged] == ["stop_requested", "stopped"]
    assert logged[0]["signal"] == "SIGTERM"


def test_a_worker_that_raises_ends_the_process_with_one_traceback(events):
    def explode():
        raise ZeroDivisionError("boom")

    cloud = Loop("deliver")
    with capture_logs() as logged:
        ending = supervise(
            events, [[Worker(name="line", run=explode, stop=lambda _left: None)], [cloud.worker()]]
        )
    assert ending == Ending(exit_code=1)
    (died,) = [entry for entry in logged if entry["event"] == "worker_died"]
    assert (died["worker"], died["log_level"]) == ("line", "error")
    assert isinstance(died["exc_info"], ZeroDivisionError)
    assert cloud.left_s is not None


def test_a_worker_that_returns_too_early_is_a_fault(events):
    with capture_logs() as logged:
        ending = supervise(events, [[Worker(name="line", run=lambda: None, stop=lambda _left: None)]])
    assert ending.exit_code == 1
    assert [entry["reason"] for entry in logged if entry["event"] == "worker_died"] == [
        "returned before it was told to stop"
    ]


def test_what_the_operator_must_mend_exits_78(events):
    """A model that only shows to be wrong in the line's thread is no reason to start again."""

    def refuse():
        raise ModelError("models/pump: golden window 3 differs")

    with capture_logs() as logged:
        ending = supervise(events, [[Worker(name="line", run=refuse, stop=lambda _left: None)]])
    assert ending.exit_code == 78
    assert [entry["reason"] for entry in logged if entry["event"] == "startup_failed"] == [
        "models/pump: golden window 3 differs"
    ]


def test_a_fault_while_stopping_is_logged_too(events):
    line = Loop("line")

    def run():
        line.run()
        raise OSError("disk full")

    terminate()
    with capture_logs() as logged:
        supervise(events, [[Worker(name="line", run=run, stop=line.stop)]])
    assert "worker_died" in [entry["event"] for entry in logged]


def test_a_thread_that_outlives_the_deadline_is_named_and_the_others_still_stop(events):
    line, cloud = Loop("line", hangs=True), Loop("deliver")
    terminate()
    with capture_logs() as logged:
        ending = supervise(events, [[line.worker()], [cloud.worker()]], stop_timeout_s=0.4)
    assert ending == Ending(exit_code=1, stuck=("line",))
    assert cloud.left_s is not None  # the line's share was half, not all
    assert cloud.left_s > 0
    assert [entry["stuck"] for entry in logged if entry["event"] == "stop_overdue"] == [("line",)]
    line.released.set()


def test_an_error_in_a_callback_stops_the_workers_before_it_goes_on(events):
    line = Loop("line")

    def tick():
        raise KeyError("bug")

    with pytest.raises(KeyError):
        supervise(events, [[line.worker()]], on_tick=tick)
    assert line.left_s is not None


def test_ready_comes_with_the_subscription_and_the_status_with_it(events, manager, notifier):
    looks = iter([False, False, True])

    def tick():
        is_subscribed = next(looks, None)
        if is_subscribed is None:
            terminate()
        return Tick(
            status="receiving" if is_subscribed is not False else "waiting", is_subscribed=bool(is_subscribed)
        )

    supervise(events, [[Loop("line").worker()]], notifier=notifier, on_tick=tick)
    said = [notice.values for notice in manager.collect()]
    assert said[:3] == [
        {"STATUS": "waiting"},
        {"STATUS": "receiving"},
        {"READY": "1", "STATUS": "receiving"},
    ]
    assert said[-2:] == [{"STOPPING": "1", "EXTEND_TIMEOUT_USEC": "32000000"}, {"STATUS": "stopping"}]
    assert [notice.get("READY") for notice in said].count("1") == 1


def test_case_29_every_reload_is_answered_and_a_refused_one_stays_in_the_status(events, manager, notifier):
    notes = iter([None, "reload refused, the old configuration stays active"])
    step = 0

    def tick():
        nonlocal step
        step += 1
        if step in (2, 4):
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGHUP)
        if step == 6:
            terminate()
        return Tick(status=f"tick {step}", is_subscribed=True)

    notifier.watchdog_interval_s = 0.04  # four ticks
    supervise(
        events, [[Loop("line").worker()]], notifier=notifier, on_tick=tick, on_reload=lambda: next(notes)
    )
    said = [n.values for n in manager.collect() if "WATCHDOG" not in n]
    reloads = [position for position, values in enumerate(said) if "RELOADING" in values]
    assert len(reloads) == 2
    assert all("MONOTONIC_USEC" in said[position] for position in reloads)
    assert all(said[position + 1].get("READY") == "1" for position in reloads)
    assert "refused" not in said[reloads[0] + 1]["STATUS"]
    after = [values["STATUS"] for values in said[reloads[1] + 1 :] if "STATUS" in values][:-1]
    assert all(text.startswith("reload refused, the old configuration stays active · tick") for text in after)


def test_the_watchdog_is_fed_while_there_is_progress_and_not_when_it_stops(events, manager, notifier):
    line = Loop("line")
    fed, looks_after_block = 0, 0

    def tick():
        nonlocal fed, looks_after_block
        if line.turns > 20:
            line.blocked.set()
            looks_after_block += 1
        if looks_after_block == 1:
            fed = len([notice for notice in manager.collect() if "WATCHDOG" in notice])
        if looks_after_block == 20:
            terminate()
        return Tick(status="", is_subscribed=True)

    notifier.watchdog_interval_s = 0.08
    supervise(events, [[line.worker()]], notifier=notifier, on_tick=tick, progress=lambda: line.turns)
    said = [notice.values for notice in manager.collect()]
    after_block = [values for values in said[: said.index({"STATUS": "stopping"})] if "WATCHDOG" in values]
    assert fed >= 1
    # the turns before the block, and the one that was under way, are still told
    assert len(after_block) <= 2


def test_without_a_watchdog_nothing_is_fed(events, manager, notifier):
    terminate()
    supervise(events, [[Loop("line").worker()]], notifier=notifier)
    assert not [notice for notice in manager.collect() if "WATCHDOG" in notice]


def test_a_stop_wakes_the_main_thread_at_once(events):
    """With the longest interval between two ticks, a SIGTERM is not slept over."""
    threading.Timer(0.2, terminate).start()
    started = time.monotonic()
    assert supervise(events, [[Loop("line").worker()]]).exit_code == 0
    assert time.monotonic() - started < 30.0
