"""Which devices have said nothing for so long that nobody waits for them any more.

A device is silent once ``after_ns`` have passed, by a clock that never jumps, since its latest reading arrived. Each
silence is reported once: by ``due`` while it lasts, or by ``touch`` when the reading that ends it comes first. So what
was due for a device happens before its next reading either way, however seldom anybody asked.
"""

import numpy as np

from gatewayd.domain.arrays import Bool, Int64
from gatewayd.domain.state import State, as_bool, as_int64
from gatewayd.pipeline.groups import by_device, grown

_NEVER = np.iinfo(np.int64).min
_NOT_AWAITED = np.iinfo(np.int64).max  # in ``_awaited``: no device is earlier than that


class Silence:
    """Finds silent devices. Owned by the line; remembers when each device's latest reading arrived.

    Args:
        after_ns: How long a device says nothing before it is silent; positive. Exactly as long is silent.
    """

    def __init__(self, *, after_ns: int) -> None:
        if after_ns < 1:
            raise ValueError(f"after_ns must be positive, not {after_ns}")
        self._after_ns = after_ns
        self._since: Int64 = np.empty(0, dtype=np.int64)  # when the latest reading of each device arrived
        self._awaited: Int64 = np.empty(0, dtype=np.int64)  # the same, of those not yet reported as silent
        self._used = 0
        self._is_restored = False  # and no time was seen since

    def touch(self, device: Int64, steady_at: Int64) -> list[tuple[int, Int64, Int64]]:
        """Take note that readings arrived.

        Args:
            device: Shape ``(n,)``, in order of arrival.
            steady_at: Shape ``(n,)``, when, ns; never falls.

        Returns:
            Rows, rising, each with devices, ascending, and when they were last heard: before this row is processed they
            have been silent and not reported, and their own next row is this one or a later one. A batch is cut at as
            few rows as can be: those that had been silent before its first row stand at row 0.
        """
        if not len(device):
            return []
        self._fit(int(steady_at[0]))
        self._grow(int(device.max()) + 1)
        # No time between two readings of a device is longer than all of the batch and what was waited for it.
        begin = min(int(steady_at[0]), int(self._awaited[device].min()))
        cuts = self._cuts(device, steady_at) if int(steady_at[-1]) - begin >= self._after_ns else []
        self._since[device] = steady_at  # where a device has several rows, the last is written last and stays
        self._awaited[device] = steady_at
        return cuts

    def due(self, now: int) -> Int64:
        """Return the devices that are silent now and weren't reported yet, ascending."""
        self._fit(now)
        silent = np.flatnonzero(self._awaited <= now - self._after_ns)
        self._awaited[silent] = _NOT_AWAITED
        return silent

    def deadline(self) -> int | None:
        """Return when ``due`` will have something to do, ns of the steady clock; None: not before a reading comes."""
        earliest = int(self._awaited.min(initial=_NOT_AWAITED))
        if earliest == _NOT_AWAITED:
            return None
        return 0 if self._is_restored else earliest + self._after_ns

    def since(self, device: int) -> int:
        """Return when the device's latest reading arrived, ns of the steady clock.

        Raises:
            KeyError: None ever did.
        """
        since = int(self._since[device]) if device < self._used else _NEVER
        if since == _NEVER:
            raise KeyError(device)
        return since

    def state(self) -> State:
        """Copy out when each device's latest reading arrived, and whether its silence was reported."""
        used = slice(0, self._used)
        return {"since": self._since[used].copy(), "is_awaited": self._awaited[used] != _NOT_AWAITED}

    def restore(self, state: State) -> None:
        """Go on, new, where another one stopped.

        The steady clock may be another one by now. A device that was heard later than the first time it shows counts
        as heard then: a gateway whose clock starts in 1970 would else wait for decades. ``deadline`` is 0 until then.
        """
        since, is_awaited = as_int64(state["since"]), as_bool(state["is_awaited"])
        self._grow(len(since))
        self._since[: len(since)] = since
        self._awaited[: len(since)] = np.where(is_awaited, since, _NOT_AWAITED)
        self._is_restored = True

    def expect(self, devices: int) -> None:
        """Wait, new, for devices that are known from before: each counts as heard at the first time that is seen.

        Args:
            devices: How many there are.
        """
        self._grow(devices)
        self._since[:devices] = self._awaited[:devices] = _NOT_AWAITED - 1
        self._is_restored = True

    def _fit(self, now: int) -> None:
        """Bring the times of an earlier run onto this run's clock."""
        if not self._is_restored:
            return
        self._is_restored = False
        np.minimum(self._since, now, out=self._since)
        is_awaited: Bool = self._awaited != _NOT_AWAITED
        self._awaited[is_awaited] = np.minimum(self._awaited[is_awaited], now)

    def _cuts(self, device: Int64, steady_at: Int64) -> list[tuple[int, Int64, Int64]]:
        groups = by_device(device)
        at = steady_at[groups.order]
        before = np.empty_like(at)
        before[1:] = at[:-1]
        before[groups.is_first] = self._awaited[groups.device[groups.is_first]]
        ends = np.flatnonzero(at - before >= self._after_ns)
        # A device is given out at its own row at the latest, and at the earliest at the first by which it is silent.
        latest = groups.order[ends]
        earliest = np.searchsorted(steady_at, before[ends] + self._after_ns)
        cuts: dict[int, list[tuple[int, int]]] = {}
        row = 0
        # Taken by their latest rows, each joins the cut before it if it can: no smaller number of cuts would do.
        columns = (latest, earliest, groups.device[ends], before[ends])
        for last, first, who, since in sorted(zip(*(column.tolist() for column in columns), strict=True)):
            if first > row:
                row = last
            cuts.setdefault(row if first else 0, []).append((who, since))
        found = [(row, np.array(sorted(silent), dtype=np.int64)) for row, silent in sorted(cuts.items())]
        return [(row, pairs[:, 0], pairs[:, 1]) for row, pairs in found]

    def _grow(self, devices: int) -> None:
        self._used = max(self._used, devices)
        have = len(self._since)
        if devices <= have:
            return
        more = grown(have, devices) - have
        self._since = np.concatenate([self._since, np.full(more, _NEVER, dtype=np.int64)])
        self._awaited = np.concatenate([self._awaited, np.full(more, _NOT_AWAITED, dtype=np.int64)])
