"""A null broker: pushes a load at its first subscriber as fast as that one reads; takes what clients publish.

It stands in for a broker so that a client is measured without one beside it. TCP's back-pressure holds
the load at the client's own pace; nothing is lost. One line of JSON on stdout for each of these, in this
order::

    {"event": "listening", "port": 40123}
    {"event": "subscribed", "qos": 1}
    {"event": "sent", ...}      after a line on stdin: the client's kernel has read all; QoS 1: acknowledged
    {"event": "answered", ...}  the expected number of predictions came back (only with --expect)

It ends when its stdin does. At QoS 1 it keeps at most ``--window`` frames unacknowledged, as a broker would.
"""

import argparse
import array
import fcntl
import json
import os
import selectors
import socket
import sys
import termios
import time

from frames import FILTER, Cutter, Load, parse_publish

_IDLE_S = 0.05
_RECEIVE_BYTES = 1 << 18


class _Peer:
    """One client's connection."""

    def __init__(self, link: socket.socket) -> None:
        link.setblocking(False)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.link = link
        self.cutter = Cutter()
        self.out = bytearray()

    def flush(self) -> None:
        """Send replies as far as the client takes them."""
        while self.out:
            try:
                del self.out[: self.link.send(self.out)]
            except BlockingIOError:
                return


class NullBroker:
    """Accepts clients, pushes the load, counts what comes back. Owned by the main thread."""

    def __init__(self, *, count: int, devices: int, qos: int, window: int, expect: int | None) -> None:
        self._count, self._devices, self._qos, self._window, self._expect = (
            count,
            devices,
            qos,
            window,
            expect,
        )
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        self._peers: dict[socket.socket, _Peer] = {}
        self._target: _Peer | None = None
        self._load: Load | None = None
        self._slice = memoryview(b"")
        self._sent = 0  # frames, the slice included
        self._began_at: float | None = None
        self._is_sent = self._is_answered = False
        self.predictions = self.others = 0

    def run(self) -> None:
        """Serve until stdin ends."""
        _say(event="listening", port=self._listener.getsockname()[1])
        is_open = True
        while is_open:
            for key, _ in self._selector.select(_IDLE_S):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is sys.stdin:
                    is_open = self._command()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._peers:
                    self._serve(self._peers[key.fileobj])
            self._report()

    def _command(self) -> bool:
        if not os.read(sys.stdin.fileno(), 4096):
            return False
        assert self._target is not None, "told to begin before anybody subscribed"
        self._began_at = time.monotonic()
        self._watch(self._target)
        return True

    def _accept(self) -> None:
        link, _ = self._listener.accept()
        self._peers[link] = _Peer(link)
        self._selector.register(link, selectors.EVENT_READ)

    def _serve(self, peer: _Peer) -> None:
        try:
            data = peer.link.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            data = None
        except ConnectionError:
            data = b""
        if data == b"":
            self._drop(peer)
            return
        if data:
            for head, body in peer.cutter.feed(data):
                self._answer(peer, head, body)
        try:
            peer.flush()
            if peer is self._target and self._began_at is not None and not peer.out:
                self._push(peer)
        except ConnectionError:
            self._drop(peer)
            return
        self._watch(peer)

    def _drop(self, peer: _Peer) -> None:
        self._selector.unregister(peer.link)
        del self._peers[peer.link]
        peer.link.close()
        if peer is self._target:
            self._target = None

    def _answer(self, peer: _Peer, head: int, body: bytes) -> None:
        kind = head >> 4
        if kind == 3:
            topic, _, puback = parse_publish(head, body)
            peer.out += puback
            if topic.endswith(b"/prediction"):
                self.predictions += 1
            else:
                self.others += 1
        elif kind == 1:
            peer.out += b"\x20\x02\0\0"
        elif kind == 8:
            qos = min(self._qos, body[-1] & 3)
            peer.out += b"\x90\x03" + body[:2] + bytes([qos])
            if self._load is None and body[4:-1] == FILTER:
                self._target = peer
                self._load = Load(devices=self._devices, qos=1 if qos else 0)
                self._qos = qos
                _say(event="subscribed", qos=qos)
        elif kind == 12:
            peer.out += b"\xd0\0"

    def _room(self, peer: _Peer) -> int:
        left = self._count - self._sent
        return min(left, self._window - (self._sent - peer.cutter.acks)) if self._qos else left

    def _push(self, peer: _Peer) -> None:
        assert self._load is not None
        while True:
            if not self._slice:
                room = self._room(peer)
                if room <= 0:
                    return
                self._slice = self._load.take(room)
                self._sent += len(self._slice) // self._load.frame_bytes
            try:
                self._slice = self._slice[peer.link.send(self._slice) :]
            except BlockingIOError:
                return

    def _watch(self, peer: _Peer) -> None:
        wants = bool(peer.out)
        if peer is self._target and self._began_at is not None:
            wants = wants or bool(self._slice) or self._room(peer) > 0
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if wants else 0)
        if self._selector.get_key(peer.link).events != events:
            self._selector.modify(peer.link, events)

    def _report(self) -> None:
        peer = self._target
        if self._began_at is None or self._load is None:
            return
        if not self._is_sent and peer is not None and self._sent == self._count and not self._slice:
            acks = peer.cutter.acks
            if acks >= self._count if self._qos else _unsent_bytes(peer.link) == 0:
                self._is_sent = True
                wall_s = time.monotonic() - self._began_at
                _say(
                    event="sent",
                    frames=self._sent,
                    acknowledged=acks,
                    wall_s=wall_s,
                    bytes=self._load.frame_bytes,
                )
        if (
            self._expect is not None
            and not self._is_answered
            and self.predictions >= self._expect
            and self._is_sent
        ):
            self._is_answered = True
            _say(event="answered", predictions=self.predictions, others=self.others)


def _unsent_bytes(link: socket.socket) -> int:
    """Bytes that the peer's kernel has not taken yet (SIOCOUTQ, tcp(7))."""
    size = array.array("i", [0])
    fcntl.ioctl(link, termios.TIOCOUTQ, size)
    return size[0]


def _say(**event: object) -> None:
    print(json.dumps(event), flush=True)


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description="A broker that only pushes a load and counts.")
    parser.add_argument("--count", type=int, required=True, help="frames to push")
    parser.add_argument("--devices", type=int, default=100)
    parser.add_argument("--qos", type=int, choices=(0, 1), default=0)
    parser.add_argument("--window", type=int, default=2000, help="unacknowledged frames at QoS 1")
    parser.add_argument("--expect", type=int, help="predictions that must come back")
    options = parser.parse_args()
    NullBroker(
        count=options.count,
        devices=options.devices,
        qos=options.qos,
        window=options.window,
        expect=options.expect,
    ).run()


if __name__ == "__main__":
    main()
