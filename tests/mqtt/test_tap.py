import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gatewayd.mqtt.properties import NO_PROPERTIES
from gatewayd.mqtt.tap import LEAST_LIMIT, Cutter, encode_pubacks, encode_publish, publish_bytes
from tests.support.paho_feed import PahoFeed


def tapped(chunks):
    """Messages of the cutter with paho behind it, and whether paho ended the link."""
    cutter, behind, messages, acks, rest = Cutter(), PahoFeed(), [], [], bytearray()
    for chunk in chunks:
        cutter.feed(chunk, messages, acks, rest)
        behind.feed(bytes(rest))
        rest.clear()
        if behind.is_lost:
            break
    assert behind.messages == []  # QoS 2 is not among these frames
    return messages, acks, behind.is_lost


publishes = st.builds(
    encode_publish,
    st.binary(min_size=1, max_size=200),
    st.binary(max_size=300) | st.integers(0, 40_000).map(bytes),
    qos=st.sampled_from((0, 1)),
    retain=st.booleans(),
    packet_id=st.integers(1, 65_535),
)
others = st.sampled_from(
    [b"\xd0\x00", encode_pubacks([7]), encode_pubacks([40_000]), b"\x90\x03\x00\x01\x01"]
)


@st.composite
def cut_streams(draw, frames):
    stream = b"".join(draw(st.lists(frames, max_size=12)))
    cuts = sorted(draw(st.sets(st.integers(0, len(stream)), max_size=20)))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@given(cut_streams(publishes | others))
def test_the_tap_finds_what_paho_finds_wherever_the_stream_is_cut(chunks):
    """Equal messages in equal order, for any frames cut at any byte."""
    reference = PahoFeed()
    for chunk in chunks:
        reference.feed(chunk)
    messages, _, is_lost = tapped(chunks)
    assert messages == reference.messages
    assert not is_lost


@example([b"\x00", b"0\x03\x00\x01\x00"])
@given(cut_streams(publishes | others | st.binary(max_size=12)))
def test_the_tap_ends_a_link_where_paho_would(chunks):
    """Nonsense too: the same messages before it, and the same verdict, even where frames lie about their lengths."""
    reference = PahoFeed()
    # Uncut: paho takes a first byte of 0 for "none read yet", and if no more has come, the next byte for the first. The
    # tap never hands it part of a frame.
    reference.feed(b"".join(chunks))
    messages, _, is_lost = tapped(chunks)
    assert is_lost == reference.is_lost
    only = [m for m in reference.messages if m[2] & 6 < 4]
    # paho stops in the middle of a chunk where the tap has cut all of it already: it may have a few more
    assert messages == only if not is_lost else messages[: len(only)] == only


@given(cut_streams(publishes))
def test_a_stream_in_single_bytes_gives_the_same(chunks):
    stream = b"".join(chunks)[:2000]
    assert tapped([stream[i : i + 1] for i in range(len(stream))])[0] == tapped([stream])[0]


def test_only_pubacks_of_ours_are_taken_out():
    cutter, acks, rest = Cutter(), [], bytearray()
    cutter.feed(encode_pubacks([1, 0x7FFF, 0x8000, 0xFFFF]), [], acks, rest)
    assert acks == [0x8000, 0xFFFF]
    assert rest == encode_pubacks([1, 0x7FFF])


def test_a_receipt_carries_its_connection():
    cutter, messages = Cutter(connection=3), []
    cutter.feed(encode_publish(b"a", b"", qos=1, retain=False, packet_id=9), messages, [], bytearray())
    cutter.feed(encode_publish(b"a", b"", qos=0, retain=False, packet_id=9), messages, [], bytearray())
    assert [receipt for *_, receipt in messages] == [3 << 16 | 9, 0]


@pytest.mark.parametrize("piece", [1, 7, 1000, 10**6])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_giant_frame_is_skipped_and_the_next_one_found(piece, qos):
    """It is counted with its id; a QoS 2 one goes on to paho without its payload."""
    giant = encode_publish(b"big", bytes(LEAST_LIMIT + 1), qos=qos, retain=False, packet_id=77)
    after = encode_publish(b"a", b"1", qos=0, retain=False, packet_id=0)
    cutter, messages, rest = Cutter(max_frame_bytes=LEAST_LIMIT), [], bytearray()
    stream = giant + after + giant + after
    for begin in range(0, len(stream), piece):
        cutter.feed(stream[begin : begin + piece], messages, [], rest)
    assert cutter.refused == [(qos, 77 if qos else 0)] * 2
    assert messages == [(b"a", b"1", 0x30, 0)] * 2
    assert rest == (encode_publish(b"big", b"", qos=2, retain=False, packet_id=77) * 2 if qos == 2 else b"")


def test_the_greatest_frame_of_the_standard_is_skipped_without_being_kept():
    """268,435,455 bytes in pieces: nothing is held back."""
    cutter, messages, rest = Cutter(), [], bytearray()
    cutter.feed(b"\x30\xff\xff\xff\x7f\x00\x01a", messages, [], rest)
    piece, left = bytes(1 << 20), 268_435_455 - 3
    while left:
        taken = min(left, len(piece))
        cutter.feed(piece[:taken], messages, [], rest)
        left -= taken
        assert cutter._held == 0
    cutter.feed(encode_publish(b"a", b"1", qos=0, retain=False, packet_id=0), messages, [], rest)
    assert messages == [(b"a", b"1", 0x30, 0)]
    assert cutter.refused == [(0, 0)]
    assert rest == b""


def test_a_large_frame_in_small_pieces_is_joined_once():
    """Linear, not quadratic: sixteen times the bytes in equal pieces cost far less than 256 times as much."""

    def cost_s(size):
        frame = encode_publish(b"a", bytes(size), qos=0, retain=False, packet_id=0)
        cutter, messages = Cutter(max_frame_bytes=8 << 20), []
        began = time.process_time()
        for begin in range(0, len(frame), 64):
            cutter.feed(frame[begin : begin + 64], messages, [], bytearray())
        assert len(messages) == 1
        return time.process_time() - began

    small = max(min(cost_s(256 << 10) for _ in range(3)), 0.0005)
    assert cost_s(4 << 20) < 100 * small


@settings(max_examples=30)
@given(st.binary(min_size=1, max_size=70_000 // 2), st.integers(0, 3_000_000))
def test_an_encoded_publish_is_what_paho_reads(topic, size):
    feed = PahoFeed()
    feed.feed(encode_publish(topic, bytes(size), qos=1, retain=True, packet_id=40_000))
    assert feed.messages == [(topic, bytes(size), 0x33, 40_000)]


@given(st.integers(0, 300), st.sampled_from((0, 1)), st.sampled_from((b"", NO_PROPERTIES, b"x" * 20_000)))
def test_the_length_of_a_frame_is_known_before_it_is_built(size, qos, properties):
    frame = encode_publish(b"a/b", bytes(size), qos=qos, retain=False, packet_id=9, properties=properties)
    assert publish_bytes(b"a/b", bytes(size), qos=qos, properties=properties) == len(frame)
