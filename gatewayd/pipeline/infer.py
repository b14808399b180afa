"""Windows → model output, through the one-method ``Model`` protocol.

All windows of a batch go through one call. Where the runtime fails on it, each window is tried alone, so that
a failure costs the window that causes it and no other.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gatewayd.domain.arrays import Bool, Float32, Int64, Raw
from gatewayd.domain.model import TensorSpec
from gatewayd.errors import RejectedInputError
from gatewayd.pipeline.quantise import dequantise, quantise


class Model(Protocol):
    """What a runtime must do for the line."""

    @property
    def input(self) -> TensorSpec:
        """The input tensor."""

    @property
    def output(self) -> TensorSpec:
        """The output tensor."""

    @property
    def runtime(self) -> str:
        """Name, version and machine: which kernels gave a result."""

    def invoke(self, inputs: Raw) -> Raw:
        """Run the model on windows.

        Args:
            inputs: Shape ``(n, *input.shape)``, n >= 1, of the input's dtype.

        Returns:
            Shape ``(n, *output.shape)``: the caller's own, no later call changes it. A window's output
            depends on that window alone.

        Raises:
            RejectedInputError: ``model_failed``: the runtime gave up.
        """


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inference:
    """What a model made of windows.

    Attributes:
        outputs: Shape ``(n, *output.shape)``, real values; NaN throughout where the model failed. A model may
            give NaN by itself, too.
        is_failed: Shape ``(n,)``, where the runtime gave up.
        saturated: Shape ``(channels,)``, input values outside the model's range.
    """

    outputs: Float32
    is_failed: Bool
    saturated: Int64


def infer(model: Model, windows: Float32) -> Inference:
    """Run a model on windows.

    Args:
        model: The model; its input has as many values as a window.
        windows: Shape ``(n, length, channels)``, z-scores without NaN; n may be 0.

    Returns:
        The outputs in the windows' order.

    Raises:
        ValueError: A window holds a NaN.
    """
    n = len(windows)
    raw, saturated = quantise(windows, model.input)
    inputs = raw.reshape(n, *model.input.shape)
    is_failed = np.zeros(n, np.bool_)
    if n == 0:
        outputs = np.empty((0, *model.output.shape), np.float32)
    else:
        try:
            outputs = dequantise(model.invoke(inputs), model.output)
        except RejectedInputError:
            outputs, is_failed = _one_by_one(model, inputs)
    for column in (outputs, is_failed, saturated):
        column.setflags(write=False)
    return Inference(outputs=outputs, is_failed=is_failed, saturated=saturated)


def _one_by_one(model: Model, inputs: Raw) -> tuple[Float32, Bool]:
    outputs = np.full((len(inputs), *model.output.shape), np.nan, np.float32)
    is_failed = np.zeros(len(inputs), np.bool_)
    for index in range(len(inputs)):
        try:
            outputs[index] = dequantise(model.invoke(inputs[index : index + 1]), model.output)[0]
        except RejectedInputError:
            is_failed[index] = True
    return outputs, is_failed
