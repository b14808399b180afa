"""Silence: held to a plain reference that looks at every device before every reading."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.pipeline.silence import Silence

AFTER = 10
# (device, ns since the row before); device None: somebody asks what is due
STEPS = st.lists(
    st.tuples(st.none() | st.integers(0, 3), st.sampled_from([0, 1, 4, 9, 10, 11, 30])), max_size=40
)


def touch(silence, rows):
    """Cuts as (row, {device: since})."""
    device, steady_at = (np.array([row[i] for row in rows], dtype=np.int64) for i in (0, 1))
    return [
        (row, dict(zip(devices.tolist(), since.tolist(), strict=True)))
        for row, devices, since in silence.touch(device, steady_at)
    ]


def timed(steps):
    now, result = 1000, []
    for device, step in steps:
        now += step
        result.append((device, now))
    return result


def reference(events):
    """Per device, in order: "heard" for a reading, "silent" for a silence."""
    heard, waits, story = {}, set(), {}
    for device, now in events:
        for other in sorted(waits) if device is None else [device]:
            if other in waits and now - heard[other] >= AFTER:
                waits.discard(other)
                story.setdefault(other, []).append("silent")
        if device is not None:
            heard[device] = now
            waits.add(device)
            story.setdefault(device, []).append("heard")
    return story


def told(events, cuts, *, resume_at=None):
    """The same as a Silence tells it, the readings between two questions cut into batches."""
    silence, story, batch = Silence(after_ns=AFTER), {}, []

    def hand_over():
        entries = dict(touch(silence, batch))
        assert list(entries) == sorted(entries)
        heard = {}
        for row, (device, now) in enumerate(batch):
            silent = entries.get(row, {})
            assert list(silent) == sorted(silent)
            for other, since in silent.items():
                story.setdefault(other, []).append("silent")
                assert since == heard.get(other, before.get(other))
                assert now - since >= AFTER  # by this row it has been silent for long enough
            story.setdefault(device, []).append("heard")
            heard[device] = now
        before.update(heard)
        batch.clear()

    before = {}
    for index, (device, now) in enumerate(events):
        if device is None or index in cuts or index == resume_at:
            hand_over()
        if index == resume_at:
            fresh = Silence(after_ns=AFTER)
            fresh.restore(silence.state())
            silence = fresh
        if device is None:
            deadline = silence.deadline()
            due = silence.due(now).tolist()
            assert due == sorted(due)
            if index != resume_at:
                assert bool(due) == (deadline is not None and deadline <= now)
            for other in due:
                story.setdefault(other, []).append("silent")
        else:
            batch.append((device, now))
    hand_over()
    return story


@given(events=STEPS.map(timed), data=st.data())
def test_each_silence_is_told_once_and_before_the_reading_that_ends_it(events, data):
    cuts = set(data.draw(st.lists(st.integers(0, 40), max_size=5)))
    resume_at = data.draw(st.none() | st.integers(0, 40))
    story = reference(events)
    assert told(events, cuts, resume_at=resume_at) == story
    assert told(events, set(range(len(events)))) == story


@given(steps=STEPS, data=st.data())
def test_nobody_need_ask_for_a_silence_that_a_reading_ends(steps, data):
    """Questions change when a silence is told, not between which of the device's readings."""
    events = timed(steps)
    readings = [event for event in events if event[0] is not None]
    ended = {device: story[: _last(story) + 1] for device, story in reference(events).items()}
    assert told(readings, set(data.draw(st.lists(st.integers(0, 40), max_size=5)))) == ended


def _last(story):
    return max(index for index, what in enumerate(story) if what == "heard")


def test_devices_that_were_silent_before_the_batch_stand_at_its_first_row():
    silence = Silence(after_ns=AFTER)
    assert touch(silence, [(0, 100), (1, 100), (2, 100), (3, 105)]) == []
    assert touch(silence, [(4, 112), (2, 112), (0, 113), (3, 114)]) == [(0, {0: 100, 2: 100})]


def test_silences_that_overlap_cost_one_cut():
    """A replay may bring hours in one batch, in which each device is silent between any two of its readings."""
    silence = Silence(after_ns=AFTER)
    rows = [(device, 100 + 60 * minute + device // 100) for minute in range(3) for device in range(500)]
    everybody = list(range(500))
    assert [(row, list(devices)) for row, devices in touch(silence, rows)] == [
        (500, everybody),
        (1000, everybody),
    ]


def test_silence_is_exact_to_the_nanosecond():
    second = 10**9
    start = 1_741_944_413 * second
    silence = Silence(after_ns=15 * second)
    touch(silence, [(0, start)])
    assert silence.deadline() == start + 15 * second
    assert silence.due(start + 15 * second - 1).tolist() == []
    assert silence.due(start + 15 * second).tolist() == [0]
    assert silence.deadline() is None
    assert silence.due(start + 900 * second).tolist() == []
    assert touch(silence, [(0, start + 901 * second)]) == []
    assert silence.deadline() == start + 916 * second


def test_one_nanosecond_is_the_shortest_silence():
    silence = Silence(after_ns=1)
    assert touch(silence, [(0, 5), (0, 5), (0, 6)]) == [(2, {0: 5})]


def test_since_is_when_the_latest_reading_came():
    silence = Silence(after_ns=AFTER)
    touch(silence, [(2, 100), (2, 103)])
    silence.due(200)
    assert silence.since(2) == 103
    for unknown in (0, 1, 3, 15, 16):
        with pytest.raises(KeyError):
            silence.since(unknown)


def test_a_clock_that_begins_earlier_after_a_restart_makes_nobody_wait():
    """The gateway had the time; after a power cut it starts in 1970."""
    before = Silence(after_ns=AFTER)
    touch(before, [(0, 10**18), (1, 10**18 + 1), (2, 10**18 + 2)])
    before.due(10**18 + AFTER)  # device 0 is told
    after = Silence(after_ns=AFTER)
    after.restore(before.state())
    assert after.deadline() == 0  # it wants to see the clock
    assert after.due(5).tolist() == []
    assert [after.since(device) for device in (0, 1, 2)] == [5, 5, 5]
    assert after.deadline() == 15
    assert after.due(15).tolist() == [1, 2]
    assert after.deadline() is None


def test_a_reading_may_be_the_first_that_shows_the_earlier_clock():
    before = Silence(after_ns=AFTER)
    touch(before, [(0, 10**18), (1, 10**18)])
    after = Silence(after_ns=AFTER)
    after.restore(before.state())
    assert touch(after, [(0, 5), (1, 15)]) == [(1, {1: 5})]
    assert after.due(16).tolist() == [0]


def test_only_what_was_heard_before_the_restart_counts_on_a_clock_that_goes_on():
    before = Silence(after_ns=AFTER)
    touch(before, [(0, 100), (1, 105)])
    after = Silence(after_ns=AFTER)
    after.restore(before.state())
    assert after.due(111).tolist() == [0]
    assert after.deadline() == 115


def test_a_state_holds_the_devices_in_use_and_is_a_copy():
    silence = Silence(after_ns=AFTER)
    touch(silence, [(1, 100)])
    state = silence.state()
    assert [len(column) for column in state.values()] == [2, 2]
    touch(silence, [(1, 105)])
    silence.due(200)
    assert state["since"].tolist()[1] == 100
    assert state["is_awaited"].tolist() == [False, True]


def test_without_devices_nothing_is_due():
    silence = Silence(after_ns=AFTER)
    assert silence.due(10**18).tolist() == []
    assert silence.deadline() is None
    assert touch(silence, []) == []


@pytest.mark.parametrize("after_ns", [0, -1])
def test_no_time_at_all_is_no_silence(after_ns):
    with pytest.raises(ValueError, match="must be positive"):
        Silence(after_ns=after_ns)
