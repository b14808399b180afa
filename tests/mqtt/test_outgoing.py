"""A batch takes from the front, never more than the broker grants, and says what became of each publication."""

from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gatewayd.domain.verdict import Publication
from gatewayd.mqtt.outgoing import Limits, cut_batch
from gatewayd.mqtt.tap import encode_publish


def publication(payload=b"x", *, qos=1, retain=False, **fields):
    return Publication(
        broker="b", kind="alert", topic="t/µ", payload=payload, qos=qos, retain=retain, **fields
    )


ITEMS = st.lists(
    st.builds(
        publication,
        st.integers(0, 100_000).map(bytes),
        qos=st.sampled_from([0, 1]),
        retain=st.booleans(),
        user_properties=st.sampled_from([(), (("k", "v"),), (("k", "v" * 70_000),)]),
    ),
    max_size=12,
).map(lambda items: list(enumerate(items)))
LIMITS = st.builds(
    Limits,
    max_packet_bytes=st.none() | st.integers(1, 100_000),
    max_qos=st.sampled_from([0, 1]),
    retain_available=st.booleans(),
)


@given(ITEMS, LIMITS, st.integers(0, 12), st.booleans())
def test_what_is_taken_is_sent_or_refused_in_order_within_the_limits(items, limits, room, is_v5):
    batch = cut_batch(items, is_v5=is_v5, limits=limits, room=room)
    sent = [frame[0] for frame in batch.frames]
    refused = [refusal[0] for refusal in batch.refused]
    assert sorted(sent + refused) == list(range(batch.taken))
    assert sent == sorted(sent)
    assert sum(frame[3] for frame in batch.frames) <= room
    for token, topic, payload, qos, retain, properties in batch.frames:
        item = items[token][1]
        assert (topic, payload) == (item.topic.encode(), item.payload)
        assert qos == min(item.qos, limits.max_qos)
        assert retain == (item.retain and limits.retain_available)
        frame = encode_publish(topic, payload, qos=qos, retain=retain, packet_id=9, properties=properties)
        assert limits.max_packet_bytes is None or len(frame) <= limits.max_packet_bytes
        assert bool(properties) == is_v5
    if sum(len(frame[2]) for frame in batch.frames) > 256 * 1024:
        assert len(batch.frames) == 1


@given(ITEMS)
def test_everything_goes_in_the_end(items):
    """With room again after each batch, nothing is held for ever."""
    taken = 0
    while taken < len(items):
        step = cut_batch(items[taken:], is_v5=True, limits=Limits(), room=3).taken
        assert step
        taken += step


def test_without_room_qos_0_in_front_still_goes():
    items = [(0, publication(qos=0)), (1, publication()), (2, publication(qos=0))]
    assert cut_batch(items, is_v5=False, limits=Limits(), room=0).taken == 1


def test_the_properties_are_the_publications_own():
    item = publication(content_type="a/b", expires_s=7, user_properties=(("k", "1"), ("k", "2")))
    batch = cut_batch([(0, item)], is_v5=True, limits=Limits(), room=1)
    found, _ = Properties(PacketTypes.PUBLISH).unpack(batch.frames[0][5])
    assert (found.ContentType, found.MessageExpiryInterval, found.UserProperty) == (
        "a/b",
        7,
        [("k", "1"), ("k", "2")],
    )
    assert cut_batch([(0, item)], is_v5=False, limits=Limits(), room=1).frames[0][5] == b""


def test_what_will_never_pass_has_its_reason():
    items = [
        (0, publication(bytes(100))),
        (1, publication(content_type="x" * 70_000)),
        (2, publication(b"1")),
    ]
    batch = cut_batch(items, is_v5=True, limits=Limits(max_packet_bytes=50), room=9)
    assert [(token, reason) for token, reason, _, _ in batch.refused] == [
        (0, "packet_too_large"),
        (1, "property_too_long"),
    ]
    assert batch.refused[0][3] == "packet_too_large: 111 bytes, the broker takes 50"
    assert [frame[0] for frame in batch.frames] == [2]
