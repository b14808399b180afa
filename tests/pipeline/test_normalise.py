"""z-scores are exact where that matters, and finite always."""

import math
import statistics
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.pipeline.normalise import (
    LIMIT,
    least_std,
    normalised,
    robust_z_scores,
    window_z_scores,
    z_scores,
)
from tests.support.models import make_spec


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


OWN = pytest.mark.parametrize("normalise", [window_z_scores, robust_z_scores])
WINDOWS = st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 3)).flatmap(
    lambda shape: st.lists(FINITE, min_size=math.prod(shape), max_size=math.prod(shape)).map(
        lambda values: np.array(values).reshape(shape)
    )
)
SENSIBLE = st.lists(
    st.integers(-(10**6), 10**6).map(lambda steps: steps / 64) | st.floats(-1e9, 1e9), min_size=1, max_size=20
)


def one(normalise, values, floor=0.0):
    """One window of one channel."""
    return normalise(np.array(values, dtype=np.float64)[None, :, None], np.array([floor]))[0, :, 0]


@OWN
@given(windows=WINDOWS)
def test_a_windows_own_z_scores_are_finite_and_bounded(normalise, windows):
    found = normalise(windows, np.zeros(windows.shape[2]))
    assert found.shape == windows.shape
    assert found.dtype == np.float32
    assert (np.abs(found) <= LIMIT).all()


@OWN
@given(windows=WINDOWS, data=st.data())
def test_a_windows_own_z_scores_depend_on_no_neighbour_and_no_memory_layout(normalise, windows, data):
    floor = np.array(
        data.draw(st.lists(st.floats(0, 1e3), min_size=windows.shape[2], max_size=windows.shape[2]))
    )
    whole = normalise(windows, floor)
    for index in range(len(windows)):
        assert normalise(windows[index : index + 1].copy(), floor).tobytes() == whole[index].tobytes()
    for channel in range(windows.shape[2]):
        alone = normalise(windows[:, :, channel : channel + 1].copy(), floor[channel : channel + 1])
        assert alone.tobytes() == whole[:, :, channel].tobytes()
    turned = np.asfortranarray(windows)
    assert np.ascontiguousarray(normalise(turned, floor)).tobytes() == whole.tobytes()
    spaced = np.zeros((len(windows) * 2, *windows.shape[1:]))[::2]
    spaced[:] = windows
    assert normalise(spaced, floor).tobytes() == whole.tobytes()


@given(SENSIBLE)
def test_the_windows_mean_and_deviation_are_those_of_exact_arithmetic(values):
    exact = [Fraction(value) for value in values]
    mean = sum(exact) / len(exact)
    std = math.sqrt(sum((value - mean) ** 2 for value in exact) / len(exact))
    std = max(std, 1e-9, 1e-9 * abs(float(mean)))
    for value, found in zip(exact, one(window_z_scores, values).tolist(), strict=True):
        # Distances from the first value are rounded to 2**-53 of the spread, and z-scores to 2**-24.
        assert math.isclose(found, float(value - mean) / std, rel_tol=1e-6, abs_tol=1e-6)


@given(SENSIBLE)
def test_the_windows_median_and_mad_are_those_of_the_standard_library(values):
    median = statistics.median(map(Fraction, values))
    mad = statistics.median(abs(Fraction(value) - median) for value in values)
    spread = max(1.482602218505602 * float(mad), 1e-9, 1e-9 * abs(float(median)))
    for value, found in zip(values, one(robust_z_scores, values).tolist(), strict=True):
        expected = min(float(LIMIT), max(-float(LIMIT), float(Fraction(value) - median) / spread))
        assert math.isclose(found, expected, rel_tol=1e-6, abs_tol=1e-6)


@given(
    st.lists(st.floats(-100, 100), min_size=2, max_size=20), st.integers(-20, 20), st.integers(-1000, 1000)
)
def test_neither_unit_nor_offset_changes_a_windows_own_z_scores(values, exponent, offset):
    """Within the floor: offsets of 64ths and units that are powers of two are exact."""
    values = [round(value * 64) / 64 for value in values]
    moved = [(value + offset) * 2.0**exponent for value in values]
    for normalise in (window_z_scores, robust_z_scores):
        assert one(normalise, moved, 2.0**exponent / 1000).tolist() == pytest.approx(
            one(normalise, values, 1 / 1000).tolist(), rel=1e-6, abs=1e-6
        )


@OWN
@pytest.mark.parametrize("value", [14.62, 0.0, -1e308, 1e9 + 0.1, 5e-324])
def test_case_12_a_constant_window_has_z_scores_of_exactly_zero(normalise, value):
    """numpy's mean of 1000 times 14.62 is off by its last bit, and the z-score by its std -1."""
    assert one(normalise, [value] * 1000).tolist() == [0.0] * 1000


@OWN
def test_case_12_a_step_in_a_constant_window_is_finite(normalise):
    found = one(normalise, [14.62] * 999 + [14.63])
    assert np.isfinite(found).all()
    assert found[-1] > 30


@OWN
def test_case_12_one_value_is_its_own_mean(normalise):
    assert one(normalise, [14.62]).tolist() == [0.0]


@OWN
def test_the_rounding_of_a_constant_is_no_distance(normalise):
    """The last bit of a computed constant trembles."""
    values = [14.62, np.nextafter(14.62, 15), np.nextafter(14.62, 14), 14.62] * 20
    assert np.abs(one(normalise, values)).max() < 1e-6


def test_case_13_b_a_window_with_a_large_offset():
    series = [1000000004.0, 1000000007.0, 1000000013.0, 1000000016.0]
    expected = [step / math.sqrt(22.5) for step in (-6, -3, 3, 6)]
    assert one(window_z_scores, series).tolist() == pytest.approx(expected, rel=1e-7)
    expected = [step / (4.5 * 1.482602218505602) for step in (-6, -3, 3, 6)]
    assert one(robust_z_scores, series).tolist() == pytest.approx(expected, rel=1e-7)


def test_a_value_whose_square_overflows_counts_like_any_other():
    """One among four is at √3, whatever its size; for the median it is as far as it gets."""
    expected = [-1 / math.sqrt(3)] * 3 + [math.sqrt(3)]
    assert one(window_z_scores, [1.0, 2.0, 3.0, 1.7e308]).tolist() == pytest.approx(expected, rel=1e-7)
    assert one(window_z_scores, [-1.7e308, 1.7e308]).tolist() == [-1.0, 1.0]
    assert one(robust_z_scores, [1.0, 2.0, 3.0, 1.7e308])[-1] == LIMIT


def test_half_a_window_of_wild_values_leaves_the_others_as_they_are():
    """Hampel's breakdown point: the mean and its deviation are gone with the first."""
    calm = [49.5, 49.8, 50.0, 50.2, 50.5]
    found = one(robust_z_scores, [*calm, 1e6, -1e6, 1e6, -1e6])
    assert np.abs(found[:5]).max() < 1.5
    assert np.abs(found[5:]).min() > 1e5
    assert np.abs(one(window_z_scores, [*calm, 1e6, -1e6, 1e6, -1e6])).max() < 2


@OWN
def test_the_floor_holds_for_each_channel(normalise):
    windows = np.array([[[1.0, 1.0], [1.0, 1.0], [3.0, 3.0]]])
    small, large = normalise(windows, np.array([0.1, 100.0]))[0].T
    assert large[2] - large[0] == pytest.approx(2 / 100, rel=1e-6)
    assert small[2] - small[0] > 2


def test_the_least_std_is_the_greatest_of_what_was_asked_for_and_the_rounding():
    found = least_std(np.array([0.0, 0.5, 1e-12, 0.5]), centre=np.array([0.0, 1.0, 0.0, -1e10]))
    assert found.tolist() == [1e-9, 0.5, 1e-12, 10.0]
    assert least_std(np.array([1e-300]), centre=np.array([0.0]), scale=2.0**-600).tolist() == [2.0**-1022]


@OWN
def test_no_windows_have_no_z_scores(normalise):
    assert normalise(np.empty((0, 4, 2)), np.zeros(2)).shape == (0, 4, 2)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("training", lambda w, spec: z_scores(w, spec.mean, spec.std)),
        ("running", lambda w, spec: z_scores(w, spec.mean, spec.std)),
        ("window", lambda w, _spec: window_z_scores(w, np.zeros(2))),
        ("robust", lambda w, _spec: robust_z_scores(w, np.zeros(2))),
    ],
)
def test_a_model_s_mode_decides(mode, expected):
    spec = replace(make_spec(2, 5), normalise=mode)
    windows = np.random.default_rng(1).normal(3, 2, (4, 5, 2))
    assert normalised(windows, spec).tobytes() == expected(windows, spec).tobytes()
