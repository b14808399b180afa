"""z-scores are exact where that matters, and finite always."""

import math
import statistics
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.pipeline.normalise import LIMIT, z_scores


def z(values, mean, std):
    return z_scores(np.array([[values]], dtype=np.float64).T, np.array([mean]), np.array([std]))


FINITE = st.floats(allow_nan=False, allow_infinity=False)
STD = st.floats(min_value=0, exclude_min=True, allow_infinity=False)


@given(st.lists(FINITE, min_size=1, max_size=20), FINITE, STD)
def test_z_scores_are_finite_for_any_finite_readings_and_bounded(values, mean, std):
    found = z(values, mean, std)
    assert (np.abs(found) <= LIMIT).all()
    assert np.isfinite(np.square(found)).all()


@given(
    st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=20), st.floats(-1e12, 1e12), st.floats(1e-3, 1e12)
)
def test_z_scores_are_those_of_exact_arithmetic_to_float32(values, mean, std):
    """One rounding of the difference, one of the quotient, one to float32; below the limit, none else."""
    for value, found in zip(values, z(values, mean, std)[:, 0, 0].tolist(), strict=True):
        exact = (Fraction(value) - Fraction(mean)) / Fraction(std)
        if abs(exact) < Fraction(float(LIMIT)) and abs(exact) > Fraction(2) ** -120:
            assert abs(Fraction(found) - exact) <= abs(exact) * Fraction(1, 2**23)


@given(st.lists(FINITE, min_size=1, max_size=20), FINITE, STD)
def test_a_window_gets_the_same_bits_alone_as_among_others(values, mean, std):
    """One impossible value in a batch limits itself and nothing else."""
    alone = [z([value], mean, std).tobytes() for value in values]
    assert z(values, mean, std).tobytes() == b"".join(alone)


def test_case_12_a_steady_sensor_stays_near_zero_at_the_least_std_that_training_accepts():
    """1000 times 14.62 leave a std of 4e-15, by which the mean's last bit would be a z-score of 1: it is refused."""
    series = np.full(1000, 14.62)
    mean, std = float(series.mean()), 1e-9 * 14.62
    found = z([*series.tolist(), 14.63], mean, std)[:, 0, 0]
    assert (np.abs(found[:-1]) < 1e-6).all()
    assert math.isclose(float(found[-1]), 0.01 / std, rel_tol=1e-6)


def test_a_large_offset_keeps_small_differences():
    """case-13 b: around 1e9, where float32 has steps of 64."""
    series = [1000000004.0, 1000000007.0, 1000000013.0, 1000000016.0]
    mean, std = statistics.fmean(series), statistics.pstdev(series)
    expected = [(value - mean) / std for value in series]
    assert np.allclose(z(series, mean, std)[:, 0, 0], expected, rtol=1e-6)


def test_the_mean_is_zero_and_one_std_is_one():
    assert z([14.62, 14.63], 14.62, 0.01)[:, 0, 0].tolist() == [0.0, np.float32((14.63 - 14.62) / 0.01)]


def test_each_channel_has_its_own_statistics():
    found = z_scores(np.array([[[1.0, 10.0]]]), np.array([0.0, 10.0]), np.array([2.0, 5.0]))
    assert found.tolist() == [[[0.5, 0.0]]]
    assert found.dtype == np.float32
    assert math.isclose(float(found[0, 0, 0]), 0.5)
