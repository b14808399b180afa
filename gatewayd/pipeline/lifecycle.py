"""The life of one alert: raised, escalated, acknowledged, cleared; shelved or out of service meanwhile.

A pure state machine after ANSI/ISA-18.2-2016, 5.2.3 (IEC 62682). Others say whether a condition stands; here it is
decided what people are told of it. Three rules carry it:

- An alert that has ended but waits for somebody (to acknowledge it, to reset it) is the same alert when its condition
  returns: it is raised again, under its id and with its first-out time. Only what begins after ``normal`` has a new id.
- While shelved or out of service the condition is followed and nobody is told. Afterwards whoever was told of a raise
  is told of its end, and what stands is published as ``unshelved`` or ``in_service``.
- Severities only rise. A rise makes an alert unacknowledged again: who acknowledged the lower one hasn't seen this one.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any, Literal, NamedTuple, cast

from gatewayd.domain.state import State
from gatewayd.domain.verdict import Alert, Change, Condition, Status

Key = tuple[int, Condition, str | None]  # device, condition, channel
Identify = Callable[[int, Condition, str | None, int], str]  # Key and first_out_at → id, always the same


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRule:
    """What becomes of an alert once its condition stands.

    Attributes:
        needs_acknowledge: An alert that has ended stays ``returned_unacknowledged`` until somebody acknowledges it.
        is_latching: It stays latched after its condition has ended, until somebody resets it.
        hold_off_ns: Event time after an end in which the same key isn't raised.
        severities: ``(name, factor)``, factors ascending; the highest whose factor times the limit was reached. Of
            a negative limit (a log-likelihood) the factor takes as much magnitude as of a positive one.
    """

    needs_acknowledge: bool = False
    is_latching: bool = False
    hold_off_ns: int = 0
    severities: tuple[tuple[str, float], ...] = (("medium", 1.0),)

    def __post_init__(self) -> None:
        """Hold the severities to their order."""
        factors = [factor for _, factor in self.severities]
        if not factors or any(low >= high for low, high in pairwise(factors)):
            raise ValueError("severities need ascending factors")

    def level(self, value: float, limit: float, *, is_low: bool) -> int:
        """Return the index of the highest severity that a value reaches; the first has no lower bound."""
        reached = 0
        for index, (_, factor) in enumerate(self.severities):
            bound = limit * factor
            if (limit < 0) != is_low:
                bound = limit - abs(limit) * (factor - 1) if is_low else limit + abs(limit) * (factor - 1)
            if value <= bound if is_low else value >= bound:
                reached = index
        return reached


class Seen(NamedTuple):
    """A condition as it was seen at one instant; a tuple, since one is built per window while an anomaly stands.

    Attributes:
        at: Event time, ns since the Unix epoch.
        first_out_at: When it began to show; ``at`` but for N of M.
        value: What is limited; below ``limit`` when it begins where a lower limit is broken.
        peak: The farthest value since ``first_out_at``.
        limit: In force now.
        contributions: Per channel; None where there are none.
    """

    at: int
    first_out_at: int
    value: float
    peak: float
    limit: float
    contributions: Mapping[str, float] | None = None


class Alarm:
    """One device's condition, of one channel, and what was told of it. Belongs to ``Alarms``.

    Attributes:
        is_on: Whether the condition stands.
        held_until: No raise before this event time.
        waiting: The condition as it was seen last, where it stands but is held back.
        alert: As it is now; None: normal.
        told: The latest that was published of it.
        owed: The end of an earlier alert, of which nobody was told yet because of shelving.
        shelved_until: Gateway clock; None: not shelved.
    """

    def __init__(self, key: Key, rule: AlarmRule, identify: Identify, withheld: Counter[str]) -> None:
        self._key, self._rule, self._identify, self._withheld = key, rule, identify, withheld
        self.is_on = self._is_low = False  # low: a lower limit was broken
        self.held_until: int | None = None
        self.waiting: Seen | None = None
        self.alert: Alert | None = None
        self.is_latched = False
        self._level = 0  # index of the alert's severity
        self.told: Literal["raised", "ended"] | None = None
        self.owed: Alert | None = None
        self.shelved_until: int | None = None
        self.is_out_of_service = False

    @property
    def quiet(self) -> Literal["shelved", "out_of_service"] | None:
        """Why nothing is published of it; None: it is."""
        if self.is_out_of_service:
            return "out_of_service"
        return "shelved" if self.shelved_until is not None else None

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to remember."""
        return (
            not self.is_on and self.quiet is None and (self.alert, self.owed, self.held_until) == (None,) * 3
        )

    def begin(self, seen: Seen) -> tuple[Alert, ...]:
        """Take in that the condition stands, be it held off till now; raise the alert unless it is held off still."""
        if self.waiting is None:
            self.is_on, self._is_low = True, seen.value < seen.limit
        else:
            peak = self._farther(self.waiting.peak, seen.peak)
            seen = seen._replace(first_out_at=self.waiting.first_out_at, peak=peak)
        is_held = self.held_until is not None and seen.at < self.held_until
        is_beyond = seen.value <= seen.limit if self._is_low else seen.value >= seen.limit
        if is_held or (self.waiting is not None and not is_beyond):
            self.waiting = seen
            return ()
        return self._raise(seen)

    def observe(self, seen: Seen) -> tuple[Alert, ...]:
        """Take in how a raised alert's condition goes on: its peak, its severity."""
        alert = self._standing()
        if seen.value < alert.peak_score if self._is_low else seen.value > alert.peak_score:
            alert = self.alert = replace(alert, peak_score=seen.value)
        if self._level == len(self._rule.severities) - 1:
            return ()
        level = self._reached(seen)
        if level <= self._level:
            return ()
        self._level = level
        return self._publish(
            replace(
                _changed(alert, "escalated", seen),
                severity=self._rule.severities[level][0],
                acknowledged_at=None,
                acknowledged_by=None,
            )
        )

    def end(self, seen: Seen) -> tuple[Alert, ...]:
        """Take in that the condition has ended."""
        self.is_on = False
        if self.waiting is not None:
            self.waiting = None
            self._withheld["hold_off"] += 1
            return ()
        alert = self._standing()
        if self._rule.hold_off_ns:
            self.held_until = seen.at + self._rule.hold_off_ns
        self.is_latched = self._rule.is_latching
        alert = _changed(alert, "latched" if self.is_latched else "cleared", seen)
        alert = replace(alert, cleared_at=seen.at)
        is_unseen = self._rule.needs_acknowledge and alert.acknowledged_at is None
        return self._publish(alert) if self.is_latched or is_unseen else self._finish(alert)

    @property
    def lasting(self) -> tuple[int, float, bool] | None:
        """Since when its condition stands, the limit in force, and whether that is a lower one; None: it doesn't."""
        if not self.is_on:
            return None
        if self.waiting is not None:
            return self.waiting.first_out_at, self.waiting.limit, self._is_low
        alert = self._standing()
        return alert.first_out_at, alert.threshold, self._is_low

    def last_seen(self, at: int) -> Seen:
        """Return the numbers that were published last, as though seen again; its condition stands."""
        if self.waiting is not None:
            return self.waiting._replace(at=at)
        alert = self._standing()
        return Seen(at, at, alert.score, alert.peak_score, alert.threshold, dict(alert.causes) or None)

    def release(self, at: int) -> tuple[Alert, ...]:
        """Raise what was held back, if its hold-off is over."""
        if self.waiting is None or (self.held_until is not None and at < self.held_until):
            return ()
        return self._raise(self.waiting._replace(at=at))

    def acknowledge(self, at: int, by: str | None) -> tuple[Alert, ...]:
        """Take in that somebody has seen it."""
        alert = replace(
            self._standing(), state="acknowledged", changed_at=at, acknowledged_at=at, acknowledged_by=by
        )
        is_over = alert.cleared_at is not None and not self.is_latched
        return self._finish(alert) if is_over else self._publish(alert)

    def reset(self, at: int) -> tuple[Alert, ...]:
        """Let a latched alert go."""
        return self._finish(replace(self._standing(), state="reset", changed_at=at))

    def shelve(self, at: int, until: int) -> tuple[Alert, ...]:
        """Publish nothing of it for a time; gateway clock."""
        self.shelved_until = until
        return self._hide("shelved", at)

    def take_out(self, at: int) -> tuple[Alert, ...]:
        """Publish nothing of it until it is put in service again; ends a shelving."""
        self.is_out_of_service, self.shelved_until = True, None
        return self._hide("out_of_service", at)

    def reveal(self, change: Literal["unshelved", "in_service"], at: int) -> tuple[Alert, ...]:
        """Publish what has become of it while nobody was told, and what comes from now on."""
        self.shelved_until, self.is_out_of_service = None, False
        changes: tuple[Alert, ...] = ()
        if self.owed is not None:
            changes, self.owed = (replace(self.owed, changed_at=at),), None
        if self.alert is None:
            return changes
        told: Change = change
        if self.alert.cleared_at is not None and self.told == "raised":
            told = "latched" if self.is_latched else "cleared"
        return changes + self._publish(replace(self.alert, state=told, changed_at=at, shelved_until=None))

    def state(self) -> State:
        """Copy out what is remembered."""
        return {
            "key": list(self._key),
            "is_on": self.is_on,
            "is_low": self._is_low,
            "held_until": self.held_until,
            "waiting": None if self.waiting is None else self.waiting._asdict(),
            "alert": None if self.alert is None else written(self.alert),
            "is_latched": self.is_latched,
            "told": self.told,
            "owed": None if self.owed is None else written(self.owed),
            "shelved_until": self.shelved_until,
            "is_out_of_service": self.is_out_of_service,
        }

    def restore(self, state: State) -> None:
        """Go on where another one stopped, under this one's rule."""
        entry = cast("dict[str, Any]", state)
        self.is_on, self._is_low, self.held_until = entry["is_on"], entry["is_low"], entry["held_until"]
        self.waiting = Seen(**entry["waiting"]) if entry["waiting"] is not None else None
        self.alert = None if entry["alert"] is None else alert_of(entry["alert"])
        self.owed = None if entry["owed"] is None else alert_of(entry["owed"])
        self.is_latched, self.told = entry["is_latched"], entry["told"]
        self.shelved_until, self.is_out_of_service = entry["shelved_until"], entry["is_out_of_service"]
        names = [name for name, _ in self._rule.severities]
        if self.alert is not None and self.alert.severity in names:  # else the rule has changed: the least
            self._level = names.index(self.alert.severity)

    def _raise(self, seen: Seen) -> tuple[Alert, ...]:
        self.waiting = self.held_until = None
        before, level = self.alert, self._reached(seen)
        self._level = level if before is None else max(level, self._level)
        severity = self._rule.severities[self._level][0]
        self.is_latched = False
        if before is not None:
            return self._publish(
                replace(
                    _changed(before, "raised", seen),
                    severity=severity,
                    raised_at=seen.at,
                    cleared_at=None,
                    acknowledged_at=None,
                    acknowledged_by=None,
                    peak_score=self._farther(before.peak_score, seen.peak),
                )
            )
        device, condition, channel = self._key
        return self._publish(
            Alert(
                id=self._identify(device, condition, channel, seen.first_out_at),
                device=device,
                condition=condition,
                channel=channel,
                severity=severity,
                state="raised",
                changed_at=seen.at,
                first_out_at=seen.first_out_at,
                raised_at=seen.at,
                cleared_at=None,
                shelved_until=self.shelved_until,
                score=seen.value,
                peak_score=seen.peak,
                threshold=seen.limit,
                causes=_causes(seen.contributions),
            )
        )

    def _publish(self, alert: Alert) -> tuple[Alert, ...]:
        """Keep an alert as it is now, and return it if people may be told."""
        alert = self.alert = replace(alert, status=self._status(alert))
        if self.quiet is not None:
            return ()
        self.told = "raised" if alert.cleared_at is None else "ended"
        return (alert,)

    def _finish(self, alert: Alert) -> tuple[Alert, ...]:
        """Let an alert become normal."""
        alert = replace(alert, status="normal", shelved_until=None)
        told, quiet = self.told, self.quiet
        self.alert, self.told, self.is_latched, self._level = None, None, False, 0
        if quiet is None:
            return (alert,)
        if told is None:
            self._withheld[quiet] += 1
        else:
            self.owed = alert
        return ()

    def _hide(self, change: Change, at: int) -> tuple[Alert, ...]:
        if self.alert is None:
            return ()
        self.alert = replace(self.alert, state=change, changed_at=at, shelved_until=self.shelved_until)
        self.alert = replace(self.alert, status=self._status(self.alert))
        return () if self.told is None else (self.alert,)

    def _status(self, alert: Alert) -> Status:
        if self.quiet is not None:
            return self.quiet
        is_acknowledged = alert.acknowledged_at is not None
        if alert.cleared_at is None:
            return "acknowledged" if is_acknowledged else "unacknowledged"
        if self.is_latched:
            return "latched_acknowledged" if is_acknowledged else "latched_unacknowledged"
        return "returned_unacknowledged"

    def _reached(self, seen: Seen) -> int:
        if self._key[1] == "out_of_range":  # a multiple of what is physically possible means nothing
            return 0
        return self._rule.level(seen.value, seen.limit, is_low=self._is_low)

    def _farther(self, a: float, b: float) -> float:
        return min(a, b) if self._is_low else max(a, b)

    def _standing(self) -> Alert:
        assert self.alert is not None
        return self.alert


def _changed(alert: Alert, change: Change, seen: Seen) -> Alert:
    causes = _causes(seen.contributions)
    return replace(
        alert, state=change, changed_at=seen.at, score=seen.value, threshold=seen.limit, causes=causes
    )


def _causes(contributions: Mapping[str, float] | None) -> tuple[tuple[str, float], ...]:
    if contributions is None:
        return ()
    return tuple(sorted(contributions.items(), key=lambda cause: (-cause[1], cause[0])))


def written(alert: Alert) -> State:
    """Write an alert as part of a step's state."""
    parts = {field.name: getattr(alert, field.name) for field in fields(alert)}
    return {**parts, "causes": [list(cause) for cause in alert.causes]}


def alert_of(entry: Mapping[str, Any]) -> Alert:
    """Return the alert that ``written`` wrote."""
    return Alert(**{**entry, "causes": tuple((name, part) for name, part in entry["causes"])})
