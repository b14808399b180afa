"""Smoothing: held to a plain reference per device and channel, and to itself however batches are cut."""

import itertools
import math
import re
import statistics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.reading import Batch
from gatewayd.pipeline.denoise import Denoiser, Ema, Median

VALUES = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([1.0, 1.0, 2.5, 3.0, -0.0, 0.0])
METHODS = st.lists(
    st.none()
    | st.builds(Median, window=st.integers(1, 6))
    | st.builds(Ema, alpha=st.sampled_from([0.1, 0.5, 0.3, 1.0])),
    min_size=2,
    max_size=2,
)
STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([1, 1, 2, 9, 10]), st.tuples(VALUES, VALUES)), max_size=60
)


def timed(steps):
    """Rows of (device, time, values)."""
    times = itertools.accumulate(step for _, step, _ in steps)
    return [(device, 100 + time, values) for (device, _, values), time in zip(steps, times, strict=True)]


ROWS = STEPS.map(timed)


def as_batch(rows):
    return Batch(
        device=np.array([row[0] for row in rows], dtype=np.int64),
        taken_at=np.array([row[1] for row in rows], dtype=np.int64),
        values=np.array([row[2] for row in rows], dtype=np.float64).reshape(len(rows), 2),
    )


def column(values):
    """One device, its first channel; the second is always 0."""
    return as_batch([(0, at, (value, 0.0)) for at, value in enumerate(values)])


def middle(values):
    low, high = statistics.median_low(values), statistics.median_high(values)
    return low if low == high else low / 2 + high / 2


def smoothed(method, values):
    """All of a device's values of a channel, smoothed as the method's words say."""
    if isinstance(method, Median):
        return [middle(values[max(0, end - method.window) : end]) + 0.0 for end in range(1, len(values) + 1)]
    if method is None:
        return list(values)
    result = values[:1]
    for value in values[1:]:
        before = result[-1]
        result.append(value if value == before else (1 - method.alpha) * before + method.alpha * value)
    return result


def in_parts(rows, cuts, methods, gap, few):
    """The values that come out when rows are cut; the state moves into a fresh object at each cut."""
    denoiser, parts = Denoiser(methods, max_gap_ns=gap, few=few), []
    places = sorted(cuts)
    for start, end in zip([0, *places], [*places, len(rows)], strict=True):
        parts.append(denoiser.apply(as_batch(rows[start:end])).values)
        state = denoiser.state()
        denoiser = Denoiser(methods, max_gap_ns=gap, few=few)
        denoiser.restore(state)
    return np.concatenate(parts)


def runs(places, rows, gap):
    """A device's places in parts between which more than the gap has passed."""
    parts = []
    for place in places:
        if not parts or (gap is not None and rows[place][1] - rows[parts[-1][-1]][1] > gap):
            parts.append([])
        parts[-1].append(place)
    return parts


@given(
    methods=METHODS,
    rows=ROWS,
    gap=st.sampled_from([None, 9, 4]),
    few=st.sampled_from([0, 99]),
    data=st.data(),
)
def test_values_equal_the_reference_however_the_readings_are_cut(methods, rows, gap, few, data):
    cuts = data.draw(st.lists(st.integers(0, len(rows)), max_size=4))
    found = in_parts(rows, cuts, methods, gap, few)
    for device in range(4):
        places = [place for place, row in enumerate(rows) if row[0] == device]
        for channel, method in enumerate(methods):
            expected = [
                value
                for part in runs(places, rows, gap)
                for value in smoothed(method, [rows[place][2][channel] for place in part])
            ]
            assert found[places, channel].tobytes() == np.array(expected, dtype=np.float64).tobytes()


@given(methods=METHODS, rows=ROWS, gap=st.sampled_from([None, 9, 4]))
def test_both_ways_of_smoothing_remember_the_same(methods, rows, gap):
    states = []
    for few in (0, 99):
        denoiser = Denoiser(methods, max_gap_ns=gap, few=few)
        denoiser.apply(as_batch(rows))
        state = denoiser.state()
        states.append((state["history"]["values"].tobytes(), state["last"].tobytes()))
    assert states[0] == states[1]


@given(method=METHODS.map(lambda methods: methods[0]), values=st.lists(VALUES, min_size=1, max_size=30))
def test_a_smoothed_value_lies_between_the_least_and_the_greatest_so_far(method, values):
    found = Denoiser([method, None]).apply(column(values)).values[:, 0]
    assert np.isfinite(found).all()
    for end, value in enumerate(found.tolist(), start=1):
        # An average of values whose last bits are rounded may pass them by as much.
        least, greatest = min(values[:end]), max(values[:end])
        slack = 4 * math.ulp(max(abs(least), abs(greatest)))
        assert least - slack <= value <= greatest + slack


def test_a_median_forgets_an_outlier_and_keeps_an_edge():
    found = Denoiser([Median(window=3), None]).apply(column([5, 5, 99, 5, 5, 8, 8, 8])).values[:, 0]
    assert found.tolist() == [5, 5, 5, 5, 5, 5, 8, 8]


def test_an_average_starts_at_the_first_value_and_closes_in_by_alpha():
    found = Denoiser([Ema(alpha=0.25), None]).apply(column([0, 16, 16, 16])).values[:, 0]
    assert found.tolist() == [0, 4, 7, 9.25]


@given(value=VALUES, alpha=st.floats(0.001, 1.0))
def test_a_constant_stays_that_constant(value, alpha):
    for method in (Ema(alpha=alpha), Median(window=4)):
        assert (Denoiser([method, None]).apply(column([value] * 20)).values[:, 0] == value).all()


@pytest.mark.parametrize("method", [Median(window=3), Ema(alpha=0.5)])
def test_after_a_restart_a_device_begins_anew_and_the_others_go_on(method):
    denoiser = Denoiser([method, None])
    denoiser.apply(as_batch([(0, 0, (1.0, 0.0)), (1, 0, (1.0, 0.0))]))
    denoiser.restart(np.array([1, 7], dtype=np.int64))  # 7 was never seen
    found = denoiser.apply(as_batch([(0, 1, (9.0, 0.0)), (1, 1, (9.0, 0.0))])).values[:, 0]
    assert found.tolist() == [5.0, 9.0]


@pytest.mark.parametrize("few", [0, 99])
def test_what_is_not_finite_stays_and_changes_nothing(few):
    for method, expected in ((Median(window=3), 2.0), (Ema(alpha=0.5), 2.0)):
        found = Denoiser([method, None], few=few).apply(column([1.0, math.nan, 3.0])).values[:, 0]
        assert math.isnan(found[1])
        assert found[2] == expected


def test_an_empty_batch_passes():
    assert len(Denoiser([Median(window=3), Ema(alpha=0.5)]).apply(column([]))) == 0


def test_what_goes_in_is_not_written_to():
    batch = column([1.0, 5.0])
    Denoiser([Ema(alpha=0.5), None]).apply(batch)
    assert batch.values[:, 0].tolist() == [1.0, 5.0]


@pytest.mark.parametrize("wrong", [0.0, -0.1, 1.1, math.nan])
def test_an_alpha_outside_is_refused(wrong):
    with pytest.raises(ValueError, match="alpha"):
        Ema(alpha=wrong)


def test_a_window_of_nothing_is_refused():
    with pytest.raises(ValueError, match="window"):
        Median(window=0)


PAGE = Path(__file__).resolve().parents[2] / "docs" / "cleaning.md"
EXAMPLES = re.findall(
    r"```yaml\ndenoise: {(\w+): ([\d.]+)}\n```.*?goes on \|\n\|[-|]+\n(.*?)\n\n",
    PAGE.read_text("utf-8"),
    re.DOTALL,
)


@pytest.mark.parametrize(("method", "number", "table"), EXAMPLES)
def test_the_pages_examples_hold(method, number, table):
    rows = [[float(cell) for cell in line.strip("|").split("|")] for line in table.splitlines()]
    smoother = Median(window=int(number)) if method == "median" else Ema(alpha=float(number))
    found = Denoiser([smoother, None]).apply(column([row[0] for row in rows])).values[:, 0]
    assert found.tolist() == [row[1] for row in rows]


def test_the_page_has_an_example_of_each_method():
    assert [example[0] for example in EXAMPLES] == ["median", "ema"]
