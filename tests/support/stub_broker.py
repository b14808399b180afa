"""A broker that says exactly the bytes a test wants, for cases that no real one produces."""

import contextlib
import select
import socket

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

CONNACK = bytes.fromhex("20020000")
PINGRESP = b"\xd0\x00"


def suback(packet_id: int, *codes: int) -> bytes:
    return bytes((0x90, 2 + len(codes))) + packet_id.to_bytes(2, "big") + bytes(codes)


def frame5(first: int, head: bytes, packet_type: int, **properties: object) -> bytes:
    """Build a packet of MQTT 5 whose property block stands behind ``head``, below 128 bytes."""
    block = Properties(packet_type)
    for name, value in properties.items():
        setattr(block, name, value)
    body = head + bytes(block.pack())
    assert len(body) < 128
    return bytes((first, len(body))) + body


def connack5(code: int = 0, **properties: object) -> bytes:
    return frame5(0x20, bytes((0, code)), PacketTypes.CONNACK, **properties)


def suback5(packet_id: int, code: int) -> bytes:
    return b"\x90\x04" + packet_id.to_bytes(2, "big") + bytes((0, code))


def puback5(packet_id: int, code: int, **properties: object) -> bytes:
    return frame5(0x40, packet_id.to_bytes(2, "big") + bytes((code,)), PacketTypes.PUBACK, **properties)


def disconnect5(code: int, **properties: object) -> bytes:
    return frame5(0xE0, bytes((code,)), PacketTypes.DISCONNECT, **properties)


class StubBroker:
    """Accepts one connection at a time; the test reads frames and answers them by hand."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self.peer: socket.socket | None = None
        self._buffer = b""

    def accept(self) -> bool:
        """Take a waiting connection, if there is one, in place of the old one."""
        with contextlib.suppress(BlockingIOError):
            peer, _ = self._listener.accept()
            self.drop()
            self.peer = peer
            self._buffer = b""
            return True
        return False

    def frames(self) -> list[bytes]:
        """Return the whole frames that have arrived."""
        assert self.peer is not None
        while select.select([self.peer], [], [], 0)[0]:
            data = self.peer.recv(1 << 20)
            if not data:
                break
            self._buffer += data
        found = []
        while True:
            length, body = 0, 1
            while body < len(self._buffer):
                length |= (self._buffer[body] & 127) << 7 * (body - 1)
                body += 1
                if self._buffer[body - 1] < 128:
                    break
            else:
                return found
            if len(self._buffer) < body + length:
                return found
            found.append(self._buffer[: body + length])
            self._buffer = self._buffer[body + length :]

    def say(self, data: bytes) -> None:
        assert self.peer is not None
        self.peer.sendall(data)

    def drop(self) -> None:
        if self.peer is not None:
            self.peer.close()
            self.peer = None

    def close(self) -> None:
        self.drop()
        self._listener.close()
