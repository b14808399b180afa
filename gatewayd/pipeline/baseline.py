"""Windows → z-scores by what is usual for each device, learnt as it runs and not taught by anomalies.

The order of things: windows are scored against the present estimate, the decision says which are anomalous, and the
calm ones teach. So a window's score depends on the decision about the one before it, and windows of one device must be
taken one after the other: ``rounds`` says which windows can be taken together.

An estimate begins with ``warm_up`` values, of which those far from the median are left out, and then forgets
exponentially, with the weight of a new value never below one in ``readings``.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gatewayd.domain.arrays import Bool, Float32, Float64, Int64
from gatewayd.domain.state import State
from gatewayd.domain.window import WindowBatch
from gatewayd.pipeline.groups import by_device, grown
from gatewayd.pipeline.normalise import SIGMAS_PER_MAD, least_std, limited

# Values further from the median than this many scaled MADs don't begin an estimate. Among normally distributed ones it
# would be two in a billion.
_FARTHEST = 6.0
# The upper quartile of normally distributed values' distances, times this, is their standard deviation: 1 / Φ⁻¹(7/8).
_SIGMAS_PER_QUARTILE = 0.869301
_HUGE = 1e140  # greater values are none: their squares overflow


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Estimate:
    """What is usual for a device.

    Attributes:
        count: Shape ``(channels,)``, values that it rests on, at most the baseline's ``readings``; 0 while it warms up.
        mean: Shape ``(channels,)``, in each channel's unit.
        std: Shape ``(channels,)``, population standard deviation without the floor, in each channel's unit.
    """

    count: Int64
    mean: Float64
    std: Float64


class Baseline:
    """A running estimate of mean and standard deviation for each device and channel. Owned by the line.

    Args:
        channels: Columns of a reading.
        readings: How far back the estimate remembers: the newest value weighs at least ``1 / readings``; at least 2.
        warm_up: Values of each channel before there is an estimate, at least 2.
        floor: Shape ``(channels,)``, least standard deviation, in the channel's unit; see ``normalise.least_std``.
        relearn_ns: A device that is anomalous for so long, in event time and without a calm window, is learnt anew;
            None: never.

    Attributes:
        relearned: How often a device was learnt anew.
        missing: Values that could not teach: NaN, infinite or beyond ±1e140.
        left_out: Values of warm-ups that lay too far out to begin an estimate.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        Welford, Note on a Method for Calculating Corrected Sums of Squares and Products, Technometrics 4 (1962);
        Hampel, The Influence Curve and its Role in Robust Estimation, JASA 69 (1974). docs/numerics.md, "What is usual
        for the device".
    """

    def __init__(
        self, *, channels: int, readings: int, warm_up: int, floor: Float64, relearn_ns: int | None
    ) -> None:
        if min(readings, warm_up) < 2:  # noqa: PLR2004  # one value has no spread
            raise ValueError(f"readings and warm_up must be at least 2, not {readings} and {warm_up}")
        if relearn_ns is not None and relearn_ns < 1:
            raise ValueError(f"relearn_ns must be at least 1, not {relearn_ns}")
        self._readings, self._warm_up, self._relearn_ns = readings, warm_up, relearn_ns
        self._floor = floor.copy()
        self._devices = 0
        self._count: Int64 = np.zeros((0, channels), dtype=np.int64)
        self._mean: Float64 = np.zeros((0, channels))
        self._variance: Float64 = np.zeros((0, channels))
        self._waiting: dict[int, list[list[float]]] = {}  # values by device that warms up, and channel
        self._anomalous_since: dict[int, int] = {}  # when the first of its anomalous windows in a row ended
        self.relearned = self.missing = self.left_out = 0

    def z_scores(self, windows: WindowBatch) -> tuple[Float32, Bool]:
        """Express windows as distances from what is usual for their devices.

        Returns:
            Shape ``(k, length, channels)``, dimensionless, finite; an absent value counts as usual. And shape ``(k,)``,
            whether the device's estimate is there; where it is not, z-scores are 0 and mean nothing.
        """
        self._grow(int(windows.device.max(initial=-1)) + 1)
        mean, count = self._mean[windows.device], self._count[windows.device]
        is_ready: Bool = (count > 0).all(axis=1)
        std = np.maximum(np.sqrt(self._variance[windows.device]), least_std(self._floor, centre=mean))
        with np.errstate(over="ignore"):  # what overflows is limited below
            distances = (windows.values - mean[:, None]) / std[:, None]
        distances[~is_ready] = 0.0
        distances[np.isnan(distances)] = 0.0
        return limited(distances), is_ready

    def learn(self, device: int, values: Float64, at: int, *, is_anomalous: bool) -> bool:
        """Be taught by a window that was decided on.

        Args:
            device: Its device.
            values: Shape ``(m, channels)``, its readings that were in no window before; NaN where absent.
            at: When its last reading was taken, ns since the Unix epoch.
            is_anomalous: Whether the decision calls it so: then it teaches nothing, unless that has gone on for so
                long that it is usual by now.

        Returns:
            Whether the device is learnt anew, from these readings on.
        """
        self._grow(device + 1)
        is_new = is_anomalous and self._has_lasted(device, at)
        if is_new:
            self.relearned += 1
            for column in (self._count, self._mean, self._variance):
                column[device] = 0
            self._waiting.pop(device, None)
        if is_new or not is_anomalous:
            self._anomalous_since.pop(device, None)
            for channel in range(values.shape[1]):
                self._teach(device, channel, values[:, channel].tolist())
        return is_new

    def is_low_variance(self, device: int) -> Bool:
        """Tell for each channel, shape ``(channels,)``, whether it varies so little that the floor is in force."""
        estimate = self.estimate(device)
        return (estimate.count > 0) & (estimate.std < least_std(self._floor, centre=estimate.mean))

    def estimate(self, device: int) -> Estimate:
        """Return what is usual for a device."""
        self._grow(device + 1)
        return Estimate(
            count=self._count[device].copy(),
            mean=self._mean[device].copy(),
            std=np.sqrt(self._variance[device]),
        )

    def state(self) -> State:
        """Copy out the estimates, the values of those that warm up, and the counters."""
        used = slice(0, self._devices)
        return {
            "count": self._count[used].copy(),
            "mean": self._mean[used].copy(),
            "variance": self._variance[used].copy(),
            "waiting": {
                str(device): [np.array(column) for column in columns]
                for device, columns in self._waiting.items()
            },
            "anomalous_since": {str(device): since for device, since in self._anomalous_since.items()},
            "relearned": self.relearned,
            "missing": self.missing,
            "left_out": self.left_out,
        }

    def restore(self, state: State) -> None:
        """Go on, new, where another one with as many channels stopped."""
        self._count, self._mean = np.array(state["count"]), np.array(state["mean"])
        self._variance = np.array(state["variance"])
        self._devices = len(self._count)
        waiting, since = state["waiting"], state["anomalous_since"]
        assert isinstance(waiting, Mapping)
        assert isinstance(since, Mapping)
        for device, columns in waiting.items():
            assert isinstance(columns, Sequence)
            self._waiting[int(device)] = [np.array(column).tolist() for column in columns]
        for device, at in since.items():
            assert isinstance(at, int)
            self._anomalous_since[int(device)] = at
        for name in ("relearned", "missing", "left_out"):
            setattr(self, name, state[name])

    def _has_lasted(self, device: int, at: int) -> bool:
        since = self._anomalous_since.setdefault(device, at)
        return self._relearn_ns is not None and at - since >= self._relearn_ns

    def _teach(self, device: int, channel: int, values: Sequence[float]) -> None:
        """Teach one channel, value by value: so how they are cut into windows changes no bit."""
        known = [value for value in values if -_HUGE <= value <= _HUGE]
        self.missing += len(values) - len(known)
        count = int(self._count[device, channel])
        mean, variance = float(self._mean[device, channel]), float(self._variance[device, channel])
        if not count:
            columns = self._waiting.setdefault(device, [[] for _ in self._floor])
            need = max(self._warm_up - len(columns[channel]), 0)
            columns[channel] += known[:need]
            if len(columns[channel]) < self._warm_up:
                return
            kept = _near(columns[channel], float(self._floor[channel]))
            self.left_out += len(columns[channel]) - len(kept)
            count, mean, variance = min(len(kept), self._readings), *_moments(kept)
            known, columns[channel] = known[need:], []
        for value in known:
            count += 1
            weight = 1.0 / min(count, self._readings)
            distance = value - mean
            mean += weight * distance
            variance = (1.0 - weight) * (variance + weight * distance * distance)
        self._count[device, channel] = min(count, self._readings)
        self._mean[device, channel], self._variance[device, channel] = mean, variance
        if self._count[device].all():
            self._waiting.pop(device, None)

    def _grow(self, devices: int) -> None:
        self._devices = max(self._devices, devices)
        have = len(self._count)
        if devices <= have:
            return
        more = grown(have, devices) - have
        self._count = np.concatenate([self._count, np.zeros((more, self._count.shape[1]), dtype=np.int64)])
        self._mean = np.concatenate([self._mean, np.zeros((more, self._mean.shape[1]))])
        self._variance = np.concatenate([self._variance, np.zeros((more, self._variance.shape[1]))])


def rounds(device: Int64) -> list[Int64]:
    """Return rows that can be taken together: each device's first, then each one's second, and so on.

    Args:
        device: Shape ``(k,)``, whose each row is.

    Returns:
        Row indices, rising within each round; all rows, each once.
    """
    groups = by_device(device)
    rows = np.arange(len(device))
    rank = np.empty_like(rows)
    rank[groups.order] = rows - np.maximum.accumulate(np.where(groups.is_first, rows, 0))
    order = np.argsort(rank, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(rank[order])) + 1) if len(device) else []


def _near(values: Sequence[float], floor: float) -> list[float]:
    """Return the values that are near enough to the median to begin an estimate; at least half of them are."""
    median = statistics.median(values)
    distances = sorted(abs(value - median) for value in values)
    spread = SIGMAS_PER_MAD * statistics.median(distances)
    if not spread:
        # Most values are equal. Of a coarse sensor, whose values are few, more than a quarter usually are not.
        spread = _SIGMAS_PER_QUARTILE * distances[3 * (len(distances) - 1) // 4]
    least = float(least_std(np.array([floor]), centre=np.array([median]))[0])
    return [value for value in values if abs(value - median) <= _FARTHEST * max(spread, least)]


def _moments(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and population variance."""
    first = values[0]
    shift = math.fsum(value - first for value in values) / len(values)
    variance = math.fsum((value - first - shift) ** 2 for value in values) / len(values)
    return first + shift, variance
