"""Real values ↔ what lies in a model's tensor: ``real = scale * (raw - zero_point)``.

Rounds half to even and saturates, never wraps. A saturated value is counted: much of it means that the model
was not calibrated for this sensor. docs/numerics.md, "Quantisation", gives the reasons.
"""

from typing import cast

import numpy as np

from gatewayd.domain.arrays import Float32, Float64, Int64, Raw
from gatewayd.domain.model import DType, TensorSpec

# Least and greatest raw value by dtype
RANGES: dict[DType, tuple[int, int]] = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32_768, 32_767)}


def quantise(values: Float32 | Float64, spec: TensorSpec) -> tuple[Raw, Int64]:
    """Express real values in a tensor's own steps.

    Args:
        values: Shape ``(n, ..., channels)``, as the model saw them in training; infinite ones saturate.
        spec: The tensor; its shape is not looked at.

    Returns:
        The raw values, a new array of the same shape; and shape ``(channels,)``, how many of each channel lay
        more than half a step outside the tensor's range. A float32 tensor takes the values as they are; none
        saturates.

    Raises:
        ValueError: A value is NaN: no raw value says "absent".

    Reference:
        TensorFlow Lite 8-bit quantization specification; docs/numerics.md, "Quantisation".
    """
    channels = values.shape[-1]
    if np.isnan(values).any():
        raise ValueError("a NaN cannot be quantised")
    with np.errstate(over="ignore"):  # what overflows becomes infinite, which saturates
        if spec.dtype == "float32":
            return values.astype(np.float32), np.zeros(channels, np.int64)
        low, high = RANGES[spec.dtype]
        # float64 from here on: a quotient of two float32 can round to a tie that it is not
        steps = np.divide(values, spec.scale, dtype=np.float64)
    np.rint(steps, out=steps)
    steps += spec.zero_point
    is_outside = (steps < low) | (steps > high)
    saturated = is_outside.reshape(-1, channels).sum(axis=0, dtype=np.int64)
    np.clip(steps, low, high, out=steps)
    return cast("Raw", steps.astype(spec.dtype)), saturated


def dequantise(raw: Raw, spec: TensorSpec) -> Float32:
    """Express a tensor's raw values as real ones.

    Args:
        raw: Any shape, of the tensor's dtype.
        spec: The tensor; its shape is not looked at.

    Returns:
        The same shape, a new array. A float32 tensor gives what it holds, NaN included.
    """
    if spec.dtype == "float32":
        return raw.astype(np.float32)
    steps = raw.astype(np.int32) - np.int32(spec.zero_point)
    return steps.astype(np.float32) * np.float32(spec.scale)
