"""Windows of a recording: nothing crosses a border, and scores reach rows causally."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.model import ChannelSpec
from gatewayd.workbench.table import Table
from gatewayd.workbench.windows import cut, interval_s, runs, spread

SECOND = 1_000_000_000


def table(*, device, step_s):
    """A recording whose devices take turns as told, each reading so long after the device's last one."""
    last, time = {}, []
    for key, step in zip(device, step_s, strict=True):
        last[key] = last.get(key, 0) + step * SECOND
        time.append(last[key])
    rows = len(device)
    return Table(
        source="made up",
        sha256="",
        channels=(ChannelSpec(name="a", unit=""), ChannelSpec(name="b", unit="")),
        values=np.arange(2.0 * rows).reshape(rows, 2),
        time=np.array(time, np.int64),
        device=np.array(device, np.int64),
        label=None,
    )


recordings = st.integers(1, 60).flatmap(
    lambda rows: st.builds(
        lambda device, step_s: table(device=device, step_s=step_s),
        st.lists(st.integers(0, 3), min_size=rows, max_size=rows),
        st.lists(st.sampled_from([1, 1, 1, 9]), min_size=rows, max_size=rows),
    )
)


@given(recordings, st.integers(1, 8), st.integers(1, 8))
def test_no_window_crosses_a_device_or_a_gap_and_none_is_missing(recording, length, hop):
    windows = cut(recording, length=length, hop=hop, max_gap_s=5.0)
    assert windows.values.shape == (len(windows), length, 2)
    assert np.array_equal(windows.values, recording.values[windows.rows])
    for rows in windows.rows:
        assert len(set(recording.device[rows])) == 1
        assert (np.diff(recording.time[rows]) <= 5 * SECOND).all()
        assert (np.diff(rows) > 0).all()
    expected = 0
    for run in runs(recording, max_gap_s=5.0):
        expected += max(0, (len(run) - length) // hop + 1)
    assert len(windows) == expected
    assert sorted(np.concatenate(runs(recording, max_gap_s=5.0))) == list(range(len(recording)))


@given(recordings, st.integers(1, 5), st.integers(1, 5))
def test_a_row_has_the_score_of_the_newest_window_that_ended_by_then(recording, length, hop):
    windows = cut(recording, length=length, hop=hop, max_gap_s=5.0)
    by_row = spread(recording, windows, np.arange(float(len(windows))), max_gap_s=5.0)
    for run in runs(recording, max_gap_s=5.0):
        ends = {int(rows[-1]): number for number, rows in enumerate(windows.rows) if rows[-1] in run}
        newest = np.nan
        for row in run:
            newest = ends.get(int(row), newest)
            assert by_row[row] == newest or np.isnan([by_row[row], newest]).all()


def test_without_a_longest_gap_a_device_is_one_run():
    recording = table(device=[0, 1, 0, 1], step_s=[1, 1, 9, 9])
    assert [run.tolist() for run in runs(recording, max_gap_s=None)] == [[0, 2], [1, 3]]
    assert len(cut(recording, length=5, hop=1)) == 0


def test_the_interval_is_the_usual_one():
    assert interval_s(table(device=[0, 0, 0, 1, 1], step_s=[1, 1, 9, 1, 1])) == 1.0
    assert interval_s(table(device=[0], step_s=[1])) is None


def test_windows_come_in_the_order_of_their_last_rows():
    windows = cut(table(device=[0, 1, 1, 0], step_s=[1, 1, 1, 1]), length=2, hop=1)
    assert windows.rows.tolist() == [[1, 2], [0, 3]]
    assert windows.select(np.array([False, True])).rows.tolist() == [[0, 3]]


@pytest.mark.parametrize("hop", [1, 3])
def test_the_first_window_of_a_run_begins_with_its_first_row(hop):
    windows = cut(table(device=[0] * 10, step_s=[1] * 10), length=4, hop=hop)
    assert windows.rows[:, 0].tolist() == list(range(0, 7, hop))
