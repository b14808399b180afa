"""Scores of recorded windows, from the daemon's own runtime and steps.

Never in one process with TensorFlow: tflite-runtime and TensorFlow clash there. ``fit.py`` has a process of its own.
"""

from dataclasses import dataclass

import numpy as np

from gatewayd.domain.arrays import Float32, Float64, Int64
from gatewayd.domain.model import ModelSpec
from gatewayd.errors import ModelError
from gatewayd.pipeline.infer import Model, infer

_CHUNK = 4096  # windows at a time: bounds memory, changes no result


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """What a model makes of windows.

    Attributes:
        scores: Shape ``(k,)``: the reconstruction error, or the probability of ``spec.alert_on``.
        label: Shape ``(k,)``, the most probable class; 0 throughout but for classification.
        saturated: Shape ``(channels,)``, input values outside the model's range.
    """

    scores: Float64
    label: Int64
    saturated: Int64


def z_scores(windows: Float64, spec: ModelSpec) -> Float32:
    """Express windows of shape ``(k, length, channels)`` in training standard deviations."""
    return ((windows - spec.mean) / spec.std).astype(np.float32)


def score_windows(model: Model, spec: ModelSpec, windows: Float64) -> Scored:
    """Score windows of shape ``(k, length, channels)``, in each channel's unit.

    Raises:
        ModelError: The runtime gave up on a window.
    """
    scores, labels = np.empty(len(windows)), np.zeros(len(windows), np.int64)
    saturated = np.zeros(len(spec.channels), np.int64)
    for start in range(0, len(windows), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        z = z_scores(windows[chunk], spec)
        inference = infer(model, z)
        if inference.is_failed.any() or not np.isfinite(inference.outputs).all():
            raise ModelError(f"{spec.name}: fails on a recorded window")
        saturated += inference.saturated
        if spec.task == "classification":
            probabilities = softmax(inference.outputs.astype(np.float64))
            alerting = [spec.labels.index(label) for label in spec.alert_on]
            scores[chunk] = probabilities[:, alerting].sum(axis=1)
            labels[chunk] = probabilities.argmax(axis=1)
        else:
            error = z.astype(np.float64) - inference.outputs.reshape(z.shape)
            measure = np.square(error) if spec.error == "mse" else np.abs(error)
            scores[chunk] = measure.mean(axis=(1, 2))
    return Scored(scores=scores, label=labels, saturated=saturated)


def softmax(logits: Float64) -> Float64:
    """Turn logits of shape ``(k, labels)`` into probabilities; the largest is taken off first, so none overflows."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float64)
