"""Columns → windows: each device's readings, cut into runs of ``length`` that begin ``hop`` apart.

All devices share one ring array ``(devices, length, channels)``. A window's readings are those of the ring, with those
of the batch laid over them: so the windows that a batch completes are cut in one pass, be they one of each device or
all of one.
"""

from dataclasses import dataclass

import numpy as np

from gatewayd.domain.arrays import Bool, Float64, Int64
from gatewayd.domain.reading import Batch
from gatewayd.domain.state import State, as_float64, as_int, as_int64
from gatewayd.domain.window import WindowBatch
from gatewayd.pipeline.groups import by_device, grown


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Placed:
    """A batch's rows, grouped by device, with their position in the device's current run of readings."""

    device: Int64
    position: Int64
    run_start: Int64  # the row at which each row's run begins, as far as it lies in this batch
    is_complete: Bool
    taken_at: Int64
    values: Float64
    fresh: Int64  # of each complete row's window, the readings that are in no window before it


class Windower:
    """Cuts each device's readings into windows. Owned by the line.

    Args:
        length: Readings in a window.
        hop: Readings between the starts of two windows, 1..length.
        channels: Columns of a reading.
        max_gap_ns: A longer time between two readings of a device starts its window anew; None: never.

    Attributes:
        scored: Readings that are in at least one complete window.
        waiting: Readings in open windows that are in no complete one yet.
        abandoned: Readings given up at a gap, in no complete window.
    """

    def __init__(self, *, length: int, hop: int, channels: int, max_gap_ns: int | None) -> None:
        if not 1 <= hop <= length:
            raise ValueError(f"hop must lie in 1..{length}, not {hop}")
        self._length, self._hop, self.max_gap_ns = length, hop, max_gap_ns
        self._shape = (length, hop, channels)
        self._offsets = np.arange(length, dtype=np.int64)
        self._count: Int64 = np.zeros(0, dtype=np.int64)  # readings in each device's current run
        self._last: Int64 = np.zeros(0, dtype=np.int64)  # when the newest of them was taken
        self._times: Int64 = np.zeros((0, length), dtype=np.int64)
        self._values: Float64 = np.zeros((0, length, channels), dtype=np.float64)
        self._used = 0  # devices seen
        self.scored = self.waiting = self.abandoned = 0

    def add(self, batch: Batch) -> WindowBatch:
        """Take readings in and return the windows that became complete, oldest first within each device."""
        if not len(batch):
            return self._none()
        self._grow(int(batch.device.max()) + 1)
        placed = self._place(batch)
        ends = np.flatnonzero(placed.is_complete)
        windows = self._cut(placed, ends) if len(ends) else self._none()
        # Where two rows have the same slot, the later one is written last and stays.
        slot = placed.position % self._length
        self._times[placed.device, slot] = placed.taken_at
        self._values[placed.device, slot] = placed.values
        return windows

    def state(self) -> State:
        """Copy out the open windows of all devices."""
        used = self._used
        return {
            "shape": list(self._shape),
            "count": self._count[:used].copy(),
            "last": self._last[:used].copy(),
            "times": self._times[:used].copy(),
            "values": self._values[:used].copy(),
            "scored": self.scored,
            "waiting": self.waiting,
            "abandoned": self.abandoned,
        }

    def restore(self, state: State) -> bool:
        """Go on with the open windows of another one.

        Returns:
            False where its windows have another shape: then nothing was taken over but what it has scored.
        """
        self.scored = as_int(state["scored"])
        if state["shape"] != list(self._shape):
            return False
        length, _, channels = self._shape
        count = as_int64(state["count"])
        self._grow(len(count))
        self._count[: len(count)] = count
        self._last[: len(count)] = as_int64(state["last"])
        self._times[: len(count)] = as_int64(state["times"], length)
        self._values[: len(count)] = as_float64(state["values"], length, channels)
        self.waiting, self.abandoned = as_int(state["waiting"]), as_int(state["abandoned"])
        return True

    def _place(self, batch: Batch) -> _Placed:
        groups = by_device(batch.device)
        device, is_first = groups.device, groups.is_first
        taken_at, rows = batch.taken_at[groups.order], np.arange(len(device))
        begins = is_first
        carried = np.where(is_first, self._count[device], 0)
        if self.max_gap_ns is not None:
            before = np.empty_like(taken_at)
            before[1:] = taken_at[:-1]
            before[is_first] = self._last[device[is_first]]
            is_gap = (taken_at - before > self.max_gap_ns) & (~is_first | (carried > 0))
            if is_gap.any():
                begins = is_first | is_gap
                self._abandon(carried, begins, is_gap, is_first)
                carried = np.where(is_gap, 0, carried)
        start = np.maximum.accumulate(np.where(begins, rows, 0))
        position = carried[start] + rows - start
        beyond = position + 1 - self._length
        is_complete = (beyond >= 0) & (beyond % self._hop == 0)
        is_last = np.empty_like(is_first)
        is_last[:-1], is_last[-1] = is_first[1:], True
        self._count[device[is_last]] = position[is_last] + 1
        self._last[device[is_last]] = taken_at[is_last]
        fresh = np.where(beyond[is_complete] == 0, self._length, self._hop)
        newly_scored = int(fresh.sum())
        self.scored += newly_scored
        self.waiting += len(rows) - newly_scored
        return _Placed(
            device=device,
            position=position,
            run_start=start,
            is_complete=is_complete,
            taken_at=taken_at,
            values=batch.values[groups.order],
            fresh=fresh,
        )

    def _abandon(self, carried: Int64, begins: Bool, is_gap: Bool, is_first: Bool) -> None:
        """Count the readings that a gap leaves in no window."""
        rows = np.arange(len(begins))
        start = np.maximum.accumulate(np.where(begins, rows, 0))
        base = np.where(is_gap, 0, carried)
        run = base[start] + rows - start + 1  # readings in the run, up to and including each row
        ended = np.where(is_first, carried, np.concatenate(([0], run[:-1])))[is_gap]
        lost = np.where(ended < self._length, ended, (ended - self._length) % self._hop)
        self.abandoned += int(lost.sum())
        self.waiting -= int(lost.sum())

    def _cut(self, placed: _Placed, ends: Int64) -> WindowBatch:
        """Return the windows that end at these rows; the ring holds what came before the batch."""
        device = placed.device[ends]
        slots = (placed.position[ends, None] + 1 + self._offsets) % self._length
        values = self._values[device[:, None], slots]
        start = self._times[device, slots[:, 0]]
        rows = ends[:, None] + self._offsets - (self._length - 1)
        is_new = rows >= placed.run_start[ends, None]
        values[is_new] = placed.values[rows[is_new]]
        starts_here = is_new[:, 0]
        start[starts_here] = placed.taken_at[rows[starts_here, 0]]
        return WindowBatch(
            device=device, start=start, end=placed.taken_at[ends], values=values, fresh=placed.fresh
        )

    def _none(self) -> WindowBatch:
        none = np.empty(0, dtype=np.int64)
        return WindowBatch(device=none, start=none, end=none, values=np.empty((0, *self._values.shape[1:])))

    def _grow(self, devices: int) -> None:
        self._used = max(self._used, devices)
        have = len(self._count)
        if devices <= have:
            return
        more = grown(have, devices) - have
        self._count = np.concatenate([self._count, np.zeros(more, dtype=np.int64)])
        self._last = np.concatenate([self._last, np.zeros(more, dtype=np.int64)])
        self._times = np.concatenate([self._times, np.zeros((more, *self._times.shape[1:]), dtype=np.int64)])
        self._values = np.concatenate([self._values, np.zeros((more, *self._values.shape[1:]))])
