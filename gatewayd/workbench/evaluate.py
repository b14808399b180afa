"""Scores of recorded windows, from the daemon's own runtime and steps.

Never in one process with TensorFlow: tflite-runtime and TensorFlow clash there. ``fit.py`` has a process of its own.
"""

from dataclasses import dataclass

import numpy as np

from gatewayd.domain.arrays import Float64, Int64
from gatewayd.domain.model import ModelSpec
from gatewayd.errors import ModelError
from gatewayd.pipeline.infer import Model, infer
from gatewayd.pipeline.normalise import normalised
from gatewayd.pipeline.score import score

# windows at a time: bounds memory, changes no result
_CHUNK = 4096
_CHUNK_BYTES = 32 * 1024 * 1024


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


def score_windows(model: Model, spec: ModelSpec, windows: Float64) -> Scored:
    """Score windows of shape ``(k, length, channels)``, in each channel's unit.

    Raises:
        ModelError: The runtime gave up on a window.
    """
    scores, labels = np.empty(len(windows)), np.zeros(len(windows), np.int64)
    saturated = np.zeros(len(spec.channels), np.int64)
    most = max(1, min(_CHUNK, _CHUNK_BYTES // windows[:1].nbytes)) if len(windows) else 1
    for start in range(0, len(windows), most):
        chunk = slice(start, start + most)
        z = normalised(windows[chunk], spec)
        inference = infer(model, z)
        if inference.is_failed.any() or not np.isfinite(inference.outputs).all():
            raise ModelError(f"{spec.name}: fails on a recorded window")
        saturated += inference.saturated
        found = score(inference.outputs, z, spec)
        scores[chunk] = found.score
        if found.probabilities is not None:
            labels[chunk] = found.probabilities.argmax(axis=1)
    return Scored(scores=scores, label=labels, saturated=saturated)
