"""Windows → z-scores by what is usual for each device, learnt as it runs and not taught by anomalies.

The order of things: windows are scored against the present estimate, the decision says which are anomalous, and the
calm ones teach. So a window's score depends on the decision about the one before it, and windows of one device must be
taken one after the other: ``rounds`` says which windows can be taken together.

An estimate begins with ``warm_up`` values, of which those far from the median are left out, and then forgets
exponentially, with the weight of a new value never below one in ``readings``.
"""

import numpy as np

from gatewayd.domain.arrays import Bool, Float32, Float64, Int64
from gatewayd.domain.state import State, as_counts, as_float64, as_int, as_int64, as_state
from gatewayd.domain.window import WindowBatch
from gatewayd.pipeline.estimate import Estimates, forget, moments, near_median
from gatewayd.pipeline.groups import by_device, grown
from gatewayd.pipeline.normalise import least_std, limited

_HUGE = 1e140  # greater values are none: their squares overflow


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
        usual = self.estimates(windows.device)
        is_ready: Bool = (usual.count > 0).all(axis=1)
        std = np.maximum(np.sqrt(usual.variance), least_std(self._floor, centre=usual.mean))
        with np.errstate(over="ignore"):  # what overflows is limited below
            distances = (windows.values - usual.mean[:, None]) / std[:, None]
        distances[~is_ready] = 0.0
        distances[np.isnan(distances)] = 0.0
        return limited(distances), is_ready

    def learn_round(self, windows: WindowBatch, is_anomalous: Bool) -> Bool:
        """Be taught by windows that were decided on, one of each device.

        Args:
            windows: With ``fresh``: readings that were in a window before have taught already.
            is_anomalous: Shape ``(k,)``, whether the decision calls them so: then they teach nothing, unless that has
                gone on for so long that it is usual by now.

        Returns:
            Shape ``(k,)``, whether the device is learnt anew, from these readings on.
        """
        assert windows.fresh is not None
        self._grow(int(windows.device.max(initial=-1)) + 1)
        is_new = np.zeros(len(windows), dtype=np.bool_)
        for row in np.flatnonzero(is_anomalous).tolist():
            is_new[row] = self._has_lasted(int(windows.device[row]), int(windows.end[row]))
        teaches = is_new | ~is_anomalous
        if self._anomalous_since:
            for device in windows.device[teaches].tolist():
                self._anomalous_since.pop(device, None)
        for device in windows.device[is_new].tolist():
            self.relearned += 1
            self._count[device], self._mean[device], self._variance[device] = 0, 0.0, 0.0
            self._waiting.pop(device, None)
        if teaches.any():
            samples = (
                np.full(len(windows), windows.values.shape[1]) if windows.samples is None else windows.samples
            )
            first = (samples - windows.fresh)[teaches]
            self._teach(windows.device[teaches], windows.values[teaches], first, samples[teaches])
        return is_new

    def is_low_variance(self, device: Int64) -> Bool:
        """Tell which channels of devices vary so little that the floor is in force.

        Args:
            device: Shape ``(k,)``.

        Returns:
            Shape ``(k, channels)``.
        """
        usual = self.estimates(device)
        is_low: Bool = np.sqrt(usual.variance) < least_std(self._floor, centre=usual.mean)
        return is_low & (usual.count > 0)

    def estimates(self, device: Int64) -> Estimates:
        """Return what is usual for each of some devices; the floor is not in it."""
        self._grow(int(device.max(initial=-1)) + 1)
        return Estimates(count=self._count[device], mean=self._mean[device], variance=self._variance[device])

    def state(self) -> State:
        """Copy out the estimates, the values of those that warm up, and the counters."""
        used = slice(0, self._devices)
        return {
            "count": self._count[used].copy(),
            "mean": self._mean[used].copy(),
            "variance": self._variance[used].copy(),
            "waiting": {
                str(device): {str(channel): np.array(values) for channel, values in enumerate(columns)}
                for device, columns in self._waiting.items()
            },
            "anomalous_since": {str(device): since for device, since in self._anomalous_since.items()},
            "relearned": self.relearned,
            "missing": self.missing,
            "left_out": self.left_out,
        }

    def restore(self, state: State) -> None:
        """Go on, new, where another one with as many channels stopped.

        Raises:
            ValueError: The state isn't one, or has another number of channels.
        """
        channels = len(self._floor)
        self._count = as_int64(state["count"], channels)
        self._mean, self._variance = (
            as_float64(state["mean"], channels),
            as_float64(state["variance"], channels),
        )
        self._devices = len(self._count)
        self._waiting = {
            int(device): [as_float64(as_state(columns)[str(channel)]).tolist() for channel in range(channels)]
            for device, columns in as_state(state["waiting"]).items()
        }
        self._anomalous_since = {
            int(device): at for device, at in as_counts(state["anomalous_since"]).items()
        }
        self.relearned, self.missing = as_int(state["relearned"]), as_int(state["missing"])
        self.left_out = as_int(state["left_out"])

    def _has_lasted(self, device: int, at: int) -> bool:
        since = self._anomalous_since.setdefault(device, at)
        return self._relearn_ns is not None and at - since >= self._relearn_ns

    def _teach(self, device: Int64, values: Float64, first: Int64, end: Int64) -> None:
        """Teach each device its values from sample ``first`` to before ``end``.

        Sample by sample: so how readings are cut into windows changes no bit, nor which devices are taught together.
        """
        step = np.arange(values.shape[1])[:, None]
        is_fresh = (step >= first[:, None, None]) & (step < end[:, None, None])
        is_known = is_fresh & (np.abs(values) <= _HUGE)  # NaN is not
        self.missing += int((is_fresh & ~is_known).sum())
        for row, channel in np.argwhere(self._count[device] == 0).tolist():
            taken = self._warm(int(device[row]), channel, values[row, :, channel], is_known[row, :, channel])
            is_known[row, :taken, channel] = False
        after = forget(self.estimates(device), values, is_known, readings=self._readings)
        self._count[device], self._mean[device], self._variance[device] = (
            after.count,
            after.mean,
            after.variance,
        )

    def _warm(self, device: int, channel: int, values: Float64, is_known: Bool) -> int:
        """Gather values until there are enough to begin an estimate; return how many samples were looked at."""
        gathered = self._waiting.setdefault(device, [[] for _ in self._floor])[channel]
        known = np.flatnonzero(is_known)[: max(self._warm_up - len(gathered), 0)]
        gathered += values[known].tolist()
        if len(gathered) < self._warm_up:
            return len(values)
        near = near_median(gathered, floor=float(self._floor[channel]))
        self.left_out += len(gathered) - len(near)
        self._count[device, channel] = min(len(near), self._readings)
        self._mean[device, channel], self._variance[device, channel] = moments(near)
        if self._count[device].all():
            del self._waiting[device]
        return int(known[-1]) + 1 if len(known) else 0

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
