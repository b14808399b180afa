"""Too many alerts at once: what is more than anybody can read is held back, counted, and told when it is over.

ISA-18.2 calls more than 10 new alerts in 10 minutes a flood, and lets it end at fewer than 5 in 10 minutes. So here: it
begins with the raise that is one more than ``most`` within ``within_ns``, and ends when fewer than half of ``most``
were raised within that time, held back or not.

An alert whose raise is held back is followed in silence. If it is normal again before the flood is over, it is counted;
otherwise it is published then, as it stands. Nothing else is held back: not what becomes of an alert that was published
before, even if it is raised again.

Off unless configured: across devices, what is published depends on the order in which their readings arrived, and so
is no longer the same for the same readings of one device.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from gatewayd.domain.state import State
from gatewayd.domain.verdict import Alert
from gatewayd.pipeline.lifecycle import alert_of, written


@dataclass(frozen=True, slots=True, kw_only=True)
class FloodChange:
    """A flood that began or ended, for one summary each.

    Attributes:
        is_on: Whether it began.
        at: When, ns since the Unix epoch, by the clock that ``Flood`` is given.
        held: Raises that it has held back so far.
        released: Of them, those that still stood at its end and are published now.
    """

    is_on: bool
    at: int
    held: int
    released: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sifted:
    """What may be published, in that order, and whether a flood began or ended meanwhile."""

    alerts: tuple[Alert, ...] = ()
    changes: tuple[FloodChange, ...] = ()


class Flood:
    """Holds raises back while there are too many. Owned by the line.

    Args:
        most: Raises within ``within_ns`` that are published; at least 1.
        within_ns: Positive.

    Attributes:
        is_on: Whether there is a flood now.
        withheld: Raises that were never published, since their alerts were normal again before the flood was over.
    """

    def __init__(self, *, most: int, within_ns: int) -> None:
        if most < 1 or within_ns < 1:
            raise ValueError("a flood needs a number of alerts and a time, both positive")
        self._most, self._within_ns = most, within_ns
        self._raises: deque[int] = deque(maxlen=most + 1)  # when the latest were, ascending
        self._held: dict[str, Alert] = {}  # by id, as they stand now
        self._told: set[str] = set()  # ids that were published and aren't normal
        self._in_this_flood = 0
        self._now = 0
        self.is_on = False
        self.withheld = 0

    def holds(self, identity: str) -> bool:
        """Tell whether an alert's raise is held back now."""
        return identity in self._held

    def sift(self, alerts: Sequence[Alert], at: int) -> Sifted:
        """Return what may be published of alerts that changed.

        Args:
            alerts: In order of their changes.
            at: Now, ns since the Unix epoch; event time or the gateway's clock, but always the same one. It may go
                back: then it stands still here.
        """
        over = self.expire(at)
        passed, changes = list(over.alerts), list(over.changes)
        for alert in alerts:
            is_admitted = alert.state != "raised" or self._admit() or alert.id in self._told
            if is_admitted and alert.id not in self._held:
                passed.append(alert)
                if alert.status == "normal":
                    self._told.discard(alert.id)
                else:
                    self._told.add(alert.id)
            elif alert.status == "normal":
                del self._held[alert.id]
                self.withheld += 1
            else:
                self._held[alert.id] = alert
                self._in_this_flood += alert.state == "raised"
            if self._is_too_many and not self.is_on:
                self.is_on = True
                changes.append(FloodChange(is_on=True, at=self._now, held=len(self._held), released=0))
        return Sifted(alerts=tuple(passed), changes=tuple(changes))

    def deadline(self) -> int | None:
        """When ``expire`` has something to do, by the clock that ``sift`` is given; None: never, as it looks now."""
        if not self.is_on:
            return None
        fewest = min((self._most + 1) // 2, len(self._raises))  # so many are one too many for it to end
        return self._raises[-fewest] + self._within_ns

    def expire(self, now: int) -> Sifted:
        """End the flood if it is over, and release what it held back and what still stands."""
        self._now = max(self._now, now)
        deadline = self.deadline()
        if deadline is None or self._now < deadline:
            return Sifted()
        released = tuple(_as_raised(alert) for alert in self._held.values())
        change = FloodChange(is_on=False, at=deadline, held=self._in_this_flood, released=len(released))
        self.is_on, self._in_this_flood = False, 0
        self._told.update(self._held)
        self._held.clear()
        return Sifted(alerts=released, changes=(change,))

    def state(self) -> State:
        """Copy out what is remembered."""
        return {
            "raises": list(self._raises),
            "held": [written(alert) for alert in self._held.values()],
            "told": sorted(self._told),
            "in_this_flood": self._in_this_flood,
            "now": self._now,
            "is_on": self.is_on,
            "withheld": self.withheld,
        }

    def restore(self, state: State) -> None:
        """Make a fresh one go on where another stopped; one with another ``most`` goes on with what fits."""
        entry = cast("dict[str, Any]", state)
        self._raises.extend(entry["raises"])
        for parts in entry["held"]:
            alert = alert_of(parts)
            self._held[alert.id] = alert
        self._told.update(entry["told"])
        self._in_this_flood, self._now = entry["in_this_flood"], entry["now"]
        self.is_on, self.withheld = entry["is_on"], entry["withheld"]

    def _admit(self) -> bool:
        """Count a raise; tell whether it may be published."""
        self._raises.append(self._now)
        return not (self.is_on or self._is_too_many)

    @property
    def _is_too_many(self) -> bool:
        return len(self._raises) > self._most and self._raises[0] > self._now - self._within_ns


def _as_raised(alert: Alert) -> Alert:
    """Show an alert as raised to those who hear of it now, whatever became of it since."""
    return replace(alert, state="raised") if alert.cleared_at is None else alert
