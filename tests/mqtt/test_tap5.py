"""The tap for MQTT 5 finds what paho's own MQTT 5 parser finds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gatewayd.mqtt.properties import NO_PROPERTIES
from gatewayd.mqtt.tap import LEAST_LIMIT, encode_pubacks, encode_publish
from gatewayd.mqtt.tap5 import Cutter5
from tests.support.paho_feed import PahoFeed

# What paho takes for a text: no NUL, no surrogates, no byte order mark (MQTT 5.0, 1.5.4).
TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00\ufeff"), max_size=20
) | st.just("x" * 300)
FIRST_OWN_ID = 0x8000


@st.composite
def blocks(draw):
    """Property blocks of a PUBLISH as paho packs them: any of them, in paho's order."""
    properties = Properties(PacketTypes.PUBLISH)
    for name, values in (
        ("PayloadFormatIndicator", st.integers(0, 1)),
        ("MessageExpiryInterval", st.integers(0, 2**32 - 1)),
        ("ContentType", TEXTS),
        ("ResponseTopic", TEXTS),
        ("CorrelationData", st.binary(max_size=20)),
        ("SubscriptionIdentifier", st.lists(st.integers(1, 268_435_455), min_size=1, max_size=2)),
        ("UserProperty", st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3)),
    ):
        if draw(st.booleans()):
            setattr(properties, name, draw(values))
    return properties.pack()


publishes = st.builds(
    encode_publish,
    st.binary(min_size=1, max_size=200),
    st.binary(max_size=300) | st.integers(0, 40_000).map(bytes),
    qos=st.sampled_from((0, 1)),
    retain=st.booleans(),
    packet_id=st.integers(1, 65_535),
    properties=st.just(NO_PROPERTIES) | blocks(),
)


def puback(packet_id, code=None, words=None):
    body = packet_id.to_bytes(2, "big")
    if code is not None:
        body += bytes((code,))
    if words is not None:
        properties = Properties(PacketTypes.PUBACK)
        properties.ReasonString = words
        body += properties.pack()
    length, prefix = len(body), b""
    while length > 127:
        prefix += bytes((length & 127 | 128,))
        length >>= 7
    return b"\x40" + prefix + bytes((length,)) + body


pubacks = st.builds(
    puback, st.integers(1, 65_535), st.sampled_from((0, 0x10, 0x80, 0x87, 0x97)), st.none() | TEXTS
) | st.integers(1, 65_535).map(puback)
others = st.sampled_from([b"\xd0\x00", b"\x90\x04\x00\x01\x00\x01"])


@st.composite
def cut_streams(draw, frames):
    stream = b"".join(draw(st.lists(frames, max_size=12)))
    cuts = sorted(draw(st.sets(st.integers(0, len(stream)), max_size=20)))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


class Tapped:
    """The cutter with paho behind it."""

    def __init__(self, chunks, **options):
        self.cutter, self.messages, self.acks = Cutter5(**options), [], []
        self.behind, rest = PahoFeed(MQTTProtocolVersion.MQTTv5), bytearray()
        for chunk in chunks:
            self.cutter.feed(chunk, self.messages, self.acks, rest)
            self.behind.feed(bytes(rest))
            rest.clear()
            if self.behind.is_lost:
                break
        assert self.behind.messages == []


def reference(chunks):
    feed = PahoFeed(MQTTProtocolVersion.MQTTv5)
    feed.feed(b"".join(chunks))
    return feed


@given(cut_streams(publishes | pubacks | others))
def test_the_tap_finds_what_paho_finds_wherever_the_stream_is_cut(chunks):
    """Equal messages in equal order, for any frames with any properties, cut at any byte."""
    wanted = reference(chunks)
    tapped = Tapped(chunks)
    assert tapped.messages == wanted.messages
    assert not tapped.behind.is_lost
    assert tapped.cutter.addresses == []


@given(cut_streams(publishes | others))
def test_the_addresses_of_answers_are_those_that_paho_reads(chunks):
    tapped = Tapped(chunks, keeps_properties=True)
    wanted = reference(chunks)
    assert tapped.messages == wanted.messages
    assert tapped.cutter.addresses == [
        (getattr(each, "ResponseTopic", None), getattr(each, "CorrelationData", None))
        for each in wanted.properties
    ]


@given(cut_streams(pubacks | publishes))
def test_acknowledgements_and_refusals_are_those_that_paho_reads(chunks):
    """Of our own publications; those of paho's ids are left to it."""
    tapped = Tapped(chunks)
    ours = [each for each in reference(chunks).acks if each[0] >= FIRST_OWN_ID]
    assert tapped.acks == [packet_id for packet_id, code, _ in ours if code < 0x80]
    assert tapped.cutter.refusals == [each for each in ours if each[1] >= 0x80]


@pytest.mark.parametrize(
    "body",
    [
        b"",  # not even a length
        b"\x05\x03\x00",  # claims more than there is
        b"\xff\xff\xff\xff\x01",  # a length of five bytes
    ],
)
@pytest.mark.parametrize("keeps", [False, True])
def test_a_block_that_cannot_be_measured_ends_the_link_as_paho_would(body, keeps):
    good = encode_publish(b"a", b"1", qos=0, retain=False, packet_id=0, properties=NO_PROPERTIES)
    bad = encode_publish(b"a", body, qos=1, retain=True, packet_id=7)
    assert reference([good, bad]).is_lost
    tapped = Tapped([good + bad], keeps_properties=keeps)
    assert tapped.behind.is_lost
    assert tapped.messages == [(b"a", b"1", 0x30, 0)]


@pytest.mark.parametrize(
    "block",
    [
        b"\x02\x7f\x00",  # an identifier that does not exist
        b"\x03\x08\x00\x05",  # a text that is cut off
        b"\x03\x08\x00\x01",  # and one that would reach into the payload
        b"\x04\x08\x00\x01\xff",  # no UTF-8
    ],
)
def test_whoever_keeps_properties_reads_them_and_lets_paho_judge_nonsense(block):
    frame = encode_publish(b"a", b"1", qos=0, retain=False, packet_id=0, properties=block)
    assert reference([frame]).is_lost
    tapped = Tapped([frame], keeps_properties=True)
    assert tapped.behind.is_lost
    assert tapped.messages == tapped.cutter.addresses == []


@given(cut_streams(publishes | pubacks | others | st.binary(max_size=12)), st.booleans())
def test_any_bytes_are_cut_without_an_exception_and_none_is_lost(chunks, keeps):
    """What isn't taken out goes on: for the same bytes uncut it is the same, whatever they are."""

    def cut(pieces):
        cutter, messages, acks, rest = Cutter5(keeps_properties=keeps), [], [], bytearray()
        for piece in pieces:
            cutter.feed(piece, messages, acks, rest)
        assert len(cutter.addresses) == (len(messages) if keeps else 0)
        return messages, acks, cutter.refusals, cutter.addresses, sorted(rest)

    assert cut(chunks) == cut([b"".join(chunks)])


def test_a_broken_reason_is_left_to_paho():
    assert Tapped([b"\x40\x05\x80\x00\x87\x05\x1f"]).behind.is_lost


def test_a_receipt_carries_its_connection():
    cutter, messages = Cutter5(connection=3), []
    frame = encode_publish(b"a", b"", qos=1, retain=False, packet_id=9, properties=NO_PROPERTIES)
    cutter.feed(frame, messages, [], bytearray())
    assert messages == [(b"a", b"", 0x32, 3 << 16 | 9)]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_giant_frame_is_skipped_and_the_next_one_found(qos):
    """A QoS 2 one goes on to paho without its payload and its properties, and paho can read it."""
    giant = encode_publish(
        b"big", bytes(LEAST_LIMIT + 1), qos=qos, retain=False, packet_id=77, properties=b"\x02\x01\x01"
    )
    after = encode_publish(b"a", b"1", qos=0, retain=False, packet_id=0, properties=NO_PROPERTIES)
    cutter, messages, rest = Cutter5(max_frame_bytes=LEAST_LIMIT), [], bytearray()
    cutter.feed(giant + after, messages, [], rest)
    assert cutter.refused == [(qos, 77 if qos else 0)]
    assert messages == [(b"a", b"1", 0x30, 0)]
    behind = PahoFeed(MQTTProtocolVersion.MQTTv5)
    behind.feed(bytes(rest) + (b"\x62\x02\x00\x4d" if qos == 2 else b""))
    assert behind.messages == ([(b"big", b"", 0x34, 77)] if qos == 2 else [])
    assert not behind.is_lost


def test_plain_acknowledgements_are_taken_as_in_mqtt_3():
    cutter, acks, rest = Cutter5(), [], bytearray()
    cutter.feed(encode_pubacks([1, 0x7FFF, 0x8000, 0xFFFF]), [], acks, rest)
    assert acks == [0x8000, 0xFFFF]
    assert rest == encode_pubacks([1, 0x7FFF])
