"""Model output → one score per window, and what explains it.

reconstruction: the error between a window and its reconstruction, in z-scores (mean squared or mean absolute), over
all samples and channels; a channel's contribution is its part of that error.
classification: the summed probability of the labels to be alerted on.
score: the model's own number.
deviation: no model; the greatest |z| of the window. A channel's contribution is its part of the channels' greatest.
"""

from dataclasses import dataclass

import numpy as np

from gatewayd.domain.arrays import Float32, Float64
from gatewayd.domain.model import Activation, ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """Scores of windows.

    Attributes:
        score: Shape ``(k,)``; NaN or infinite where the model's output was.
        contributions: Shape ``(k, channels)``, each row adds up to 1 (or is 0 throughout for a perfect
            reconstruction); None where the task has none.
        probabilities: Shape ``(k, labels)``; None but for classification.
    """

    score: Float64
    contributions: Float64 | None = None
    probabilities: Float64 | None = None


def score(outputs: Float32, windows: Float32, spec: ModelSpec) -> Scores:
    """Score windows by a model's outputs.

    Args:
        outputs: Shape ``(k, ...)``, real values.
        windows: Shape ``(k, length, channels)``, the z-scores that went in, unclipped: what saturates the model's
            input counts in full.
        spec: The model's numbers.
    """
    if spec.task == "reconstruction":
        return _reconstruction(outputs, windows, spec)
    if spec.task == "deviation":
        return _deviation(windows)
    flat = outputs.reshape(len(outputs), -1).astype(np.float64)
    if spec.task == "score":
        return Scores(score=_activate(flat, spec.activation)[:, 0])
    probabilities = _activate(flat, spec.activation)
    if probabilities.shape[1] == 1 and len(spec.labels) == 2:  # noqa: PLR2004  # one output: P(second label)
        probabilities = np.concatenate([1.0 - probabilities, probabilities], axis=1)
    chosen = [spec.labels.index(label) for label in spec.alert_on]
    total = np.zeros(len(flat))
    for column in chosen:  # by hand: numpy's sum may add in another order for another batch size
        total += probabilities[:, column]
    return Scores(score=total, probabilities=probabilities)


def _deviation(windows: Float32) -> Scores:
    greatest = np.abs(windows).max(axis=1, initial=0.0).astype(np.float64)
    total = np.zeros(len(windows))
    for channel in range(windows.shape[2]):
        total += greatest[:, channel]
    with np.errstate(invalid="ignore", divide="ignore"):
        contributions = np.where(total[:, None] > 0, greatest / total[:, None], 0.0)
    return Scores(score=greatest.max(axis=1, initial=0.0), contributions=contributions)


def _reconstruction(outputs: Float32, windows: Float32, spec: ModelSpec) -> Scores:
    difference = outputs.reshape(windows.shape).astype(np.float64) - windows
    error = np.square(difference) if spec.error == "mse" else np.abs(difference)
    # Sample by sample: every partial sum of ``accumulate`` is a result, so its order depends on no neighbour.
    per_channel = np.add.accumulate(error, axis=1)[:, -1]
    total = np.zeros(len(windows))
    for channel in range(windows.shape[2]):
        total += per_channel[:, channel]
    with np.errstate(invalid="ignore", divide="ignore"):
        contributions = np.where(total[:, None] > 0, per_channel / total[:, None], 0.0)
    return Scores(score=total / (windows.shape[1] * windows.shape[2]), contributions=contributions)


def _activate(values: Float64, activation: Activation) -> Float64:
    with np.errstate(over="ignore", invalid="ignore"):
        if activation == "sigmoid":
            probabilities: Float64 = 1.0 / (1.0 + np.exp(-values))
            return probabilities
        if activation == "softmax":
            powers: Float64 = np.exp(values - values.max(axis=1, keepdims=True))
            total = np.zeros(len(values))
            for column in range(values.shape[1]):
                total += powers[:, column]
            shares: Float64 = powers / total[:, None]
            return shares
    return values
