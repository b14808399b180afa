"""What rules judge a channel's values by: of one device while it is judged, and of all devices between batches."""

import math
from dataclasses import dataclass, field

import numpy as np

from gatewayd.domain.arrays import Bool, Float64, Int64
from gatewayd.domain.state import State, as_float64, as_int64, as_state
from gatewayd.pipeline.groups import grown
from gatewayd.pipeline.history import History, Series, Trail

# Columns of the whole numbers kept per device and channel; their names are those of ``Past``.
GOOD_AT, EQUAL_COUNT, EQUAL_SINCE, IS_STUCK, STUCK_AT, SIDE, OUTSIDE_SINCE = range(7)
_COLUMNS = 7


@dataclass(slots=True)
class Past:
    """What one channel of one device is judged by.

    Attributes:
        good: Latest good values, oldest first; as many as the longest window needs, or more.
        good_at: When the last of them was taken, ns.
        spikes: The spikes since the last value that was none; fewer than the window.
        equal: The value that came last, as it was sent; NaN: none came.
        equal_count: How often it came in a row.
        equal_since: When it came first, ns.
        is_stuck: Whether that is too often.
        stuck_at: When it became so, the last time that it did, ns.
        side: Where the channel is: -1 below its range, 0 inside, 1 above.
        outside_since: When it left its range, ns.
    """

    good: list[float] = field(default_factory=list)
    good_at: int = 0
    spikes: list[float] = field(default_factory=list)
    equal: float = math.nan
    equal_count: int = 0
    equal_since: int = 0
    is_stuck: bool = False
    stuck_at: int = 0
    side: int = 0
    outside_since: int = 0


class Pasts:
    """Keeps that of every channel of every device. Owned by the line.

    Args:
        depth: Length of the longest window that values are judged by; at least 1.
        channels: Columns of a reading.

    Attributes:
        good: The good values.
        equal: Shape ``(devices, channels)``, the value that came last.
        numbers: Shape ``(devices, channels, 7)``, the rest of a ``Past``; ``GOOD_AT`` and so on name its columns.
    """

    def __init__(self, *, depth: int, channels: int) -> None:
        self.good = History(depth=depth, channels=channels)
        self._spikes = History(depth=depth, channels=channels)
        self.equal: Float64 = np.empty((0, channels), dtype=np.float64)
        self.numbers: Int64 = np.empty((0, channels, _COLUMNS), dtype=np.int64)
        self.devices = 0

    def grow(self, devices: int) -> None:
        """Make room for devices with an index below ``devices``."""
        self.devices = max(self.devices, devices)
        self.good.grow(devices)
        self._spikes.grow(devices)
        have = len(self.equal)
        if devices > have:
            more = grown(have, devices) - have
            self.equal = np.concatenate([self.equal, np.full((more, self.equal.shape[1]), np.nan)])
            nothing = np.zeros((more, *self.numbers.shape[1:]), dtype=np.int64)
            self.numbers = np.concatenate([self.numbers, nothing])

    def load(self, device: int, channel: int) -> Past:
        """Take out what one channel of a device is judged by."""
        numbers: list[int] = self.numbers[device, channel].tolist()
        return Past(
            good=self.good.latest(device, channel),
            good_at=numbers[GOOD_AT],
            spikes=self._spikes.latest(device, channel),
            equal=float(self.equal[device, channel]),
            equal_count=numbers[EQUAL_COUNT],
            equal_since=numbers[EQUAL_SINCE],
            is_stuck=bool(numbers[IS_STUCK]),
            stuck_at=numbers[STUCK_AT],
            side=numbers[SIDE],
            outside_since=numbers[OUTSIDE_SINCE],
        )

    def store(self, device: int, channel: int, past: Past) -> None:
        """Put it back."""
        self.good.replace(device, channel, past.good)
        self._spikes.replace(device, channel, past.spikes)
        self.equal[device, channel] = past.equal
        self.numbers[device, channel] = (
            past.good_at,
            past.equal_count,
            past.equal_since,
            past.is_stuck,
            past.stuck_at,
            past.side,
            past.outside_since,
        )

    def extend(self, series: Series, channel: int, trail: Trail, is_taken: Bool) -> None:
        """Take in values that are all good, inside the range and on the move, of the groups ``is_taken`` names."""
        self.good.extend(series, channel, trail, is_taken)
        device, last = series.device[is_taken], series.last[is_taken]
        self.numbers[device, channel, GOOD_AT] = series.taken_at[last]
        self._spikes.forget(device, channel)

    def repeat(self, series: Series, channel: int, count: Int64, since: Int64, is_taken: Bool) -> None:
        """Take in, for the same groups, how often each value of the series came in a row, and since when."""
        device, last = series.device[is_taken], series.last[is_taken]
        self.equal[device, channel] = series.values[last]
        self.numbers[device, channel, EQUAL_COUNT] = count[last]
        self.numbers[device, channel, EQUAL_SINCE] = since[last]

    def state(self) -> State:
        """Copy it out."""
        return {
            "good": self.good.state(),
            "spikes": self._spikes.state(),
            "equal": self.equal[: self.devices].copy(),
            "numbers": self.numbers[: self.devices].copy(),
        }

    def restore(self, state: State) -> None:
        """Go on from a state.

        Raises:
            ValueError: It is no such state, or one of other channels.
        """
        self.good.restore(as_state(state["good"]))
        self._spikes.restore(as_state(state["spikes"]))
        equal = as_float64(state["equal"], *self.equal.shape[1:])
        numbers = as_int64(state["numbers"], *self.numbers.shape[1:])
        self.grow(max(len(equal), len(numbers)))
        self.equal[: len(equal)] = equal
        self.numbers[: len(numbers)] = numbers
