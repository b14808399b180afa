"""Histories: held to one plain list per device and channel."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.reading import Batch
from gatewayd.pipeline.groups import by_device
from gatewayd.pipeline.history import History, Series

VALUES = st.sampled_from([1.0, 2.0, 3.5, -4.0, math.nan, math.inf])
ROWS = st.lists(st.tuples(st.integers(0, 3), st.tuples(VALUES, VALUES)), min_size=1, max_size=30)


def as_batch(rows):
    return Batch(
        device=np.array([device for device, _ in rows], dtype=np.int64),
        taken_at=np.arange(100, 100 + len(rows), dtype=np.int64),
        values=np.array([values for _, values in rows], dtype=np.float64).reshape(len(rows), 2),
    )


def series_of(rows, channel=0):
    batch = as_batch(rows)
    return next(Series.each(batch, by_device(batch.device), [channel]))


def padded(values, width):
    """The latest values, behind as many NaN as are missing."""
    return [math.nan] * (width - len(values)) + values[max(0, len(values) - width) :]


def same(found, expected):
    return np.array_equal(np.array(found), np.array(expected), equal_nan=True)


@given(batches=st.lists(ROWS, max_size=5), depth=st.integers(1, 5), data=st.data())
def test_each_value_sees_its_devices_latest_ones_however_the_readings_are_cut(batches, depth, data):
    history, lists = History(depth=depth, channels=2), {}
    width = data.draw(st.integers(1, depth))
    for rows in batches:
        history.grow(4)
        for channel in range(2):
            series = series_of(rows, channel)
            trail = history.trail(series, channel)
            before, through = trail.before(width), trail.through(width)
            for place, row in enumerate(series.row.tolist()):
                device, value = rows[row][0], rows[row][1][channel]
                values = lists.setdefault((device, channel), [])
                assert same(before[place], padded(values, width))
                values.append(value)
                assert same(through[place], padded(values, width))
            history.extend(series, channel, trail)
    for (device, channel), values in lists.items():
        assert history.latest(device, channel) == values[-depth:]


@given(rows=ROWS)
def test_channels_taken_together_are_what_each_is_alone(rows):
    batch = as_batch(rows)
    for channel, series in enumerate(Series.each(batch, by_device(batch.device), [0, 1])):
        alone = series_of(rows, channel)
        for name in ("row", "group", "taken_at", "values", "device", "first", "last"):
            assert getattr(series, name).tolist() == getattr(alone, name).tolist()


@given(rows=ROWS, channel=st.integers(0, 1))
def test_a_series_holds_each_finite_value_once_in_order_within_its_device(rows, channel):
    series = series_of(rows, channel)
    expected = sorted(
        (device, row) for row, (device, values) in enumerate(rows) if math.isfinite(values[channel])
    )
    assert list(zip(series.device[series.group].tolist(), series.row.tolist(), strict=True)) == expected
    assert series.values.tolist() == [rows[row][1][channel] for _, row in expected]
    assert series.taken_at.tolist() == [100 + row for _, row in expected]
    for group, (first, last) in enumerate(zip(series.first.tolist(), series.last.tolist(), strict=True)):
        assert (series.group[first : last + 1] == group).all()
    assert (series.last - series.first + 1).sum() == len(expected)


def test_before_a_group_stands_what_was_carried_over():
    series = series_of([(5, (1.0, 0.0)), (2, (2.0, 0.0)), (5, (3.0, 0.0))])
    assert series.before(series.values, np.array([7.0, 8.0])).tolist() == [7.0, 8.0, 1.0]


def test_groups_can_be_split_and_begin_with_nothing_behind_them():
    history = History(depth=2, channels=2)
    history.grow(6)
    history.replace(5, 0, [8.0, 9.0])
    series = series_of([(5, (1.0, 0.0)), (2, (2.0, 0.0)), (5, (3.0, 0.0))])
    split = series.split(np.array([False, False, True]))
    assert split.device.tolist() == [2, 5, 5]
    assert split.first.tolist() == split.last.tolist() == [0, 1, 2]
    trail = history.trail(split, 0, np.array([False, False, True]))
    assert same(trail.before(2), [[math.nan] * 2, [8.0, 9.0], [math.nan] * 2])
    history.extend(split, 0, trail)
    assert history.latest(5, 0) == [3.0]


def test_only_the_groups_that_are_taken_are_remembered():
    history = History(depth=2, channels=2)
    history.grow(6)
    series = series_of([(5, (1.0, 0.0)), (2, (2.0, 0.0)), (5, (3.0, 0.0))])
    history.extend(series, 0, history.trail(series, 0), np.array([False, True]))
    assert history.latest(2, 0) == []
    assert history.latest(5, 0) == [1.0, 3.0]
    assert history.latest(5, 1) == []


@given(values=st.lists(st.floats(-9, 9), max_size=6), depth=st.integers(1, 4))
def test_what_replaces_is_what_is_there_then(values, depth):
    history = History(depth=depth, channels=1)
    history.grow(1)
    history.replace(0, 0, [1.0, 2.0])
    history.replace(0, 0, values)
    assert history.latest(0, 0) == values[-depth:]


def test_what_is_forgotten_is_gone_for_these_devices_and_that_channel():
    history = History(depth=2, channels=2)
    history.grow(3)
    for device in range(3):
        for channel in range(2):
            history.replace(device, channel, [1.0])
    history.forget(np.array([0]))
    history.forget(np.array([2]), channel=1)
    left = [[len(history.latest(device, channel)) for channel in range(2)] for device in range(3)]
    assert left == [[0, 0], [1, 1], [1, 0]]


@given(values=st.lists(st.floats(-9, 9), max_size=6), depth=st.integers(1, 4), other=st.integers(1, 6))
def test_a_history_of_another_depth_goes_on_with_the_latest(values, depth, other):
    history = History(depth=depth, channels=1)
    history.grow(2)
    history.replace(1, 0, values)
    fresh = History(depth=other, channels=1)
    fresh.restore(history.state())
    assert fresh.devices == 2
    assert fresh.latest(1, 0) == values[-depth:][-other:]


def test_a_state_is_a_copy_of_the_part_in_use():
    history = History(depth=3, channels=1)
    history.grow(2)
    state = history.state()
    history.replace(0, 0, [1.0])
    assert state["values"].shape == (2, 1, 3)
    assert np.isnan(state["values"]).all()


def test_a_history_of_other_channels_or_of_nothing_is_refused():
    with pytest.raises(ValueError, match="1 channels, not of 2"):
        History(depth=1, channels=2).restore(History(depth=1, channels=1).state())
    for wrong in (None, np.zeros((1, 1)), np.zeros((1, 1, 1), dtype=np.int64)):
        with pytest.raises(ValueError, match="expected"):
            History(depth=1, channels=1).restore({"values": wrong})
    with pytest.raises(ValueError, match="depth"):
        History(depth=0, channels=1)
