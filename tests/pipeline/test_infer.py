"""Inference through a model that keeps the protocol's promises: order, shapes, failures, saturation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.model import TensorSpec
from gatewayd.pipeline.infer import infer
from tests.support.models import FakeModel

FLAT = TensorSpec(shape=(6,), dtype="float32", scale=0.0, zero_point=0)
SQUARE = TensorSpec(shape=(3, 2), dtype="float32", scale=0.0, zero_point=0)
INT8 = TensorSpec(shape=(3, 2), dtype="int8", scale=0.5, zero_point=0)


def windows(n):
    return np.arange(n * 6, dtype=np.float32).reshape(n, 3, 2)


@given(st.integers(0, 9))
def test_outputs_stand_in_the_windows_order(n):
    result = infer(FakeModel(SQUARE), windows(n))
    assert result.outputs.tolist() == (windows(n) * 2).tolist()
    assert result.is_failed.tolist() == [False] * n
    assert result.outputs.dtype == np.float32


def test_a_flat_input_takes_readings_one_after_the_other():
    result = infer(FakeModel(FLAT), windows(2))
    assert result.outputs.tolist() == (windows(2) * 2).reshape(2, 6).tolist()


def test_all_windows_go_through_one_call():
    model = FakeModel(SQUARE)
    infer(model, windows(7))
    assert model.calls == [7]


def test_no_windows_call_nothing():
    model = FakeModel(SQUARE)
    assert infer(model, windows(0)).outputs.shape == (0, 3, 2)
    assert model.calls == []


def test_quantises_and_dequantises_with_the_tensors_own_numbers():
    result = infer(FakeModel(INT8), np.array([[[1.0, -2.0], [0.25, 0.75], [500.0, 0.0]]], np.float32))
    # raw 2, -4, 0 (tie to even), 2 (tie to even), 127 (saturated), 0; doubled in int8; times 0.5
    assert result.outputs.tolist() == [[[2.0, -4.0], [0.0, 2.0], [-1.0, 0.0]]]
    assert result.saturated.tolist() == [1, 0]


@given(st.integers(1, 8), st.data())
def test_a_failure_costs_the_window_that_causes_it_and_no_other(n, data):
    bad = data.draw(st.sets(st.integers(0, n - 1)))
    batch = windows(n)
    batch[sorted(bad), 1, 1] = -1.0
    result = infer(FakeModel(SQUARE, poison=-1.0), batch)
    assert set(np.flatnonzero(result.is_failed)) == bad
    good = [index for index in range(n) if index not in bad]
    assert result.outputs[good].tolist() == (batch[good] * 2).tolist()
    assert np.isnan(result.outputs[sorted(bad)]).all()


def test_results_are_read_only():
    result = infer(FakeModel(SQUARE), windows(1))
    with pytest.raises(ValueError, match="read-only"):
        result.outputs[0] = 0


def test_a_nan_in_a_window_is_an_error():
    batch = windows(1)
    batch[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        infer(FakeModel(SQUARE), batch)
