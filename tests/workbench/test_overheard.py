"""Memory stays bounded, every message is kept or counted, and the draw is fair."""

from hypothesis import given
from hypothesis import strategies as st

from gatewayd.workbench import overheard as module
from gatewayd.workbench.overheard import FIRST, KEPT, MAX_TOPIC_BYTES, Overheard

SECOND = 10**9


def one(topics):
    (topic,) = topics
    return topic


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"\xff", b"c" * 600]), st.binary(max_size=3))))
def test_every_message_is_counted_once(messages):
    overheard = Overheard()
    for topic, payload in messages:
        overheard.add(topic, payload, 0x30, SECOND)
    filled = sum(bool(payload) for _, payload in messages)
    assert overheard.messages == len(messages)
    assert sum(topic.count for topic in overheard) + sum(overheard.left_out.values()) == filled
    assert all(len(topic.kept) == min(topic.count, KEPT) for topic in overheard)


def test_the_first_messages_are_kept_and_a_fair_draw_of_the_rest_in_order():
    overheard = Overheard()
    for number in range(10_000):
        overheard.add(b"a", str(number).encode(), 0x30, number * SECOND)
    numbers = [int(heard.payload) for heard in one(overheard).kept]
    assert numbers[:FIRST] == list(range(FIRST))
    assert len(numbers) == KEPT
    assert numbers == sorted(numbers)
    # 32 draws from 10,000: the mean is 5,000 with a standard error of 510
    assert 3_000 < sum(numbers[FIRST:]) / (KEPT - FIRST) < 7_000


def test_the_same_messages_give_the_same_draw():
    kept = []
    for _ in range(2):
        overheard = Overheard()
        for number in range(500):
            overheard.add(b"a", str(number).encode(), 0x30, 0)
        kept.append(one(overheard).kept)
    assert kept[0] == kept[1]


def test_the_interval_is_that_of_live_messages():
    overheard = Overheard()
    overheard.add(b"a", b"1", 0x31, 0)
    assert one(overheard).interval_s is None
    for number in range(5):
        overheard.add(b"a", b"1", 0x30, (10 + 2 * number) * SECOND)
    topic = one(overheard)
    assert (topic.count, topic.live, topic.interval_s) == (6, 5, 2.0)
    assert [heard.is_retained for heard in topic.kept] == [True] + [False] * 5


def test_what_does_not_fit_is_counted(monkeypatch):
    monkeypatch.setattr(module, "MAX_TOPICS", 2)
    monkeypatch.setattr(module, "MAX_PAYLOAD_BYTES", 10)
    monkeypatch.setattr(module, "MAX_TOTAL_BYTES", 25)
    overheard = Overheard()
    for topic, payload in (
        (b"a", b"x" * 11),
        (b"b", b"x"),
        (b"c", b"x"),
        (b"\xff", b"x"),
        (b"d" * (MAX_TOPIC_BYTES + 1), b"x"),
        *[(b"a", b"x" * 10)] * 4,
    ):
        overheard.add(topic, payload, 0x30, 0)
    assert overheard.left_out == {
        "too_large": 1,
        "too_many_topics": 1,
        "bad_topic": 1,
        "topic_too_long": 1,
        "too_much": 2,
    }
    assert {topic.name: topic.count for topic in overheard} == {"a": 5, "b": 1}
    assert len(overheard) == 2


def test_a_place_that_is_drawn_again_gives_its_bytes_back(monkeypatch):
    monkeypatch.setattr(module, "MAX_TOTAL_BYTES", 10 * KEPT + 10)
    overheard = Overheard()
    for _ in range(1000):
        overheard.add(b"a", b"x" * 10, 0x30, 0)
    assert not overheard.left_out


def test_a_cleared_topic_is_no_topic():
    overheard = Overheard()
    overheard.add(b"a", b"", 0x31, 0)
    assert (overheard.messages, len(overheard)) == (1, 0)
