"""Channels that come apart → complete rows on a time grid.

Sensors that send each quantity in a message of its own, at its own pace, give rows in which most channels are absent.
A model wants them side by side. So each device gets a value of every channel at each instant of a grid: the
multiples of ``every_ns`` since the Unix epoch. How, is chosen channel by channel:

``last``: the latest value that is newer than ``max_gap_ns`` before the instant.
``mean``: the mean of the values since the instant before, this instant included; where there are none, as ``last``.
``linear``: the value at the instant; else what lies on the straight line between the values before and after it, which
are at most ``max_gap_ns`` apart.

An instant at which a channel has no value has no row, and is counted.

An instant is decided as soon as no later reading can change it. For ``last`` and ``mean`` that is the device's first
reading at or after it. A ``linear`` channel wants its own next value, so the instants since its latest one wait, with
the other channels' values filled in, until that comes or would come too late. So what waits are always the newest
instants, no more than fit into ``max_gap_ns``; and a pause, however long, is passed in one step.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

import numpy as np

from gatewayd.domain.arrays import Float64, Int64
from gatewayd.domain.reading import Batch
from gatewayd.domain.state import State, as_float64, as_int, as_int64

Method = Literal["last", "mean", "linear"]

_LEAST = np.iinfo(np.int64).min
_NEVER = 2 * _LEAST  # longer ago than any gap, whatever a sensor takes for the time


@dataclass(slots=True)
class _Track:
    """What is known of one device.

    Attributes:
        seen: When the device's latest reading was taken; all instants up to that are decided or wait.
        times: When each channel's latest value was taken.
        values: That value; NaN where none ever came.
        counts: How many values of each channel lie between the latest grid instant that is over and the next.
        means: Their mean, built up value by value.
        waiting: Instants whose linear channels want another value, oldest first, with the values so far.
    """

    seen: int
    times: list[int]
    values: list[float]
    counts: list[int]
    means: list[float]
    waiting: deque[tuple[int, list[float]]] = field(default_factory=deque)


class Aligner:
    """Lays each device's channels on a time grid. Owned by the line.

    Args:
        channels: Columns of a reading.
        every_ns: Time between two instants of the grid; positive.
        methods: How each channel gets its value at an instant.
        max_gap_ns: How old a value may be, or how far apart two may be, to count; positive.

    Attributes:
        used: Readings taken in.
        made: Rows given out.
        unfilled: Instants without a row, since a channel had no value there.
    """

    def __init__(self, *, channels: int, every_ns: int, methods: Sequence[Method], max_gap_ns: int) -> None:
        if every_ns < 1 or max_gap_ns < 1:
            raise ValueError(f"every_ns and max_gap_ns must be positive, not {every_ns} and {max_gap_ns}")
        if len(methods) != channels:
            raise ValueError(f"expected a method for each of {channels} channels, not {len(methods)}")
        self._channels, self._every_ns, self._max_gap_ns = channels, every_ns, max_gap_ns
        self._methods = tuple(methods)
        self._grid = [every_ns, max_gap_ns, *methods]
        self._linear = [channel for channel, method in enumerate(methods) if method == "linear"]
        self._held = [channel for channel, method in enumerate(methods) if method != "linear"]
        self._tracks: dict[int, _Track] = {}
        self.used = self.made = self.unfilled = 0

    def add(self, batch: Batch) -> Batch:
        """Take readings in and return the grid rows that are decided now.

        Args:
            batch: Each device's readings rise strictly in time, over all batches. What isn't finite is absent.

        Returns:
            Rows without an absent value, ``taken_at`` the instant; each device's rise in time, over all batches.
        """
        owners: list[int] = []
        rows: list[tuple[int, list[float]]] = []
        columns = zip(batch.device.tolist(), batch.taken_at.tolist(), batch.values.tolist(), strict=True)
        for device, taken_at, values in columns:
            track = self._tracks.get(device)
            if track is None:  # the grid begins with its first reading
                track = self._tracks[device] = self._new(seen=taken_at)
            self._take(track, taken_at, values)
            known_until = min((track.times[channel] for channel in self._linear), default=taken_at)
            while track.waiting and track.waiting[0][0] <= known_until:
                rows.append(track.waiting.popleft())
                owners.append(device)
        self.used += len(batch)
        self.made += len(rows)
        return Batch(
            device=np.array(owners, dtype=np.int64),
            taken_at=np.array([instant for instant, _ in rows], dtype=np.int64),
            values=np.array([row for _, row in rows], dtype=np.float64).reshape(len(rows), self._channels),
        )

    def state(self) -> State:
        """Copy out what is known of each device, and the counters."""
        tracks = [self._tracks[device] for device in sorted(self._tracks)]
        waiting = [row for track in tracks for row in track.waiting]
        return {
            "grid": list(self._grid),
            "device": np.array(sorted(self._tracks), dtype=np.int64),
            "seen": np.array([track.seen for track in tracks], dtype=np.int64),
            "times": self._integers([[max(time, _LEAST) for time in track.times] for track in tracks]),
            "values": self._numbers([track.values for track in tracks]),
            "counts": self._integers([track.counts for track in tracks]),
            "means": self._numbers([track.means for track in tracks]),
            "waiting": np.array([len(track.waiting) for track in tracks], dtype=np.int64),
            "instants": np.array([instant for instant, _ in waiting], dtype=np.int64),
            "rows": self._numbers([row for _, row in waiting]),
            "used": self.used,
            "made": self.made,
            "unfilled": self.unfilled,
        }

    def restore(self, state: State) -> None:
        """Go on, new, where another one with the same grid, methods and gap stopped.

        Raises:
            ValueError: It had another grid, or the state is none.
        """
        if state["grid"] != self._grid:
            raise ValueError(f"expected the grid {self._grid}, not {state['grid']!r}")
        times, counts = (as_int64(state[name], self._channels).tolist() for name in ("times", "counts"))
        values, means, rows = (
            as_float64(state[name], self._channels).tolist() for name in ("values", "means", "rows")
        )
        device, seen, waiting, instants = (
            as_int64(state[name]).tolist() for name in ("device", "seen", "waiting", "instants")
        )
        rest = iter(zip(instants, rows, strict=True))
        for index, owner in enumerate(device):
            known = zip(times[index], values[index], strict=True)
            self._tracks[owner] = _Track(
                seen=seen[index],
                times=[_NEVER if math.isnan(value) else time for time, value in known],
                values=values[index],
                counts=counts[index],
                means=means[index],
                waiting=deque(islice(rest, waiting[index])),
            )
        self.used, self.made, self.unfilled = (as_int(state[name]) for name in ("used", "made", "unfilled"))

    def _new(self, seen: int) -> _Track:
        count = self._channels
        return _Track(
            seen=seen,
            times=[_NEVER] * count,
            values=[math.nan] * count,
            counts=[0] * count,
            means=[math.nan] * count,
        )

    def _take(self, track: _Track, taken_at: int, values: list[float]) -> None:
        """Take one reading in, and with it all instants up to its own."""
        lost = [channel for channel in self._linear if self._is_lost(track, channel, taken_at, values)]
        if lost:  # the instants since its latest value will never get one
            since = min(track.times[channel] for channel in lost)
            while track.waiting and track.waiting[-1][0] > since:
                track.waiting.pop()
                self.unfilled += 1
        self._pass(track, taken_at, can_fill=not lost)
        for channel, value in enumerate(values):
            if math.isfinite(value):
                self._note(track, channel, taken_at, value)
        track.seen = taken_at
        if taken_at % self._every_ns == 0:
            self._open(track, taken_at)

    def _is_lost(self, track: _Track, channel: int, taken_at: int, values: list[float]) -> bool:
        """Tell whether a linear channel's next value will be too far from its latest."""
        gap = taken_at - track.times[channel]
        return gap > self._max_gap_ns or (gap == self._max_gap_ns and not math.isfinite(values[channel]))

    def _pass(self, track: _Track, until: int, *, can_fill: bool) -> None:
        """Go over the instants since the device's latest reading and before this one, in one step."""
        first = (track.seen // self._every_ns + 1) * self._every_ns
        if first >= until:
            return
        self._open(track, first, can_fill=can_fill)
        second = first + self._every_ns
        unfilled = max(0, -((second - until) // self._every_ns))
        row = self._row(track, second) if can_fill and unfilled else None
        if row is not None:  # what holds there holds until the oldest of its values is too old
            ends = [until, *(track.times[channel] + self._max_gap_ns for channel in self._held)]
            alike = range(second, min(ends), self._every_ns)
            track.waiting.extend((instant, row.copy()) for instant in alike)
            unfilled -= len(alike)
        self.unfilled += unfilled

    def _open(self, track: _Track, instant: int, *, can_fill: bool = True) -> None:
        """Let an instant wait with the values that it has, or count it; values from now on are the next one's."""
        row = self._row(track, instant) if can_fill else None
        if row is None:
            self.unfilled += 1
        else:
            track.waiting.append((instant, row))
        track.counts = [0] * self._channels

    def _row(self, track: _Track, instant: int) -> list[float] | None:
        """Return the values at an instant, NaN where a linear channel wants another one; None: one has no value."""
        row = track.values.copy()
        for channel, method in enumerate(self._methods):
            age = instant - track.times[channel]
            if method == "mean" and track.counts[channel]:
                row[channel] = track.means[channel]
            elif age >= self._max_gap_ns:
                return None
            elif method == "linear" and age:
                row[channel] = math.nan
        return row

    def _note(self, track: _Track, channel: int, taken_at: int, value: float) -> None:
        """Take one value in; a linear channel's fills the instants since the one before."""
        method = self._methods[channel]
        if method == "linear":
            begin, earlier = track.times[channel], track.values[channel]
            for instant, row in reversed(track.waiting):
                if instant <= begin:
                    break
                row[channel] = _between(earlier, value, (instant - begin) / (taken_at - begin))
        elif method == "mean":
            count = track.counts[channel] = track.counts[channel] + 1
            track.means[channel] = value if count == 1 else _between(track.means[channel], value, 1 / count)
        track.times[channel], track.values[channel] = taken_at, value

    def _integers(self, rows: list[list[int]]) -> Int64:
        return np.array(rows, dtype=np.int64).reshape(len(rows), self._channels)

    def _numbers(self, rows: list[list[float]]) -> Float64:
        return np.array(rows, dtype=np.float64).reshape(len(rows), self._channels)


def _between(low: float, high: float, share: float) -> float:
    """Return what lies between two values, exactly the value where both are the same; finite for finite ones."""
    distance = high - low
    if math.isinf(distance):
        return low * (1 - share) + high * share
    return low + distance * share
