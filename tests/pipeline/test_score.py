"""Scores: by independent formulas, and the same bits whatever else is in the batch."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gatewayd.pipeline.score import score
from tests.support.models import make_spec

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 6), st.integers(1, 5))
PAIRS = SHAPES.flatmap(
    lambda shape: st.tuples(
        *[arrays(np.float32, shape, elements=st.floats(-100, 100, width=32)) for _ in range(2)]
    )
)


def spec(windows, error="mse"):
    return replace(
        make_spec(windows.shape[2], windows.shape[1]), task="reconstruction", error=error, threshold=1.0
    )


@pytest.mark.parametrize("error", ["mse", "mae"])
@given(pair=PAIRS)
def test_the_error_is_the_mean_over_samples_and_channels(pair, error):
    outputs, windows = pair
    scores = score(outputs, windows, spec(windows, error))
    for row in range(len(windows)):
        pairs = zip(outputs[row].ravel().tolist(), windows[row].ravel().tolist(), strict=True)
        terms = [(a - b) ** 2 if error == "mse" else abs(a - b) for a, b in pairs]
        assert math.isclose(scores.score[row], math.fsum(terms) / len(terms), rel_tol=1e-12, abs_tol=1e-300)


@given(pair=PAIRS)
def test_contributions_add_up_to_one_or_are_zero(pair):
    outputs, windows = pair
    scores = score(outputs, windows, spec(windows))
    for total, value in zip(scores.contributions.sum(axis=1), scores.score, strict=True):
        assert math.isclose(total, 1.0, rel_tol=1e-9) if value > 0 else total == 0
    assert (scores.contributions >= 0).all()


@given(pair=PAIRS)
def test_a_window_alone_gets_the_same_bits_as_among_others(pair):
    outputs, windows = pair
    together = score(outputs, windows, spec(windows))
    for row in range(len(windows)):
        alone = score(outputs[row : row + 1], windows[row : row + 1], spec(windows))
        assert alone.score.tobytes() == together.score[row : row + 1].tobytes()
        assert alone.contributions.tobytes() == together.contributions[row : row + 1].tobytes()


@given(pair=PAIRS, cuts=st.lists(st.integers(0, 9), max_size=4), error=st.sampled_from(["mse", "mae"]))
def test_how_windows_are_batched_changes_no_bit(pair, cuts, error):
    outputs, windows = pair
    whole = score(outputs, windows, spec(windows, error))
    bounds = [0, *sorted(min(cut, len(windows)) for cut in cuts), len(windows)]
    parts = [
        score(outputs[begin:end], windows[begin:end], spec(windows, error)) for begin, end in pairwise(bounds)
    ]
    assert b"".join(part.score.tobytes() for part in parts) == whole.score.tobytes()
    assert b"".join(part.contributions.tobytes() for part in parts) == whole.contributions.tobytes()


@given(pair=PAIRS)
def test_a_contribution_is_the_channel_s_part_of_the_error(pair):
    outputs, windows = pair
    scores = score(outputs, windows, spec(windows))
    difference = (outputs.astype(float) - windows).tolist()
    for row, samples in enumerate(difference):
        parts = [math.fsum(sample[channel] ** 2 for sample in samples) for channel in range(windows.shape[2])]
        if math.fsum(parts) > 0:
            expected = [part / math.fsum(parts) for part in parts]
            assert np.allclose(scores.contributions[row], expected, rtol=1e-9, atol=1e-12)


def test_a_flat_output_is_laid_out_as_its_window():
    """Row by row, all channels of a sample together."""
    windows = np.zeros((1, 2, 3), np.float32)
    scores = score(np.array([[0, 0, 3, 0, 0, 3]], np.float32), windows, spec(windows))
    assert scores.score.tolist() == [3.0]
    assert scores.contributions.tolist() == [[0.0, 0.0, 1.0]]


def classifier(activation, labels=("calm", "wear", "broken"), alert_on=("wear", "broken")):
    return make_spec(2, task="classification", labels=labels, alert_on=alert_on, activation=activation)


@given(logits=arrays(np.float32, (4, 3), elements=st.floats(-300, 300, width=32)))
def test_softmax_gives_probabilities_and_the_score_adds_up_the_labels_to_alert_on(logits):
    scores = score(logits, np.zeros((4, 1, 2), np.float32), classifier("softmax"))
    assert np.allclose(scores.probabilities.sum(axis=1), 1.0)
    assert np.allclose(scores.score, scores.probabilities[:, 1] + scores.probabilities[:, 2])
    for row in range(4):
        alone = score(logits[row : row + 1], np.zeros((1, 1, 2), np.float32), classifier("softmax"))
        assert alone.score.tobytes() == scores.score[row : row + 1].tobytes()
    powers = [math.exp(value - max(logits[0].tolist())) for value in logits[0].tolist()]
    assert math.isclose(scores.probabilities[0, 0], powers[0] / math.fsum(powers), rel_tol=1e-12)


LOGITS = st.tuples(st.integers(1, 7), st.integers(2, 6)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.floats(-200, 200, width=32))
)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
@given(logits=LOGITS, data=st.data())
def test_probabilities_equal_independent_formulas_and_batches_change_no_bit(activation, logits, data):
    labels = tuple(f"l{index}" for index in range(logits.shape[1]))
    alert_on = data.draw(st.lists(st.sampled_from(labels), min_size=1, unique=True))
    spec = classifier(activation, labels, tuple(alert_on))
    scores = score(logits, np.zeros((len(logits), 1, 2), np.float32), spec)
    for row, values in enumerate(logits.astype(float).tolist()):
        if activation == "softmax":
            expected = [1 / math.fsum(math.exp(min(b - a, 700)) for b in values) for a in values]
        elif activation == "sigmoid":
            expected = [(1 + math.tanh(a / 2)) / 2 for a in values]
        else:
            expected = values
        assert np.allclose(scores.probabilities[row], expected, rtol=1e-9, atol=1e-12)
        total = math.fsum(scores.probabilities[row, labels.index(label)] for label in alert_on)
        assert math.isclose(scores.score[row], total, rel_tol=1e-12, abs_tol=1e-12)
        alone = score(logits[row : row + 1], np.zeros((1, 1, 2), np.float32), spec)
        assert alone.score.tobytes() == scores.score[row : row + 1].tobytes()
        assert alone.probabilities.tobytes() == scores.probabilities[row : row + 1].tobytes()


@pytest.mark.parametrize("activation", ["softmax", "none"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_class_that_is_not_finite_spoils_its_own_window_only(activation, value):
    logits = np.array([[1.0, value, 0.0], [0.0, 0.0, 0.0]], np.float32)
    scores = score(logits, np.zeros((2, 1, 2), np.float32), classifier(activation))
    assert not math.isfinite(scores.score[0])
    assert math.isfinite(scores.score[1])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_stays_so(value):
    scores = score(np.array([[value], [1.0]], np.float32), np.zeros((2, 1, 4), np.float32), make_spec())
    assert not math.isfinite(scores.score[0])
    assert scores.score[1] == 1.0


def test_one_output_is_the_probability_of_the_second_label():
    spec = classifier("sigmoid", labels=("vacant", "occupied"), alert_on=("occupied",))
    scores = score(np.array([[0.0], [1000.0], [-1000.0]], np.float32), np.zeros((3, 1, 2), np.float32), spec)
    assert scores.probabilities.tolist() == [[0.5, 0.5], [0.0, 1.0], [1.0, 0.0]]
    assert scores.score.tolist() == [0.5, 1.0, 0.0]


def test_a_score_model_says_it_itself():
    scores = score(np.array([[3.5], [-1.0]], np.float32), np.zeros((2, 1, 4), np.float32), make_spec())
    assert scores.score.tolist() == [3.5, -1.0]
    assert scores.contributions is None
    assert scores.probabilities is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_stays_visible(value):
    """The flow finds it and publishes nothing."""
    windows = np.zeros((2, 1, 2), np.float32)
    outputs = np.array([[[value, 0.0]], [[1.0, 0.0]]], np.float32)
    scores = score(outputs, windows, spec(windows))
    assert not math.isfinite(scores.score[0])
    assert scores.score[1] == 0.5
