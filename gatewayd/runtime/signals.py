"""SIGTERM and SIGINT ask for a stop, SIGHUP for a reload.

A handler sets a flag, no more: it may run between any two bytecodes of the main thread. What wakes the
waiting main thread is Python's wakeup file descriptor, written by the C handler itself: a signal that arrives
between the last look at the flags and the wait is not slept over.
"""

import contextlib
import os
import select
import signal
from types import FrameType, TracebackType
from typing import Self

_STOP = (signal.SIGTERM, signal.SIGINT)


class SignalEvents:
    """Which signals have arrived. Built, waited on and closed in the main thread."""

    def __init__(self) -> None:
        self._stop: int | None = None
        self._reloads = 0
        self._taken = 0
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._previous_fd = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._previous = {number: signal.signal(number, self._on_stop) for number in _STOP}
        self._previous[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._on_reload)

    @property
    def stop_signal(self) -> str | None:
        """Name of the first signal that asked for a stop, such as ``SIGTERM``; None as long as none did."""
        return None if self._stop is None else signal.Signals(self._stop).name

    def take_reloads(self) -> int:
        """How many reloads were asked for since the last call: any number is served by one."""
        # read once: a signal that arrives between the two lines is counted for the next call, never lost
        asked = self._reloads
        new, self._taken = asked - self._taken, asked
        return new

    def wait(self, timeout_s: float) -> None:
        """Wait for a signal or ``wake()``, at most ``timeout_s``. Returns at once where one came before."""
        select.select([self._reader], [], [], max(0.0, timeout_s))
        with contextlib.suppress(BlockingIOError):
            while os.read(self._reader, 4096):
                pass

    def wake(self) -> None:
        """End the wait of the main thread. Thread-safe, until ``close()``."""
        # full: the main thread has more than enough to wake it
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b"\0")

    def close(self) -> None:
        """Put back the handlers that were there before."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_fd)
        os.close(self._reader)
        os.close(self._writer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _on_stop(self, number: int, _frame: FrameType | None) -> None:
        if self._stop is None:
            self._stop = number

    def _on_reload(self, _number: int, _frame: FrameType | None) -> None:
        self._reloads += 1


def install() -> SignalEvents:
    """Take over SIGTERM, SIGINT and SIGHUP. Main thread only."""
    return SignalEvents()
