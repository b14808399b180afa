"""Windows of a recording; none crosses devices, gaps or the border of a file, as in the daemon."""

from dataclasses import dataclass

import numpy as np

from gatewayd.domain.arrays import Bool, Float64, Int64
from gatewayd.workbench.table import Table

_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Windows:
    """Windows of one recording, in the order of their last rows.

    Attributes:
        values: Shape ``(k, length, channels)``, in each channel's unit.
        rows: Shape ``(k, length)``, the rows they were cut from.
    """

    values: Float64
    rows: Int64

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, chosen: Bool) -> "Windows":
        """Return the windows that a mask of shape ``(k,)`` chooses."""
        return Windows(values=self.values[chosen], rows=self.rows[chosen])


def runs(table: Table, *, max_gap_s: float | None) -> list[Int64]:
    """Split a recording into rows of one device without a gap, each in time order.

    Args:
        table: The recording.
        max_gap_s: Longest time between two readings of one run; None, or no time column: no gaps.
    """
    found = []
    for device in np.unique(table.device):
        rows = np.flatnonzero(table.device == device).astype(np.int64)
        if table.time is None or max_gap_s is None:
            found.append(rows)
            continue
        borders = np.flatnonzero(np.diff(table.time[rows]) > max_gap_s * _NS) + 1
        found.extend(np.split(rows, borders))
    return found


def cut(table: Table, *, length: int, hop: int, max_gap_s: float | None = None) -> Windows:
    """Cut a recording into windows; the first of a run begins with its first row.

    Args:
        table: The recording.
        length: Rows in a window, positive.
        hop: Rows between the starts of two windows, positive.
        max_gap_s: See ``runs``.
    """
    parts = [
        np.lib.stride_tricks.sliding_window_view(run, length)[::hop]
        for run in runs(table, max_gap_s=max_gap_s)
        if len(run) >= length
    ]
    rows = np.concatenate(parts) if parts else np.empty((0, length), np.int64)
    rows = rows[np.argsort(rows[:, -1], kind="stable")]
    return Windows(values=table.values[rows], rows=rows)


def spread(table: Table, windows: Windows, scores: Float64, *, max_gap_s: float | None = None) -> Float64:
    """Give each row the score of its run's newest window that ended at it or before: causal.

    Returns:
        Shape ``(rows,)``; NaN where no window has ended yet.
    """
    at_end = np.full(len(table), np.nan)
    at_end[windows.rows[:, -1]] = scores
    spread_scores = np.full(len(table), np.nan)
    for run in runs(table, max_gap_s=max_gap_s):
        known = np.where(np.isnan(at_end[run]), -1, np.arange(len(run)))
        newest = np.maximum.accumulate(known)
        spread_scores[run] = np.where(newest >= 0, at_end[run][newest], np.nan)
    return spread_scores


def interval_s(table: Table) -> float | None:
    """Tell the usual time between two readings of one device; None without a time column or second reading."""
    if table.time is None:
        return None
    steps = np.concatenate(
        [np.diff(table.time[table.device == device]) for device in np.unique(table.device)]
    )
    return float(np.median(steps)) / _NS if len(steps) else None
