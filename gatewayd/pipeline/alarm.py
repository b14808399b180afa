"""All alerts of a stream: who is told what, what operators say to them, and what time brings.

``lifecycle`` has the life of each; this module finds it by device, condition and channel or by its id, and keeps the
times at which something happens by itself: a shelving ends, a hold-off is over. Event time and the gateway's clock
both arrive as arguments.
"""

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

from gatewayd.domain.state import State
from gatewayd.domain.verdict import Alert, Condition
from gatewayd.pipeline.lifecycle import Alarm, AlarmRule, Identify, Key, Seen

Verb = Literal["acknowledge", "shelve", "unshelve", "out_of_service", "in_service", "reset"]
Refusal = Literal[
    "unknown_alert",  # no current alert has this id
    "not_standing",
    "already_acknowledged",
    "not_acknowledged",  # a reset needs that first, where acknowledging is required
    "not_latched",
    "no_duration",  # a shelving is never for ever
    "shelved",  # nobody is shown it: unshelve it first
    "not_shelved",
    "out_of_service",
    "not_out_of_service",
]
_LATEST_NS = 2**63 - 1


class Lasting(NamedTuple):
    """A condition that stands, whatever people were told of it.

    Attributes:
        key: Device, condition, channel.
        since: When it began to show, ns since the Unix epoch.
        limit: In force when it was seen last.
        is_low: Whether a lower limit was broken.
    """

    key: Key
    since: int
    limit: float
    is_low: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command led to: changes to publish (none where nobody was told of an alert), or why it was refused."""

    changes: tuple[Alert, ...] = ()
    refusal: Refusal | None = None


class Alarms:
    """All alerts of one stream. Owned by the line.

    Args:
        rule: What becomes of them.
        identify: ``(device, condition, channel, first_out_at) → id``; the same arguments give the same id.

    Attributes:
        withheld: Raises that were never published, by reason: ``hold_off``, ``shelved``, ``out_of_service``.
    """

    def __init__(self, rule: AlarmRule, identify: Identify) -> None:
        self._rule, self._identify = rule, identify
        self._alarms: dict[Key, Alarm] = {}
        self._held: set[Key] = set()  # that wait for the end of a hold-off
        self._shelved: dict[Key, int] = {}  # until when
        self.withheld: Counter[str] = Counter()

    @property
    def standing(self) -> list[Alert]:
        """Alerts that were published and aren't normal, as they stand now: what a late subscriber needs."""
        found = (alarm.alert for alarm in self._alarms.values() if alarm.told is not None)
        return [alert for alert in found if alert is not None]

    @property
    def lasting(self) -> list[Lasting]:
        """Conditions that stand, told or not: what whoever watches them anew has to know."""
        return [
            Lasting(key, *alarm.lasting) for key, alarm in self._alarms.items() if alarm.lasting is not None
        ]

    @property
    def is_holding(self) -> bool:
        """Whether ``advance`` may have something to do."""
        return bool(self._held)

    def is_on(self, key: Key) -> bool:
        """Tell whether a condition stands."""
        alarm = self._alarms.get(key)
        return alarm is not None and alarm.is_on

    def track(self, key: Key, seen: Seen, *, is_on: bool) -> tuple[Alert, ...]:
        """Follow a condition: how it was seen, and whether it stands.

        May be called at changes only or again and again; a standing condition escalates only where its values come.
        """
        alarm = self._alarms.get(key)
        if alarm is None or not alarm.is_on:
            if not is_on:
                return ()
            alarm = self._at(key)
        elif is_on and alarm.waiting is None:
            return alarm.observe(seen)  # once per window while it stands: nothing to settle
        changes = alarm.begin(seen) if is_on else alarm.end(seen)
        self._settle(key, alarm)
        return changes

    def advance(self, device: int, at: int) -> tuple[Alert, ...]:
        """Raise what was held back and stands after its hold-off, now that a device's event time has come so far.

        Anomalies are raised by their next anomalous window instead.
        """
        return self._release((key for key in self._held if key[0] == device and key[1] != "anomaly"), at)

    def withdraw(self, watched: Container[tuple[Condition, str | None]]) -> tuple[Alert, ...]:
        """End what stands of anything but these, since a reload took their rules away.

        Args:
            watched: Condition and channel. What is ended, is at the time of the latest change of any alert.
        """
        alerts = [alarm.alert for alarm in self._alarms.values() if alarm.alert is not None]
        at = max((alert.changed_at for alert in alerts), default=0)
        changes: tuple[Alert, ...] = ()
        for key, alarm in sorted(self._alarms.items(), key=lambda entry: _order(entry[0])):
            if alarm.is_on and key[1:] not in watched:
                changes += alarm.end(alarm.last_seen(at))
                self._settle(key, alarm)
        return changes

    def deadline(self) -> int | None:
        """When ``expire`` has something to do, gateway clock, ns since the Unix epoch; None: never."""
        silent = (self._alarms[key].held_until or 0 for key in self._held if key[1] == "silent")
        return min((*self._shelved.values(), *silent), default=None)

    def expire(self, now: int) -> tuple[Alert, ...]:
        """End the shelvings whose time is over, and the hold-off of silence, which no event time ends.

        Args:
            now: Gateway clock, ns since the Unix epoch.
        """
        changes: tuple[Alert, ...] = ()
        over = [(until, _order(key), key) for key, until in self._shelved.items() if until <= now]
        for until, _, key in sorted(over, key=lambda entry: entry[:2]):
            changes += self._alarms[key].reveal("unshelved", until)
            self._settle(key, self._alarms[key])
        return changes + self._release((key for key in self._held if key[1] == "silent"), now)

    def command(
        self, verb: Verb, target: str | Key, *, at: int, by: str | None = None, for_ns: int | None = None
    ) -> Answer:
        """Do what an operator says.

        Args:
            verb: What to do.
            target: An alert's id, or its key: shelving and taking out of service need no alert that stands.
            at: Gateway clock, ns since the Unix epoch.
            by: Who acknowledges.
            for_ns: How long to shelve.
        """
        key = self._find(target) if isinstance(target, str) else target
        if key is None:
            return Answer(refusal="unknown_alert")
        alarm = self._at(key)
        refusal = self._objection(verb, alarm, for_ns)
        changes = () if refusal is not None else _obey(alarm, verb, at, by, for_ns)
        self._settle(key, alarm)
        return Answer(changes=changes, refusal=refusal)

    def state(self) -> State:
        """Copy out what is remembered."""
        return {
            "alarms": [alarm.state() for alarm in self._alarms.values()],
            "withheld": dict(self.withheld),
        }

    def restore(self, state: State) -> None:
        """Make a fresh one go on where another stopped, under this one's rule."""
        self.withheld.update(cast("dict[str, int]", state["withheld"]))
        for entry in cast("Sequence[State]", state["alarms"]):
            device, condition, channel = cast("Key", entry["key"])
            alarm = self._at((device, condition, channel))
            alarm.restore(entry)
            self._settle((device, condition, channel), alarm)

    def _at(self, key: Key) -> Alarm:
        alarm = self._alarms.get(key)
        if alarm is None:
            alarm = self._alarms[key] = Alarm(key, self._rule, self._identify, self.withheld)
        return alarm

    def _find(self, identity: str) -> Key | None:
        """Look among the few that stand: commands are rare."""
        for key, alarm in self._alarms.items():
            if alarm.alert is not None and alarm.alert.id == identity:
                return key
        return None

    def _settle(self, key: Key, alarm: Alarm) -> None:
        """Bring what is kept about an alarm up to date with it."""
        self._held.discard(key)
        if alarm.waiting is not None:
            self._held.add(key)
        self._shelved.pop(key, None)
        if alarm.shelved_until is not None:
            self._shelved[key] = alarm.shelved_until
        if alarm.is_idle:
            del self._alarms[key]

    def _release(self, keys: Iterable[Key], at: int) -> tuple[Alert, ...]:
        changes: tuple[Alert, ...] = ()
        for key in sorted(keys, key=_order):
            changes += self._alarms[key].release(at)
            self._settle(key, self._alarms[key])
        return changes

    def _objection(self, verb: Verb, alarm: Alarm, for_ns: int | None) -> Refusal | None:
        """Return why a command can't be done now."""
        is_acknowledged = alarm.alert is not None and alarm.alert.acknowledged_at is not None
        is_quiet, quiet = alarm.quiet is not None, alarm.quiet or "shelved"
        reasons: dict[Verb, tuple[tuple[bool, Refusal], ...]] = {
            "acknowledge": (
                (alarm.alert is None, "not_standing"),
                (is_quiet, quiet),
                (is_acknowledged, "already_acknowledged"),
            ),
            "shelve": (
                (alarm.is_out_of_service, "out_of_service"),
                (for_ns is None or for_ns <= 0, "no_duration"),
            ),
            "unshelve": ((alarm.shelved_until is None, "not_shelved"),),
            "out_of_service": ((alarm.is_out_of_service, "out_of_service"),),
            "in_service": ((not alarm.is_out_of_service, "not_out_of_service"),),
            "reset": (
                (not alarm.is_latched, "not_latched"),
                (is_quiet, quiet),
                (self._rule.needs_acknowledge and not is_acknowledged, "not_acknowledged"),
            ),
        }
        return next((reason for applies, reason in reasons[verb] if applies), None)


def _obey(alarm: Alarm, verb: Verb, at: int, by: str | None, for_ns: int | None) -> tuple[Alert, ...]:
    match verb:
        case "acknowledge":
            return alarm.acknowledge(at, by)
        case "shelve":
            return alarm.shelve(at, min(at + (for_ns or 0), _LATEST_NS))
        case "out_of_service":
            return alarm.take_out(at)
        case "reset":
            return alarm.reset(at)
        case _:
            return alarm.reveal("unshelved" if verb == "unshelve" else "in_service", at)


def _order(key: Key) -> tuple[int, str, str]:
    """Sort keys: None is no text."""
    device, condition, channel = key
    return device, condition, channel or ""
