"""Golden vectors: held within 2 steps or within 1e-5, and a tampered one always fails."""

import re
from dataclasses import replace

import numpy as np
import pytest

from gatewayd.errors import ModelError, RejectedInputError
from gatewayd.model.interpreter import Interpreter
from gatewayd.model.verify import check_golden, compare_golden
from tests.support.models import NAMES, golden_bundle


class Shifted:
    """A runtime whose outputs differ from those of the golden vectors by a given amount in one place."""

    def __init__(self, bundle, difference, runtime):
        self.input, self.output, self.runtime = bundle.input, bundle.output, runtime
        outputs = bundle.golden.outputs.copy()
        outputs.reshape(-1)[1] += outputs.dtype.type(difference)
        self._outputs = outputs

    def invoke(self, inputs):
        assert inputs.dtype == self.input.dtype
        assert inputs.shape[1:] == self.input.shape
        return self._outputs


@pytest.mark.parametrize("name", NAMES)
def test_the_installed_runtime_meets_the_committed_vectors(name):
    bundle = golden_bundle(name)
    model = Interpreter(bundle.model)
    result = check_golden(bundle, model)
    assert result.is_met
    assert result.windows == 3
    assert result.outputs == bundle.golden.outputs.size
    assert result.runtime == model.runtime


@pytest.mark.parametrize("difference", [1, 2, -2])
def test_another_runtime_may_differ_by_two_steps(difference):
    bundle = golden_bundle("classifier_int8")
    result = check_golden(bundle, Shifted(bundle, difference, "other 1"))
    assert (result.greatest, result.differing, result.allowed) == (abs(difference), 1, 2)


@pytest.mark.parametrize("difference", [3, -3])
def test_three_steps_are_too_many(difference):
    bundle = golden_bundle("classifier_int8")
    with pytest.raises(
        ModelError, match=r"other 1 must give the golden outputs within 2 steps .* differs by 3"
    ):
        check_golden(bundle, Shifted(bundle, difference, "other 1"))


@pytest.mark.parametrize(
    ("count", "difference", "is_met"), [(3, 8, True), (3, -8, True), (4, 3, False), (1, 9, False)]
)
def test_of_a_thousand_outputs_one_may_differ_by_more(count, difference, is_met):
    bundle = golden_bundle("camera_int8")
    assert bundle.golden.outputs.size == 3456
    model = Shifted(bundle, 0, "other 1")
    model._outputs = model._outputs.copy()
    places = np.flatnonzero(np.abs(model._outputs.reshape(-1).astype(int)) < 100)[:count]
    model._outputs.reshape(-1)[places] += np.int8(difference)
    result = compare_golden(bundle, model)
    assert (result.beyond, result.greatest, result.is_met) == (count, abs(difference), is_met)


def test_the_same_runtime_may_differ_by_two_steps_on_another_processor_but_not_by_three():
    bundle = golden_bundle("classifier_int8")
    assert check_golden(bundle, Shifted(bundle, 2, bundle.golden.runtime)).differing == 1
    with pytest.raises(ModelError, match=r"within 2 steps \(made with .*\), but differs by 3"):
        check_golden(bundle, Shifted(bundle, 3, bundle.golden.runtime))


@pytest.mark.parametrize(("difference", "is_met"), [(9e-6, True), (-9e-6, True), (1.2e-5, False)])
def test_float32_may_differ_by_its_last_digits_also_on_the_same_runtime(difference, is_met):
    bundle = golden_bundle("gru_float32")
    result = compare_golden(bundle, Shifted(bundle, difference, bundle.golden.runtime))
    assert result.is_met == is_met


def test_float32_differences_are_relative_to_the_largest_output_of_the_window():
    bundle = golden_bundle("gru_float32")
    large = replace(bundle, golden=replace(bundle.golden, outputs=np.float32([[1], [1000], [1]])))
    assert compare_golden(large, Shifted(large, 0.009, "x")).is_met
    assert not compare_golden(large, Shifted(large, 0.012, "x")).is_met


@pytest.mark.parametrize("name", NAMES)
def test_a_tampered_vector_fails_on_the_real_runtime(name):
    bundle = golden_bundle(name)
    outputs = bundle.golden.outputs.copy()
    place = outputs.reshape(-1)
    place[2] = place[2] + 9 if place[2] < 0 else place[2] - 9
    tampered = replace(bundle, golden=replace(bundle.golden, outputs=outputs))
    with pytest.raises(ModelError, match="must give the golden outputs"):
        check_golden(tampered, Interpreter(bundle.model))


def test_other_statistics_fail_too():
    """Golden windows are in channel units: exchanged means show up as wrong outputs."""
    bundle = golden_bundle("dense_int8")
    wrong = replace(bundle, spec=replace(bundle.spec, mean=bundle.spec.mean + 0.5))
    with pytest.raises(ModelError, match="must give the golden outputs"):
        check_golden(wrong, Interpreter(bundle.model))


def test_a_model_that_gives_nan_is_refused():
    bundle = golden_bundle("gru_float32")
    with pytest.raises(ModelError, match="not finite"):
        compare_golden(bundle, Shifted(bundle, np.nan, "other 1"))


def test_a_model_that_fails_is_refused():
    bundle = golden_bundle("gru_float32")
    model = Shifted(bundle, 0, "other 1")

    def fail(inputs):
        raise RejectedInputError("model_failed", "no")

    model.invoke = fail
    with pytest.raises(ModelError, match=re.escape(f"{bundle.folder}: fails on its golden vectors")):
        compare_golden(bundle, model)
