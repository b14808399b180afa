"""Slow change, which no single window shows: of the inputs, and of the score.

An exponentially weighted moving average of each column (Roberts, "Control Chart Tests Based on Geometric Moving
Averages", Technometrics 1 (1959)) weighs the latest ``horizon`` windows most. Drift begins where it lies more than
``limit`` standard deviations from the mean, and ends where it is back within 0.8 of that.

Inputs come as z-scores: their mean and standard deviation are the training's. A score is measured by its own first
windows. The limit is in standard deviations of single windows, not of the average as on Roberts' chart (those are
smaller by ``sqrt((2 - w) / w)`` with the weight w), since his assume independent samples, which windows of a machine
never are.

One wild window is no drift: what lies beyond four times the limit counts as four times the limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from gatewayd.domain.arrays import Bool, Float64, Int64
from gatewayd.domain.state import State
from gatewayd.pipeline.groups import by_device, grown

_BACK = 0.8  # a drift ends within this part of its limit
_WILD = 4.0  # how many limits one window may count at most
# A score that never varied while it was measured: what differs from it visibly has drifted.
_LEAST_SPREAD = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftChange:
    """A column of a device that began to drift, or came back.

    Attributes:
        device: Index into the stream's devices.
        column: Index of the channel; 0 for a score.
        is_on: Whether it drifts now.
        at: End of the window, ns since the Unix epoch.
        value: The average, in standard deviations from the mean; signed.
        limit: What it exceeded, with the sign of the side on which it drifted.
    """

    device: int
    column: int
    is_on: bool
    at: int
    value: float
    limit: float


class Drift:
    """Follows each device's columns. Owned by the line.

    Args:
        columns: How many: the channels, or 1 for a score.
        horizon: Windows that the average spans; its weight for the latest is ``2 / (horizon + 1)``.
        limit: Distance from the mean at which drift begins, in standard deviations; positive.
        warm_up: A device's first windows, at least 2, in which nothing is said. Where ``is_measured``, they give its
            mean and standard deviation, and only what follows is averaged.
        is_measured: Values are no z-scores; each device's first ones tell what is usual.
    """

    def __init__(
        self, *, columns: int, horizon: int, limit: float, warm_up: int, is_measured: bool = False
    ) -> None:
        if horizon < 1 or not limit > 0 or warm_up < 2:  # noqa: PLR2004  # one value has no spread
            raise ValueError(
                "drift needs a horizon of at least 1, a positive limit and a warm-up of at least 2"
            )
        self._weight = 2 / (horizon + 1)
        self._limit, self._warm_up, self._is_measured = limit, warm_up, is_measured
        self._used = 0
        self._count: Int64 = np.zeros((0, columns), dtype=np.int64)
        self._learnt: Int64 = np.zeros((0, columns), dtype=np.int64)  # of them, in mean and spread
        self._mean: Float64 = np.zeros((0, columns), dtype=np.float64)
        self._spread: Float64 = np.zeros(
            (0, columns), dtype=np.float64
        )  # squared distances, summed (Welford)
        self._average: Float64 = np.zeros((0, columns), dtype=np.float64)
        self._side: Int64 = np.zeros((0, columns), dtype=np.int64)  # 1 above, -1 below, 0: no drift

    def update(self, device: Int64, values: Float64, at: Int64) -> list[DriftChange]:
        """Take in windows; those of a device come in order of time.

        Args:
            device: Shape ``(n,)``.
            values: Shape ``(n, columns)``; NaN where a window says nothing of a column.
            at: Shape ``(n,)``, the windows' ends, ns since the Unix epoch.

        Returns:
            What began and what ended, in order of the windows.
        """
        if not len(device):
            return []
        self._grow(int(device.max()) + 1)
        groups = by_device(device)
        # The first window of each device, then the second of each...: every step works on whole columns, and does the
        # same for a row whoever stands beside it.
        rows = np.arange(len(device))
        turn = rows - np.maximum.accumulate(np.where(groups.is_first, rows, 0))
        found: list[tuple[int, DriftChange]] = []
        for number in range(int(turn.max()) + 1):
            picked = groups.order[turn == number]
            found += self._step(device[picked], values[picked], at[picked], picked)
        return [change for _, change in sorted(found, key=lambda entry: (entry[0], entry[1].column))]

    def state(self) -> State:
        """Copy out what is remembered."""
        used = self._used
        return {name: getattr(self, f"_{name}")[:used].copy() for name in _MEMORY}

    def restore(self, state: State) -> None:
        """Make a fresh one go on where another of the same columns stopped."""
        self._used = 0
        self._grow(len(cast("Int64", state["count"])))
        for name in _MEMORY:
            getattr(self, f"_{name}")[: self._used] = state[name]

    def _step(self, device: Int64, values: Float64, at: Int64, rows: Int64) -> list[tuple[int, DriftChange]]:
        """Take in one window of each of several devices."""
        is_there = ~np.isnan(values)
        count = self._count[device] + is_there
        self._count[device] = count
        if self._is_measured:
            is_there, values = self._measure(device, values, is_there, count)
        most = _WILD * self._limit
        average = self._average[device]
        moved = average + self._weight * (np.clip(values, -most, most) - average)
        average = np.where(is_there, moved, average)
        self._average[device] = average
        before = self._side[device]
        side = np.where(average > self._limit, 1, np.where(average < -self._limit, -1, 0))
        stays = (side == 0) & (average * before >= _BACK * self._limit)
        side = np.where(stays, before, side)
        side = np.where(count > self._warm_up, side, 0)
        self._side[device] = side
        if (side == before).all():
            return []
        return [
            (int(rows[row]), change)
            for row, column in np.argwhere(side != before).tolist()
            for change in self._changes(
                int(device[row]),
                column,
                int(at[row]),
                float(average[row, column]),
                (int(before[row, column]), int(side[row, column])),
            )
        ]

    def _changes(
        self, device: int, column: int, at: int, value: float, sides: tuple[int, int]
    ) -> Sequence[DriftChange]:
        """Return the end of a drift and the begin of one; both where it went from one side to the other."""
        return [
            DriftChange(
                device=device, column=column, is_on=is_on, at=at, value=value, limit=side * self._limit
            )
            for side, is_on in zip(sides, (False, True), strict=True)
            if side
        ]

    def _measure(self, device: Int64, values: Float64, is_there: Bool, count: Int64) -> tuple[Bool, Float64]:
        """Learn from the first values of each device what is usual, and express the others by it."""
        learns = is_there & (count <= self._warm_up)
        mean, spread = self._mean[device], self._spread[device]
        learnt = self._learnt[device] + learns
        distance = np.where(learns, values - mean, 0.0)
        mean = mean + distance / np.maximum(learnt, 1)
        spread = spread + distance * np.where(learns, values - mean, 0.0)
        self._learnt[device], self._mean[device], self._spread[device] = learnt, mean, spread
        std = np.sqrt(spread / np.maximum(learnt - 1, 1))
        std = np.maximum(std, _LEAST_SPREAD * np.maximum(np.abs(mean), _LEAST_SPREAD))
        return is_there & ~learns, (values - mean) / std

    def _grow(self, devices: int) -> None:
        self._used = max(self._used, devices)
        have = len(self._count)
        if devices <= have:
            return
        size = grown(have, devices)
        for name in _MEMORY:
            old = getattr(self, f"_{name}")
            new = np.zeros((size, old.shape[1]), dtype=old.dtype)
            new[:have] = old
            setattr(self, f"_{name}", new)


_MEMORY = ("count", "learnt", "mean", "spread", "average", "side")
