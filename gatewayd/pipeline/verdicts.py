"""Windows, and what happens beside them → predictions and alerts, ready to be published.

normalise → infer → score → decide → encode, for the windows of one stream. Where a device's own running statistics
normalise, what a window teaches counts for its next one: so then windows go through one of each device at a time.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np

from gatewayd.config.settings import StreamSettings, parse_n_of_m
from gatewayd.domain.arrays import Bool, Float32, Float64
from gatewayd.domain.model import ModelSpec
from gatewayd.domain.state import State, as_counts, as_state
from gatewayd.domain.verdict import Alert, Condition, Prediction, Publication
from gatewayd.domain.window import WindowBatch
from gatewayd.formats.sample import Request
from gatewayd.pipeline.alarm import Alarms, Answer, Verb
from gatewayd.pipeline.baseline import Baseline, rounds
from gatewayd.pipeline.decide import Decider, Rule
from gatewayd.pipeline.decode import Devices
from gatewayd.pipeline.drift import Drift, DriftChange
from gatewayd.pipeline.encode import Encoder
from gatewayd.pipeline.flood import Flood, FloodChange, Sifted
from gatewayd.pipeline.home_assistant import HomeAssistant, Watched
from gatewayd.pipeline.infer import Inference, Model, infer
from gatewayd.pipeline.lifecycle import AlarmRule, Identify, Key
from gatewayd.pipeline.normalise import normalised
from gatewayd.pipeline.score import Scores, score
from gatewayd.pipeline.steps import Turn
from gatewayd.pipeline.threshold import PeaksOverThreshold

_SECOND = 10**9
_Drifts = dict[tuple[int, int], list[tuple[Condition, DriftChange]]]  # by device and end of window
# row, device, start, end, score, contributions, probabilities by label
_Row = tuple[int, int, int, int, float, dict[str, float] | None, dict[str, float] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertChange:
    """An alert that has changed, for the log."""

    stream: str
    device: str
    alert: Alert


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of something, in order of decision.

    ``requests`` go to where the messages came from. ``floods`` are (stream, what began or ended), for the log.
    ``answer`` is what the sender of a command is told.
    """

    publications: list[Publication] = field(default_factory=list)
    changes: list[AlertChange] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    floods: list[tuple[str, FloodChange]] = field(default_factory=list)
    answer: bytes | None = None


class Verdicts:
    """One stream's decisions. Owned by the line.

    Args:
        name: The stream's.
        settings: The stream's.
        spec: Its model's numbers.
        model: Its model.
        encoder: Writes what is published.
        devices: The stream's.

    Attributes:
        counts: ``windows``, ``predictions``, and alerts by what happened to them (``raised``, ``cleared``...).
        unscored: Windows without a score, by reason.
        saturated: Model inputs outside the range of the input tensor, by channel.
        marked: Channels of windows that say nothing, by reason: ``low_variance``.

    Raises:
        ValueError: Neither the settings nor the model have a threshold (found earlier by ``startup``).
    """

    def __init__(
        self,
        *,
        name: str,
        settings: StreamSettings,
        spec: ModelSpec,
        model: Model,
        encoder: Encoder,
        devices: Devices,
        home_assistant: HomeAssistant | None = None,
    ) -> None:
        self._name, self._spec, self._model = name, spec, model
        self._encoder, self._devices = encoder, devices
        self._publishes, self._home_assistant = settings.publish.predictions, home_assistant
        self._announced: set[int] = set()
        # What retained messages look like and where they stand: an earlier form's may be elsewhere.
        self._manner = repr((settings.publish, watched_by(settings, spec)))
        self._is_told_otherwise = False  # by the latest ``restore``
        self._watched = set(watched_by(settings, spec))
        self._is_plain = encoder.encoding != "sparkplug_b"
        self._floor = np.array([settings.channels[c.name].resolution or 0.0 for c in spec.channels])
        self._baseline = _baseline(settings, self._floor) if spec.normalise == "running" else None
        threshold = settings.alert.threshold if settings.alert.threshold is not None else spec.threshold
        if threshold is None and settings.alert.adaptive is None:
            raise ValueError(f"stream {name} has no threshold")
        self._measure = repr((spec.name, spec.version, spec.normalise, threshold, settings.alert.adaptive))
        self.decider = _decider(settings, threshold, self._alert_id)
        flood = settings.alert.flood
        self._flood = (
            None if flood is None else Flood(most=flood.most, within_ns=round(flood.within_s * _SECOND))
        )
        self._input_drift, self._score_drift = _drifts(settings, spec)
        self._measured_anew: set[Condition] = set()  # by the latest ``restore``
        self._now = 0  # the gateway's clock: floods go by when people are told, not by sensors' clocks
        self.counts: Counter[str] = Counter()
        self.unscored: Counter[str] = Counter()
        self.saturated: Counter[str] = Counter()
        self.marked: Counter[str] = Counter()

    def take(self, happening: WindowBatch | Turn, outcome: Outcome, *, now: int) -> None:
        """Decide on what the steps gave, and add what is to be published to ``outcome``.

        Args:
            happening: What the steps gave.
            outcome: Takes what comes of it.
            now: Gateway clock, ns since the Unix epoch, when the first message of the run came that led to it.
        """
        self._now = now
        if isinstance(happening, Turn):
            self._turn(happening, outcome)
            return
        self.counts["windows"] += len(happening)
        if self._baseline is None:
            self._score(happening, normalised(happening.values, self._spec, self._floor), outcome)
            return
        for rows in rounds(happening.device):
            windows = happening if len(rows) == len(happening) else happening.only(rows)
            z, is_ready = self._baseline.z_scores(windows)
            is_anomalous = np.zeros(len(windows), dtype=np.bool_)
            self._leave_out_flat(windows, z)
            ready = np.flatnonzero(is_ready)
            if len(ready):
                is_anomalous[ready] = self._score(windows.only(ready), z[ready], outcome)
            self.unscored["warming_up"] += len(windows) - len(ready)
            self._baseline.learn_round(windows, is_anomalous)

    def watches(self, condition: Condition, channel: str | None) -> bool:
        """Tell whether there can be alerts about something."""
        return (condition, channel) in self._watched

    def withdraw(self, outcome: Outcome) -> None:
        """End alerts of conditions that are no longer watched, or measured anew: they would never end by themselves."""
        watched = {one for one in self._watched if one[0] not in self._measured_anew}
        self._publish(self.decider.alarms.withdraw(watched), outcome)
        self._measured_anew.clear()

    def tell_again(self, outcome: Outcome) -> None:
        """Retain what stands and what devices there are once more, where an earlier form did so in another manner."""
        if not self._is_told_otherwise:
            return
        self._is_told_otherwise = False
        self.announce(outcome)
        if self._encoder.retains_alerts:
            outcome.publications.extend(
                self._encoder.alert_state(alert, self._devices.known[alert.device])
                for alert in self.decider.alarms.standing
                if self._flood is None or not self._flood.holds(alert.id)
            )

    def expire(self, now: int, outcome: Outcome) -> None:
        """Do what is due to alerts by the gateway's clock: shelvings end, and floods."""
        self._now = now
        self._publish(self.decider.alarms.expire(now), outcome)
        if self._flood is not None and (at := self._flood.deadline()) is not None and at <= now:
            self._release(self._flood.expire(now), outcome)

    def deadline(self) -> int | None:
        """Return when ``expire`` has something to do, by the gateway's clock; None: never."""
        deadlines = (
            self.decider.alarms.deadline(),
            self._flood.deadline() if self._flood is not None else None,
        )
        return min((at for at in deadlines if at is not None), default=None)

    def last_words(self) -> list[Publication]:
        """Return what takes back what was retained: alerts that stand, devices in Home Assistant."""
        words: list[Publication] = []
        if self._encoder.retains_alerts:
            words += [
                self._encoder.alert_state(replace(alert, status="normal"), self._devices.known[alert.device])
                for alert in self.decider.alarms.standing
            ]
        if self._home_assistant is not None:
            words += [
                self._home_assistant.removal(self._devices.known[device])
                for device in sorted(self._announced)
            ]
        return words

    def announce(self, outcome: Outcome) -> None:
        """Tell Home Assistant of all devices again: it has just begun to listen."""
        if self._home_assistant is not None:
            outcome.publications.extend(
                self._home_assistant.discovery(self._devices.known[device])
                for device in sorted(self._announced)
            )

    def command(
        self, verb: Verb, target: str | Key, outcome: Outcome, *, at: int, by: str | None, for_ns: int | None
    ) -> Answer:
        """Do to an alert what a person says; see ``Alarms.command``."""
        self._now = at
        answer = self.decider.alarms.command(verb, target, at=at, by=by, for_ns=for_ns)
        self._publish(answer.changes, outcome)
        return answer

    def state(self) -> State:
        """Copy out alerts, histories, thresholds, running statistics and counters."""
        return {
            "measure": self._measure,
            "channels": [channel.name for channel in self._spec.channels],
            "decider": self.decider.state(),
            "baseline": None if self._baseline is None else self._baseline.state(),
            "flood": None if self._flood is None else self._flood.state(),
            "input_drift": None if self._input_drift is None else self._input_drift.state(),
            "score_drift": None if self._score_drift is None else self._score_drift.state(),
            "announced": sorted(self._announced),
            "manner": self._manner,
            **self.counters(),
        }

    def restore(self, state: State) -> None:
        """Go on where an earlier form of this stream stopped: alerts always, the rest where it means the same."""
        is_same = state["measure"] == self._measure
        self.decider.restore(as_state(state["decider"]), keeps_history=is_same)
        has_same_channels = state["channels"] == [channel.name for channel in self._spec.channels]
        if self._baseline is not None and state["baseline"] is not None and has_same_channels:
            self._baseline.restore(as_state(state["baseline"]))
        if self._flood is not None and state["flood"] is not None:
            self._flood.restore(as_state(state["flood"]))
        drifts: tuple[tuple[Condition, Drift | None], ...] = (
            ("input_drift", self._input_drift),
            ("score_drift", self._score_drift),
        )
        for name, drift in drifts:
            if drift is not None and state[name] is not None and is_same and has_same_channels:
                drift.restore(as_state(state[name]))
            else:
                self._measured_anew.add(name)
        self._announced = set(cast("list[int]", state["announced"]))
        self._is_told_otherwise = state.get("manner") != self._manner

    def counters(self) -> dict[str, dict[str, int]]:
        """Return all counters, by name."""
        return {
            "counts": dict(self.counts),
            "unscored": dict(self.unscored),
            "saturated": dict(self.saturated),
            "marked": {
                **self.marked,
                "relearned": self._baseline.relearned if self._baseline is not None else 0,
            },
            "withheld": {
                **self.decider.alarms.withheld,
                "flood": self._flood.withheld if self._flood is not None else 0,
            },
        }

    def count_on(self, state: State) -> None:
        """Take over another one's counters; ``withheld`` comes with the alerts."""
        self.counts = Counter(as_counts(state["counts"]))
        self.unscored = Counter(as_counts(state["unscored"]))
        self.saturated = Counter(as_counts(state["saturated"]))
        self.marked = Counter(as_counts(state["marked"]))
        del self.marked["relearned"]  # comes with the statistics

    def _turn(self, turn: Turn, outcome: Outcome) -> None:
        changes = self.decider.condition(
            device=turn.device,
            condition=turn.condition,
            channel=None if turn.channel is None else self._spec.channels[turn.channel].name,
            is_on=turn.is_begin,
            at=turn.at,
            value=turn.value,
            limit=turn.limit,
        )
        self._publish(changes, outcome)

    def _leave_out_flat(self, windows: WindowBatch, z: Float32) -> None:
        """Set the z-scores of channels that never varied to 0, unless a ``resolution`` says what a difference means.

        Divided by next to nothing, the first change of the last digit would be millions of standard deviations.
        """
        assert self._baseline is not None
        is_flat = self._baseline.is_low_variance(windows.device) & (self._floor == 0)
        if not is_flat.any():
            return
        is_new = is_flat & (z != 0).any(axis=1)
        self.marked["low_variance"] += int(np.count_nonzero(is_new))
        z[np.broadcast_to(is_flat[:, None], z.shape)] = 0.0

    def _score(self, windows: WindowBatch, z: Float32, outcome: Outcome) -> Bool:
        """Score windows and decide on each, in order; return which are anomalous."""
        inference = infer(self._model, z)
        if inference.saturated.any():
            for channel, count in zip(self._spec.channels, inference.saturated.tolist(), strict=True):
                self.saturated[channel.name] += count
        scores = score(inference.outputs, z, self._spec)
        drifts = self._drifts(windows, z, scores)
        is_anomalous = np.zeros(len(windows), dtype=np.bool_)
        for row, device, start, end, value, contributions, by_label in self._rows(windows, inference, scores):
            decision = self.decider.judge(device=device, end=end, score=value, contributions=contributions)
            if decision.is_anomalous:
                is_anomalous[row] = True
            if self._publishes == "all" or (self._publishes == "anomalous" and decision.is_anomalous):
                prediction = Prediction(
                    device=device,
                    start=start,
                    end=end,
                    samples=self._spec.length if windows.samples is None else int(windows.samples[row]),
                    score=value,
                    threshold=decision.threshold,
                    is_anomalous=decision.is_anomalous,
                    contributions=contributions,
                    label=max(by_label, key=by_label.__getitem__) if by_label is not None else None,
                    probabilities=by_label,
                )
                self._predict(prediction, outcome)
            if decision.changes:
                self._publish(decision.changes, outcome)
            if drifts:
                self._drift(drifts.get((device, end), ()), outcome)
        return is_anomalous

    def _predict(self, prediction: Prediction, outcome: Outcome) -> None:
        device = self._devices.known[prediction.device]
        if self._home_assistant is not None:
            self._announce(prediction.device, outcome)
        if self._is_plain:
            outcome.publications.append(self._encoder.prediction(prediction, device))
        else:
            outcome.publications.extend(self._encoder.publications(prediction, device))

    def _rows(self, windows: WindowBatch, inference: Inference, scores: Scores) -> Iterator[_Row]:
        """Yield the windows that have a score, as plain values; count the others."""
        is_finite = np.isfinite(scores.score)
        if scores.probabilities is not None:
            is_finite &= np.isfinite(scores.probabilities).all(axis=1)
        channels = [channel.name for channel in self._spec.channels]
        labels = self._spec.labels
        # rounded here, all at once: one by one it would cost as much as the model
        contributions = scores.contributions.round(4).tolist() if scores.contributions is not None else None
        probabilities = scores.probabilities.tolist() if scores.probabilities is not None else None
        columns = zip(
            windows.device.tolist(),
            windows.start.tolist(),
            windows.end.tolist(),
            scores.score.tolist(),
            strict=True,
        )
        self.counts["predictions"] += int(np.count_nonzero(is_finite))
        for row, (device, start, end, value) in enumerate(columns):
            if not is_finite[row]:
                self.unscored["model_failed" if inference.is_failed[row] else "model_output_not_finite"] += 1
                continue
            yield (
                row,
                device,
                start,
                end,
                value,
                dict(zip(channels, contributions[row], strict=True)) if contributions is not None else None,
                dict(zip(labels, probabilities[row], strict=True)) if probabilities is not None else None,
            )

    def _drifts(self, windows: WindowBatch, z: Float32, scores: Scores) -> _Drifts:
        """Return what began to drift, or came back, by the device and the end of the window that shows it."""
        found: _Drifts = {}
        # A window without a score says nothing here either: what it showed would come out at no decision.
        is_finite = np.isfinite(scores.score)
        if self._input_drift is not None:
            # sample by sample: every partial sum is a result, so none depends on its neighbours
            total = np.add.accumulate(z, axis=1, dtype=np.float64)[:, -1]
            mean = np.where(is_finite[:, None], total / z.shape[1], np.nan)
            for change in self._input_drift.update(windows.device, mean, windows.end):
                found.setdefault((change.device, change.at), []).append(("input_drift", change))
        if self._score_drift is not None:
            finite = np.where(is_finite, scores.score, np.nan)
            for change in self._score_drift.update(windows.device, finite[:, None], windows.end):
                found.setdefault((change.device, change.at), []).append(("score_drift", change))
        return found

    def _drift(self, found: Sequence[tuple[Condition, DriftChange]], outcome: Outcome) -> None:
        for condition, change in found:
            is_input = condition == "input_drift"
            changes = self.decider.condition(
                device=change.device,
                condition=condition,
                channel=self._spec.channels[change.column].name if is_input else None,
                is_on=change.is_on,
                at=change.at,
                value=change.value,
                limit=change.limit,
            )
            self._publish(changes, outcome)

    def _publish(self, changes: Sequence[Alert], outcome: Outcome) -> None:
        if not changes:
            return
        for alert in changes:
            self.counts[alert.state] += 1
        if self._flood is not None:
            self._release(self._flood.sift(changes, self._now), outcome)
        else:
            self._tell(changes, outcome)

    def _release(self, sifted: Sifted, outcome: Outcome) -> None:
        self._tell(sifted.alerts, outcome)
        outcome.floods.extend((self._name, change) for change in sifted.changes)

    def _tell(self, alerts: Sequence[Alert], outcome: Outcome) -> None:
        for alert in alerts:
            self._announce(alert.device, outcome)
            device = self._devices.known[alert.device]
            outcome.publications.extend(self._encoder.publications(alert, device))
            outcome.changes.append(AlertChange(stream=self._name, device=device.name, alert=alert))

    def _announce(self, device: int, outcome: Outcome) -> None:
        """Tell Home Assistant of a device before it's first heard of."""
        if self._home_assistant is not None and device not in self._announced:
            self._announced.add(device)
            outcome.publications.append(self._home_assistant.discovery(self._devices.known[device]))

    def _alert_id(self, device: int, condition: Condition, channel: str | None, first_out_at: int) -> str:
        known = self._devices.known[device]
        return self._encoder.identify("alert", known, first_out_at, condition=condition, channel=channel)


def watched_by(settings: StreamSettings, spec: ModelSpec) -> list[Watched]:
    """Return what alerts of a stream can be about: the condition, and the channel where it is about one."""
    alert = settings.alert
    found: list[Watched] = [("anomaly", None)]
    if alert.silent_after_s is not None:
        found.append(("silent", None))
    for channel in spec.channels:
        options = settings.channels[channel.name]
        if options.stuck is not None:
            found.append(("stuck", channel.name))
        has_range = options.min is not None or options.max is not None
        if has_range and (alert.out_of_range or options.out_of_range != "drop"):
            found.append(("out_of_range", channel.name))
        if alert.drift is not None and spec.normalise == "training":
            found.append(("input_drift", channel.name))
    if alert.drift is not None:
        found.append(("score_drift", None))
    return found


def _drifts(settings: StreamSettings, spec: ModelSpec) -> tuple[Drift | None, Drift | None]:
    """Return what follows inputs and scores. Inputs only where z-scores are distances from the training's mean."""
    options = settings.alert.drift
    if options is None:
        return None, None
    warm_up = max(2, options.horizon)
    inputs = Drift(columns=len(spec.channels), horizon=options.horizon, limit=options.limit, warm_up=warm_up)
    scores = Drift(columns=1, horizon=options.horizon, limit=options.limit, warm_up=warm_up, is_measured=True)
    return (inputs if spec.normalise == "training" else None), scores


def _baseline(settings: StreamSettings, floor: Float64) -> Baseline:
    options = settings.baseline
    return Baseline(
        channels=len(floor),
        readings=options.readings,
        warm_up=options.warm_up,
        floor=floor,
        relearn_ns=None if options.relearn_s is None else round(options.relearn_s * _SECOND),
    )


def _decider(settings: StreamSettings, threshold: float | None, identify: Identify) -> Decider:
    alert, adaptive = settings.alert, settings.alert.adaptive
    rule = Rule.of(
        threshold=threshold if adaptive is None else None,
        raise_=parse_n_of_m(alert.raise_),
        clear=parse_n_of_m(alert.clear),
        clear_below=alert.clear_below,
    )
    alarms = AlarmRule(
        needs_acknowledge=alert.acknowledge == "required",
        is_latching=alert.latch,
        hold_off_ns=round(alert.hold_off_s * _SECOND),
        severities=tuple(sorted(alert.severities.items(), key=lambda severity: severity[1])),
    )
    peaks = (
        None
        if adaptive is None
        else PeaksOverThreshold(risk=adaptive.risk, calibrate=adaptive.calibrate, depth=adaptive.depth)
    )
    return Decider(rule, alarms=Alarms(alarms, identify), peaks=peaks)
