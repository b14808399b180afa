"""Order of time: held to a plain reference that looks at everything after every reading."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.reading import Batch
from gatewayd.pipeline.reorder import Reorderer

NAN = math.nan
VALUE = st.sampled_from([NAN, NAN, 1.0, 2.0, -0.0])
TIME = st.integers(0, 6) | st.integers(-5, 40)  # many of one instant, and some far apart
ROW = st.tuples(st.integers(0, 2), TIME, VALUE, VALUE)
FLUSH = st.frozensets(st.integers(0, 3), max_size=4)
EVENTS = st.lists(st.one_of(ROW, ROW, ROW, ROW, FLUSH), max_size=60)
SHAPE = st.tuples(st.integers(0, 12), st.integers(1, 6))


def as_batch(rows):
    return Batch(
        device=np.array([row[0] for row in rows], dtype=np.int64),
        taken_at=np.array([row[1] for row in rows], dtype=np.int64),
        values=np.array([row[2:] for row in rows], dtype=np.float64).reshape(len(rows), 2),
    )


class Story:
    """What went on, per device and as bytes, and what was dropped."""

    def __init__(self):
        self.gone, self.dropped, self.examples = {}, {}, {}

    def note(self, kept):
        batch = kept.batch
        for device, time, values in zip(
            batch.device.tolist(), batch.taken_at.tolist(), batch.values, strict=True
        ):
            self.gone.setdefault(device, []).append((time, values.tobytes()))
        for reason, count in kept.dropped.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + count
            self.examples.setdefault(reason, kept.examples[reason])
        assert set(kept.dropped) == set(kept.examples)


def play(events, lateness, limit, cuts=(), resume_at=None):
    reorderer, story, rows = Reorderer(channels=2, lateness_ns=lateness, limit=limit), Story(), []
    for index, event in enumerate([*events, frozenset()]):
        if isinstance(event, frozenset) or index in cuts or index == resume_at:
            story.note(reorderer.add(as_batch(rows)))
            rows = []
        if index == resume_at:
            fresh = Reorderer(channels=2, lateness_ns=lateness, limit=limit)
            fresh.restore(reorderer.state())
            reorderer = fresh
        if isinstance(event, frozenset):
            story.note(reorderer.flush(np.array(sorted(event), dtype=np.int64)))
        else:
            rows.append(event)
    return story, reorderer


class Reference:
    """Each device: its watermark, and what waits, by time."""

    def __init__(self, lateness, limit):
        self.lateness, self.limit = lateness, limit
        self.watermark, self.held, self.gone, self.dropped = {}, {}, {}, {}
        self.merged = self.early = 0

    def add(self, device, time, *values):
        held = self.held.setdefault(device, {})
        watermark = self.watermark.get(device, -math.inf)
        if time < watermark:
            return self._drop("late")
        self.watermark[device] = max(watermark, time - self.lateness)
        if time in held:
            return self._merge(held[time], values)
        held[time] = list(values)
        self._release(device)
        if len(held) > self.limit:
            self.early += 1
            self.watermark[device] = min(held) + 1
            self._release(device)
        return None

    def flush(self, device):
        if self.held.get(device):
            self.watermark[device] = max(self.held[device]) + 1
            self._release(device)

    def _merge(self, first, second):
        conflicts = [a for a, b in zip(first, second, strict=True) if abs(a - b) > 0]
        is_new = [math.isnan(a) and not math.isnan(b) for a, b in zip(first, second, strict=True)]
        first[:] = [b if new else a for a, b, new in zip(first, second, is_new, strict=True)]
        if conflicts:
            self._drop("conflict")
        elif any(is_new):
            self.merged += 1
        else:
            self._drop("duplicate")

    def _release(self, device):
        held = self.held[device]
        for time in sorted(time for time in held if time < self.watermark[device]):
            row = (time, np.array(held.pop(time)).tobytes())
            self.gone.setdefault(device, []).append(row)

    def _drop(self, reason):
        self.dropped[reason] = self.dropped.get(reason, 0) + 1


@given(events=EVENTS, shape=SHAPE, data=st.data())
def test_what_goes_on_equals_the_reference_however_it_is_cut_and_resumed(events, shape, data):
    reference = Reference(*shape)
    for event in events:
        if isinstance(event, frozenset):
            for device in event:
                reference.flush(device)
        else:
            reference.add(*event)
    cuts = set(data.draw(st.lists(st.integers(0, len(events)), max_size=5)))
    resume_at = data.draw(st.none() | st.integers(0, len(events)))
    for story, reorderer in (
        play(events, *shape),
        play(events, *shape, cuts, resume_at),
        play(events, *shape, set(range(len(events)))),
    ):
        assert story.gone == reference.gone
        assert story.dropped == reference.dropped
        assert (reorderer.merged, reorderer.early) == (reference.merged, reference.early)
        rows = sum(not isinstance(event, frozenset) for event in events)
        out = sum(len(gone) for gone in story.gone.values())
        assert rows == out + sum(story.dropped.values()) + reorderer.merged + reorderer.waiting


@given(events=EVENTS, shape=SHAPE)
def test_a_device_s_readings_rise_and_no_other_device_changes_them(events, shape):
    story, _ = play(events, *shape)
    for device in range(3):
        mine = [
            event & {device} if isinstance(event, frozenset) else event
            for event in events
            if isinstance(event, frozenset) or event[0] == device
        ]
        alone, _ = play(mine, *shape)
        gone = story.gone.get(device, [])
        assert alone.gone.get(device, []) == gone
        times = [time for time, _ in gone]
        assert times == sorted(set(times))


@given(order=st.permutations(range(12)), lateness=st.integers(0, 12))
def test_readings_within_lateness_come_out_as_if_they_had_come_in_order(order, lateness):
    newest, is_within = -1, True
    for time in order:
        is_within &= time >= newest - lateness
        newest = max(newest, time)
    events = [*((0, time, float(time), NAN) for time in order), frozenset({0})]
    story, _ = play(events, lateness, 100)
    assert ([time for time, _ in story.gone[0]] == list(range(12))) is is_within
    assert story.dropped == {} or not is_within


def seconds(rows):
    return as_batch([(0, time * 10**9, float(value), NAN) for time, value in rows])


def test_case_10_order_lateness_boundary_and_a_source_that_goes_quiet():
    """Times in seconds; the watermark is the highest seen - 3 s; silence is the caller's to find."""
    reorderer, story = Reorderer(channels=2, lateness_ns=3 * 10**9), Story()
    gone = []
    arrivals = [(1, 1), (4, 2), (11, 10), (9, 4), (10, 0.5), (14, 20), (8, 100), (23, 5)]
    for arrival in arrivals:
        kept = reorderer.add(seconds([arrival]))
        story.note(kept)
        gone.append([time // 10**9 for time in kept.batch.taken_at.tolist()])
    # 11 itself waits at watermark 11: another reading of that instant may come
    assert gone == [[], [], [1, 4], [], [], [9, 10], [], [11, 14]]
    assert story.dropped == {"late": 1}
    assert reorderer.waiting == 1
    last = reorderer.flush(np.array([0]))  # 15 s of silence
    assert last.batch.taken_at.tolist() == [23 * 10**9]
    assert reorderer.waiting == 0
    windows = {}
    story.note(last)
    for time, values in story.gone[0]:
        windows.setdefault(time // 10**10, []).append(np.frombuffer(values)[0])
    assert {start: (sum(values), len(values)) for start, values in windows.items()} == {
        0: (7, 3),
        1: (30.5, 3),
        2: (5, 1),
    }


def test_channels_of_one_instant_that_come_apart_become_one_reading():
    reorderer = Reorderer(channels=2, lateness_ns=5)
    rows = [(0, 1, 20.5, NAN), (0, 1, NAN, 55.0), (0, 9, 21.0, NAN), (0, 9, NAN, 56.0)]
    kept = reorderer.add(as_batch(rows))
    assert kept.batch.values.tolist() == [[20.5, 55.0]]
    assert (reorderer.merged, reorderer.waiting, kept.dropped) == (2, 1, {})


def test_the_first_value_stays_and_news_beside_a_conflict_are_taken():
    reorderer = Reorderer(channels=2, lateness_ns=5)
    kept = reorderer.add(as_batch([(0, 1, 20.5, NAN), (0, 1, 20.6, 55.0), (0, 1, 20.5, 55.0)]))
    assert kept.dropped == {"conflict": 1, "duplicate": 1}
    assert kept.examples == {"conflict": 0, "duplicate": 0}
    assert reorderer.merged == 0
    assert reorderer.flush(np.array([0])).batch.values.tolist() == [[20.5, 55.0]]


def test_what_was_flushed_is_over_and_what_is_newer_is_not():
    reorderer = Reorderer(channels=2, lateness_ns=100)
    reorderer.add(as_batch([(0, 50, 1.0, 1.0), (0, 40, 1.0, 1.0), (1, 7, 1.0, 1.0)]))
    assert reorderer.flush(np.array([0, 5])).batch.taken_at.tolist() == [40, 50]
    kept = reorderer.add(
        as_batch([(0, 50, 1.0, 1.0), (0, 45, 1.0, 1.0), (0, 51, 1.0, 1.0), (1, 6, 1.0, 1.0)])
    )
    assert kept.dropped == {"late": 2}
    assert reorderer.waiting == 3
    assert len(reorderer.flush(np.array([0])).batch) == 1
    assert len(reorderer.flush(np.array([0])).batch) == 0


def test_no_device_holds_more_than_the_limit():
    reorderer = Reorderer(channels=2, lateness_ns=10**9, limit=10)
    kept = reorderer.add(as_batch([(0, time, 1.0, 1.0) for time in range(25)] + [(1, 3, 1.0, 1.0)]))
    assert kept.batch.taken_at.tolist() == list(range(15))
    assert (reorderer.early, reorderer.waiting) == (15, 11)
    assert reorderer.add(as_batch([(0, 14, 1.0, 1.0), (1, 2, 1.0, 1.0)])).dropped == {"late": 1}
    assert Reorderer(channels=1, lateness_ns=0)._limit == 10_000


def test_the_ends_of_time_are_times_like_others():
    """A sensor of a gateway that never had the time may say anything."""
    first, last = -(2**63), 2**63 - 1
    reorderer = Reorderer(channels=2, lateness_ns=3 * 10**9)
    reorderer.add(as_batch([(0, first + 1, 1.0, 1.0), (0, last, 1.0, 1.0), (1, last, 1.0, 1.0)]))
    fresh = Reorderer(channels=2, lateness_ns=3 * 10**9)
    fresh.restore(reorderer.state())
    assert fresh.flush(np.array([0, 1])).batch.taken_at.tolist() == [last, last]
    assert fresh.add(as_batch([(0, last, 1.0, 1.0)])).dropped == {"late": 1}


def test_a_state_is_a_copy_and_fits_as_many_channels_only():
    reorderer = Reorderer(channels=2, lateness_ns=5)
    reorderer.add(as_batch([(3, 1, 1.0, NAN)]))
    state = reorderer.state()
    reorderer.add(as_batch([(3, 1, NAN, 2.0)]))
    assert np.isnan(state["values"][0, 1])
    with pytest.raises(ValueError, match="expected an array"):
        Reorderer(channels=3, lateness_ns=5).restore(state)


@pytest.mark.parametrize(("lateness", "limit"), [(-1, 1), (0, 0)])
def test_senseless_bounds_are_refused(lateness, limit):
    with pytest.raises(ValueError, match="expected lateness_ns >= 0"):
        Reorderer(channels=1, lateness_ns=lateness, limit=limit)
