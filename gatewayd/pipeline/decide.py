"""Score → anomalous or not; an anomaly that begins to stand and later ends.

A window is anomalous at and above the threshold, calm below ``clear_below`` times the threshold; what lies between is
neither, so that a score that trembles around the threshold doesn't ring twice. An anomaly stands when N of the latest M
windows were anomalous, and has ended when N of the latest M were calm. ISA-18.2 calls the first a deadband, the second
an on-delay and off-delay in samples. What people are told of it, and of the conditions beside it, is up to ``alarm``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from gatewayd.domain.state import State
from gatewayd.domain.verdict import Alert, Condition
from gatewayd.pipeline.alarm import Alarms
from gatewayd.pipeline.lifecycle import Key, Seen
from gatewayd.pipeline.threshold import PeaksOverThreshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When an anomaly stands and when it has ended.

    Attributes:
        threshold: Score at and above which a window is anomalous; None: each device's own, by its scores so far.
        raise_n: Anomalous windows...
        raise_m: ...among so many latest ones raise.
        clear_n: Calm windows...
        clear_m: ...among so many latest ones clear.
        clear_below: A window is calm below this part of the threshold; above 0, at most 1.
    """

    threshold: float | None
    raise_n: int
    raise_m: int
    clear_n: int
    clear_m: int
    clear_below: float

    @classmethod
    def of(
        cls, *, threshold: float | None, raise_: tuple[int, int], clear: tuple[int, int], clear_below: float
    ) -> "Rule":
        """Build from options."""
        return cls(
            threshold=threshold,
            raise_n=raise_[0],
            raise_m=raise_[1],
            clear_n=clear[0],
            clear_m=clear[1],
            clear_below=clear_below,
        )

    def calm_below(self, threshold: float) -> float:
        """Return the score below which a window is calm; at most the threshold.

        A negative threshold (a log-likelihood) keeps its hysteresis below itself.
        """
        if threshold > 0:
            return threshold * self.clear_below
        return threshold - abs(threshold) * (1 - self.clear_below)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a window's score means.

    Attributes:
        threshold: In force for this window; None while it is calibrated.
        is_anomalous: ``score >= threshold``.
        changes: Alerts that changed, in order of publication.
    """

    threshold: float | None
    is_anomalous: bool
    changes: tuple[Alert, ...] = ()


@dataclass(slots=True)
class _Device:
    """One device's history: bit 0 of each word is the latest window."""

    anomalous: int = 0
    calm: int = 0  # since it began to stand
    recent: list[tuple[int, float]] = field(
        default_factory=list
    )  # (end, score) of anomalous windows, oldest first
    is_on: bool = False  # an anomaly stands


class Decider:
    """Decides window by window. Owned by the line.

    Only devices that were anomalous lately have a history, so a calm window costs a comparison.

    Args:
        rule: When an anomaly stands and when it has ended.
        alarms: What people are told.
        peaks: Sets the thresholds where the rule has none.

    Raises:
        ValueError: Neither the rule nor ``peaks`` set a threshold, or both do.

    Attributes:
        alarms: The stream's alerts, those of ``condition`` too: commands and deadlines go there.
        threshold: Score at and above which a window is anomalous; None: each device has its own.
    """

    def __init__(self, rule: Rule, alarms: Alarms, peaks: PeaksOverThreshold | None = None) -> None:
        if (rule.threshold is None) == (peaks is None):
            raise ValueError("a threshold is either fixed or adapted")
        self._rule, self.alarms, self._peaks = rule, alarms, peaks
        self._devices: dict[int, _Device] = {}
        self._raise_mask, self._clear_mask = (1 << rule.raise_m) - 1, (1 << rule.clear_m) - 1
        self.threshold = rule.threshold
        # the two decisions that nearly all windows get, made once
        self._normal = Decision(threshold=rule.threshold, is_anomalous=False)
        self._anomalous = Decision(threshold=rule.threshold, is_anomalous=True)

    @property
    def standing(self) -> int:
        """How many alerts people were told of that aren't normal again."""
        return len(self.alarms.standing)

    def judge(
        self, *, device: int, end: int, score: float, contributions: Mapping[str, float] | None
    ) -> Decision:
        """Decide on one window; windows of a device come in order of time.

        Args:
            device: Index into the stream's devices.
            end: When the window's last reading was taken, ns since the Unix epoch.
            score: Finite.
            contributions: Per channel; None where the task has none.
        """
        threshold = self.threshold if self._peaks is None else self._peaks.threshold(device)
        is_anomalous = threshold is not None and score >= threshold
        changes = self.alarms.advance(device, end) if self.alarms.is_holding else ()
        if threshold is not None and (is_anomalous or device in self._devices):
            seen = Seen(end, end, score, score, threshold, contributions)
            changes += self._follow(device, seen, is_anomalous=is_anomalous)
        if self._peaks is not None:
            self._peaks.learn(device, score)
            return Decision(threshold=threshold, is_anomalous=is_anomalous, changes=changes)
        if changes:
            return Decision(threshold=threshold, is_anomalous=is_anomalous, changes=changes)
        return self._anomalous if is_anomalous else self._normal

    def condition(
        self,
        *,
        device: int,
        condition: Condition,
        channel: str | None,
        is_on: bool,
        at: int,
        value: float,
        limit: float,
    ) -> tuple[Alert, ...]:
        """Take in that another condition than an anomaly stands, or that it has ended.

        Args:
            device: Index into the stream's devices.
            condition: What it is.
            channel: The channel that it is about; None: the device as a whole.
            is_on: Whether it stands. Calls that say what is known already do no harm; they bring a standing alert's
                peak and severity up to date, and end a hold-off.
            at: Event time, ns since the Unix epoch; for silence, which has none, the gateway's clock.
            value: The number that is limited; below the limit where a lower one is broken.
            limit: In the value's unit.
        """
        seen = Seen(at=at, first_out_at=at, value=value, peak=value, limit=limit)
        return self.alarms.track((device, condition, channel), seen, is_on=is_on)

    def state(self) -> State:
        """Copy out what is remembered."""
        return {
            "alarms": self.alarms.state(),
            "peaks": None if self._peaks is None else self._peaks.state(),
            "devices": {
                str(device): {
                    "anomalous": known.anomalous,
                    "calm": known.calm,
                    "recent": [list(entry) for entry in known.recent],
                }
                for device, known in self._devices.items()
            },
        }

    def restore(self, state: State, *, keeps_history: bool = True) -> None:
        """Make a fresh one go on with another's alerts, under this one's rule.

        Args:
            state: The other's.
            keeps_history: Also go on with what counts towards raising and clearing, and with adapted thresholds. Not so
                where scores have another meaning from now on: another model, or another threshold.
        """
        self.alarms.restore(cast("State", state["alarms"]))
        for name, value in cast("Mapping[str, State]", state["devices"]).items():
            device = int(name)
            is_on = self.alarms.is_on(_key(device))
            if keeps_history:
                recent = cast("Sequence[tuple[int, float]]", value["recent"])
                self._devices[device] = _Device(
                    anomalous=cast("int", value["anomalous"]),
                    calm=cast("int", value["calm"]),
                    recent=[(end, score) for end, score in recent],
                    is_on=is_on,
                )
            elif is_on:
                self._devices[device] = _Device(is_on=True)
        if keeps_history and self._peaks is not None and state["peaks"] is not None:
            self._peaks.restore(cast("State", state["peaks"]))

    def _follow(self, device: int, seen: Seen, *, is_anomalous: bool) -> tuple[Alert, ...]:
        """Count a window of a device that is anomalous or was so lately."""
        rule, known = self._rule, self._devices.get(device)
        if known is None:
            known = self._devices[device] = _Device()
        if known.is_on:
            is_calm = not is_anomalous and seen.value < rule.calm_below(seen.limit)
            known.calm = (known.calm << 1 | is_calm) & self._clear_mask
            is_over = is_calm and known.calm.bit_count() >= rule.clear_n  # history may be another rule's
            if is_over:
                del self._devices[device]
            return self.alarms.track(_key(device), seen, is_on=not is_over)
        known.anomalous = (known.anomalous << 1 | is_anomalous) & self._raise_mask
        if not is_anomalous:
            if not known.anomalous:
                del self._devices[device]
            return ()
        earlier = known.recent[1 - rule.raise_m :] if rule.raise_m > 1 else []
        known.recent = [*earlier, (seen.at, seen.value)]
        if known.anomalous.bit_count() < rule.raise_n:
            return ()
        counted = known.recent[-known.anomalous.bit_count() :]
        self._devices[device] = _Device(is_on=True)
        seen = seen._replace(first_out_at=counted[0][0], peak=max(score for _, score in counted))
        return self.alarms.track(_key(device), seen, is_on=True)


def _key(device: int) -> Key:
    return device, "anomaly", None
