"""Each device's latest values of each channel: what spikes, rates of change and medians are measured by.

A channel's values lie oldest first, the latest at the end, with NaN before them where there are fewer. Only finite
values enter, each channel for itself: a reading that lacks a channel leaves that channel's history as it is. To look
back from every row of a batch at once, each device's values in the batch are laid behind those remembered of it (a
``Trail``); what a row sees is then a slice, however the readings were cut into batches.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from gatewayd.domain.arrays import Bool, Float64, Int64
from gatewayd.domain.reading import Batch
from gatewayd.domain.state import State
from gatewayd.pipeline.groups import Groups, grown

_T = TypeVar("_T", np.int64, np.float64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """One channel's finite values in a batch, grouped by device, in order of arrival within each.

    Attributes:
        row: Shape ``(m,)``, where each value stands in the batch.
        group: Shape ``(m,)``, the number of its group, rising.
        taken_at: Shape ``(m,)``, ns since the Unix epoch.
        values: Shape ``(m,)``, in the channel's unit, finite.
        device: Shape ``(groups,)``, each group's device.
        first: Shape ``(groups,)``, where each group begins.
        last: Shape ``(groups,)``, where its latest value lies.
    """

    row: Int64
    group: Int64
    taken_at: Int64
    values: Float64
    device: Int64
    first: Int64
    last: Int64

    @classmethod
    def each(cls, batch: Batch, groups: Groups, channels: Iterable[int]) -> Iterator["Series"]:
        """Take channels out of a batch, one after the other."""
        order, taken_at = groups.order, batch.taken_at[groups.order]
        columns = np.ascontiguousarray(batch.values[order].T)
        is_there = np.isfinite(columns)
        is_whole = is_there.all(axis=1).tolist()
        whole: Series | None = None  # what channels without an absent value share
        for channel in channels:
            values = columns[channel]
            if not is_whole[channel]:
                there = is_there[channel]
                device = groups.device[there]
                is_first = np.empty(len(device), dtype=np.bool_)
                is_first[:1] = True
                np.not_equal(device[1:], device[:-1], out=is_first[1:])
                yield cls._grouped(order[there], device, taken_at[there], values[there], is_first)
            else:
                if whole is None:
                    whole = cls._grouped(order, groups.device, taken_at, values, groups.is_first)
                yield replace(whole, values=values)

    @classmethod
    def _grouped(
        cls, row: Int64, device: Int64, taken_at: Int64, values: Float64, is_first: Bool
    ) -> "Series":
        first = np.flatnonzero(is_first)
        return cls(
            row=row,
            group=np.cumsum(is_first) - 1,
            taken_at=taken_at,
            values=values,
            device=device[first],
            first=first,
            last=np.append(first[1:], len(row))[: len(first)] - 1,
        )

    def split(self, begins: Bool) -> "Series":
        """Return the same values with more groups: another one where one ``begins``, shape ``(m,)``."""
        is_first = begins.copy()
        is_first[self.first] = True
        return self._grouped(self.row, self.device[self.group], self.taken_at, self.values, is_first)

    def before(self, column: npt.NDArray[_T], carried: npt.NDArray[_T]) -> npt.NDArray[_T]:
        """Return what stands before each value in ``column``; before a group's first, what was ``carried`` over."""
        result = np.empty_like(column)
        result[1:] = column[:-1]
        result[self.first] = carried
        return result


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trail:
    """A series with each device's values behind those remembered of it.

    Attributes:
        values: All of it in a row, one device after the other; NaN where less is remembered than could be.
        position: Shape ``(m,)``, where each value of the series stands in it.
    """

    values: Float64
    position: Int64

    def before(self, width: int) -> Float64:
        """Return the ``width`` values before each value: shape ``(m, width)``, oldest first, NaN where none was."""
        return self.values[(self.position - width)[:, None] + np.arange(width)]

    def through(self, width: int) -> Float64:
        """Return the same with each value itself as the latest."""
        return self.values[(self.position - (width - 1))[:, None] + np.arange(width)]


class History:
    """Remembers each device's latest finite values, per channel. Owned by the line.

    Args:
        depth: How many values per channel; at least 1.
        channels: Columns of a reading.

    Attributes:
        devices: How many devices there is room made for.
    """

    def __init__(self, *, depth: int, channels: int) -> None:
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth}")
        self.depth = depth
        self._values: Float64 = np.empty((0, channels, depth), dtype=np.float64)
        self.devices = 0

    def grow(self, devices: int) -> None:
        """Make room for devices with an index below ``devices``."""
        self.devices = max(self.devices, devices)
        have = len(self._values)
        if devices > have:
            more = grown(have, devices) - have
            nothing = np.full((more, *self._values.shape[1:]), np.nan)
            self._values = np.concatenate([self._values, nothing])

    def latest(self, device: int, channel: int) -> list[float]:
        """Return a device's remembered values of a channel, oldest first."""
        values: list[float] = self._values[device, channel].tolist()
        if not math.isnan(values[0]):
            return values
        if math.isnan(values[-1]):
            return []
        return [value for value in values if not math.isnan(value)]

    def replace(self, device: int, channel: int, values: Sequence[float]) -> None:
        """Remember these finite values, oldest first, instead of what was; the latest ``depth`` of them."""
        missing = self.depth - len(values)
        self._values[device, channel] = [*[math.nan] * missing, *values] if missing > 0 else values[-missing:]

    def trail(self, series: Series, channel: int, is_anew: Bool | None = None) -> Trail:
        """Lay a batch's values of a channel behind those remembered.

        Args:
            series: The values.
            channel: Whose they are.
            is_anew: Shape ``(groups,)``, behind which groups nothing is to be laid; None: none.
        """
        groups, depth = np.arange(len(series.device)), self.depth
        values = np.empty(len(series.values) + len(groups) * depth, dtype=np.float64)
        position = np.arange(len(series.values)) + (series.group + 1) * depth
        values[position] = series.values
        remembered = (series.first + groups * depth)[:, None] + np.arange(depth)
        values[remembered] = self._values[series.device, channel]
        if is_anew is not None:
            values[remembered[is_anew]] = np.nan
        return Trail(values=values, position=position)

    def extend(self, series: Series, channel: int, trail: Trail, is_taken: Bool | None = None) -> None:
        """Remember a batch's values; of a device that has several groups, those of the last one.

        Args:
            series: The values.
            channel: Whose they are.
            trail: What ``trail`` has made of them.
            is_taken: Shape ``(groups,)``, for which devices; None: all.
        """
        device, last = series.device, series.last
        if is_taken is not None:
            device, last = device[is_taken], last[is_taken]
        ends = trail.position[last] - (self.depth - 1)
        self._values[device, channel] = trail.values[ends[:, None] + np.arange(self.depth)]

    def forget(self, devices: Int64, channel: int | None = None) -> None:
        """Remember nothing of these devices; of one channel, or of all."""
        self._values[devices, slice(None) if channel is None else channel] = np.nan

    def state(self) -> State:
        """Copy out what is remembered."""
        return {"values": self._values[: self.devices].copy()}

    def restore(self, state: State) -> None:
        """Go on from a state; from that of a deeper history with its latest values.

        Raises:
            ValueError: It is no such state, or one of other channels.
        """
        values = state["values"]
        if (
            not isinstance(values, np.ndarray)
            or values.dtype != np.float64
            or values.ndim != self._values.ndim
        ):
            raise ValueError("expected the values of a history")
        if values.shape[1] != self._values.shape[1]:
            raise ValueError(f"a history of {values.shape[1]} channels, not of {self._values.shape[1]}")
        self.grow(len(values))
        depth = min(self.depth, values.shape[2])
        self._values[: len(values), :, self.depth - depth :] = values[:, :, values.shape[2] - depth :]
