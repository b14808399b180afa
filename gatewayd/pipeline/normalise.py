"""Values → z-scores: by the training data's statistics, or by each window's own.

Here is what needs no memory; ``baseline`` keeps a running estimate of each device.
"""

import numpy as np

from gatewayd.domain.arrays import Float32, Float64
from gatewayd.domain.model import ModelSpec

# Beyond this a z-score says no more than "impossibly far", and its square still fits a float32.
LIMIT = np.float32(1e15)

# The median absolute deviation of normally distributed values, times this, is their standard deviation: 1 / Φ⁻¹(3/4).
SIGMAS_PER_MAD = 1.482602218505602

# What remains of a constant is the rounding of its mean, some 1e-16 of its size, and is no spread.
_ROUNDING = 1e-9
_LEAST = 1e-9  # in the channel's unit, where no floor is given: a constant 0 has no size either
_TINY = np.finfo(np.float64).tiny  # a product that falls below is no divisor any more

# Squares of greater values overflow. Windows that hold one are shrunk by a power of two, which rounds nothing.
_HUGE = 1e140
_SHRUNK = 2.0**-600


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
    return limited(distances)


def normalised(windows: Float64, spec: ModelSpec, floor: Float64 | float = 0.0) -> Float32:
    """Normalise windows as their model was trained, where no device's history is needed for it.

    Args:
        windows: Shape ``(k, length, channels)``, in each channel's unit; finite.
        spec: The model's numbers. ``running`` is measured by the training's statistics here: what is usual for a device
            is known to ``Baseline`` alone.
        floor: Shape ``(channels,)``, or one for all; see ``least_std``.
    """
    least = np.broadcast_to(np.asarray(floor, dtype=np.float64), spec.mean.shape)
    if spec.normalise == "window":
        return window_z_scores(windows, least)
    if spec.normalise == "robust":
        return robust_z_scores(windows, least)
    return z_scores(windows, spec.mean, spec.std)


def window_z_scores(windows: Float64, floor: Float64) -> Float32:
    """Express values as distances from their window's mean, in the window's population standard deviations.

    Args:
        windows: Shape ``(k, length, channels)``, length at least 1, in each channel's unit; finite.
        floor: Shape ``(channels,)``, least standard deviation, in the channel's unit; see ``least_std``.

    Returns:
        Same shape, dimensionless, finite; exactly 0 for a constant. The same bits for a window whatever others it
        came with.

    Reference:
        Two passes, shifted by a value of the data: Chan, Golub, LeVeque, Algorithms for Computing the Sample
        Variance, The American Statistician 37 (1983). docs/numerics.md, "The window's own statistics".
    """
    values, scale = _in_reach(windows)
    length = windows.shape[1]
    distances = values - values[:, :1]
    mean = _sums(distances) / length
    distances = distances - mean[:, None]
    std = np.sqrt(_sums(np.square(distances)) / length)
    return _divided(distances, std, least_std(floor, scale=scale, centre=mean + values[:, 0]))


def robust_z_scores(windows: Float64, floor: Float64) -> Float32:
    """Express values as distances from their window's median, in scaled median absolute deviations.

    Up to half of a window may be wild and leaves the other half's z-scores as they are.

    Args:
        windows: Shape ``(k, length, channels)``, length at least 1, in each channel's unit; finite.
        floor: Shape ``(channels,)``, least spread, in the channel's unit; see ``least_std``. It matters more than
            elsewhere: the spread is 0 once more than half of the values are equal.

    Returns:
        Same shape, dimensionless, finite.

    Reference:
        Leys et al., Detecting outliers, Journal of Experimental Social Psychology 49 (2013).
        docs/numerics.md, "Median and MAD".
    """
    values, scale = _in_reach(windows)
    median = _medians(values)
    distances = values - median[:, None]
    spread = SIGMAS_PER_MAD * _medians(np.abs(distances))
    return _divided(distances, spread, least_std(floor, scale=scale, centre=median))


def least_std(floor: Float64, *, centre: Float64, scale: Float64 | float = 1.0) -> Float64:
    """Return the standard deviations below which none is believed.

    Args:
        floor: Shape ``(channels,)``, what was configured, in the channel's unit; not negative, 0 for 1e-9.
        centre: Shape ``(..., channels)``, mean or median. A billionth of it is always kept, so that the rounding of a
            constant is no distance.
        scale: What ``centre`` was multiplied by.
    """
    least: Float64 = np.maximum(np.where(floor > 0, floor, _LEAST) * scale, _ROUNDING * np.abs(centre))
    return np.maximum(least, _TINY)


def limited(distances: Float64) -> Float32:
    """Return z-scores within ±``LIMIT``, rounded once."""
    if len(distances) and float(np.abs(distances).max(initial=0.0)) > float(LIMIT):
        distances = np.clip(distances, -LIMIT, LIMIT)
    return distances.astype(np.float32)


def _in_reach(windows: Float64) -> tuple[Float64, Float64]:
    """Return windows whose squares don't overflow, and by what each channel of each was multiplied."""
    scale = np.where(np.abs(windows).max(axis=1, initial=0.0) > _HUGE, _SHRUNK, 1.0)
    return windows * scale[:, None], scale


def _sums(values: Float64) -> Float64:
    """Return sums over each window, sample by sample.

    numpy's own sum chooses its order by shape and memory layout; every partial sum of ``accumulate`` is a result, so
    that it has but one order.
    """
    sums: Float64 = np.add.accumulate(values, axis=1)[:, -1]
    return sums


def _medians(values: Float64) -> Float64:
    """Return medians over each window; halves are added, not halved sums, so that two equal values give themselves."""
    ranked = np.sort(values, axis=1)
    length = values.shape[1]
    medians: Float64 = (ranked[:, (length - 1) // 2] + ranked[:, length // 2]) / 2
    return medians


def _divided(distances: Float64, spread: Float64, least: Float64) -> Float32:
    with np.errstate(over="ignore"):  # what overflows is limited
        return limited(distances / np.maximum(spread, least)[:, None])
