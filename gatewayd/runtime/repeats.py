"""One event that repeats, told as its first occurrence, a sum per interval, and its end. Pure.

A broker that stays away or a sensor that sends nonsense must not fill the disk with lines: the first
occurrence is logged in full at once, later ones are counted into one line per interval, and the recovery says
how long it lasted and how many there were. Counts are exact: what was reported adds up to what was seen.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """Occurrences of one event.

    Attributes:
        key: Which event.
        count: Occurrences since the last report; since the first one in what ``recover()`` returns.
        duration_s: Seconds that the count stretches over.
    """

    key: str
    count: int
    duration_s: float


@dataclass(slots=True)
class _Run:
    first_at_s: float
    reported_at_s: float
    total: int
    unreported: int


class Repeats:
    """Counts repeated events between reports. Not thread-safe: owned by whoever logs."""

    def __init__(self, *, interval_s: float = 60.0, max_keys: int = 256) -> None:
        """Begin with nothing seen.

        Args:
            interval_s: Seconds between two sums of one key.
            max_keys: Keys told apart; what comes beyond is counted together as ``other``.
        """
        self._interval_s = interval_s
        self._max_keys = max_keys
        self._runs: dict[str, _Run] = {}

    def add(self, key: str, *, now_s: float, count: int = 1) -> bool:
        """Count an occurrence at monotonic ``now_s``; True where it is the first and wants its line now."""
        if key not in self._runs and len(self._runs) >= self._max_keys:
            key = "other"
        run = self._runs.get(key)
        if run is None:
            self._runs[key] = _Run(first_at_s=now_s, reported_at_s=now_s, total=count, unreported=count - 1)
            return True
        run.total += count
        run.unreported += count
        return False

    def due(self, *, now_s: float) -> list[Repeated]:
        """The sums whose interval has passed. A key that was quiet for an interval is forgotten."""
        sums: list[Repeated] = []
        for key, run in list(self._runs.items()):
            since_s = now_s - run.reported_at_s
            if since_s < self._interval_s:
                continue
            if run.unreported:
                sums.append(Repeated(key=key, count=run.unreported, duration_s=since_s))
                run.unreported, run.reported_at_s = 0, now_s
            else:
                del self._runs[key]
        return sums

    def recover(self, key: str, *, now_s: float) -> Repeated | None:
        """The trouble is over: all there was of it since the first occurrence; None where there was none."""
        run = self._runs.pop(key, None)
        return None if run is None else Repeated(key=key, count=run.total, duration_s=now_s - run.first_at_s)
