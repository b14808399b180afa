"""Recorded windows are scored by the daemon's own steps."""

import numpy as np
import pytest

from gatewayd.domain.model import ChannelSpec, ModelSpec, TensorSpec
from gatewayd.errors import ModelError, RejectedInputError
from gatewayd.workbench.evaluate import score_windows


class Answering:
    """A float32 model that gives what a function makes of its inputs."""

    runtime = "fake"

    def __init__(self, answer, outputs):
        self.input = TensorSpec(shape=(6,), dtype="float32", scale=0.0, zero_point=0)
        self.output = TensorSpec(shape=(outputs,), dtype="float32", scale=0.0, zero_point=0)
        self._answer = answer

    def invoke(self, inputs):
        return self._answer(inputs).astype(np.float32)


def spec(**changes):
    values = {
        "name": "m",
        "version": "1",
        "task": "reconstruction",
        "channels": (ChannelSpec(name="a", unit=""), ChannelSpec(name="b", unit="")),
        "length": 3,
        "hop": 1,
        "interval_s": None,
        "mean": np.array([1.0, 2.0]),
        "std": np.array([2.0, 4.0]),
        "threshold": 1.0,
    }
    return ModelSpec(**{**values, **changes})


@pytest.mark.parametrize(("error", "expected"), [("mse", 2.5), ("mae", 1.5)])
def test_a_reconstruction_is_scored_in_z_scores(error, expected):
    """A model that always answers the mean: channel a is off by 1 std, channel b by 2."""
    windows = np.tile([3.0, 10.0], (5, 3, 1))
    scored = score_windows(Answering(np.zeros_like, 6), spec(error=error), windows)
    assert scored.scores.tolist() == [expected] * 5
    assert scored.label.tolist() == [0] * 5


def test_a_classifier_gives_probability_and_label():
    numbers = {
        "task": "classification",
        "labels": ("x", "y", "z"),
        "alert_on": ("y", "z"),
        "activation": "softmax",
    }
    model = Answering(lambda inputs: np.tile(np.log([0.5, 0.2, 0.3]), (len(inputs), 1)), 3)
    scored = score_windows(model, spec(**numbers), np.zeros((2, 3, 2)))
    assert scored.scores == pytest.approx([0.5, 0.5], abs=1e-6)  # float32 logits
    assert scored.label.tolist() == [0, 0]


def test_many_windows_are_scored_as_one_by_one():
    windows = np.random.default_rng(1).normal(size=(5000, 3, 2))
    model = Answering(lambda inputs: inputs * np.float32(0.5), 6)
    together = score_windows(model, spec(), windows).scores
    alone = [score_windows(model, spec(), windows[i : i + 1]).scores[0] for i in (0, 4095, 4096, 4999)]
    assert together[[0, 4095, 4096, 4999]].tolist() == alone


def test_no_windows_give_no_scores():
    assert score_windows(Answering(np.zeros_like, 6), spec(), np.zeros((0, 3, 2))).scores.shape == (0,)


def failing(_inputs):
    raise RejectedInputError("model_failed")


@pytest.mark.parametrize("answer", [failing, lambda inputs: np.full(inputs.shape, np.nan)])
def test_a_model_that_fails_on_a_recording_is_an_error(answer):
    with pytest.raises(ModelError, match="m: fails on a recorded window"):
        score_windows(Answering(answer, 6), spec(), np.zeros((2, 3, 2)))


def test_large_windows_are_scored_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr("gatewayd.workbench.evaluate._CHUNK_BYTES", 2 * 3 * 2 * 8)
    sizes = []

    def answer(inputs):
        sizes.append(len(inputs))
        return np.zeros_like(inputs)

    scored = score_windows(Answering(answer, 6), spec(), np.tile([3.0, 10.0], (5, 3, 1)))
    assert scored.scores.tolist() == [2.5] * 5
    assert sizes == [2, 2, 1]
    assert len(score_windows(Answering(answer, 6), spec(), np.zeros((0, 3, 2))).scores) == 0
