"""What systemd is told: ready, status, reloading, stopping, and that there is progress.

The protocol is one datagram of ``NAME=value`` lines to the socket in ``NOTIFY_SOCKET`` (sd_notify(3)).
Without that variable nothing is sent, and nothing is logged: gatewayd runs the same in a shell or a
container. A service manager that can't be reached must never stop the line, so no method here raises or
waits.
"""

import os
import socket
import time
from collections.abc import MutableMapping
from typing import Self


class Notifier:
    """Speaks sd_notify. Owned by the main thread."""

    def __init__(self, address: str | None = None, *, watchdog_interval_s: float | None = None) -> None:
        """Prepare the socket.

        Args:
            address: Path of the datagram socket, or ``@name`` for an abstract one; None: send nothing.
            watchdog_interval_s: The longest silence that the service manager allows; None where it does not
                watch.
        """
        self._address = None
        self._socket: socket.socket | None = None
        self.watchdog_interval_s = watchdog_interval_s if address else None
        if address and address[0] in "/@":
            self._address = "\0" + address[1:] if address[0] == "@" else address
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)  # a full queue at the other end must not stop us

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str] = os.environ) -> Self:
        """Read and remove ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID``.

        They are removed so that a child process never speaks in our name. A watchdog that is meant for
        another process (``WATCHDOG_PID``, sd_watchdog_enabled(3)) is not ours to feed.
        """
        address = environment.pop("NOTIFY_SOCKET", None)
        usec = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", "")
        is_ours = not pid or pid == str(os.getpid())
        interval_s = (
            int(usec) / 1e6 if usec.isascii() and usec.isdigit() and int(usec) > 0 and is_ours else None
        )
        return cls(address, watchdog_interval_s=interval_s)

    @property
    def is_connected(self) -> bool:
        """There is a service manager to speak to."""
        return self._socket is not None

    def ready(self, status: str | None = None) -> None:
        """Start or reload is complete."""
        self._send("READY=1", *_status(status))

    def status(self, text: str) -> None:
        """Say in one line what the daemon is doing; shown by ``systemctl status``."""
        self._send(*_status(text))

    def reloading(self) -> None:
        """A reload begins; ``ready()`` must follow, whatever comes of it.

        The time stamp travels in the same datagram and is taken now, after the signal: systemd tells by it
        which reload a later READY=1 answers (systemd.service(5), ``Type=notify-reload``).
        """
        usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={usec}")

    def stopping(self, *, within_s: float) -> None:
        """The stop begins and takes at most ``within_s``; systemd waits for it even if the unit says less."""
        self._send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={round(within_s * 1e6)}")

    def watchdog(self) -> None:
        """The daemon has made progress. Nothing is sent where nobody watches."""
        if self.watchdog_interval_s is not None:
            self._send("WATCHDOG=1")

    def close(self) -> None:
        """Say no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if self._socket is None or self._address is None:
            return
        try:
            self._socket.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)
        except OSError:
            # systemd re-executing itself, or its queue full: the next message says it again
            return


def _status(text: str | None) -> tuple[str, ...]:
    """One STATUS line: a line break in it would begin another assignment."""
    return () if text is None else (f"STATUS={' '.join(text.split())}",)
