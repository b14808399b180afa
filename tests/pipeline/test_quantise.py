"""Quantisation: its properties, the numbers of cases 17 and 18, and a second implementation in exact fractions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gatewayd.domain.model import TensorSpec
from gatewayd.pipeline.quantise import RANGES, dequantise, quantise


def spec(dtype, scale=0.0, zero_point=0):
    return TensorSpec(shape=(1,), dtype=dtype, scale=scale, zero_point=zero_point)


@st.composite
def specs(draw):
    dtype = draw(st.sampled_from(sorted(RANGES)))
    scale = draw(st.floats(2.0**-20, 1024.0, width=32))
    return spec(dtype, scale, draw(st.integers(*RANGES[dtype])))


def reals(shape=(3, 2)):
    return hnp.arrays(np.float64, shape, elements=st.floats(allow_nan=False))


@given(specs(), st.data())
def test_there_and_back_stays_within_half_a_step_inside_the_range(tensor, data):
    """|dequantise(quantise(x)) - x| <= scale / 2, plus what float32 cannot hold of the result."""
    low, high = RANGES[tensor.dtype]
    least, greatest = (tensor.scale * (end - tensor.zero_point) for end in (low, high))
    values = data.draw(hnp.arrays(np.float64, (4, 2), elements=st.floats(least, greatest)))
    raw, saturated = quantise(values, tensor)
    assert saturated.tolist() == [0, 0]
    slack = max(abs(least), abs(greatest)) * 2.0**-22
    assert np.abs(dequantise(raw, tensor) - values).max() <= tensor.scale / 2 + slack


@given(specs(), st.data())
def test_each_raw_value_survives_there_and_back(tensor, data):
    """Raw values are fixed points: nothing is shifted by dequantising and quantising again."""
    raw = data.draw(hnp.arrays(tensor.dtype, (2, 3)))
    again, saturated = quantise(dequantise(raw, tensor), tensor)
    assert again.tolist() == raw.tolist()
    assert saturated.sum() == 0


@given(specs(), reals())
def test_order_is_kept_and_nothing_wraps(tensor, values):
    """A greater value never gets a smaller raw value, whatever its size, infinity included."""
    flat = np.sort(values.reshape(-1))[:, None]
    raw, _ = quantise(flat, tensor)
    assert raw.dtype == tensor.dtype
    assert (np.diff(raw[:, 0].astype(np.int64)) >= 0).all()


@given(specs(), st.floats(-1e6, 1e6))
def test_equals_exact_arithmetic(tensor, value):
    """Half to even in fractions, then clipped; a quotient closer to a tie than float64 can tell is left out."""
    exact = Fraction(value) / Fraction(tensor.scale)
    if (
        abs(abs(exact - int(exact)) - Fraction(1, 2)) < abs(exact) * Fraction(1, 2**50)
        and exact.denominator != 2
    ):
        return
    low, high = RANGES[tensor.dtype]
    step = round(exact) + tensor.zero_point
    raw, saturated = quantise(np.array([[value]]), tensor)
    assert raw.item() == min(max(step, low), high)
    assert saturated.item() == (not low <= step <= high)


@pytest.mark.parametrize(
    ("dtype", "zero_point", "vectors"),
    [
        (
            "int8",
            -10,
            [
                (0.0, -10),
                (1.0, 10),
                (6.85, 127),
                (6.9, 127),
                (100.0, 127),
                (-5.9, -128),
                (-6.0, -128),
                (-100.0, -128),
            ],
        ),
        ("uint8", 118, [(0.0, 118), (1.0, 138), (6.85, 255), (100.0, 255), (-5.9, 0), (-100.0, 0)]),
    ],
)
@pytest.mark.parametrize("width", [np.float32, np.float64])
def test_case_17_values_outside_the_range_saturate(dtype, zero_point, vectors, width):
    values = np.array([[value] for value, _ in vectors], width)
    raw, _ = quantise(values, spec(dtype, float(np.float32(0.05)), zero_point))
    assert raw[:, 0].tolist() == [expected for _, expected in vectors]


def test_case_17_saturated_inputs_are_counted_per_channel():
    values = np.array([[[6.85, 6.9, 0.0], [100.0, -6.0, -5.9]], [[0.0, -np.inf, 1.0], [-100.0, 0.0, 2.0]]])
    _, saturated = quantise(values, spec("int8", float(np.float32(0.05)), -10))
    assert saturated.tolist() == [2, 3, 0]
    assert saturated.dtype == np.int64


def test_case_18_ties_go_to_even():
    values = np.array([[0.15625, 0.21875, -0.15625, -0.21875]])
    raw, _ = quantise(values, spec("int8", 0.0625, -10))
    assert raw.tolist() == [[-8, -6, -12, -14]]


def test_case_18_raw_and_real_values_of_the_formula():
    given_values = np.array([[1.0, -2.0, 0.5, 2.65]], np.float32)
    scale, ten = float(np.float32(0.05)), float(np.float32(0.1))
    assert quantise(given_values, spec("int8", scale, -10))[0].tolist() == [[10, -50, 0, 43]]
    assert quantise(given_values, spec("uint8", scale, 118))[0].tolist() == [[138, 78, 128, 171]]
    assert dequantise(np.array([27, 14], np.int8), spec("int8", ten, 5)) == pytest.approx(
        [2.2, 0.9], abs=1e-6
    )
    assert dequantise(np.array([155, 142], np.uint8), spec("uint8", ten, 133)) == pytest.approx(
        [2.2, 0.9], abs=1e-6
    )


def test_float32_passes_unchanged_and_is_a_copy():
    values = np.array([[1.5, -3e30]], np.float32)
    raw, saturated = quantise(values, spec("float32"))
    assert raw.dtype == np.float32
    assert raw.tolist() == values.tolist()
    assert saturated.tolist() == [0, 0]
    assert not np.shares_memory(raw, values)
    assert not np.shares_memory(dequantise(raw, spec("float32")), raw)


def test_beyond_float32_becomes_infinite_for_a_float32_tensor():
    raw, saturated = quantise(np.array([[1e300, -1e300]]), spec("float32"))
    assert raw.tolist() == [[np.inf, -np.inf]]
    assert saturated.tolist() == [0, 0]


def test_infinity_saturates():
    raw, saturated = quantise(np.array([[np.inf, -np.inf]]), spec("int16", 0.5))
    assert raw.tolist() == [[32_767, -32_768]]
    assert saturated.tolist() == [1, 1]


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_nan_is_an_error(dtype):
    with pytest.raises(ValueError, match="NaN"):
        quantise(np.array([[0.0, np.nan]]), spec(dtype, 0.1))


def test_no_windows_give_no_raw_values():
    raw, saturated = quantise(np.empty((0, 4, 3), np.float32), spec("int8", 0.1))
    assert raw.shape == (0, 4, 3)
    assert saturated.tolist() == [0, 0, 0]
