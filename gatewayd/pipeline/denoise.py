"""Channels are smoothed here, each by its own values up to now: by a moving median, or exponentially.

A median forgets a single outlier altogether and keeps edges; it lags by half its window (J. W. Tukey, "Exploratory
Data Analysis", 1977, ch. 7). An exponential moving average is ``y += alpha * (x - y)``: cheap, lags by
``1 / alpha`` readings (S. W. Roberts, "Control chart tests based on geometric moving averages", Technometrics 1, 1959).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gatewayd.domain.arrays import Float64, Int64
from gatewayd.domain.reading import Batch
from gatewayd.domain.state import State
from gatewayd.pipeline.groups import by_device
from gatewayd.pipeline.history import History, Series


@dataclass(frozen=True, slots=True, kw_only=True)
class Median:
    """The median of the latest ``window`` values, this one included; of those that are there, at the start."""

    window: int

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window must be at least 1, not {self.window}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ema:
    """An exponential moving average that starts at the first value; ``alpha`` in (0, 1], 1 changes nothing."""

    alpha: float

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 1:
            raise ValueError(f"alpha must lie in 0..1 and be above 0, not {self.alpha}")


class Denoiser:
    """Smooths each channel of each device. Owned by the line.

    Args:
        methods: One per channel, in the order of columns; None leaves the channel as it is.
    """

    def __init__(self, methods: Sequence[Median | Ema | None]) -> None:
        self._methods = tuple(methods)
        depth = max((method.window for method in methods if isinstance(method, Median)), default=1)
        # Of a median's channel the latest values; of an average's one, what the average was.
        self._history = History(depth=depth, channels=len(methods))

    def apply(self, batch: Batch) -> Batch:
        """Return the readings with smoothed values.

        Args:
            batch: Readings in order, with every value finite. (One that isn't stays as it is, and changes nothing.)
        """
        if not len(batch):
            return batch
        self._history.grow(int(batch.device.max()) + 1)
        groups = by_device(batch.device)
        values = batch.values.copy()
        for channel, method in enumerate(self._methods):
            series = None if method is None else Series.of(batch, groups, channel)
            if series is None or not len(series.row):
                continue
            if isinstance(method, Median):
                trail = self._history.trail(series, channel)
                values[series.row, channel] = _medians(trail.through(method.window))
                self._history.extend(series, channel, trail)
            elif isinstance(method, Ema):
                values[series.row, channel] = self._averages(series, channel, method.alpha)
        return Batch(device=batch.device, taken_at=batch.taken_at, values=values)

    def _averages(self, series: Series, channel: int, alpha: float) -> list[float]:
        """Return the average after each value, which needs the one before it; remember each device's last one."""
        result: list[float] = series.values.tolist()
        rest = 1 - alpha
        for device, first, last in zip(
            series.device.tolist(), series.first.tolist(), series.last.tolist(), strict=True
        ):
            before = self._history.latest(device, channel)
            average = before[-1] if before else result[first]
            for place in range(first, last + 1):
                value = result[place]
                # Of two equal ones exactly that; and a sum of parts, since the difference of two may overflow.
                average = value if value == average else rest * average + alpha * value
                result[place] = average
            self._history.replace(device, channel, [average])
        return result

    def restart(self, devices: Int64) -> None:
        """Forget these devices, as after a gap: their next values are first ones."""
        known = devices[devices < self._history.devices]
        self._history.forget(known)

    def state(self) -> State:
        """Copy out what is remembered."""
        return self._history.state()

    def restore(self, state: State) -> None:
        """Go on from a state.

        Raises:
            ValueError: The state is of other channels.
        """
        self._history.restore(state)


def _medians(windows: Float64) -> Float64:
    """Return the median of what is there in each window; NaN is not there."""
    ordered = np.sort(windows, axis=1)  # NaN goes to the end
    count = np.count_nonzero(~np.isnan(ordered), axis=1)
    rows = np.arange(len(ordered))
    lower, upper = ordered[rows, (count - 1) // 2], ordered[rows, count // 2]
    # Halved before they are added, lest the sum overflow. Plus 0: which of 0 and -0 lies in the middle is a matter of
    # chance.
    return np.where(lower == upper, lower, 0.5 * lower + 0.5 * upper) + 0.0
