"""Drift: held to one device after the other in plain Python, bit for bit."""

import math
import statistics
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.pipeline.drift import Drift

VALUES = st.sampled_from([0.0, 1.0, 3.0, -3.0, 5.5, -40.0, 1e9, math.nan]) | st.floats(-6, 6)
ROWS = st.lists(st.tuples(st.integers(0, 3), VALUES, VALUES), max_size=60)
OPTIONS = st.fixed_dictionaries(
    {
        "horizon": st.integers(1, 5),
        "limit": st.sampled_from([0.5, 1.0, 2.0]),
        "warm_up": st.integers(2, 6),
        "is_measured": st.booleans(),
    }
)


def update(drift, rows, begin=0):
    """Feed rows of (device, value...) as one batch."""
    if not rows:
        return []
    changes = drift.update(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1:] for row in rows], dtype=np.float64),
        np.arange(begin, begin + len(rows), dtype=np.int64),
    )
    return [(c.at, c.device, c.column, c.is_on, c.value, c.limit) for c in changes]


def reference(rows, *, horizon, limit, warm_up, is_measured):
    """Do the same by the book, value by value."""
    known, changes, weight = {}, [], 2 / (horizon + 1)
    for at, (device, *values) in enumerate(rows):
        for column, value in enumerate(values):
            here = known.setdefault((device, column), {"first": [], "n": 0, "average": 0.0, "side": 0})
            if math.isnan(value):
                continue
            here["n"] += 1
            if is_measured and here["n"] <= warm_up:
                here["first"].append(value)
                continue
            if is_measured:
                mean = here.setdefault("mean", statistics.fmean(here["first"]))
                std = here.setdefault("std", statistics.stdev(here["first"]))
                value = (value - mean) / max(std, 1e-6 * max(abs(mean), 1e-6))  # noqa: PLW2901
            here["average"] += weight * (min(max(value, -4 * limit), 4 * limit) - here["average"])
            average, before = here["average"], here["side"]
            if average > limit:
                side = 1
            elif average < -limit:
                side = -1
            else:
                side = before if average * before >= 0.8 * limit else 0
            here["side"] = side = side if here["n"] > warm_up else 0
            if side != before and before:
                changes.append((at, device, column, False, average, before * limit))
            if side != before and side:
                changes.append((at, device, column, True, average, side * limit))
    return changes


@settings(deadline=None)
@given(rows=ROWS, options=OPTIONS)
def test_changes_are_those_of_the_book(rows, options):
    found = update(Drift(columns=2, **options), rows)
    expected = reference(rows, **options)
    if not options["is_measured"]:
        assert found == expected
    # Welford's mean and the exact one differ in the last digits, so a value at the very limit may fall on either side.
    elif [change[:4] for change in found] == [change[:4] for change in expected]:
        for mine, theirs in zip(found, expected, strict=True):
            assert mine[4:] == pytest.approx(theirs[4:], rel=1e-6, abs=1e-6)


def test_a_measured_column_is_judged_by_its_first_values():
    """The case above may pass over a difference; this one may not."""
    rng = np.random.default_rng(4)
    values = np.concatenate(
        [rng.normal(50.0, 2.0, 300), rng.normal(58.0, 2.0, 100), rng.normal(50.0, 2.0, 100)]
    )
    rows = [(0, value) for value in values.tolist()]
    options = {"horizon": 20, "limit": 2.0, "warm_up": 100, "is_measured": True}
    found = update(Drift(columns=1, **options), rows)
    expected = reference(rows, **options)
    assert [change[:4] for change in found] == [change[:4] for change in expected]
    assert [change[3] for change in found] == [True, False]
    assert 300 < found[0][0] < 320
    assert 400 < found[1][0] < 420
    assert found[0][4] == pytest.approx(expected[0][4], rel=1e-9)


@settings(deadline=None)
@given(rows=ROWS, options=OPTIONS, cuts=st.lists(st.integers(0, 60), max_size=5), restart=st.booleans())
def test_cuts_restarts_and_neighbours_change_no_bit(rows, options, cuts, restart):
    whole = Drift(columns=2, **options)
    expected = update(whole, rows)
    drift, found = Drift(columns=2, **options), []
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    for start, stop in pairwise(edges):
        if restart:
            state, drift = drift.state(), Drift(columns=2, **options)
            drift.restore(state)
        found += update(drift, rows[start:stop], begin=start)
    assert found == expected
    for name, column in whole.state().items():
        np.testing.assert_array_equal(drift.state()[name], column)
    for device in {row[0] for row in rows}:
        alone, mine = Drift(columns=2, **options), []
        for at, row in enumerate(rows):
            if row[0] == device:
                mine += update(alone, [row], begin=at)
        assert mine == [change for change in expected if change[1] == device]


def test_drift_begins_beyond_the_limit_and_ends_within_four_fifths_of_it():
    """Horizon 1: the average is the value itself, and these have few bits."""
    drift = Drift(columns=1, horizon=1, limit=1.0, warm_up=2)
    rows = [(0, value) for value in (3.0, 3.0, 1.0, 1.0625, 0.9375, 0.8125, 0.75, -1.0, -1.0625, 1.5, 0.0)]
    found = [(at, is_on, value, limit) for at, _, _, is_on, value, limit in update(drift, rows)]
    assert [change[:2] for change in found] == [
        (3, True),
        (6, False),
        (8, True),
        (9, False),
        (9, True),
        (10, False),
    ]
    assert [change[2:] for change in found[2:5]] == [(-1.0625, -1.0), (1.5, -1.0), (1.5, 1.0)]


def test_four_fifths_of_the_limit_are_drift_still():
    """1.25 times 0.8 is 1 to the last bit."""
    drift = Drift(columns=1, horizon=1, limit=1.25, warm_up=2)
    assert [at for at, *_ in update(drift, [(0, v) for v in (1.5, 1.5, 1.5, 1.0, 0.9375)])] == [2, 4]


def test_changes_come_in_order_of_the_windows():
    drift = Drift(columns=1, horizon=1, limit=1.0, warm_up=2)
    rows = [(1, 0.0), (1, 0.0), (0, 0.0), (0, 0.0), (1, 2.0), (1, 0.0), (0, 2.0), (1, 2.0), (0, 0.0)]
    assert [(at, device) for at, device, *_ in update(drift, rows)] == [
        (4, 1),
        (5, 1),
        (6, 0),
        (7, 1),
        (8, 0),
    ]


def test_one_wild_window_is_no_drift():
    drift = Drift(columns=1, horizon=20, limit=1.0, warm_up=2)
    assert update(drift, [(0, 0.0)] * 50 + [(0, 1e12)] + [(0, 0.0)] * 50) == []


def test_a_lasting_change_of_twice_the_limit_is_told_within_its_horizon():
    """The average reaches 1 - (1 - w)^n of the change: half of it after 0.35 horizons (Roberts 1959)."""
    drift = Drift(columns=1, horizon=100, limit=1.0, warm_up=10)
    [(at, *_)] = update(drift, [(0, 0.0)] * 200 + [(0, 2.0)] * 200)
    assert at == 200 + math.ceil(math.log(0.5) / math.log(1 - 2 / 101)) - 1


def test_a_score_that_never_varied_may_stay_as_it_is():
    drift = Drift(columns=1, horizon=5, limit=3.0, warm_up=10, is_measured=True)
    assert update(drift, [(0, 0.25)] * 100) == []
    assert [change[3] for change in update(drift, [(0, 0.26)] * 10)] == [True]


def test_an_absent_column_neither_moves_nor_counts():
    one, other = (Drift(columns=2, horizon=3, limit=1.0, warm_up=2) for _ in range(2))
    found = update(one, [(0, 9.0, math.nan)] * 5 + [(0, math.nan, 9.0)] * 5)
    assert [(column, at) for at, _, column, *_ in found] == [(0, 2), (1, 7)]
    none = np.empty(0, dtype=np.int64)
    assert other.update(none, np.empty((0, 2)), none) == []


@pytest.mark.parametrize("options", [{"horizon": 0}, {"limit": 0.0}, {"limit": math.nan}, {"warm_up": 1}])
def test_settings_that_mean_nothing_are_refused(options):
    with pytest.raises(ValueError, match="drift needs"):
        Drift(**{"columns": 1, "horizon": 10, "limit": 1.0, "warm_up": 10, **options})


@pytest.mark.parametrize("warm_up", [20, 80])
def test_another_warm_up_goes_on_with_what_was_measured(warm_up):
    """As many values as were measured give the standard deviation, whatever the settings say by now."""
    options = {"columns": 1, "horizon": 1, "limit": 1.0, "is_measured": True}
    old, new = Drift(warm_up=50, **options), Drift(warm_up=warm_up, **options)
    values = np.random.default_rng(6).normal(10.0, 2.0, max(50, warm_up)).tolist()
    update(old, [(0, value) for value in values[:50]])
    new.restore(old.state())
    outlier = statistics.fmean(values) + 3 * statistics.stdev(values)
    found = update(new, [(0, value) for value in [*values[50:], outlier]])
    assert found[-1][3:5] == (True, pytest.approx(3.0))


def test_measuring_goes_on_where_it_stopped():
    """40 windows passed without being measured, under a shorter warm-up: they don't count as measured later."""
    values = np.random.default_rng(8).normal(10.0, 2.0, 130).tolist()
    state = None
    for warm_up, part in ((50, values[:50]), (20, values[50:90]), (130, values[90:])):
        drift = Drift(columns=1, horizon=5, limit=1.0, warm_up=warm_up, is_measured=True)
        if state is not None:
            drift.restore(state)
        update(drift, [(0, value) for value in part])
        state = drift.state()
    measured = values[:50] + values[90:]
    assert state["learnt"].tolist() == [[90]]
    assert state["mean"][0, 0] == pytest.approx(statistics.fmean(measured))
    assert state["spread"][0, 0] / 89 == pytest.approx(statistics.variance(measured))


def test_memory_holds_the_devices_in_use():
    drift = Drift(columns=3, horizon=10, limit=1.0, warm_up=10)
    update(drift, [(40, 1.0, 2.0, 3.0)])
    assert {column.shape for column in drift.state().values()} == {(41, 3)}
