"""Columns → windows by event time: each device's readings of ``duration_ns``, beginning at multiples of ``hop_ns``.

A window holds the readings with ``start <= taken_at < start + duration``; starts are multiples of the hop since the
Unix epoch, so that the windows of all devices, before and after a restart, lie on one grid. A window is closed by its
device's first reading at or after its end, by a gap, or by ``close``.

Windows that close together, since no reading came between their ends, have the same last reading. The first of them
holds all that the others hold: it alone is given out, and every window that is given out has readings of its own.

An open window contains its device's newest reading, so the newest ``length`` readings of a device are all that any of
its windows can need, whatever the duration and the hop. They lie in one ring array ``(devices, length + 1, channels)``;
the one more tells whether a window had more than ``length``.
"""

from dataclasses import dataclass, fields
from typing import Literal, TypeVar

import numpy as np

from gatewayd.domain.arrays import Bool, Float64, Int64
from gatewayd.domain.reading import Batch
from gatewayd.domain.state import State, as_float64, as_int, as_int64
from gatewayd.domain.window import WindowBatch
from gatewayd.pipeline.groups import by_device, grown

Partial = Literal["drop", "hold"]
_Column = TypeVar("_Column", Int64, Float64)

_COLUMNS = ("count", "run", "settled", "last", "times", "values")
_COUNTERS = ("scored", "waiting", "abandoned", "excess", "partial_windows")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Placed:
    """A batch's rows, grouped by device, with their position among all readings of the device."""

    device: Int64
    position: Int64
    run: Int64  # the position at which each row's run of readings without a gap begins
    taken_at: Int64
    values: Float64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Closing:
    """Windows that close, oldest first within each device."""

    device: Int64
    start: Int64  # the beginning of the span, ns since the Unix epoch
    run: Int64  # positions before this one lie behind a gap
    position: Int64  # of the last reading
    row: Int64  # of the last reading in the batch; before the device's first one if it came earlier
    begin: Int64  # the device's first row in the batch
    end: Int64  # when the last reading was taken
    still_from: Int64  # readings taken from here on, ns since the Unix epoch, are in a window that stays open


class SpanWindower:
    """Cuts each device's readings into windows of equal duration. Owned by the line.

    Per device, times must rise strictly; who sorts late readings in stands before.

    Args:
        duration_ns: How long a window is.
        hop_ns: Time between the starts of two windows, 1..duration_ns; tumbling where it is the duration.
        length: Readings that the model wants, at least 1. A window with more gives its latest ones.
        channels: Columns of a reading.
        max_gap_ns: A longer time between two readings of a device closes its windows and begins anew; None: never.
        partial: What becomes of a window with fewer readings: not given out, or its last reading is repeated.

    Attributes:
        scored: Readings in the span of at least one window that was given out.
        waiting: Readings in open windows, of which none was given out yet.
        abandoned: Readings whose windows are all closed and were not given out.
        excess: Windows that had more than ``length`` readings.
        partial_windows: Windows that had fewer, whatever became of them.

    Raises:
        ValueError: If the hop or the length is out of range.
    """

    def __init__(
        self,
        *,
        duration_ns: int,
        hop_ns: int,
        length: int,
        channels: int,
        max_gap_ns: int | None,
        partial: Partial,
    ) -> None:
        if not 1 <= hop_ns <= duration_ns:
            raise ValueError(f"hop_ns must lie in 1..{duration_ns}, not {hop_ns}")
        if length < 1:
            raise ValueError(f"length must be at least 1, not {length}")
        self._duration_ns, self._hop_ns, self._length = duration_ns, hop_ns, length
        self._shape = (duration_ns, hop_ns, length, channels)
        self.max_gap_ns, self._partial = max_gap_ns, partial
        self._size = length + 1
        self._devices = 0
        self._count: Int64 = np.zeros(0, dtype=np.int64)  # readings of each device so far
        self._run: Int64 = np.zeros(0, dtype=np.int64)  # the position at which its current run begins
        self._settled: Int64 = np.zeros(0, dtype=np.int64)  # readings before this position are not waiting
        self._last: Int64 = np.zeros(0, dtype=np.int64)  # when the newest was taken
        self._times: Int64 = np.zeros((0, self._size), dtype=np.int64)
        self._values: Float64 = np.zeros((0, self._size, channels), dtype=np.float64)
        self.scored = self.waiting = self.abandoned = 0
        self.excess = self.partial_windows = 0

    def add(self, batch: Batch) -> WindowBatch:
        """Take readings in and return the windows that they closed, oldest first within each device."""
        if not len(batch):
            return self._none()
        self._grow(int(batch.device.max()) + 1)
        self.waiting += len(batch)
        placed, closing = self._place(batch)
        windows = self._finish(placed, closing) if len(closing.device) else self._none()
        # Where two rows have the same slot, the later one is written last and stays.
        slot = placed.position % self._size
        self._times[placed.device, slot] = placed.taken_at
        self._values[placed.device, slot] = placed.values
        # Likewise, a device's last row stays.
        self._count[placed.device] = placed.position + 1
        self._run[placed.device] = placed.run
        self._last[placed.device] = placed.taken_at
        return windows

    def close(self, devices: Int64) -> WindowBatch:
        """Close all open windows of these devices, as for one that is idle; their next readings begin anew.

        A reading that comes after all, within the span of a window that was closed, begins a window of its own.
        """
        known = np.unique(devices[devices < self._devices])
        device = known[self._count[known] > self._run[known]]
        if not len(device):
            return self._none()
        count, last = self._count[device], self._last[device]
        none = np.empty(0, dtype=np.int64)
        values = np.empty((0, self._values.shape[2]))
        closing = _Closing(
            device=device,
            start=self._first_open(last),
            run=self._run[device],
            position=count - 1,
            row=np.full(len(device), -1),
            begin=np.zeros(len(device), dtype=np.int64),
            end=last,
            still_from=np.full(len(device), np.iinfo(np.int64).max),
        )
        placed = _Placed(device=none, position=none, run=none, taken_at=none, values=values)
        windows = self._finish(placed, closing)
        self._run[device] = count
        return windows

    def state(self) -> State:
        """Copy out the open windows and the counters."""
        used = slice(0, self._devices)
        columns = {name: getattr(self, f"_{name}")[used].copy() for name in _COLUMNS}
        return {"shape": list(self._shape), **columns, **{name: getattr(self, name) for name in _COUNTERS}}

    def restore(self, state: State) -> None:
        """Go on, new, where another one with the same duration, hop, length and channels stopped.

        Raises:
            ValueError: The state isn't one, or of another shape.
        """
        if state["shape"] != list(self._shape):
            raise ValueError(f"expected windows of shape {list(self._shape)}, not {state['shape']!r}")
        self._count, self._run = as_int64(state["count"]), as_int64(state["run"])
        self._settled, self._last = as_int64(state["settled"]), as_int64(state["last"])
        self._times = as_int64(state["times"], self._size)
        self._values = as_float64(state["values"], *self._values.shape[1:])
        self._devices = len(self._count)
        for name in _COUNTERS:
            setattr(self, name, as_int(state[name]))

    def _first_open(self, taken_at: Int64) -> Int64:
        """Return where the first window begins that is open once a reading of this time has come."""
        return ((taken_at - self._duration_ns) // self._hop_ns + 1) * self._hop_ns

    def _place(self, batch: Batch) -> tuple[_Placed, _Closing]:
        groups = by_device(batch.device)
        device, is_first, rows = groups.device, groups.is_first, np.arange(len(batch))
        taken_at = batch.taken_at[groups.order]
        begin = np.maximum.accumulate(np.where(is_first, rows, 0))
        position = self._count[device] + rows - begin
        before = np.empty_like(taken_at)
        before[1:] = taken_at[:-1]
        before[is_first] = self._last[device[is_first]]
        has_before = ~is_first | (self._count[device] > self._run[device])
        start = self._first_open(before)
        is_over = has_before & (start + self._duration_ns <= taken_at)
        is_gap = np.zeros_like(is_first)
        if self.max_gap_ns is not None:
            is_gap = has_before & (taken_at - before > self.max_gap_ns)
        run_row = np.maximum.accumulate(np.where(is_first | is_gap, rows, 0))
        run = np.where(is_gap, position, self._run[device])[run_row]
        closes = np.flatnonzero(is_over | is_gap)
        still_from = np.where(is_gap, np.iinfo(np.int64).max, self._first_open(taken_at))
        ended = np.where(is_first, self._run[device], np.concatenate(([0], run[:-1])))
        closing = _Closing(
            device=device[closes],
            start=start[closes],
            run=ended[closes],
            position=position[closes] - 1,
            row=closes - 1,
            begin=begin[closes],
            end=before[closes],
            still_from=still_from[closes],
        )
        values = batch.values[groups.order]
        return _Placed(device=device, position=position, run=run, taken_at=taken_at, values=values), closing

    def _finish(self, placed: _Placed, closing: _Closing) -> WindowBatch:
        """Count what closes, and return what of it is given out."""
        back = np.arange(-self._length, 1)[None]
        times = _look(self._times, placed.taken_at, closing, back)
        is_in = (closing.position[:, None] + back >= closing.run[:, None]) & (times >= closing.start[:, None])
        found = is_in.sum(axis=1)  # whole numbers: their sum knows no order
        still = (is_in & (times >= closing.still_from[:, None])).sum(axis=1)
        is_given: Bool = found >= self._length
        self.excess += int((found > self._length).sum())
        self.partial_windows += int((~is_given).sum())
        if self._partial == "hold":
            is_given = np.ones_like(is_given)
        newly = self._settle(closing, closing.position + 1 - np.where(is_given, 0, still))
        scored, abandoned = int(newly[is_given].sum()), int(newly[~is_given].sum())
        self.scored += scored
        self.abandoned += abandoned
        self.waiting -= scored + abandoned
        samples = np.minimum(found, self._length)[is_given]
        given = _only(closing, is_given)
        # Right-aligned would be simpler, but the readings come first and their last is repeated after them.
        steps = np.minimum(np.arange(self._length), samples[:, None] - 1) + 1 - samples[:, None]
        return WindowBatch(
            device=given.device,
            start=times[is_given, self._length + 1 - samples],
            end=given.end,
            values=_look(self._values, placed.values, given, steps),
            samples=samples,
            fresh=np.minimum(newly[is_given], samples),
        )

    def _settle(self, closing: _Closing, upto: Int64) -> Int64:
        """Note that readings before ``upto`` wait no longer; return how many these are, window by window."""
        device = closing.device
        is_first = np.concatenate(([True], device[1:] != device[:-1]))
        beyond = np.maximum(upto - self._settled[device], 0)
        # The greatest so far within each device: the devices' values are held apart by more than the greatest of all.
        apart = np.cumsum(is_first) * (int(beyond.max()) + 1)
        beyond = np.maximum.accumulate(beyond + apart) - apart
        newly = np.diff(beyond, prepend=0)
        newly[is_first] = beyond[is_first]
        np.add.at(self._settled, device, newly)
        return newly

    def _none(self) -> WindowBatch:
        none = np.empty(0, dtype=np.int64)
        values = np.empty((0, self._length, self._values.shape[2]))
        return WindowBatch(device=none, start=none, end=none, values=values, samples=none, fresh=none)

    def _grow(self, devices: int) -> None:
        self._devices = max(self._devices, devices)
        have = len(self._count)
        if devices <= have:
            return
        more = grown(have, devices) - have
        for name in _COLUMNS:
            column = getattr(self, f"_{name}")
            blank = np.zeros((more, *column.shape[1:]), dtype=column.dtype)
            setattr(self, f"_{name}", np.concatenate([column, blank]))


def _look(ring: _Column, column: _Column, closing: _Closing, steps: Int64) -> _Column:
    """Return what lies ``steps`` (0 or less) from each window's last reading: of the batch, or else of the ring."""
    found: _Column = ring[closing.device[:, None], (closing.position[:, None] + steps) % ring.shape[1]]
    row = closing.row[:, None] + steps
    is_new = row >= closing.begin[:, None]
    found[is_new] = column[row[is_new]]
    return found


def _only(closing: _Closing, is_given: Bool) -> _Closing:
    return _Closing(**{entry.name: getattr(closing, entry.name)[is_given] for entry in fields(closing)})
