"""z-scores are exact where that matters, and finite always."""

import math
import statistics

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.pipeline.normalise import z_scores


def z(values, mean, std):
    return z_scores(np.array([[values]], dtype=np.float64).T, np.array([mean]), np.array([std]))


@given(
    st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=20),
    st.floats(-1e300, 1e300),
    st.floats(1e-300, 1e300),
)
def test_z_scores_are_finite_for_any_finite_readings(values, mean, std):
    assert np.isfinite(z(values, mean, std)).all()


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
