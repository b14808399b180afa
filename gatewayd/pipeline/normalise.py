"""Values → z-scores."""

import numpy as np

from gatewayd.domain.arrays import Float32, Float64

# Beyond this a z-score says no more than "impossibly far", and its square still fits a float32.
LIMIT = np.float32(1e15)


def z_scores(values: Float64, mean: Float64, std: Float64) -> Float32:
    """Express values as distances from the training mean, in training standard deviations.

    Args:
        values: Shape ``(..., channels)``, in each channel's unit; finite.
        mean: Shape ``(channels,)``, training mean.
        std: Shape ``(channels,)``, training standard deviation; positive.

    Returns:
        Same shape, dimensionless, finite. The difference is taken in float64, since a large offset (pressure in Pa,
        a counter) would cancel in float32.

    Reference:
        docs/numerics.md, "z-score".
    """
    with np.errstate(over="ignore"):  # what overflows is limited below
        distances = (values - mean) / std
    if len(distances) and float(np.abs(distances).max(initial=0.0)) > float(LIMIT):
        distances = np.clip(distances, -LIMIT, LIMIT)
    return distances.astype(np.float32)
