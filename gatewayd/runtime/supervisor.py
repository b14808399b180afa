"""The threads' life and death, and what the main thread does meanwhile.

Wired by hand in ``app.py``::

    supervisor = Supervisor(
        stages=[[Worker(name="line", run=line.run, stop=lambda left_s: line.stop())],
                [Worker(name="deliver-cloud", run=cloud.run, stop=cloud.stop)]],
        signals=signals.install(),              # runtime.signals
        notifier=Notifier.from_environment(),   # runtime.systemd
        stop_timeout_s=settings.gateway.stop_timeout_s,
        progress=line.progress,                 # () -> int, grows with every turn of the line's loop
    )
    ending = supervisor.run(on_tick=tick, on_reload=reload)   # tick() -> Tick(status=..., is_subscribed=...)
    if ending.stuck: os._exit(ending.exit_code)               # reload() -> note for the status line, or None

Rules:

- A worker that raises, or returns before it was told to stop, ends the process with exit code 1 (78 for a
  ``StartupError``: another start would change nothing). Nothing is revived in place: a fresh process is the
  one state that is always tested.
- Stages stop in order, under one deadline: each is told, then waited for, before the next is told. What a
  stage but the last may use is half of the time left, so that a line that hangs doesn't take the deliverers'
  time as well.
- The watchdog is fed by progress: only where ``progress()`` has changed since the last ping. A turn of the
  line's loop therefore takes well under ``WatchdogSec``, idle or busy.
"""

import faulthandler
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from gatewayd.errors import StartupError
from gatewayd.runtime.signals import SignalEvents
from gatewayd.runtime.status import Readiness
from gatewayd.runtime.systemd import Notifier

EXIT_OK, EXIT_FAULT, EXIT_STARTUP = 0, 1, 78  # 78: EX_CONFIG of sysexits.h, named in the unit
_TICK_S = 1.0
_CLOSING_S = (
    1.5  # kept back from a worker's time for what it does after its work: closing a link, a last fsync
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One thread.

    Attributes:
        name: Of the thread, as logged.
        run: Its whole life; returns after ``stop``.
        stop: Tells it to end; thread-safe, returns at once. Gets the seconds that are left until the
            deadline.
    """

    name: str
    run: Callable[[], None]
    stop: Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """What the app reports about once a second: the status line, and whether the line is subscribed."""

    status: str
    is_subscribed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How the run ended. ``stuck`` names threads that outlived the deadline: the caller must ``os._exit``."""

    exit_code: int
    stuck: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    worker: str
    error: Exception | None  # None: returned although nobody told it to


class Supervisor:
    """Runs workers until a signal or a fault. Owned by the main thread."""

    def __init__(
        self,
        *,
        stages: Sequence[Sequence[Worker]],
        signals: SignalEvents,
        notifier: Notifier,
        stop_timeout_s: float,
        progress: Callable[[], int],
    ) -> None:
        """Wire it.

        Args:
            stages: Workers in the order in which they stop; started in the reverse order, sources last.
            signals: Asks for stop and reload, and wakes the main thread.
            notifier: Where ready, status and watchdog go.
            stop_timeout_s: Longest time from the order to stop until the last thread has ended.
            progress: A number that grows as long as the line makes progress. Called from the main thread.
        """
        self._log = structlog.get_logger().bind(component="supervisor")
        self._stages = stages
        self._signals = signals
        self._notifier = notifier
        self._stop_timeout_s = stop_timeout_s
        self._progress = progress
        self._faults: queue.SimpleQueue[_Fault] = queue.SimpleQueue()
        self._is_stopping = threading.Event()
        self._threads: dict[str, threading.Thread] = {}
        self._fed_at: int | None = None
        self._status = ""
        self._note: str | None = None

    def run(self, *, on_tick: Callable[[], Tick], on_reload: Callable[[], str | None]) -> Ending:
        """Start the workers, supervise them until the end, stop them.

        Args:
            on_tick: Called about once a second in the main thread.
            on_reload: Called for SIGHUP in the main thread; does its own reporting. What it returns stands in
                the status line until the next reload, such as "reload refused, the old configuration stays
                active".
        """
        exit_code = EXIT_FAULT
        try:
            self._start()
            exit_code = self._supervise(on_tick, on_reload)
        finally:
            # also when a callback raises: the outbox is closed and "offline" is said before the traceback
            stuck = self._stop()
        return Ending(exit_code=EXIT_FAULT if stuck and exit_code == EXIT_OK else exit_code, stuck=stuck)

    def _start(self) -> None:
        for stage in reversed(self._stages):
            for worker in stage:
                # daemon: a thread that hangs must not keep the interpreter from ending
                thread = threading.Thread(target=self._live, args=(worker,), name=worker.name, daemon=True)
                self._threads[worker.name] = thread
                thread.start()

    def _live(self, worker: Worker) -> None:
        """Run in the worker's thread."""
        error: Exception | None = None
        try:
            worker.run()
        except Exception as raised:  # noqa: BLE001  # a thread begins here: whatever it is ends the process
            error = raised
        if error is not None or not self._is_stopping.is_set():
            self._faults.put(_Fault(worker=worker.name, error=error))
            self._signals.wake()

    def _supervise(self, on_tick: Callable[[], Tick], on_reload: Callable[[], str | None]) -> int:
        interval_s = min(_TICK_S, (self._notifier.watchdog_interval_s or _TICK_S * 4) / 4)
        readiness = Readiness(started_at_s=time.monotonic())
        while True:
            exit_code = self._take_faults()
            if exit_code is not None:
                return exit_code
            if self._signals.stop_signal is not None:
                self._log.info("stop_requested", signal=self._signals.stop_signal)
                return EXIT_OK
            if self._signals.take_reloads():
                self._reload(on_reload)
            tick = on_tick()
            self._show(tick.status)
            if readiness.becomes_ready(is_subscribed=tick.is_subscribed, now_s=time.monotonic()):
                self._notifier.ready(self._status)
                self._log.info("service_ready", is_subscribed=tick.is_subscribed)
            self._feed_watchdog()
            # not yet ready: look often, so that READY follows the subscription closely
            self._signals.wait(interval_s if readiness.is_ready else min(interval_s, 0.05))

    def _take_faults(self) -> int | None:
        """Log what has died; the exit code of the worst, None where all live."""
        exit_code: int | None = None
        while not self._faults.empty():
            fault = self._faults.get()
            if isinstance(fault.error, StartupError):
                self._log.error("startup_failed", worker=fault.worker, reason=str(fault.error))
                exit_code = EXIT_STARTUP if exit_code is None else exit_code
            else:
                reason = "returned before it was told to stop" if fault.error is None else repr(fault.error)
                self._log.error("worker_died", worker=fault.worker, reason=reason, exc_info=fault.error)
                exit_code = EXIT_FAULT
        return exit_code

    def _reload(self, on_reload: Callable[[], str | None]) -> None:
        self._notifier.reloading()
        self._note = on_reload()
        # READY again whatever came of it: systemd waits for it
        self._notifier.ready(" · ".join(part for part in (self._note, self._status) if part))

    def _show(self, status: str) -> None:
        text = " · ".join(part for part in (self._note, status) if part)
        if text != self._status:
            self._status = text
            self._notifier.status(text)

    def _feed_watchdog(self) -> None:
        progress = self._progress()
        if progress != self._fed_at:
            self._fed_at = progress
            self._notifier.watchdog()

    def _stop(self) -> tuple[str, ...]:
        """Stop all stages in order; the names of the threads that did not end."""
        started_at_s = time.monotonic()
        deadline_s = started_at_s + self._stop_timeout_s
        self._is_stopping.set()
        self._notifier.stopping(within_s=self._stop_timeout_s + 2)
        self._notifier.status("stopping")
        for position, stage in enumerate(self._stages):
            is_last = position == len(self._stages) - 1
            left_s = max(0.0, deadline_s - time.monotonic())
            for worker in stage:
                worker.stop(left_s - min(_CLOSING_S, left_s / 4))
            self._join(stage, until_s=deadline_s if is_last else deadline_s - left_s / 2)
        self._take_faults()  # what died on the way out is still worth its line
        stuck = tuple(name for name, thread in self._threads.items() if thread.is_alive())
        duration_s = round(time.monotonic() - started_at_s, 3)
        if stuck:
            self._log.error("stop_overdue", stuck=stuck, duration_s=duration_s)
            faulthandler.dump_traceback(file=sys.__stderr__ or 2, all_threads=True)
        else:
            self._log.info("stopped", duration_s=duration_s)
        return stuck

    def _join(self, stage: Sequence[Worker], *, until_s: float) -> None:
        for worker in stage:
            thread = self._threads.get(worker.name)
            while thread is not None and thread.is_alive() and time.monotonic() < until_s:
                # in slices: the stop has a deadline of its own, the watchdog must not cut it short
                thread.join(min(_TICK_S, max(0.0, until_s - time.monotonic())))
                self._notifier.watchdog()
