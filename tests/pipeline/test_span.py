"""Windows by event time: held to a plain reference that looks at every reading again for every window."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatewayd.domain.reading import Batch
from gatewayd.pipeline.span import SpanWindower

SECOND = 10**9
ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 12)), max_size=60)
SPANS = st.integers(1, 12).flatmap(lambda duration: st.tuples(st.just(duration), st.integers(1, duration)))
KINDS = st.fixed_dictionaries(
    {
        "span": SPANS,
        "length": st.integers(1, 7),
        "max_gap_ns": st.none() | st.integers(1, 12),
        "partial": st.sampled_from(["drop", "hold"]),
    }
)
COUNTERS = ("scored", "waiting", "abandoned", "excess", "partial_windows")


def new(kind):
    duration, hop = kind["span"]
    return SpanWindower(
        duration_ns=duration,
        hop_ns=hop,
        length=kind["length"],
        channels=2,
        max_gap_ns=kind["max_gap_ns"],
        partial=kind["partial"],
    )


def as_batch(rows, first_value=0):
    """Rows of (device, time); each row's value is its own number, so that windows show which readings they hold."""
    values = np.arange(first_value, first_value + len(rows), dtype=np.float64)
    return Batch(
        device=np.array([device for device, _ in rows], dtype=np.int64),
        taken_at=np.array([time for _, time in rows], dtype=np.int64),
        values=np.stack([values, -values], axis=1).reshape(len(rows), 2),
    )


def rising(rows, begin=-20):
    """Turn steps into times that rise for each device, from before the epoch on."""
    clocks, result = {}, []
    for device, step in rows:
        clocks[device] = clocks.get(device, begin) + step
        result.append((device, clocks[device]))
    return result


def listed(windows):
    """Windows by device, oldest first, as plain values: start, end, fresh, and the readings without repeats."""
    found = {}
    for index, device in enumerate(windows.device.tolist()):
        samples, values = int(windows.samples[index]), windows.values[index]
        assert (values[:, 1] == -values[:, 0]).all()
        assert (values[samples:] == values[samples - 1]).all()
        assert 1 <= windows.fresh[index] <= samples <= len(values)
        times = (int(windows.start[index]), int(windows.end[index]))
        found.setdefault(device, []).append(
            (*times, int(windows.fresh[index]), tuple(values[:samples, 0].tolist()))
        )
    return found


def joined(parts):
    result = {}
    for part in parts:
        for device, windows in part.items():
            result.setdefault(device, []).extend(windows)
    return result


class Reference:
    """Windows of one device, by the definition: all starts are tried, and all readings of the run are looked at."""

    def __init__(self, kind):
        (self.duration, self.hop), self.kind = kind["span"], kind
        self.run, self.scored, self.abandoned, self.windows = [], set(), set(), []
        self.excess = self.partial = 0

    def spans(self, time):
        """All spans of which an instant is part."""
        first = time - self.duration
        return [
            begin
            for begin in range(first - self.hop, time + self.hop)
            if begin % self.hop == 0 and begin <= time < begin + self.duration
        ]

    def add(self, time, value):
        if self.run:
            last, max_gap = self.run[-1][0], self.kind["max_gap_ns"]
            if max_gap is not None and time - last > max_gap:
                self.close()
            else:
                ending = [begin for begin in self.spans(last) if begin + self.duration <= time]
                if ending:
                    self.give(min(ending))
                for before, earlier in self.run:
                    if all(begin + self.duration <= time for begin in self.spans(before)):
                        self.give_up(earlier)
        self.run.append((time, value))

    def close(self):
        if self.run:
            self.give(min(self.spans(self.run[-1][0])))
            for _, value in self.run:
                self.give_up(value)
        self.run = []

    def give(self, begin):
        part = [(time, value) for time, value in self.run if begin <= time < begin + self.duration]
        self.excess += len(part) > self.kind["length"]
        self.partial += len(part) < self.kind["length"]
        if len(part) < self.kind["length"] and self.kind["partial"] == "drop":
            return
        latest = part[-self.kind["length"] :]
        fresh = sum(value not in self.scored for _, value in latest)
        self.scored |= {value for _, value in part}
        self.windows.append((latest[0][0], latest[-1][0], fresh, tuple(value for _, value in latest)))

    def give_up(self, value):
        if value not in self.scored:
            self.abandoned.add(value)


@given(rows=ROWS.map(rising), kind=KINDS, closing=st.lists(st.integers(0, 60), max_size=3), data=st.data())
@example(  # what came before the gap is in the second window's span, but not in the window
    rows=[(0, time) for time in (1, 2, 6, 7, 9, 11, 13)],
    kind={"span": (12, 12), "length": 4, "max_gap_ns": 2, "partial": "hold"},
    closing=[],
    data=None,
)
@example(  # and is given up at once
    rows=[(0, 1), (0, 2), (0, 3), (0, 6)],
    kind={"span": (12, 1), "length": 4, "max_gap_ns": 2, "partial": "drop"},
    closing=[],
    data=None,
)
@example(
    rows=[(0, time) for time in range(1, 40)],
    kind={"span": (12, 1), "length": 3, "max_gap_ns": None, "partial": "drop"},
    closing=[],
    data=None,
)
def test_windows_equal_the_reference_however_the_readings_are_cut_into_batches(rows, kind, closing, data):
    """All devices but the first are closed now and then, between two batches."""
    closing = {at for at in closing if at <= len(rows)}
    drawn = data.draw(st.lists(st.integers(0, len(rows)), max_size=5)) if data else []
    cuts = [0, *sorted({*drawn, *closing}), len(rows)]
    windower, references, parts = new(kind), {}, []
    for begin, end in pairwise(cuts):
        parts.append(listed(windower.add(as_batch(rows[begin:end], begin))))
        for value, (device, time) in enumerate(rows[begin:end], begin):
            references.setdefault(device, Reference(kind)).add(time, float(value))
        if end in closing:
            parts.append(listed(windower.close(np.array([3, 1, 2, 1]))))
            for device, reference in references.items():
                if device:
                    reference.close()
    expected = {device: reference.windows for device, reference in references.items() if reference.windows}
    assert joined(parts) == expected
    assert windower.scored == sum(len(reference.scored) for reference in references.values())
    assert windower.abandoned == sum(len(reference.abandoned) for reference in references.values())
    assert windower.scored + windower.waiting + windower.abandoned == len(rows)
    assert windower.excess == sum(reference.excess for reference in references.values())
    assert windower.partial_windows == sum(reference.partial for reference in references.values())


def raw(windows):
    found = {}
    for index, device in enumerate(windows.device.tolist()):
        columns = (windows.start, windows.end, windows.samples, windows.fresh, windows.values)
        found.setdefault(device, []).append(b"".join(column[index].tobytes() for column in columns))
    return found


@given(rows=ROWS.filter(len).map(rising), kind=KINDS, seed=st.integers(0, 2**32 - 1), data=st.data())
def test_how_the_readings_are_cut_and_where_it_is_restored_changes_no_bit(rows, kind, seed, data):
    device, taken_at = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    values = np.random.default_rng(seed).normal(size=(len(rows), 2)) * 1e9

    def bits(cuts, *, restores):
        windower, parts = new(kind), []
        for begin, end in zip([0, *cuts], [*cuts, len(rows)], strict=True):
            part = slice(begin, end)
            parts.append(
                raw(windower.add(Batch(device=device[part], taken_at=taken_at[part], values=values[part])))
            )
            if restores:
                state = windower.state()
                windower = new(kind)
                windower.restore(state)
        parts.append(raw(windower.close(np.arange(4))))
        return joined(parts), [getattr(windower, name) for name in COUNTERS]

    whole = bits([], restores=False)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=5)))
    assert bits(cuts, restores=False) == whole
    assert bits(cuts, restores=True) == whole
    assert bits(list(range(1, len(rows))), restores=True) == whole  # one by one


@given(rows=ROWS.map(rising), kind=KINDS)
def test_a_device_alone_gets_the_windows_that_it_gets_among_others(rows, kind):
    windower = new(kind)
    together = listed(windower.add(as_batch(rows)))
    for device in range(4):
        alone, numbers = new(kind), [index for index, row in enumerate(rows) if row[0] == device]
        batch = as_batch([rows[index] for index in numbers])
        values = np.array([[index, -index] for index in numbers], dtype=np.float64).reshape(-1, 2)
        found = alone.add(Batch(device=batch.device, taken_at=batch.taken_at, values=values))
        assert listed(found).get(device, []) == together.get(device, [])


@given(rows=ROWS.map(rising), kind=KINDS)
def test_the_end_of_each_devices_windows_rises(rows, kind):
    """A window's end is part of its result's id: two windows of a device never share it."""
    for windows in listed(new(kind).add(as_batch(rows))).values():
        ends = [window[1] for window in windows]
        assert ends == sorted(set(ends))


def tumbling(length, partial="drop", max_gap_ns=None):
    return SpanWindower(
        duration_ns=10 * SECOND,
        hop_ns=10 * SECOND,
        length=length,
        channels=1,
        max_gap_ns=max_gap_ns,
        partial=partial,
    )


def single(times_s, values, begin_s=1741942800):
    """Readings of device 0; the case's t0 is a multiple of ten seconds since the epoch."""
    return Batch(
        device=np.zeros(len(times_s), dtype=np.int64),
        taken_at=(np.array(times_s, dtype=np.int64) + begin_s) * SECOND,
        values=np.array(values, dtype=np.float64)[:, None],
    )


def sums(windows):
    return [
        (float(values[:samples].sum()), int(samples))
        for values, samples in zip(windows.values, windows.samples, strict=True)
    ]


def test_case_10_tumbling_windows_are_half_open_and_the_last_is_closed_by_the_idle_rule():
    """What the lateness lets through, in order of time: 8 s came too late, 9 s did not."""
    windower = tumbling(length=4, partial="hold")
    assert sums(windower.add(single([1, 4, 9], [1.0, 2.0, 4.0]))) == []
    assert sums(windower.add(single([10, 11], [0.5, 10.0]))) == [(7.0, 3)]
    assert sums(windower.add(single([14, 23], [20.0, 5.0]))) == [(30.5, 3)]
    assert windower.waiting == 1
    last = windower.close(np.array([0]))
    assert sums(last) == [(5.0, 1)]
    assert last.values.tolist() == [[[5.0]] * 4]
    assert sums(windower.close(np.array([0]))) == []  # each window is given out once
    assert (windower.scored, windower.waiting, windower.abandoned, windower.partial_windows) == (7, 0, 0, 3)


def test_case_11_a_half_full_window_goes_on_after_a_restart():
    windower = tumbling(length=10)
    assert sums(windower.add(single(range(7), range(1, 8)))) == []
    after = tumbling(length=10)
    after.restore(windower.state())
    assert sums(after.add(single([7, 8, 9, 10], [8, 9, 10, 11]))) == [(55.0, 10)]
    assert (after.scored, after.waiting, after.abandoned) == (10, 1, 0)


def test_a_window_with_more_than_the_model_wants_gives_the_latest():
    windower = tumbling(length=3)
    windows = windower.add(single([1, 2, 3, 4, 5, 10], [1, 2, 3, 4, 5, 6]))
    assert windows.values[:, :, 0].tolist() == [[3.0, 4.0, 5.0]]
    assert windows.start.tolist() == [1741942803 * SECOND]
    assert (windower.scored, windower.waiting, windower.excess) == (5, 1, 1)


def test_a_window_with_fewer_is_dropped_and_its_readings_counted():
    windower = tumbling(length=3)
    assert sums(windower.add(single([1, 2, 10, 11, 12, 20], [1, 2, 3, 4, 5, 6]))) == [(12.0, 3)]
    assert (windower.scored, windower.waiting, windower.abandoned, windower.partial_windows) == (3, 1, 2, 1)


def test_a_dropped_window_leaves_its_later_readings_to_the_next():
    windower = SpanWindower(duration_ns=10, hop_ns=5, length=3, channels=2, max_gap_ns=None, partial="drop")
    found = listed(windower.add(as_batch([(0, 1), (0, 6), (0, 10), (0, 12), (0, 15)])))
    # [-5,5) and [0,10) have too few; [5,15) holds 6, 10 and 12. The reading at 1 is in none that was given out.
    assert found == {0: [(6, 12, 3, (1.0, 2.0, 3.0))]}
    assert (windower.scored, windower.waiting, windower.abandoned, windower.partial_windows) == (3, 1, 1, 2)


def test_a_gap_ends_the_window_and_begins_anew():
    rows = [1, 2, 8, 9, 10]
    windower = tumbling(length=2, partial="hold", max_gap_ns=5 * SECOND)
    assert sums(windower.add(single(rows, [1, 2, 3, 4, 5]))) == [(3.0, 2), (7.0, 2)]
    assert sums(tumbling(length=2).add(single(rows, [1, 2, 3, 4, 5]))) == [
        (7.0, 2)
    ]  # one window of four, cut


def test_windows_without_a_reading_of_their_own_are_not_given_out():
    """Nothing came for five hops: five windows hold the same reading last, and the first of them all the others do."""
    windower = SpanWindower(duration_ns=10, hop_ns=1, length=4, channels=2, max_gap_ns=None, partial="hold")
    found = listed(windower.add(as_batch([(0, 1), (0, 2), (0, 20)])))
    assert found == {0: [(1, 1, 1, (0.0,)), (1, 2, 1, (0.0, 1.0))]}


def test_a_long_window_with_a_short_hop_looks_at_no_more_than_the_model_wants():
    """600 s every second at 10 Hz: one window for each second, of the 64 latest readings."""
    windower = SpanWindower(
        duration_ns=600 * SECOND, hop_ns=SECOND, length=64, channels=2, max_gap_ns=None, partial="drop"
    )
    rows = [(0, index * SECOND // 10) for index in range(7000)]
    found = listed(windower.add(as_batch(rows)))[0]
    assert (
        len(found) == 693
    )  # the end of second 6 is the first one with 64 readings before it; 699 is still open
    assert all(window[3] == tuple(range(int(window[3][-1]) - 63, int(window[3][-1]) + 1)) for window in found)
    assert windower.state()["times"].shape == (1, 65)


def test_state_can_be_written_down():
    windower = tumbling(length=3)
    windower.add(single([1, 2], [1, 2]))
    state = windower.state()
    plain = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in state.items()}
    assert json.loads(json.dumps(plain)) == plain
    windower.add(single([3, 4, 5, 11], [3, 4, 5, 6]))
    assert {
        key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in state.items()
    } == plain


def test_restored_windows_take_in_devices_that_are_new():
    windower = tumbling(length=1)
    windower.add(single([1], [1.0]))
    after = tumbling(length=1)
    after.restore(windower.state())
    batch = single([11] * 20, [2.0] * 20)
    found = after.add(Batch(device=np.arange(20), taken_at=batch.taken_at, values=batch.values))
    assert found.device.tolist() == [0]
    assert after.close(np.arange(30)).device.tolist() == list(range(20))


def test_windows_are_read_only_and_do_not_change_later():
    windower = tumbling(length=2)
    first = windower.add(single([1, 2, 11], [1, 2, 3]))
    before = first.values.copy()
    windower.add(single([12, 21, 22], [4, 5, 6]))
    assert (first.values == before).all()
    assert not first.values.flags.writeable


@pytest.mark.parametrize("hop", [0, 11, -1])
def test_a_hop_outside_the_duration_is_a_mistake(hop):
    with pytest.raises(ValueError, match=r"hop_ns must lie in 1\.\.10"):
        SpanWindower(duration_ns=10, hop_ns=hop, length=1, channels=1, max_gap_ns=None, partial="drop")


def test_a_window_of_no_readings_is_a_mistake():
    with pytest.raises(ValueError, match="length must be at least 1, not 0"):
        SpanWindower(duration_ns=10, hop_ns=10, length=0, channels=1, max_gap_ns=None, partial="drop")


def test_only_windows_of_one_shape_can_be_gone_on_with():
    state = tumbling(length=3).state()
    tumbling(length=3, partial="hold", max_gap_ns=7).restore(state)
    with pytest.raises(ValueError, match="expected windows of shape"):
        tumbling(length=4).restore(state)


def test_an_empty_batch_and_unknown_devices_change_nothing():
    windower = tumbling(length=2)
    assert sums(windower.add(single([], []))) == []
    assert sums(windower.close(np.array([5]))) == []
    assert windower.waiting == 0
