import contextlib
import socket

import pytest

from gatewayd.mqtt.tap import Cutter, encode_publish
from gatewayd.mqtt.wire import Wire

PING = b"\xc0\x00"


@pytest.fixture
def ends():
    near, far = socket.socketpair()
    for end in (near, far):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        end.setblocking(False)
    yield near, far
    near.close()
    far.close()


def test_frames_stay_whole_when_neither_side_can_write_them_at_once(ends):
    """A tiny send buffer, frames of ours and big packets of paho's in turn: what arrives is a row of whole frames."""
    near, far = ends
    wire = Wire(near, Cutter())
    ours = [
        encode_publish(b"o", bytes([i]) * 50_000, qos=1, retain=False, packet_id=40_000 + i) for i in range(9)
    ]
    theirs = [
        encode_publish(b"t", bytes([i]) * 9_000, qos=2, retain=False, packet_id=1 + i) for i in range(9)
    ]
    waiting = [bytearray(frame) for pair in zip(theirs, [PING] * 9, strict=True) for frame in pair]
    total = sum(map(len, ours)) + sum(map(len, waiting))
    to_write, received = list(ours), bytearray()
    for _ in range(100_000):
        if len(received) == total:
            break
        if to_write:
            wire.write(to_write.pop(0))
        if waiting:  # as paho does: the whole remainder, again and again
            try:
                sent = wire.send(bytes(waiting[0]))
            except BlockingIOError:
                pass
            else:
                del waiting[0][:sent]
                if not waiting[0]:
                    waiting.pop(0)
        wire.flush()
        with contextlib.suppress(BlockingIOError):
            received += far.recv(3000)
    frames, messages, rest = Cutter(), [], bytearray()
    frames.feed(bytes(received), messages, [], rest)
    assert [payload for _, payload, _, _ in messages] == [bytes([i]) * 50_000 for i in range(9)]
    assert (
        sorted(bytes(rest).split(PING)) == sorted([b"", *theirs]) or len(rest) == sum(map(len, theirs)) + 18
    )
    assert rest.count(PING) >= 9
    assert not wire.is_behind()


def test_whoever_has_a_packet_half_written_goes_first_even_when_both_wait(ends):
    """paho's half packet holds ours back; ours waiting does not hold back its other half, or both wait for ever."""
    near, far = ends
    wire = Wire(near, Cutter())
    packet = b"\x30" + bytes(500_000)
    sent = wire.send(packet)
    assert 0 < sent < len(packet)
    wire.write(PING)
    assert wire.is_behind()
    received = b""
    while sent < len(packet):
        received += far.recv(1 << 20)
        sent += wire.send(packet[sent:])
    wire.flush()
    while len(received) < len(packet) + 2:
        received += far.recv(1 << 20)
        wire.flush()
    assert received == packet + PING


def test_the_end_of_the_stream_is_told_after_what_came_before_it(ends):
    near, far = ends
    wire = Wire(near, Cutter())
    far.send(b"\xd0\x00" + encode_publish(b"a", b"1", qos=0, retain=False, packet_id=0))
    far.shutdown(socket.SHUT_WR)
    wire.read()
    wire.read()
    assert wire.messages == [(b"a", b"1", 0x30, 0)]
    assert wire.recv(1) + wire.recv(1) == b"\xd0\x00"
    assert wire.recv(1) == b""
