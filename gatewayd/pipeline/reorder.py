"""Readings that come out of order wait here until their turn, for as long as ``lateness_ns`` says.

Each device has a watermark of its own: ``lateness_ns`` before the newest time that it has sent. What lies before the
watermark goes on, in order of time; what lies at or after it waits, since a reading of an earlier or of the same
instant may still come. So a device's readings don't hold up another's, and the watermark moves with event time alone:
no clock of the gateway takes part. A device that goes quiet is sent on by ``flush``.

What is held back here is dropped with a reason, or merged:

``late``: from before the watermark; its turn is over, also if it is a copy of a reading that has gone on.
``duplicate``: of an instant that waits already, and nothing in it is new.
``conflict``: of an instant that waits already, with another value in a channel that is there already. The value that
came first stays. Channels that only the later reading has are taken from it nevertheless: a channel that always
comes together with a conflicting one would else be missing for ever.

A reading of an instant that waits already, with channels that were absent there and nothing that conflicts, becomes
one with it. So rows in == rows out + dropped + ``merged`` + ``waiting``.

Reference: watermarks and allowed lateness after Akidau et al., "The Dataflow Model", PVLDB 8(12), 2015, section 2.3.
"""

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from gatewayd.domain.arrays import Int64
from gatewayd.domain.reading import Batch, Kept
from gatewayd.domain.state import State, as_float64, as_int, as_int64

_NEVER = np.iinfo(np.int64).min


@dataclass(slots=True)
class _Held:
    """One device's waiting readings, rising in time: none is over once a batch is done."""

    over: int = _NEVER  # the latest instant before the watermark: what is newer may still be taken
    times: list[int] = field(default_factory=list)
    rows: list[list[float]] = field(default_factory=list)


@dataclass(slots=True)
class _Going:
    """Readings that go on, as columns; in order of time within each device."""

    device: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    rows: list[list[float]] = field(default_factory=list)


class Reorderer:
    """Puts each device's readings in order of time. Owned by the line.

    Args:
        channels: Columns of a reading.
        lateness_ns: How far behind its device's newest reading one may lie and still be taken; 0 or more.
        limit: Readings that wait per device at most; positive. Beyond that the oldest goes on early, and the watermark
            moves behind it.

    Attributes:
        waiting: Readings that wait now.
        merged: Readings that became one with another of the same instant.
        early: Readings that went on early, since their device held ``limit`` others.
    """

    def __init__(self, *, channels: int, lateness_ns: int, limit: int = 10_000) -> None:
        if lateness_ns < 0 or limit < 1:
            raise ValueError(f"expected lateness_ns >= 0 and limit >= 1, not {lateness_ns} and {limit}")
        self._channels, self._lateness_ns, self._limit = channels, lateness_ns, limit
        self._devices: dict[int, _Held] = {}
        self.waiting = self.merged = self.early = 0

    def add(self, batch: Batch) -> Kept:
        """Take readings in; return those whose turn has come, and what was dropped.

        Args:
            batch: Readings in order of arrival.

        Returns:
            Readings that are before their device's watermark: each device's rise in time, over all batches.
        """
        going, touched = _Going(), dict[int, _Held]()
        dropped: Counter[str] = Counter()
        examples: dict[str, int] = {}
        columns = zip(batch.device.tolist(), batch.taken_at.tolist(), batch.values.tolist(), strict=True)
        for device, taken_at, row in columns:
            held = touched.get(device)
            if held is None:
                held = touched[device] = self._devices.setdefault(device, _Held())
            reason = self._take(held, taken_at, row)
            if reason is not None:
                dropped[reason] += 1
                examples.setdefault(reason, device)
            elif len(held.times) > self._limit:
                self._make_room(device, held, going)
        for device, held in touched.items():
            self._send_on(device, held, going)
        return Kept(batch=self._batch(going), dropped=dict(dropped), examples=examples)

    def flush(self, devices: Int64) -> Kept:
        """Send on all that these devices hold; what comes later and isn't newer than that is late."""
        going = _Going()
        for device in devices.tolist():
            held = self._devices.get(device)
            if held is not None and held.times:
                held.over = held.times[-1]
                self._send_on(device, held, going)
        return Kept(batch=self._batch(going))

    def state(self) -> State:
        """Copy out each device's watermark and waiting readings, and the counters."""
        held = [self._devices[device] for device in sorted(self._devices)]
        rows = [row for one in held for row in one.rows]
        return {
            "device": np.array(sorted(self._devices), dtype=np.int64),
            "over": np.array([one.over for one in held], dtype=np.int64),
            "count": np.array([len(one.times) for one in held], dtype=np.int64),
            "times": np.array([time for one in held for time in one.times], dtype=np.int64),
            "values": np.array(rows, dtype=np.float64).reshape(len(rows), self._channels),
            "merged": self.merged,
            "early": self.early,
        }

    def restore(self, state: State) -> None:
        """Go on, new, where another one of as many channels stopped.

        Raises:
            ValueError: It had another number of channels.
        """
        times = as_int64(state["times"]).tolist()
        rows = as_float64(state["values"], self._channels).tolist()
        ends = np.cumsum(as_int64(state["count"])).tolist()
        devices, over = as_int64(state["device"]).tolist(), as_int64(state["over"]).tolist()
        for index, device in enumerate(devices):
            part = slice(ends[index - 1] if index else 0, ends[index])
            self._devices[device] = _Held(over[index], times[part], rows[part])
        self.waiting = len(times)
        self.merged, self.early = as_int(state["merged"]), as_int(state["early"])

    def _take(
        self, held: _Held, taken_at: int, row: list[float]
    ) -> Literal["late", "duplicate", "conflict"] | None:
        """Put one reading among those that wait, or say why not."""
        if taken_at <= held.over:
            return "late"
        times = held.times
        if not times or taken_at > times[-1]:
            times.append(taken_at)
            held.rows.append(row)
            held.over = max(held.over, taken_at - self._lateness_ns - 1)
        else:
            place = bisect_left(times, taken_at)
            if times[place] == taken_at:
                return self._merge(held.rows[place], row)
            times.insert(place, taken_at)
            held.rows.insert(place, row)
        self.waiting += 1
        return None

    def _merge(self, first: list[float], second: list[float]) -> Literal["duplicate", "conflict"] | None:
        """Take what is new in the second reading of an instant into the first."""
        has_news = has_conflict = False
        for channel, value in enumerate(second):
            if math.isnan(value):
                continue
            if math.isnan(first[channel]):
                first[channel] = value
                has_news = True
            elif first[channel] != value:
                has_conflict = True
        if has_conflict:
            return "conflict"
        if not has_news:
            return "duplicate"
        self.merged += 1
        return None

    def _make_room(self, device: int, held: _Held, going: _Going) -> None:
        self._send_on(device, held, going)
        excess = len(held.times) - self._limit
        if excess > 0:
            held.over = held.times[excess - 1]
            self.early += excess
            self._send_on(device, held, going)

    def _send_on(self, device: int, held: _Held, going: _Going) -> None:
        end = bisect_right(held.times, held.over)
        if not end:
            return
        going.device += [device] * end
        going.times += held.times[:end]
        going.rows += held.rows[:end]
        del held.times[:end], held.rows[:end]
        self.waiting -= end

    def _batch(self, going: _Going) -> Batch:
        return Batch(
            device=np.array(going.device, dtype=np.int64),
            taken_at=np.array(going.times, dtype=np.int64),
            values=np.array(going.rows, dtype=np.float64).reshape(len(going.rows), self._channels),
        )
