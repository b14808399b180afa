"""A service manager's end of sd_notify: receives what a daemon says, for tests."""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One datagram, with the monotonic time at which it was taken from the socket."""

    values: dict[str, str]
    at_s: float

    def __contains__(self, name: str) -> bool:
        return name in self.values


class NotifySocket:
    """A bound datagram socket that keeps every notice. Owned by one thread."""

    def __init__(self, path: Path | str) -> None:
        """Bind to a path, or to ``@name`` in the abstract namespace."""
        self.address = str(path)
        self.notices: list[Notice] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + self.address[1:] if self.address.startswith("@") else self.address)

    def collect(self, seconds: float = 0.0) -> list[Notice]:
        """Receive for this long (0: what is there already); the notices that are new."""
        new: list[Notice] = []
        deadline = time.monotonic() + seconds
        while (notice := self._receive(max(0.0, deadline - time.monotonic()))) is not None:
            new.append(notice)
        return new

    def until(self, wanted: Callable[[Notice], bool], *, timeout_s: float = 60.0) -> Notice:
        """The next notice that is wanted; what comes before it is kept in ``notices``."""
        deadline = time.monotonic() + timeout_s
        while (notice := self._receive(max(0.0, deadline - time.monotonic()))) is not None:
            if wanted(notice):
                return notice
        raise AssertionError(f"not said within {timeout_s} s; said: {[n.values for n in self.notices]}")

    def _receive(self, timeout_s: float) -> Notice | None:
        # 0 would make the socket non-blocking, which raises another exception
        self._socket.settimeout(max(timeout_s, 0.001))
        try:
            data = self._socket.recv(65_536)
        except TimeoutError:
            return None
        values = dict(line.split("=", 1) for line in data.decode().split("\n") if line)
        notice = Notice(values=values, at_s=time.monotonic())
        self.notices.append(notice)
        return notice

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
