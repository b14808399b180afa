"""Score → anomalous or not; an alert raised and later cleared.

A window is anomalous at and above the threshold, calm below ``clear_below`` times the threshold; what lies between is
neither, so that a score that trembles around the threshold doesn't ring twice. An alert is raised when N of the
latest M windows were anomalous, and cleared when N of the latest M were calm. ISA-18.2 calls the first a deadband,
the second an on-delay and off-delay in samples.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gatewayd.domain.verdict import Alert


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When to raise and when to clear.

    Attributes:
        threshold: Score at and above which a window is anomalous.
        raise_n: Anomalous windows...
        raise_m: ...among so many latest ones raise.
        clear_n: Calm windows...
        clear_m: ...among so many latest ones clear.
        calm_below: Score below which a window is calm; at most the threshold.
    """

    threshold: float
    raise_n: int
    raise_m: int
    clear_n: int
    clear_m: int
    calm_below: float

    @classmethod
    def of(
        cls, *, threshold: float, raise_: tuple[int, int], clear: tuple[int, int], clear_below: float
    ) -> "Rule":
        """Build from options. A negative threshold (a log-likelihood) keeps its hysteresis below itself."""
        calm_below = (
            threshold * clear_below if threshold > 0 else threshold - abs(threshold) * (1 - clear_below)
        )
        return cls(
            threshold=threshold,
            raise_n=raise_[0],
            raise_m=raise_[1],
            clear_n=clear[0],
            clear_m=clear[1],
            calm_below=calm_below,
        )


@dataclass(slots=True)
class _Device:
    """One device's history: bit 0 of each word is the latest window."""

    anomalous: int = 0
    calm: int = 0
    recent: list[tuple[int, float]] = field(
        default_factory=list
    )  # (end, score) of anomalous windows, oldest first
    peak: float = float("-inf")  # highest score since the alert's first-out window
    standing: Alert | None = None


class Decider:
    """Decides window by window. Owned by the line; keeps each device's history and standing alert.

    Args:
        rule: When to raise and when to clear.
        identify: ``(device, first_out_at) → id`` of a new alert; the same arguments give the same id.

    Attributes:
        standing: Alerts that are raised now.
    """

    def __init__(self, rule: Rule, identify: Callable[[int, int], str]) -> None:
        self._rule, self._identify = rule, identify
        self._devices: dict[int, _Device] = {}
        self.standing = 0

    @property
    def threshold(self) -> float:
        """Score at and above which a window is anomalous."""
        return self._rule.threshold

    def adopt(self, old: "Decider", *, keeps_history: bool) -> None:
        """Go on with another decider's standing alerts, under this one's rule.

        Args:
            old: The other one.
            keeps_history: Also go on with what counts towards raising and clearing. Not so where scores have another
                meaning from now on: another model, or another threshold.
        """
        self._devices, self.standing = old._devices, old.standing  # noqa: SLF001  # its own kind
        if not keeps_history:
            for state in self._devices.values():
                state.anomalous = state.calm = 0
                state.recent = []

    def decide(
        self, *, device: int, end: int, score: float, contributions: Mapping[str, float] | None
    ) -> Alert | None:
        """Decide on one window; windows of a device come in order of time.

        Args:
            device: Index into the stream's devices.
            end: When the window's last reading was taken, ns since the Unix epoch.
            score: Finite.
            contributions: Per channel; None where the task has none.

        Returns:
            The alert that it raised or cleared, if any.
        """
        rule = self._rule
        state = self._devices.get(device)
        if state is None:
            state = self._devices[device] = _Device()
        is_anomalous = score >= rule.threshold
        state.anomalous = (state.anomalous << 1 | is_anomalous) & ((1 << rule.raise_m) - 1)
        is_calm = score < rule.calm_below
        state.calm = (state.calm << 1 | is_calm) & ((1 << rule.clear_m) - 1)
        if is_anomalous:
            earlier = state.recent[1 - rule.raise_m :] if rule.raise_m > 1 else []
            state.recent = [*earlier, (end, score)]
        if state.standing is None:
            if state.anomalous.bit_count() < rule.raise_n or not is_anomalous:
                return None
            return self._raise(state, device, end, score, contributions)
        state.peak = max(state.peak, score)
        if state.calm.bit_count() < rule.clear_n or not is_calm:  # history may be another rule's
            return None
        return self._clear(state, end, score, contributions)

    def _raise(
        self, state: _Device, device: int, end: int, score: float, contributions: Mapping[str, float] | None
    ) -> Alert:
        counted = state.recent[-state.anomalous.bit_count() :]
        first_out_at = counted[0][0]
        state.peak = max(value for _, value in counted)
        self.standing += 1
        state.standing = Alert(
            id=self._identify(device, first_out_at),
            device=device,
            state="raised",
            first_out_at=first_out_at,
            raised_at=end,
            cleared_at=None,
            score=score,
            peak_score=state.peak,
            threshold=self._rule.threshold,
            causes=_causes(contributions),
        )
        state.calm = 0  # only what comes after can clear it
        return state.standing

    def _clear(
        self, state: _Device, end: int, score: float, contributions: Mapping[str, float] | None
    ) -> Alert:
        raised = state.standing
        assert raised is not None
        state.standing, state.anomalous, state.recent = None, 0, []
        self.standing -= 1
        return Alert(
            id=raised.id,
            device=raised.device,
            state="cleared",
            first_out_at=raised.first_out_at,
            raised_at=raised.raised_at,
            cleared_at=end,
            score=score,
            peak_score=state.peak,
            threshold=self._rule.threshold,
            causes=_causes(contributions),
        )


def _causes(contributions: Mapping[str, float] | None) -> tuple[tuple[str, float], ...]:
    if contributions is None:
        return ()
    return tuple(sorted(contributions.items(), key=lambda cause: (-cause[1], cause[0])))
