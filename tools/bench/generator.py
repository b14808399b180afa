"""Publishes a load at a real broker: as fast as it takes it, or paced and stamped with the time of sending.

Events on stdout, one line of JSON each: ``ready``; then, after a line on stdin, ``sent``. It ends by itself.
"""

import argparse
import json
import select
import socket
import sys
import time

from frames import Cutter, Load, connect

_RECEIVE_BYTES = 1 << 18
_RUN = 500  # frames in one send: large enough to be cheap, small enough that the broker never starves


class Generator:
    """One publishing connection. Owned by the main thread."""

    def __init__(self, *, port: int, load: Load, window: int | None) -> None:
        self._load, self._window = load, window
        self._link = socket.create_connection(("127.0.0.1", port))
        self._link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._cutter = Cutter()
        self._link.sendall(connect("bench-generator"))
        self._sent = 0
        self._is_connected = False
        while not self._is_connected:
            self._receive(1.0)

    def run(self, count: int, rate: float | None) -> dict[str, float]:
        """Publish ``count`` readings, at ``rate`` a second if given, and wait until all are acknowledged."""
        began_at = time.monotonic()
        while self._sent < count:
            limit = min(count - self._sent, _RUN)
            if self._window is not None:
                limit = min(limit, self._window - (self._sent - self._cutter.acks))
            if rate is not None:
                limit = min(limit, int((time.monotonic() - began_at) * rate) + 1 - self._sent)
            if limit > 0:
                self._send(limit, rate is not None)
            elif rate is not None:
                self._receive(max(0.0, began_at + self._sent / rate - time.monotonic()))
            else:
                self._receive(1.0)
        while self._window is not None and self._cutter.acks < count:
            self._receive(1.0)
        wall_s = time.monotonic() - began_at
        self._link.sendall(b"\xe0\0")
        return {"frames": self._sent, "acknowledged": self._cutter.acks, "wall_s": wall_s}

    def _send(self, limit: int, is_stamped: bool) -> None:  # noqa: FBT001  # private, one caller
        rest = self._load.take(limit, time.time_ns() // 1000 if is_stamped else None)
        self._sent += len(rest) // self._load.frame_bytes
        while rest:
            # Never block in send alone: a broker that cannot write its PUBACKs stops reading, too.
            readable, writable, _ = select.select([self._link], [self._link], [], 5.0)
            if not readable and not writable:
                raise TimeoutError("the broker takes nothing any more")
            if readable:
                self._receive(0.0)
            if writable:
                rest = rest[self._link.send(rest, socket.MSG_DONTWAIT) :]

    def _receive(self, timeout_s: float) -> None:
        if not select.select([self._link], [], [], timeout_s)[0]:
            return
        data = self._link.recv(_RECEIVE_BYTES)
        if not data:
            raise ConnectionError("the broker closed the connection")
        if any(head == 0x20 for head, _ in self._cutter.feed(data)):  # CONNACK
            self._is_connected = True


def main() -> None:
    """Read the arguments, connect, wait for the word, publish."""
    parser = argparse.ArgumentParser(description="Publishes readings at a broker.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--devices", type=int, default=100)
    parser.add_argument("--qos", type=int, choices=(0, 1), default=0)
    parser.add_argument("--window", type=int, default=2000, help="unacknowledged frames at QoS 1")
    parser.add_argument("--rate", type=float, help="readings a second, each stamped with the time of sending")
    options = parser.parse_args()
    load = Load(devices=options.devices, qos=options.qos)
    generator = Generator(port=options.port, load=load, window=options.window if options.qos else None)
    print(json.dumps({"event": "ready"}), flush=True)
    if not sys.stdin.readline():
        return  # whoever started it has given up
    print(json.dumps({"event": "sent", **generator.run(options.count, options.rate)}), flush=True)


if __name__ == "__main__":
    main()
