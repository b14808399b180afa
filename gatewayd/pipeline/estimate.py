"""Mean and variance that are learnt from values: how they begin, and how they go on.

Nothing here remembers; ``baseline`` does.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gatewayd.domain.arrays import Bool, Float64, Int64
from gatewayd.pipeline.normalise import SIGMAS_PER_MAD, least_std

# The upper quartile of normally distributed values' distances, times this, is their standard deviation: 1 / Φ⁻¹(7/8).
_SIGMAS_PER_QUARTILE = 0.869301
# Of normally distributed values, two in a billion lie further out.
_FARTHEST_SIGMAS = 6.0
# With fewer columns, Python's own numbers are faster than numpy's calls: 3 µs a sample for 16, against 9.
_FEW_COLUMNS = 40


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Estimates:
    """What is usual, for each of ``k`` devices.

    Attributes:
        count: Shape ``(k, channels)``, values that it rests on and that it remembers; 0 while there are too few.
        mean: Shape ``(k, channels)``, in each channel's unit.
        variance: Shape ``(k, channels)``, of the population, in each channel's unit squared.
    """

    count: Int64
    mean: Float64
    variance: Float64


def near_median(values: Sequence[float], *, floor: float) -> list[float]:
    """Return the values that lie within 6 scaled MADs of the median; at least half of them do.

    Args:
        values: In the channel's unit; finite, at least one.
        floor: Least spread, in the channel's unit; see ``normalise.least_std``.

    Reference:
        Hampel, The Influence Curve and its Role in Robust Estimation, JASA 69 (1974). docs/numerics.md, "What is
        usual for the device".
    """
    median = statistics.median(values)
    distances = sorted(abs(value - median) for value in values)
    spread = SIGMAS_PER_MAD * statistics.median(distances)
    if not spread:
        # Most values are equal. Of a coarse sensor's, which knows but a few, more than a quarter usually are not.
        spread = _SIGMAS_PER_QUARTILE * distances[3 * (len(distances) - 1) // 4]
    least = float(least_std(np.array(floor), centre=np.array(median)))
    return [value for value in values if abs(value - median) <= _FARTHEST_SIGMAS * max(spread, least)]


def moments(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and population variance of finite values, at least one; a common offset cancels nothing."""
    first = values[0]
    shift = math.fsum(value - first for value in values) / len(values)
    variance = math.fsum((value - first - shift) ** 2 for value in values) / len(values)
    return first + shift, variance


def forget(estimates: Estimates, values: Float64, is_taught: Bool, *, readings: int) -> Estimates:
    """Go on from estimates with further values: each new one weighs ``1 / count``, but never below ``1 / readings``.

    Up to ``readings`` values, these are the mean and population variance of all; from then on the old is forgotten
    exponentially. Value by value, so the bits depend neither on how the values are cut into calls nor on neighbours.

    Args:
        estimates: With counts of at least 1 wherever something is taught.
        values: Shape ``(k, m, channels)``, oldest first, in each channel's unit; below 1e140 in size where taught.
        is_taught: Shape ``(k, m, channels)``, which of them to go on with.
        readings: How far back is remembered, at least 1.

    Reference:
        Welford, Note on a Method for Calculating Corrected Sums of Squares and Products, Technometrics 4 (1962), with
        weights: West, Updating Mean and Variance Estimates, Communications of the ACM 22 (1979).
    """
    if estimates.count.size < _FEW_COLUMNS:
        return _forget_by_column(estimates, values, is_taught, readings)
    count, mean, variance = estimates.count, estimates.mean, estimates.variance
    for sample in np.flatnonzero(is_taught.any(axis=(0, 2))).tolist():
        is_new = is_taught[:, sample]
        count = np.where(is_new, np.minimum(count + 1, readings), count)
        weight = np.where(is_new, 1.0 / np.maximum(count, 1), 0.0)
        distance = np.where(is_new, values[:, sample] - mean, 0.0)
        mean = np.where(is_new, mean + weight * distance, mean)
        variance = (1.0 - weight) * (variance + weight * distance * distance)
    return Estimates(count=count, mean=mean, variance=variance)


def _forget_by_column(estimates: Estimates, values: Float64, is_taught: Bool, readings: int) -> Estimates:
    """Do the same operations in the same order, one device and channel after the other."""
    columns = estimates.count.copy(), estimates.mean.copy(), estimates.variance.copy()
    for row, channel in np.argwhere(is_taught.any(axis=1)).tolist():
        count, mean, variance = (column[row, channel].item() for column in columns)
        for value in values[row, is_taught[row, :, channel], channel].tolist():
            count = min(count + 1, readings)
            weight = 1.0 / count
            distance = value - mean
            mean += weight * distance
            variance = (1.0 - weight) * (variance + weight * distance * distance)
        for column, value in zip(columns, (count, mean, variance), strict=True):
            column[row, channel] = value
    return Estimates(count=columns[0], mean=columns[1], variance=columns[2])
