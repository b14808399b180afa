"""Channels are smoothed here, each by its own values up to now: by a moving median, or exponentially.

A median forgets a single outlier altogether and keeps edges, half its window later (J. W. Tukey, "Exploratory Data
Analysis", 1977). An exponential moving average is ``(1 - alpha) * the one before + alpha * value``: it quiets steady
noise and smears edges over some ``1 / alpha`` readings (S. W. Roberts, "Control chart tests based on geometric moving
averages", Technometrics 1, 1959).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gatewayd.domain.arrays import Bool, Float64, Int64
from gatewayd.domain.reading import Batch
from gatewayd.domain.state import State, as_int64, as_state
from gatewayd.pipeline.groups import by_device, grown
from gatewayd.pipeline.history import History, Series

_FEW = 8  # readings below which smoothing them one by one costs less


@dataclass(frozen=True, slots=True, kw_only=True)
class Median:
    """The median of the latest ``window`` values, this one included; of those that are there, at the start."""

    window: int

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window must be at least 1, not {self.window}")

    def smooth(self, past: list[float], value: float) -> float:
        """Return the median after a value; ``past`` holds the values before it, and takes this one."""
        past.append(value)
        ordered = sorted(past[-self.window :])
        lower, upper = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
        return (lower if lower == upper else 0.5 * lower + 0.5 * upper) + 0.0  # why so: see _medians


@dataclass(frozen=True, slots=True, kw_only=True)
class Ema:
    """An exponential moving average that starts at the first value; ``alpha`` in (0, 1], 1 changes nothing."""

    alpha: float

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 1:
            raise ValueError(f"alpha must lie in 0..1 and be above 0, not {self.alpha}")

    def smooth(self, past: list[float], value: float) -> float:
        """Return the average after a value; ``past`` ends with the one before it, and takes this one."""
        before = past[-1] if past else value
        # Of two equal ones exactly that; and a sum of parts, since the difference of two may overflow.
        average = value if value == before else (1 - self.alpha) * before + self.alpha * value
        past[:] = [average]
        return average


class Denoiser:
    """Smooths each channel of each device. Owned by the line.

    Args:
        methods: One per channel, in the order of columns; None leaves the channel as it is.
        max_gap_ns: After a longer time between two of its values a channel begins anew; None: never.
        few: Batches with fewer readings are smoothed value by value, which costs less there and gives the same.
    """

    def __init__(
        self, methods: Sequence[Median | Ema | None], *, max_gap_ns: int | None = None, few: int = _FEW
    ) -> None:
        self._methods = [(channel, method) for channel, method in enumerate(methods) if method is not None]
        depth = max((method.window for method in methods if isinstance(method, Median)), default=1)
        # Of a median's channel the latest values; of an average's one, what the average was.
        self._history = History(depth=depth, channels=len(methods))
        self._max_gap_ns, self._few = max_gap_ns, few
        self._last: Int64 = np.zeros((0, len(methods)), dtype=np.int64)  # when the latest of them were taken

    def apply(self, batch: Batch) -> Batch:
        """Return the readings with smoothed values.

        Args:
            batch: Readings in order, with every value finite. (One that isn't stays as it is, and changes nothing.)
        """
        if not len(batch):
            return batch
        self._grow(int(batch.device.max()) + 1)
        values = batch.values.copy()
        every = Series.each(batch, by_device(batch.device), [channel for channel, _ in self._methods])
        for (channel, method), whole in zip(self._methods, every, strict=True):
            series, is_anew = self._runs(whole, channel)
            if isinstance(method, Ema) or len(batch) < self._few:
                values[series.row, channel] = self._in_turn(series, channel, is_anew, method)
            elif len(series.row):
                trail = self._history.trail(series, channel, is_anew)
                values[series.row, channel] = _medians(trail.through(method.window))
                self._history.extend(series, channel, trail)
        return Batch(device=batch.device, taken_at=batch.taken_at, values=values)

    def _runs(self, series: Series, channel: int) -> tuple[Series, Bool]:
        """Split a series at gaps; return it, and which of its groups begin behind one."""
        if self._max_gap_ns is None:
            return series, np.zeros(len(series.device), dtype=np.bool_)
        before = series.before(series.taken_at, self._last[series.device, channel])
        is_gap = series.taken_at - before > self._max_gap_ns
        self._last[series.device, channel] = series.taken_at[series.last]
        runs = series.split(is_gap)
        return runs, is_gap[runs.first]

    def _in_turn(self, series: Series, channel: int, is_anew: Bool, method: Median | Ema) -> list[float]:
        """Smooth value by value; an average, which needs the one before it, can't be had otherwise."""
        result: list[float] = series.values.tolist()
        columns = (series.device, series.first, series.last, is_anew)
        for device, first, last, begins in zip(*(column.tolist() for column in columns), strict=True):
            past = [] if begins else self._history.latest(device, channel)
            for place in range(first, last + 1):
                result[place] = method.smooth(past, result[place])
            self._history.replace(device, channel, past)
        return result

    def restart(self, devices: Int64) -> None:
        """Forget these devices: their next values are first ones."""
        known = devices[devices < self._history.devices]
        self._history.forget(known)

    def state(self) -> State:
        """Copy out what is remembered."""
        return {"history": self._history.state(), "last": self._last[: self._history.devices].copy()}

    def restore(self, state: State) -> None:
        """Go on from a state.

        Raises:
            ValueError: It is no such state, or one of other channels.
        """
        self._history.restore(as_state(state["history"]))
        last = as_int64(state["last"], *self._last.shape[1:])
        self._grow(len(last))
        self._last[: len(last)] = last

    def _grow(self, devices: int) -> None:
        self._history.grow(devices)
        have = len(self._last)
        if devices > have:
            more = grown(have, devices) - have
            self._last = np.concatenate([self._last, np.zeros((more, self._last.shape[1]), dtype=np.int64)])


def _medians(windows: Float64) -> Float64:
    """Return the median of what is there in each window; NaN is not there."""
    ordered = np.sort(windows, axis=1)  # NaN goes to the end
    count = np.count_nonzero(~np.isnan(ordered), axis=1)
    rows = np.arange(len(ordered))
    lower, upper = ordered[rows, (count - 1) // 2], ordered[rows, count // 2]
    # Halved before they are added, lest the sum overflow. Plus 0: which of 0 and -0 lies in the middle is a matter of
    # chance.
    return np.where(lower == upper, lower, 0.5 * lower + 0.5 * upper) + 0.0
