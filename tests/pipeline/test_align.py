"""Alignment: held to a plain reference that knows all values of a device and asks at each instant of the grid."""

import math
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatewayd.domain.reading import Batch
from gatewayd.pipeline.align import Aligner

NAN = math.nan
SECOND = 10**9
START = 1_741_944_413 * SECOND
METHODS = st.lists(st.sampled_from(["last", "mean", "linear"]), min_size=2, max_size=2)
VALUE = st.sampled_from([NAN, NAN, 0.0, 1.0, -3.0, 0.1, 1e9])
STEP = st.sampled_from([1, 1, 2, 3, 5, 8, 40])
ROWS = st.lists(st.tuples(st.integers(0, 2), STEP, VALUE, VALUE), max_size=40)
GRID = st.tuples(st.integers(1, 7), st.integers(1, 20))  # every, max_gap


def make(methods, every, max_gap):
    return Aligner(channels=len(methods), every_ns=every, methods=methods, max_gap_ns=max_gap)


def as_batch(rows):
    return Batch(
        device=np.array([row[0] for row in rows], dtype=np.int64),
        taken_at=np.array([row[1] for row in rows], dtype=np.int64),
        values=np.array([row[2:] for row in rows], dtype=np.float64).reshape(
            len(rows), len(rows[0]) - 2 if rows else 2
        ),
    )


def rising(steps):
    clocks, rows = {}, []
    for device, step, *values in steps:
        clocks[device] = clocks.get(device, 7 * device - 9) + step
        rows.append((device, clocks[device], *values))
    return rows


LACKS, WAITS = "lacks", "waits"


def value_at(instant, now, known, method, grid):
    """A channel's value at an instant, exactly, as far as it can be known at ``now``."""
    every, max_gap = grid
    before = [(time, Fraction(value)) for time, value in known if time <= instant]
    cell = [value for time, value in before if time > instant - every]
    if method == "mean" and cell:
        return sum(cell) / len(cell)
    if method == "linear":
        return line_at(instant, now, known, max_gap)
    return before[-1][1] if before and before[-1][0] > instant - max_gap else LACKS


def line_at(instant, now, known, max_gap):
    before = [point for point in known if point[0] <= instant]
    if not before:
        return LACKS
    time, value = before[-1][0], Fraction(before[-1][1])
    after = [point for point in known if point[0] > instant]
    if time == instant:
        return value
    if not after:
        return WAITS if now < time + max_gap else LACKS
    if after[0][0] - time > max_gap:
        return LACKS
    return value + (Fraction(after[0][1]) - value) / (after[0][0] - time) * (instant - time)


def reference(rows, methods, every, max_gap):
    """Grid rows, and how many instants have none, of one device whose rows these are."""
    made, unfilled, blocked = [], 0, False
    if not rows:
        return made, unfilled
    now = rows[-1][1]
    for instant in range(-(-rows[0][1] // every) * every, now + 1, every):
        values = []
        for channel, method in enumerate(methods):
            known = [(row[1], row[2 + channel]) for row in rows if not math.isnan(row[2 + channel])]
            values.append(value_at(instant, now, known, method, (every, max_gap)))
        if LACKS in values:
            unfilled += 1
        elif WAITS in values:
            blocked = True
        else:
            assert not blocked  # what waits are always the newest instants
            made.append((instant, values))
    return made, unfilled


def listed(batch):
    return [
        (device, time, values.tolist())
        for device, time, values in zip(
            batch.device.tolist(), batch.taken_at.tolist(), batch.values, strict=True
        )
    ]


@given(rows=ROWS.map(rising), methods=METHODS, grid=GRID)
@example(rows=[(0, 0, 0.0, 1.0), (0, 5, NAN, 1.0), (0, 6, 1.0, 1.0)], methods=["linear"] * 2, grid=(1, 5))
def test_after_each_reading_the_rows_are_those_that_are_decided(rows, methods, grid):
    aligner, found = make(methods, *grid), {}
    for count, row in enumerate(rows, start=1):
        for device, time, values in listed(aligner.add(as_batch([row]))):
            assert device == row[0]
            found.setdefault(device, []).append((time, values))
        mine = [other for other in rows[:count] if other[0] == row[0]]
        expected, _ = reference(mine, methods, *grid)
        got = found.get(row[0], [])
        assert [time for time, _ in got] == [time for time, _ in expected]
        for (_, values), (_, exact) in zip(got, expected, strict=True):
            # a few roundings of numbers up to 1e9; most are exact
            assert values == pytest.approx([float(value) for value in exact], rel=1e-14, abs=1e-6)
    devices = {row[0] for row in rows}
    parts = [reference([row for row in rows if row[0] == device], methods, *grid) for device in devices]
    assert aligner.unfilled == sum(unfilled for _, unfilled in parts)
    assert aligner.made == sum(len(made) for made, _ in parts)
    assert aligner.used == len(rows)


@given(
    rows=ROWS.filter(len).map(rising), methods=METHODS, grid=GRID, seed=st.integers(0, 2**32), data=st.data()
)
def test_no_cut_no_other_device_and_no_resumption_changes_a_bit(rows, methods, grid, seed, data):
    rng = np.random.default_rng(seed)
    rows = [(*row[:2], *(value + rng.normal() for value in row[2:])) for row in rows]

    def bits(rows, cuts, resume_at=None):
        aligner, found = make(methods, *grid), {}
        for begin, end in zip([0, *cuts], [*cuts, len(rows)], strict=True):
            if begin == resume_at:
                fresh = make(methods, *grid)
                fresh.restore(aligner.state())
                aligner = fresh
            batch = aligner.add(as_batch(rows[begin:end]))
            assert np.isfinite(batch.values).all()
            for device, time, values in zip(batch.device.tolist(), batch.taken_at, batch.values, strict=True):
                found.setdefault(device, []).append(time.tobytes() + values.tobytes())
        return found, (aligner.used, aligner.made, aligner.unfilled)

    whole = bits(rows, [])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), min_size=1, max_size=5)))
    assert bits(rows, cuts, data.draw(st.sampled_from(cuts))) == whole
    assert bits(rows, list(range(1, len(rows)))) == whole
    for device in range(3):
        alone, _ = bits([row for row in rows if row[0] == device], [])
        assert alone.get(device) == whole[0].get(device)


def documented(pattern):
    """The table rows of docs/time.md that begin so, as cells."""
    page = Path(__file__).parents[2] / "docs" / "time.md"
    lines = re.findall(rf"^\| ({pattern}.*) \|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [[cell.strip() for cell in line.split("|")] for line in lines]


@pytest.mark.parametrize(("method", "column", "count"), [("last", 1, 3), ("linear", 2, 2)])
def test_the_example_of_the_documentation_holds(method, column, count):
    rows = [
        (0, START + round(float(time[6:]) * SECOND), *(float(cell or NAN) for cell in cells))
        for time, *cells in documented(r"10:00:0\d\.\d")
    ]
    aligner = make([method] * 2, SECOND, 10 * SECOND)
    made = listed(aligner.add(as_batch(rows)))
    expected = [(int(cells[0][6:]), cells[column].split(", ")) for cells in documented(r"10:00:0\d \|")]
    assert len(made) == count
    for (_, instant, values), (second, numbers) in zip(made, expected, strict=False):
        assert instant == START + second * SECOND
        assert [f"{value:.4g}" for value in values] == [f"{float(number):.4g}" for number in numbers]
    assert (aligner.used, aligner.made, aligner.unfilled) == (6, count, 0)


def test_mean_takes_the_values_since_the_instant_before_and_else_the_last():
    aligner = make(["mean"], 10, 25)
    rows = [(1, 99.0), (10, 1.0), (11, 1.0), (15, 2.0), (20, 6.0), (21, 4.0), (52, NAN), (71, NAN)]
    batch = aligner.add(as_batch([(0, time, value) for time, value in rows]))
    # 30: one value; 40: that one still, as it is 19 old; 50 and beyond: too old
    assert listed(batch) == [(0, 10, [50.0]), (0, 20, [3.0]), (0, 30, [4.0]), (0, 40, [4.0])]
    assert aligner.unfilled == 3


def test_mean_holds_where_the_gap_is_shorter_than_the_grid():
    aligner = make(["mean"], 10, 2)
    batch = aligner.add(as_batch([(0, 1, 5.0), (0, 20, NAN), (0, 30, NAN)]))
    assert listed(batch) == [(0, 10, [5.0])]
    assert aligner.unfilled == 2


@pytest.mark.parametrize(("gap", "expected"), [(8, [0.0, 1.0, 2.0, 3.0, 4.0]), (7, [0.0, 4.0])])
def test_a_line_spans_the_gap_at_most(gap, expected):
    aligner = make(["linear"], 2, gap)
    assert aligner.add(as_batch([(0, 0, 0.0), (0, 8, 4.0)])).values[:, 0].tolist() == expected
    assert aligner.unfilled == 5 - len(expected)


def test_a_value_just_as_old_as_the_gap_no_longer_holds():
    aligner = make(["last"], 1, 3)
    batch = aligner.add(as_batch([(0, 0, 5.0), (0, 3, NAN)]))
    assert batch.taken_at.tolist() == [0, 1, 2]
    assert aligner.unfilled == 1


def test_a_linear_channel_that_falls_silent_holds_nothing_back_for_ever():
    aligner = make(["last", "linear"], 1, 5)
    aligner.add(as_batch([(0, 0, 1.0, 1.0), *((0, time, 1.0, NAN) for time in range(1, 5))]))
    assert len(aligner._tracks[0].waiting) == 4
    aligner.add(as_batch([(0, 5, 1.0, NAN)]))  # the latest moment at which a value could still have counted
    assert len(aligner._tracks[0].waiting) == 0
    assert (aligner.made, aligner.unfilled) == (1, 5)


def test_a_silent_year_is_passed_in_one_step():
    year = 365 * 24 * 3600 * SECOND
    every = SECOND // 100
    for method in ("last", "mean", "linear"):
        aligner = make([method], every, SECOND)
        batch = aligner.add(as_batch([(0, START, 1.0), (0, START + year, 2.0)]))
        assert aligner.made == len(batch) == (2 if method == "linear" else 101)
        assert aligner.made + aligner.unfilled == year // every + 1
        # nor does it loop where the sensor's clock was set in between, or says whatever it likes
        aligner = make([method], 1, 10)
        aligner.add(as_batch([(0, -(2**63), 1.0), (0, 2**63 - 1, 2.0)]))
        assert aligner.made + aligner.unfilled == 2**64
        make([method], 1, 10).restore(aligner.state())


def test_a_channel_that_never_came_has_no_value_at_the_beginning_of_time():
    aligner = make(["last", "linear"], 1, 2**62)
    aligner.add(as_batch([(0, -(2**63), 1.0, NAN)]))
    fresh = make(["last", "linear"], 1, 2**62)
    fresh.restore(aligner.state())
    for one in (aligner, fresh):
        assert len(one.add(as_batch([(0, -(2**63) + 1, NAN, 1.0)]))) == 1
        assert one.unfilled == 1


def test_lines_are_exact_at_today_s_times():
    """Near 1.7e18 ns a float64 knows time to 256 ns only; the grid here is 10 ns."""
    aligner = make(["linear"], 10, 10**6)
    batch = aligner.add(as_batch([(0, START + 3, 0.0), (0, START + 83, 80.0)]))
    assert (batch.taken_at - START).tolist() == [10, 20, 30, 40, 50, 60, 70, 80]
    assert batch.values[:, 0].tolist() == pytest.approx([7, 17, 27, 37, 47, 57, 67, 77], rel=1e-15)


@given(
    value=st.floats(allow_nan=False, allow_infinity=False),
    method=st.sampled_from(["last", "mean", "linear"]),
    steps=st.lists(st.integers(1, 9), min_size=2, max_size=20),
)
def test_a_steady_channel_stays_as_it_is_to_the_last_bit(value, method, steps):
    """Else a constant signal would get a spread of its own: the mean of ten times 0.1 is not 0.09999999999999999."""
    times = np.cumsum(steps).tolist()
    batch = make([method], 4, 10).add(as_batch([(0, time, value) for time in times]))
    assert set(batch.values[:, 0].tolist()) <= {value}


@pytest.mark.parametrize("method", ["mean", "linear"])
def test_the_greatest_numbers_give_finite_rows(method):
    greatest = float(np.finfo(np.float64).max)
    rows = [(0, 1, greatest), (0, 3, -greatest), (0, 5, greatest), (0, 9, greatest), (0, 10, -greatest)]
    batch = make([method], 2, 10).add(as_batch(rows))
    assert len(batch) == 5
    assert np.isfinite(batch.values).all()


def test_what_is_not_finite_is_absent():
    aligner = make(["last", "linear"], 1, 10)
    batch = aligner.add(as_batch([(0, 0, 1.0, 1.0), (0, 1, math.inf, 2.0), (0, 2, NAN, -math.inf)]))
    assert listed(batch) == [(0, 0, [1.0, 1.0]), (0, 1, [1.0, 2.0])]


def test_a_state_is_a_copy():
    aligner = make(["mean", "linear"], 10, 100)
    aligner.add(as_batch([(4, 5, 1.0, 1.0), (4, 10, 2.0, NAN)]))
    state = aligner.state()
    before = {name: np.array(value).tobytes() for name, value in state.items()}
    aligner.add(as_batch([(4, 11, 3.0, 3.0)]))
    assert {name: np.array(value).tobytes() for name, value in state.items()} == before


@pytest.mark.parametrize(
    ("methods", "every", "gap"), [(["mean"], 10, 100), (["mean"] * 2, 5, 100), (["last"] * 2, 10, 100)]
)
def test_only_one_of_the_same_grid_is_gone_on_with(methods, every, gap):
    with pytest.raises(ValueError, match="expected the grid"):
        make(methods, every, gap).restore(make(["mean"] * 2, 10, 100).state())


def test_an_empty_batch_changes_nothing():
    aligner = make(["last", "mean"], 1, 1)
    assert len(aligner.add(as_batch([]))) == 0
    assert (aligner.used, aligner.made, aligner.unfilled) == (0, 0, 0)


@pytest.mark.parametrize(("every", "max_gap", "methods"), [(0, 1, ["last"]), (1, 0, ["last"]), (1, 1, [])])
def test_senseless_grids_are_refused(every, max_gap, methods):
    with pytest.raises(ValueError, match=r"must be positive|expected a method for each of 1 channels"):
        Aligner(channels=1, every_ns=every, methods=methods, max_gap_ns=max_gap)
