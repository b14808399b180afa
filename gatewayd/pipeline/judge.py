"""One channel's rules, and how a value is judged by them.

In their order: ``sentinel`` (an error code that looks like a value), ``out_of_range``, ``spike`` (far from the median
of the latest good values), ``rate`` (too fast a change), ``stuck`` (the same value too often). Each sees what those
before it let through: a drop ends there, a clip goes on changed, a mark goes on as it is.

Values are judged by the channel's *good* values: those that went on and were neither a spike nor too fast. So what a
rule finds does not depend on whether it drops, clips or marks, and a dropped value changes no later judgement. Two
things end that when it was the world that changed: ``spike_window`` spikes in a row are a new level, by which values
are judged from then on; and the distance that ``rate`` allows grows with the time since the last good value.

Spikes: F. R. Hampel, "The influence curve and its role in robust estimation", JASA 69 (1974); as a filter for time
series: R. K. Pearson, "Outliers in process modeling and identification", IEEE Trans. Control Syst. Technol. 10 (2002).
Theirs looks at both sides of a value; this one only back, since nobody waits for what comes after.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from gatewayd.pipeline.past import Past

Action = Literal["drop", "clip", "mark"]
Rule = Literal["sentinel", "out_of_range", "spike", "rate", "stuck"]

SIGMA_PER_MAD = (
    1.4826  # the median absolute deviation of normal noise is its standard deviation divided by this
)
_SMALLEST_SPIKE_WINDOW = 3  # of fewer values the median says nothing that one outlier couldn't change
NS_PER_S = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRules:
    """What is held against a channel's values.

    Attributes:
        least: Least possible value, in the channel's unit; None: no limit.
        greatest: Greatest possible value; None: no limit.
        range_action: What happens to values outside; clip: to the limit.
        sentinels: Error codes, such as 85.0 and -127.0, compared exactly. They are always dropped.
        sentinel_jump: An error code is one when it is at least so far from the last good value, or when there is none;
            0: always.
        spike_window: Over how many good values the median is taken, at least 3; None: spikes are not looked for.
        spike_deviations: How far from the median is too far, in standard deviations as estimated by 1.4826 MAD.
        spike_floor: Least MAD to reckon with, in the channel's unit; 0: where the MAD is 0 nothing is a spike.
        spike_action: What happens to a spike; clip: to the farthest that would have been none.
        rate: Fastest possible change, in the channel's unit per second; None: no limit.
        rate_action: What happens to what is faster; clip: to the nearest value that would have been allowed.
        stuck_readings: How many equal values in a row are too many: that one and those that follow are stuck; at
            least 2; None: never.
        stuck_action: What happens to them.
    """

    least: float | None = None
    greatest: float | None = None
    range_action: Action = "drop"
    sentinels: tuple[float, ...] = ()
    sentinel_jump: float = 0.0
    spike_window: int | None = None
    spike_deviations: float = 6.0
    spike_floor: float = 0.0
    spike_action: Action = "drop"
    rate: float | None = None
    rate_action: Action = "drop"
    stuck_readings: int | None = None
    stuck_action: Literal["drop", "mark"] = "mark"

    def __post_init__(self) -> None:
        """Hold the numbers to what they can mean."""
        if self.least is not None and self.greatest is not None and not self.least <= self.greatest:
            raise ValueError(f"least {self.least} is above greatest {self.greatest}")
        if self.spike_window is not None and self.spike_window < _SMALLEST_SPIKE_WINDOW:
            raise ValueError(
                f"spike_window must be at least {_SMALLEST_SPIKE_WINDOW}, not {self.spike_window}"
            )
        if self.stuck_readings is not None and self.stuck_readings < 2:  # noqa: PLR2004  # one value can't repeat
            raise ValueError(f"stuck_readings must be at least 2, not {self.stuck_readings}")
        if not (self.spike_deviations > 0 and self.spike_floor >= 0 and self.sentinel_jump >= 0):
            raise ValueError("spike_deviations must be above 0, spike_floor and sentinel_jump at least 0")
        if self.rate is not None and not self.rate > 0:
            raise ValueError(f"rate must be above 0, not {self.rate}")

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held against any value."""
        limits = (self.least, self.greatest, self.spike_window, self.rate, self.stuck_readings)
        return not self.sentinels and all(limit is None for limit in limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A channel of a device that became stuck or left its range, or the end of that.

    Attributes:
        device: Index into the stream's devices.
        channel: Index into its channels.
        kind: What it is about.
        is_begin: Whether it begins.
        at: When the reading that shows it was taken, ns since the Unix epoch.
        since: When the condition's first reading was taken: the first of the equal ones, the first outside.
        value: stuck: seconds without change; out_of_range: the reading, in the channel's unit.
        limit: What limits ``value``: the seconds that ``stuck_readings`` took; the end of the range that was passed.
    """

    device: int
    channel: int
    kind: Literal["stuck", "out_of_range"]
    is_begin: bool
    at: int
    since: int
    value: float
    limit: float


@dataclass(slots=True)
class Findings:
    """What speaks against one value: the rules, in their order, with what each does; and what changed with it."""

    rules: list[tuple[Rule, Action]] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)


class Judge:
    """Judges one channel's values. Keeps nothing itself: what it goes by is handed in.

    Args:
        rules: The channel's.
        channel: Its index.

    Attributes:
        least: Least possible value, -inf where there's no limit.
        greatest: Greatest possible value, inf where there's no limit.
    """

    def __init__(self, rules: ChannelRules, channel: int) -> None:
        self.rules, self.channel = rules, channel
        self.least = -math.inf if rules.least is None else rules.least
        self.greatest = math.inf if rules.greatest is None else rules.greatest
        self._stuck_readings = math.inf if rules.stuck_readings is None else float(rules.stuck_readings)

    def judge(self, past: Past, device: int, sent: float, at: int, findings: Findings) -> float | None:
        """Judge the next value of a device.

        Args:
            past: What the device's channel is judged by; changed to what the next value is judged by.
            device: Whose value it is, for transitions.
            sent: The value, in the channel's unit; finite.
            at: When it was taken, ns; later than the one before.
            findings: Takes what speaks against the value.

        Returns:
            What goes on: the value, or what it was clipped to; None where it is dropped.
        """
        rules, last = self.rules, past.good[-1] if past.good else None
        if sent in rules.sentinels and (last is None or abs(sent - last) >= rules.sentinel_jump):
            findings.rules.append(("sentinel", "drop"))
            return None
        value = self._in_range(past, device, sent, at, findings)
        is_good = True
        if rules.spike_window is not None and value is not None:
            calm = self._calm(past, value, rules.spike_window)
            is_good = calm is None
            value = _done(value, calm, "spike", rules.spike_action, findings)
        if rules.rate is not None and value is not None and last is not None and at > past.good_at:
            slow = _slow(value, last, rules.rate * ((at - past.good_at) / NS_PER_S))
            is_good = is_good and slow is None
            value = _done(value, slow, "rate", rules.rate_action, findings)
        if rules.stuck_readings is not None and value is not None:
            self._repeat(past, device, sent, at, findings)
            if past.is_stuck:
                value = _done(value, value, "stuck", rules.stuck_action, findings)
        if is_good and value is not None:
            past.good.append(value)
            past.good_at = at
        elif rules.spike_window is not None and len(past.spikes) == rules.spike_window:
            # So many in a row are a new level, not outliers: what comes is measured by them.
            past.good, past.good_at, past.spikes = past.spikes, at, []
        return value

    def _in_range(self, past: Past, device: int, value: float, at: int, findings: Findings) -> float | None:
        side = -1 if value < self.least else int(value > self.greatest)
        if side == 0 and past.side == 0:
            return value
        limit = self.least if (side or past.side) < 0 else self.greatest
        if side == 0 or past.side == 0:
            since = past.outside_since if side == 0 else at
            findings.transitions.append(
                Transition(
                    device=device,
                    channel=self.channel,
                    kind="out_of_range",
                    is_begin=side != 0,
                    at=at,
                    since=since,
                    value=value,
                    limit=limit,
                )
            )
            past.outside_since = since
        past.side = side
        return _done(value, limit if side else None, "out_of_range", self.rules.range_action, findings)

    def _calm(self, past: Past, value: float, window: int) -> float | None:
        """Return the nearest value that is no spike, where this one is; None where it is none."""
        if len(past.good) >= window:
            median, mad = _median_and_mad(past.good[-window:])
            reach = self.rules.spike_deviations * (SIGMA_PER_MAD * max(mad, self.rules.spike_floor))
            if reach > 0 and abs(value - median) > reach:
                past.spikes.append(value)
                return median + math.copysign(reach, value - median)
        past.spikes = []
        return None

    def _repeat(self, past: Past, device: int, value: float, at: int, findings: Findings) -> None:
        """Count equal values; note where the channel becomes stuck or moves again."""
        since, was_stuck = past.equal_since, past.is_stuck
        if was_stuck and math.isnan(past.equal):
            past.equal = (
                value  # what it was stuck at is forgotten since a restart: it still is, until it moves
            )
        if value == past.equal:
            past.equal_count += 1
            if not was_stuck and past.equal_count >= self._stuck_readings:
                past.is_stuck, past.stuck_at = True, at
        else:
            past.equal, past.equal_count, past.equal_since, past.is_stuck = value, 1, at, False
        if past.is_stuck != was_stuck:
            findings.transitions.append(
                Transition(
                    device=device,
                    channel=self.channel,
                    kind="stuck",
                    is_begin=past.is_stuck,
                    at=at,
                    since=since,
                    value=(at - since) / NS_PER_S,
                    limit=(past.stuck_at - since) / NS_PER_S,
                )
            )


def _done(
    value: float, instead: float | None, rule: Rule, action: Action, findings: Findings
) -> float | None:
    """Return what goes on after a rule that would have ``instead``; None: it has nothing against the value."""
    if instead is None:
        return value
    findings.rules.append((rule, action))
    if action == "drop":
        return None
    return instead if action == "clip" else value


def _slow(value: float, last: float, distance: float) -> float | None:
    """Return the nearest value within a distance of the last one, where this one is not; None where it is."""
    change = value - last
    return last + math.copysign(distance, change) if abs(change) > distance else None


def _median_and_mad(values: Sequence[float]) -> tuple[float, float]:
    median = _middle(sorted(values))
    return median, _middle(sorted([abs(value - median) for value in values]))


def _middle(ordered: Sequence[float]) -> float:
    lower, upper = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return lower if lower == upper else 0.5 * lower + 0.5 * upper  # halved first: their sum might overflow
