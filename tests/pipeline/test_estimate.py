"""Estimates: held to exact fractions with every value's weight written out."""

import math
import statistics
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.pipeline import estimate
from gatewayd.pipeline.estimate import Estimates, forget, moments, near_median

READING = st.integers(-1000, 1000).map(lambda steps: 20.0 + steps / 64)
SENSIBLE = st.lists(
    st.integers(-(10**6), 10**6).map(lambda steps: steps / 64) | st.floats(-1e9, 1e9), min_size=1, max_size=20
)


@given(SENSIBLE)
def test_at_least_half_of_the_values_are_near_the_median_and_these_are_the_nearest(values):
    near, median = near_median(values, floor=0.0), statistics.median(values)
    assert 2 * len(near) >= len(values)
    left = [abs(value - median) for value in values if value not in near]
    assert max(abs(value - median) for value in near) < min(left, default=math.inf)
    assert near_median(values, floor=2e9) == values


def test_wild_values_are_far_from_the_median_of_a_constant_but_not_those_of_a_coarse_sensor():
    """In both, most values are equal and the MAD is 0."""
    assert near_median([14.62] * 25 + [0.0, 100.0, 3.0, 97.0, 50.0], floor=0.0) == [14.62] * 25
    assert len(near_median([20.0, 20.0, 20.1] * 10, floor=0.0)) == 30
    assert len(near_median([20.0] * 9 + [20.1], floor=0.0)) == 9
    assert len(near_median([20.0] * 9 + [20.1], floor=0.05)) == 10  # the sensor's resolution is known


def test_near_is_within_six_standard_deviations_of_normally_distributed_values():
    """Median 5, MAD 2: the standard deviation would be 2.965."""
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 5 + 6 * 2.965, 5.0, 5 - 6 * 2.966]
    assert near_median(values, floor=0.0) == values[:-1]


@given(SENSIBLE)
def test_moments_are_those_of_exact_arithmetic(values):
    mean, variance = moments(values)
    exact = [Fraction(value) for value in values]
    centre = sum(exact) / len(exact)
    spread = float(max(exact) - min(exact))
    assert math.isclose(mean, float(centre), rel_tol=1e-15, abs_tol=1e-15 * spread)
    expected = float(sum((value - centre) ** 2 for value in exact) / len(exact))
    assert math.isclose(variance, expected, rel_tol=1e-12, abs_tol=1e-30 * spread**2)


def exact(values, begin, readings):
    """Mean and variance; the values that began the estimate weigh the same."""
    weights = [Fraction(1, begin)] * begin
    for count in range(begin + 1, len(values) + 1):
        share = Fraction(1, min(count, readings))
        weights = [weight * (1 - share) for weight in weights] + [share]
    mean = sum(weight * Fraction(value) for weight, value in zip(weights, values, strict=True))
    variance = sum(
        weight * (Fraction(value) - mean) ** 2 for weight, value in zip(weights, values, strict=True)
    )
    return float(mean), float(variance)


@given(
    begun=st.lists(READING, min_size=1, max_size=10),
    further=st.lists(READING, max_size=30),
    readings=st.integers(10, 50),
    offset=st.sampled_from([0, 1e9]),
)
def test_mean_and_variance_are_those_of_exact_arithmetic(begun, further, readings, offset):
    """So up to ``readings`` values they are those of all values, and later those with exponential weights."""
    begun, further = [value + offset for value in begun], [value + offset for value in further]
    mean, variance = moments(begun)
    before = Estimates(
        count=np.array([[len(begun)]]), mean=np.array([[mean]]), variance=np.array([[variance]])
    )
    values = np.array(further).reshape(1, -1, 1)
    found = forget(before, values, np.ones(values.shape, dtype=np.bool_), readings=readings)
    mean, variance = exact(begun + further, len(begun), readings)
    # The mean is rounded to 2**-53 of the offset each time, and the distances from it by as much.
    assert math.isclose(found.mean[0, 0], mean, rel_tol=1e-14)
    assert math.isclose(found.variance[0, 0], variance, rel_tol=1e-12, abs_tol=1e-12 + offset * 1e-14)
    assert found.count.tolist() == [[min(len(begun + further), readings)]]


def drawn(seed, shape):
    """Estimates and values of all sizes, some not to be taught and then perhaps not even finite."""
    rng = np.random.default_rng(seed)
    devices, _, channels = shape
    before = Estimates(
        count=rng.integers(1, 9, size=(devices, channels)),
        mean=rng.normal(size=(devices, channels)) * 10.0 ** rng.integers(-9, 9, size=(devices, channels)),
        variance=rng.random(size=(devices, channels)),
    )
    values = rng.normal(size=shape) * 10.0 ** rng.integers(-9, 9, size=shape)
    is_taught = rng.random(size=shape) < 0.7
    values[~is_taught & (rng.random(size=shape) < 0.5)] = np.nan
    return before, values, is_taught


SHAPES = st.tuples(st.integers(1, 5), st.integers(0, 6), st.integers(1, 3))


@given(seed=st.integers(0, 2**32 - 1), shape=SHAPES, readings=st.integers(1, 12))
def test_both_ways_to_reckon_give_the_same_bits(seed, shape, readings):
    """Few columns go one by one, many together: which it is depends on the neighbours, the bits must not."""
    found = {}
    for few in (0, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(estimate, "_FEW_COLUMNS", few)
            after = forget(*drawn(seed, shape), readings=readings)
            found[few] = [after.count.tobytes(), after.mean.tobytes(), after.variance.tobytes()]
    assert found[0] == found[10**9]


@given(
    seed=st.integers(0, 2**32 - 1), shape=SHAPES, readings=st.integers(1, 12), few=st.sampled_from([0, 10**9])
)
def test_how_values_are_cut_into_calls_changes_no_bit(seed, shape, readings, few):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimate, "_FEW_COLUMNS", few)
        before, values, is_taught = drawn(seed, shape)
        whole = forget(before, values, is_taught, readings=readings)
        for sample in range(shape[1]):
            part = slice(sample, sample + 1)
            before = forget(before, values[:, part], is_taught[:, part], readings=readings)
    for name in ("count", "mean", "variance"):
        assert getattr(before, name).tobytes() == getattr(whole, name).tobytes()


@pytest.mark.parametrize("few", [0, 10**9])
def test_what_is_not_taught_leaves_no_trace(few, monkeypatch):
    monkeypatch.setattr(estimate, "_FEW_COLUMNS", few)
    before = Estimates(
        count=np.array([[0, 3]]), mean=np.array([[-0.0, -0.0]]), variance=np.array([[0.0, 0.5]])
    )
    values = np.array([[[math.nan, math.inf], [-1e308, 1.0], [math.inf, 1e308]]])
    is_taught = np.array([[[False, False], [False, True], [False, False]]])
    after = forget(before, values, is_taught, readings=4)
    assert after.count.tolist() == [[0, 4]]
    assert math.copysign(1.0, after.mean[0, 0]) == -1.0
    assert after.mean[0, 1] == 0.25
    assert after.variance.tolist() == [[0.0, 0.75 * (0.5 + 0.25)]]
    assert before.count.tolist() == [[0, 3]]
