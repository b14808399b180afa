"""Readings that no window may see are dropped here, each with a reason.

``missing``: a channel is absent, or no finite number. ``out_of_range``: outside what is physically possible.
``future``: from further ahead than clocks differ. ``stale``: taken too long ago to say anything about now.
``duplicate``: the very reading that came before, delivered again (QoS 1 may: MQTT 3.1.1, 4.3.2). ``late``: not newer
than a reading of the same device that has already gone on.
"""

from collections.abc import Sequence

import numpy as np

from gatewayd.domain.arrays import Bool, Float64, Int64
from gatewayd.domain.reading import Batch
from gatewayd.domain.state import State, as_int64
from gatewayd.pipeline.groups import by_device, grown

_NEVER = np.iinfo(np.int64).min
_LATEST_NS = np.iinfo(np.int64).max
_CLOCK_SET_NS = 10**18  # 2001: a gateway without a clock of its own starts in 1970


class Cleaner:
    """Drops readings by rule. Owned by the line; remembers each device's newest reading.

    Args:
        least: Least possible value per channel, in its unit; -inf where there's no limit.
        greatest: Greatest possible value per channel; inf where there's no limit.
        max_future_ns: How far ahead of its arrival a reading may claim to have been taken.
        max_age_ns: How long before its arrival it may have been taken; None: any time.
        is_timed: Whether readings carry the sensor's time and so must rise. Readings stamped on arrival are in order by
            nature, and several of them may share an instant.
        is_reordered: Whether a later step puts them in order: nothing is late here.
        is_sparse: Whether channels come apart, so that a reading may lack some. A value that can't be is then taken out
            alone, and the reading goes on with the others.

    Attributes:
        examples: For each reason of the latest batch, a device that it happened to.
        removed: Values of the latest batch that were taken out of readings that go on, by reason; only where sparse.
    """

    def __init__(
        self,
        *,
        least: Sequence[float],
        greatest: Sequence[float],
        max_future_ns: int,
        is_timed: bool,
        max_age_ns: int | None = None,
        is_reordered: bool = False,
        is_sparse: bool = False,
    ) -> None:
        self._least = np.array(least, dtype=np.float64)
        self._greatest = np.array(greatest, dtype=np.float64)
        self._has_range = bool(np.isfinite(self._least).any() or np.isfinite(self._greatest).any())
        self.max_future_ns, self.max_age_ns = max_future_ns, max_age_ns
        self._is_timed, self._is_reordered, self._is_sparse = is_timed, is_reordered, is_sparse
        self.examples: dict[str, int] = {}
        self.removed: dict[str, int] = {}
        self._used = 0  # devices seen
        self._newest: Int64 = np.empty(0, dtype=np.int64)  # each device's newest own time...
        self._arrived: Int64 = np.empty(0, dtype=np.int64)  # ...and when that arrived
        self._latest: Float64 = np.empty((0, len(self._least)), dtype=np.float64)

    def clean(
        self, batch: Batch, arrived_at: Int64, has_own_time: Bool | None = None
    ) -> tuple[Batch, dict[str, int]]:
        """Return the readings that may go on, in their order, and how many were dropped, by reason.

        Args:
            batch: Readings in order of arrival.
            arrived_at: Shape ``(n,)``, gateway clock, ns since the Unix epoch.
            has_own_time: Shape ``(n,)``, which of them carry the sensor's time; None: all. The others are in order by
                nature. They get the device's newest own time plus what has passed since it arrived: put on the
                gateway's clock, a sensor whose clock is slow would seem to jump ahead and back.
        """
        dropped: dict[str, int] = {}
        self.examples, self.removed = {}, {}
        keep = np.ones(len(batch), dtype=np.bool_)
        if self._is_sparse:
            batch = self._blank(batch, keep, dropped)
        else:
            self._drop(batch, keep, ~np.isfinite(batch.values).all(axis=1), "missing", dropped)
            if self._has_range:
                outside = ((batch.values < self._least) | (batch.values > self._greatest)).any(axis=1)
                self._drop(batch, keep, outside, "out_of_range", dropped)
        if self._is_timed:
            # A gateway whose clock was never set can't tell what lies ahead.
            is_ahead = (batch.taken_at - arrived_at > self.max_future_ns) & (arrived_at >= _CLOCK_SET_NS)
            self._drop(batch, keep, is_ahead, "future", dropped)
            if self.max_age_ns is not None:
                self._drop(batch, keep, arrived_at - batch.taken_at > self.max_age_ns, "stale", dropped)
            own = None if has_own_time is None or has_own_time.all() else has_own_time[keep]
            arrived_at = arrived_at[keep]
            batch, keep = _kept(batch, keep), np.ones(int(keep.sum()), dtype=np.bool_)
            if own is not None and self._is_never_timed(batch.device, own):
                return batch, dropped
            if self._is_reordered:
                batch = self._place(batch, arrived_at, own)
            elif own is None:
                self._order(batch, arrived_at, keep, dropped)
            else:
                batch = self._order_one_by_one(batch, arrived_at, keep, own, dropped)
        return _kept(batch, keep), dropped

    def _drop(self, batch: Batch, keep: Bool, bad: Bool, reason: str, dropped: dict[str, int]) -> None:
        bad = bad & keep
        count = int(np.count_nonzero(bad))
        if count:
            keep[bad] = False
            dropped[reason] = count
            self.examples[reason] = int(batch.device[np.argmax(bad)])

    def _blank(self, batch: Batch, keep: Bool, dropped: dict[str, int]) -> Batch:
        """Take the values out that can't be, and drop the readings that have none left."""
        values = batch.values
        outside = (values < self._least) | (values > self._greatest)
        bad = outside | np.isinf(values)
        if bad.any():
            values = np.where(bad, np.nan, values)
        is_empty = np.isnan(values).all(axis=1)
        alone = int(np.count_nonzero(outside[~is_empty]))
        if alone:
            self.removed["out_of_range"] = alone
        self._drop(batch, keep, is_empty & outside.any(axis=1), "out_of_range", dropped)
        self._drop(batch, keep, is_empty, "missing", dropped)
        return Batch(device=batch.device, taken_at=batch.taken_at, values=values)

    def _is_never_timed(self, device: Int64, own: Bool) -> bool:
        """Tell whether these devices have never sent a time of their own: then there is nothing to compare with."""
        if own.any() or not len(device):
            return not len(device)
        self._grow(int(device.max()) + 1)
        return bool((self._newest[device] == _NEVER).all())

    def _place(self, batch: Batch, arrived_at: Int64, own: Bool | None) -> Batch:
        """Give times to readings that have none of their own, and leave the order to who comes after."""
        if not len(batch):
            return batch
        self._grow(int(batch.device.max()) + 1)
        times = batch.taken_at.copy()
        is_own = np.ones(len(batch), dtype=np.bool_) if own is None else own
        columns = zip(
            batch.device.tolist(), times.tolist(), arrived_at.tolist(), is_own.tolist(), strict=True
        )
        for row, (device, taken_at, arrived, has_time) in enumerate(columns):
            if not has_time:
                times[row] = self._placed(device, taken_at, arrived)
            elif taken_at > self._newest[device]:
                self._newest[device], self._arrived[device] = taken_at, arrived
        return Batch(device=batch.device, taken_at=times, values=batch.values)

    def _placed(self, device: int, taken_at: int, arrived: int) -> int:
        """Return the time of a reading that has none: the device's newest plus what has passed since."""
        newest, then = int(self._newest[device]), int(self._arrived[device])
        # Between an arrival before the gateway's clock was set and one after, nobody knows what passed.
        if newest != _NEVER and (then >= _CLOCK_SET_NS or arrived < _CLOCK_SET_NS):
            # Those of one message arrived together, and their times hold them apart: so by these.
            return min(newest + max(0, taken_at - then), _LATEST_NS)
        return taken_at

    def state(self) -> State:
        """Copy out each device's newest reading."""
        used = self._used
        return {
            "newest": self._newest[:used].copy(),
            "arrived": self._arrived[:used].copy(),
            "latest": self._latest[:used].copy(),
        }

    def restore(self, state: State) -> None:
        """Go on where another one stopped. Where its channels differ, only the times are taken over."""
        newest = as_int64(state["newest"])
        self._grow(len(newest))
        self._newest[: len(newest)] = newest
        self._arrived[: len(newest)] = as_int64(state["arrived"])
        latest = state["latest"]
        if isinstance(latest, np.ndarray) and latest.shape[1:] == self._latest.shape[1:]:
            self._latest[: len(newest)] = latest

    def _order(self, batch: Batch, arrived_at: Int64, keep: Bool, dropped: dict[str, int]) -> None:
        """Clear ``keep`` where a reading isn't newer than its device's newest; remember the newest."""
        if not len(batch):
            return
        self._grow(int(batch.device.max()) + 1)
        groups = by_device(batch.device)
        taken_at = batch.taken_at[groups.order]
        before = np.empty_like(taken_at)
        before[1:] = taken_at[:-1]
        before[groups.is_first] = self._newest[groups.device[groups.is_first]]
        if not (taken_at > before).all():
            self._order_one_by_one(batch, arrived_at, keep, np.ones(len(batch), dtype=np.bool_), dropped)
            return
        is_last = np.empty_like(groups.is_first)
        is_last[:-1], is_last[-1] = groups.is_first[1:], True
        self._newest[groups.device[is_last]] = taken_at[is_last]
        self._latest[groups.device[is_last]] = batch.values[groups.order[is_last]]
        self._arrived[groups.device[is_last]] = arrived_at[groups.order[is_last]]

    def _order_one_by_one(
        self, batch: Batch, arrived_at: Int64, keep: Bool, own: Bool, dropped: dict[str, int]
    ) -> Batch:
        """Do what ``_order`` does, reading by reading; return them with times for those that have none of their own."""
        if not len(batch):
            return batch
        self._grow(int(batch.device.max()) + 1)
        times = batch.taken_at.copy()
        columns = zip(batch.device.tolist(), times.tolist(), arrived_at.tolist(), own.tolist(), strict=True)
        for row, (device, taken_at, arrived, is_own) in enumerate(columns):
            if not is_own:
                times[row] = self._placed(device, taken_at, arrived)
                continue
            newest = int(self._newest[device])
            if taken_at > newest:
                self._newest[device] = taken_at
                self._arrived[device] = arrived
                self._latest[device] = batch.values[row]
                continue
            is_same = taken_at == newest and bool((self._latest[device] == batch.values[row]).all())
            reason = "duplicate" if is_same else "late"
            keep[row] = False
            dropped[reason] = dropped.get(reason, 0) + 1
            self.examples.setdefault(reason, device)
        return batch if own.all() else Batch(device=batch.device, taken_at=times, values=batch.values)

    def _grow(self, devices: int) -> None:
        self._used = max(self._used, devices)
        have = len(self._newest)
        if devices <= have:
            return
        size = grown(have, devices)
        newest = np.full(size, _NEVER, dtype=np.int64)
        latest = np.full((size, self._latest.shape[1]), np.nan, dtype=np.float64)
        arrived = np.zeros(size, dtype=np.int64)
        newest[:have], latest[:have], arrived[:have] = self._newest, self._latest, self._arrived
        self._newest, self._latest, self._arrived = newest, latest, arrived


def _kept(batch: Batch, keep: Bool) -> Batch:
    if keep.all():
        return batch
    return Batch(device=batch.device[keep], taken_at=batch.taken_at[keep], values=batch.values[keep])
