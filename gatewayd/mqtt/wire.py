"""The one funnel of a connection: stands in for paho's socket, lets our frames in between paho's, never inside one.

Receiving: what arrives goes through the cutter; paho reads only what the cutter leaves. Sending: whoever has a frame
half written goes first, and the other waits. paho hands over each packet whole and retries with the remainder, which
tells us when it has one half written.
"""

import socket
import ssl
from typing import TYPE_CHECKING

from gatewayd.mqtt.tap import Cutter

if TYPE_CHECKING:
    from gatewayd.domain.reading import Message

RECV_BYTES = 256 * 1024
RECVS_PER_READ = 4  # then others get their turn
_BLOCKED = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Wire:
    """A tapped, non-blocking socket. Owned by the session's thread.

    Attributes:
        sock: The real socket.
        messages: PUBLISHes cut out; the owner empties it.
        acks: Packet ids whose PUBACK came; the owner empties it.
        has_ended: The broker has closed its side.
    """

    def __init__(self, sock: socket.socket, cutter: Cutter) -> None:
        self.sock = sock
        self.cutter = cutter
        self.messages: list[Message] = []
        self.acks: list[int] = []
        self._rest = bytearray()  # for paho to read
        self.has_ended = False
        self._ours = bytearray()  # of our frames, not yet taken by the kernel
        self._theirs = 0  # bytes of paho's packet that it still has to write before anybody else may

    # What paho asks of its socket.

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self.sock.fileno()

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001  # the socket's signature
        """Pass on."""
        self.sock.setblocking(flag)

    def close(self) -> None:
        """Pass on."""
        self.sock.close()

    def pending(self) -> int:
        """Return how many bytes paho could read at once."""
        return len(self._rest)

    def recv(self, size: int) -> bytes:
        """Give paho what the cutter left for it."""
        if not self._rest:
            if self.has_ended:
                return b""
            raise BlockingIOError
        data = bytes(self._rest[:size])
        del self._rest[:size]
        return data

    def send(self, data: bytes | bytearray) -> int:
        """Send paho's packet, or as much of it as goes.

        Raises:
            BlockingIOError: A frame of ours is half written, or the kernel takes no more.
        """
        if self._ours and not self._theirs:
            raise BlockingIOError
        try:
            sent = self.sock.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            # The record is made: TLS wants these same bytes again before any other (SSL_write(3), "Notes").
            self._theirs = len(data)
            raise BlockingIOError from error
        self._theirs = len(data) - sent
        return sent

    # What the link asks.

    def read(self) -> bool:
        """Take in what has arrived, up to a bound; return whether there is something for paho to do.

        Raises:
            OSError: The connection broke.
        """
        for _ in range(RECVS_PER_READ if not isinstance(self.sock, ssl.SSLSocket) else 16 * RECVS_PER_READ):
            try:
                data = self.sock.recv(RECV_BYTES)
            except _BLOCKED:
                break
            if not data:
                self.has_ended = True
                break
            self.cutter.feed(data, self.messages, self.acks, self._rest)
            if len(data) < RECV_BYTES and not isinstance(self.sock, ssl.SSLSocket):
                break  # a short read has emptied the kernel's buffer
        return bool(self._rest) or self.has_ended

    def holds_unread(self) -> bool:
        """Whether decrypted bytes wait inside TLS, where poll() can't see them."""
        return isinstance(self.sock, ssl.SSLSocket) and self.sock.pending() > 0

    def write(self, frames: bytes) -> None:
        """Send our frames, or as much as goes; the rest is kept and goes first.

        Raises:
            OSError: The connection broke.
        """
        self._ours += frames
        self.flush()

    def flush(self) -> None:
        """Send what is left of our frames, unless paho has a packet half written.

        Raises:
            OSError: The connection broke.
        """
        while self._ours and not self._theirs:
            try:
                sent = self.sock.send(self._ours)
            except _BLOCKED:
                return
            del self._ours[:sent]

    def is_behind(self) -> bool:
        """Whether frames of ours wait to be sent."""
        return bool(self._ours)

    def is_cut_off(self) -> bool:
        """Whether paho has to finish a packet before ours may go on."""
        return self._theirs > 0
