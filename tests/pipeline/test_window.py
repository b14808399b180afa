"""Windows: held to a plain reference that keeps one list per device."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.reading import Batch
from gatewayd.pipeline.window import Windower

ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 30)), max_size=80)
SHAPE = st.integers(1, 6).flatmap(lambda length: st.tuples(st.just(length), st.integers(1, length)))


def as_batch(rows, first_value=0):
    """Rows of (device, time); each row's value is its own number, so that windows show which readings they hold."""
    values = np.arange(first_value, first_value + len(rows), dtype=np.float64)
    return Batch(
        device=np.array([device for device, _ in rows], dtype=np.int64),
        taken_at=np.array([time for _, time in rows], dtype=np.int64),
        values=np.stack([values, -values], axis=1).reshape(len(rows), 2),
    )


def listed(windows):
    """Windows as plain values, in order."""
    return list(
        zip(
            windows.device.tolist(),
            windows.start.tolist(),
            windows.end.tolist(),
            [tuple(window[:, 0].tolist()) for window in windows.values],
            strict=True,
        )
    )


def rising(rows):
    """Turn steps into times that rise for each device."""
    clocks, result = {}, []
    for device, step in rows:
        clocks[device] = clocks.get(device, 0) + step
        result.append((device, clocks[device]))
    return result


def reference(rows, length, hop, max_gap):
    """One list per device; returns windows per device, and the counts of scored, waiting and abandoned readings."""
    runs, windows, scored, abandoned = {}, {}, 0, 0

    def unscored(run):
        return len(run) if len(run) < length else (len(run) - length) % hop

    for value, (device, time) in enumerate(rows):
        run = runs.setdefault(device, [])
        if run and max_gap is not None and time - run[-1][0] > max_gap:
            abandoned += unscored(run)
            run = runs[device] = []
        run.append((time, float(value)))
        beyond = len(run) - length
        if beyond >= 0 and beyond % hop == 0:
            part = run[-length:]
            windows.setdefault(device, []).append(
                (device, part[0][0], part[-1][0], tuple(value for _, value in part))
            )
            scored += length if beyond == 0 else hop
    waiting = sum(unscored(run) for run in runs.values())
    return windows, scored, waiting, abandoned


def per_device(found):
    result = {}
    for window in found:
        result.setdefault(window[0], []).append(window)
    return result


@given(rows=ROWS.map(rising), shape=SHAPE, max_gap=st.none() | st.integers(1, 30), data=st.data())
def test_windows_equal_the_reference_however_the_readings_are_cut_into_batches(rows, shape, max_gap, data):
    length, hop = shape
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=5)))
    windower = Windower(length=length, hop=hop, channels=2, max_gap_ns=max_gap)
    found = []
    for begin, end in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        found += listed(windower.add(as_batch(rows[begin:end], begin)))
    windows, scored, waiting, abandoned = reference(rows, length, hop, max_gap)
    assert per_device(found) == windows
    assert (windower.scored, windower.waiting, windower.abandoned) == (scored, waiting, abandoned)
    assert scored + waiting + abandoned == len(rows)


@given(
    rows=ROWS.filter(len).map(rising),
    shape=SHAPE,
    max_gap=st.none() | st.integers(1, 30),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_how_the_readings_are_cut_changes_no_bit(rows, shape, max_gap, seed, data):
    length, hop = shape
    device, taken_at = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    values = np.random.default_rng(seed).normal(size=(len(rows), 2)) * 1e9

    def bits(cuts):
        windower = Windower(length=length, hop=hop, channels=2, max_gap_ns=max_gap)
        found = {}
        for begin, end in zip([0, *cuts], [*cuts, len(rows)], strict=True):
            part = slice(begin, end)
            batch = Batch(device=device[part], taken_at=taken_at[part], values=values[part])
            windows = windower.add(batch)
            for index, owner in enumerate(windows.device.tolist()):
                times = windows.start[index].tobytes() + windows.end[index].tobytes()
                found.setdefault(owner, []).append(times + windows.values[index].tobytes())
        return found, windower.scored, windower.waiting, windower.abandoned

    whole = bits([])
    assert bits(sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=5)))) == whole
    assert bits(list(range(1, len(rows)))) == whole  # one by one


def test_a_backlog_of_one_device_is_cut_as_single_readings_are():
    """Hundreds of windows out of one batch, the first of them begun in an earlier one."""
    rows = [(0, time) for time in range(1, 1001)]
    windower = Windower(length=64, hop=1, channels=2, max_gap_ns=5)
    found = listed(windower.add(as_batch(rows[:70]))) + listed(windower.add(as_batch(rows[70:], 70)))
    expected, *counts = reference(rows, 64, 1, 5)
    assert found == expected[0]
    assert [windower.scored, windower.waiting, windower.abandoned] == counts == [1000, 0, 0]


def test_all_channels_travel_together():
    windower = Windower(length=2, hop=1, channels=2, max_gap_ns=None)
    windows = windower.add(as_batch([(0, 1), (0, 2), (0, 3)], 5))
    assert windows.values.tolist() == [[[5, -5], [6, -6]], [[6, -6], [7, -7]]]
    assert not windows.values.flags.writeable


def test_a_later_batch_does_not_change_windows_that_were_given_out():
    windower = Windower(length=2, hop=2, channels=2, max_gap_ns=None)
    first = windower.add(as_batch([(0, 1), (0, 2)]))
    before = first.values.copy()
    windower.add(as_batch([(0, 3), (0, 4)], 100))
    assert (first.values == before).all()


def test_many_devices_at_once():
    count = 1000
    windower = Windower(length=3, hop=3, channels=2, max_gap_ns=None)
    rows = [(device, time) for time in (1, 2, 3) for device in range(count)]
    windows = windower.add(as_batch(rows))
    assert windows.device.tolist() == list(range(count))
    assert windower.waiting == 0


@pytest.mark.parametrize("hop", [0, 5, -1])
def test_a_hop_outside_the_window_is_a_mistake(hop):
    with pytest.raises(ValueError, match=r"hop must lie in 1\.\.4"):
        Windower(length=4, hop=hop, channels=1, max_gap_ns=None)


def test_only_windows_of_one_shape_can_be_gone_on_with():
    one = Windower(length=4, hop=2, channels=3, max_gap_ns=None)
    assert Windower(length=4, hop=2, channels=3, max_gap_ns=7).restore(one.state())
    assert not Windower(length=4, hop=1, channels=3, max_gap_ns=None).restore(one.state())
    assert not Windower(length=4, hop=2, channels=2, max_gap_ns=None).restore(one.state())


def test_an_empty_batch_changes_nothing():
    windower = Windower(length=2, hop=1, channels=2, max_gap_ns=None)
    assert listed(windower.add(as_batch([]))) == []
    assert windower.waiting == 0
