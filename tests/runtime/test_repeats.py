"""Repeated events: the first in full, sums later, and counts that add up."""

from hypothesis import given
from hypothesis import strategies as st

from gatewayd.runtime.repeats import Repeated, Repeats


@given(
    st.lists(
        st.tuples(st.floats(0, 30), st.sampled_from(["a", "b", "c", "d"]), st.integers(1, 5)), max_size=100
    ),
    st.integers(1, 5),
)
def test_what_is_reported_adds_up_to_what_was_seen(steps, max_keys):
    repeats, now_s, seen, told = Repeats(interval_s=60.0, max_keys=max_keys), 0.0, 0, 0
    for wait_s, key, count in steps:
        now_s += wait_s
        seen += count
        if repeats.add(key, now_s=now_s, count=count):
            told += 1  # the first occurrence has a line of its own
        told += sum(one.count for one in repeats.due(now_s=now_s))
    told += sum(one.count for one in repeats.due(now_s=now_s + 61.0))
    assert told == seen


def test_a_thousand_a_second_for_a_minute_are_two_lines():
    """Case 35: an undecodable topic must not flood the log."""
    repeats, lines = Repeats(interval_s=60.0), 0
    for millisecond in range(60_000):
        lines += repeats.add("not_json", now_s=millisecond / 1000)
        lines += len(repeats.due(now_s=millisecond / 1000))
    lines += len(repeats.due(now_s=60.0))
    assert lines == 2


def test_a_sum_carries_its_count_and_stretch():
    repeats = Repeats(interval_s=10.0)
    assert repeats.add("late", now_s=100.0)
    assert not repeats.add("late", now_s=101.0, count=4)
    assert repeats.due(now_s=109.9) == []
    assert repeats.due(now_s=110.0) == [Repeated(key="late", count=4, duration_s=10.0)]


def test_a_key_that_was_quiet_is_new_again():
    repeats = Repeats(interval_s=10.0)
    repeats.add("late", now_s=0.0)
    assert repeats.due(now_s=10.0) == []
    assert repeats.add("late", now_s=11.0)


def test_recovery_tells_the_whole_and_ends_it():
    repeats = Repeats(interval_s=10.0)
    repeats.add("link", now_s=0.0)
    repeats.add("link", now_s=5.0)
    repeats.due(now_s=10.0)
    repeats.add("link", now_s=12.0)
    assert repeats.recover("link", now_s=15.0) == Repeated(key="link", count=3, duration_s=15.0)
    assert repeats.recover("link", now_s=16.0) is None
    assert repeats.add("link", now_s=17.0)


def test_keys_beyond_the_limit_are_counted_together():
    """A peer may choose the key: memory stays bounded."""
    repeats = Repeats(max_keys=2)
    assert repeats.add("a", now_s=0.0)
    assert repeats.add("b", now_s=0.0)
    assert repeats.add("c", now_s=0.0)
    assert not repeats.add("d", now_s=0.0)
    assert repeats.recover("other", now_s=1.0) == Repeated(key="other", count=2, duration_s=1.0)
