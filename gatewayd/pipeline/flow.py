"""The whole way from messages to publications.

Pure: the same messages in the same order give each device's publications in the same order, byte for byte, however
they are cut into runs.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gatewayd.domain.arrays import Int64
from gatewayd.domain.figures import LineFigures
from gatewayd.domain.reading import Message
from gatewayd.domain.verdict import Alert, Prediction, Publication
from gatewayd.domain.window import WindowBatch
from gatewayd.formats.sample import Request
from gatewayd.pipeline.decode import Routed, Router
from gatewayd.pipeline.infer import Inference, infer
from gatewayd.pipeline.normalise import z_scores
from gatewayd.pipeline.score import Scores, score
from gatewayd.pipeline.stream import Stream, StreamPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertChange:
    """An alert that was raised or cleared, for the log."""

    stream: str
    device: str
    alert: Alert


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run of messages led to, in order of decision. ``requests`` go to where the messages came from."""

    publications: list[Publication]
    changes: list[AlertChange]
    requests: list[Request]


class Flow:
    """All streams of a gateway. Owned by the line.

    Args:
        gateway: The gateway's id.
        plans: The streams, in the order of the configuration.

    Attributes:
        abandoned_alerts: Alerts that the latest ``adopt`` could not carry over, by stream; nothing will clear them.
    """

    def __init__(self, gateway: str, plans: Sequence[StreamPlan]) -> None:
        self._streams = [Stream(plan, gateway=gateway) for plan in plans]
        self._router = Router(
            [stream.devices for stream in self._streams],
            [stream.is_timed for stream in self._streams],
            [stream.is_free for stream in self._streams],
        )
        self._refused: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()
        self._untimed: Counter[str] = Counter()
        self._unscored: Counter[str] = Counter()
        self._saturated: Counter[str] = Counter()
        self._totals: Counter[str] = Counter()
        self._dropped_before: Counter[str] = Counter()  # by streams that a reload removed
        self._unread_before: Counter[str] = Counter()
        self._examples: dict[str, str] = {}
        self.abandoned_alerts: dict[str, int] = {}

    def run(self, messages: Sequence[Message], arrived_at: Int64, steady_at: Int64 | None = None) -> Outcome:
        """Take messages in.

        Args:
            messages: In order of arrival.
            arrived_at: Shape ``(n,)``, gateway clock, ns since the Unix epoch; apart by 1,000 or more, so that several
                readings of one message can be kept apart.
            steady_at: Shape ``(n,)``, the same by a clock that never jumps, for what is silent too long; None: the
                same as ``arrived_at``.
        """
        outcome = Outcome(publications=[], changes=[], requests=[])
        routed, refused = self._router.route(
            messages, arrived_at, arrived_at if steady_at is None else steady_at
        )
        self._refused.update(refused)
        for reason in refused:
            self._examples.setdefault(f"refused/{reason}", self._router.examples[reason])
        handed_on = sum(len(part.payloads) for part in routed if part is not None)
        self._totals["messages"] += len(messages)
        self._totals["copies"] += handed_on + sum(refused.values()) - len(messages)
        for stream, part in zip(self._streams, routed, strict=True):
            if part is not None:
                self._run_stream(stream, part, outcome)
        return outcome

    def adopt(self, old: "Flow") -> list[str]:
        """Go on where another configuration's flow stopped.

        Returns:
            Names of the streams whose open windows could not be kept.
        """
        for name in (
            "_refused",
            "_rejected",
            "_untimed",
            "_unscored",
            "_saturated",
            "_totals",
            "_examples",
            "_dropped_before",
            "_unread_before",
        ):
            setattr(self, name, getattr(old, name))
        before = {stream.name: stream for stream in old._streams}  # noqa: SLF001  # its own kind
        restarted: list[str] = []
        self.abandoned_alerts = {}
        for stream in self._streams:
            earlier = before.pop(stream.name, None)
            if earlier is None:
                continue
            if not stream.adopt(earlier):
                restarted.append(stream.name)
            if earlier.decider.standing > stream.decider.standing:
                self.abandoned_alerts[stream.name] = earlier.decider.standing - stream.decider.standing
        for gone in before.values():
            self._totals["scored"] += gone.windower.scored
            self._dropped_before.update(gone.dropped)
            self._unread_before.update(gone.unread)
            self._examples = {**gone.examples, **self._examples}
            self._dropped_before["gap"] += gone.windower.abandoned
            self._dropped_before["reload"] += gone.windower.waiting
            if gone.decider.standing:
                self.abandoned_alerts[gone.name] = gone.decider.standing
        return restarted

    def figures(self) -> LineFigures:
        """Return what was done so far; ``is_subscribed``, ``unstored`` and ``refused_frames`` are the shell's."""
        dropped, unread = Counter(self._dropped_before), Counter(self._unread_before)
        examples = dict(self._examples)
        for stream in self._streams:
            dropped.update(stream.dropped)
            unread.update(stream.unread)
            examples = {**stream.examples, **examples}
            if stream.windower.abandoned:
                dropped["gap"] += stream.windower.abandoned
        return LineFigures(
            messages=self._totals["messages"],
            copies=self._totals["copies"],
            refused=dict(self._refused),
            rejected=dict(self._rejected),
            unread=dict(unread),
            accepted=self._totals["accepted"],
            readings=self._totals["readings"],
            untimed=dict(self._untimed),
            dropped={reason: count for reason, count in dropped.items() if count},
            waiting=sum(stream.windower.waiting for stream in self._streams),
            scored=self._totals["scored"] + sum(stream.windower.scored for stream in self._streams),
            windows=self._totals["windows"],
            unscored=dict(self._unscored),
            predictions=self._totals["predictions"],
            alerts_raised=self._totals["raised"],
            alerts_cleared=self._totals["cleared"],
            alerts_standing=sum(stream.decider.standing for stream in self._streams),
            devices=sum(len(stream.devices.known) for stream in self._streams),
            saturated=dict(self._saturated),
            examples=examples,
        )

    def _run_stream(self, stream: Stream, routed: Routed, outcome: Outcome) -> None:
        readings = stream.decode(routed)
        for _, reason in readings.rejected:
            self._rejected[reason] += 1
        self._untimed.update(dict(readings.untimed))
        self._totals["accepted"] += len(routed.payloads) - len(readings.rejected)
        self._totals["readings"] += len(readings.batch)
        for windows in stream.take(readings):
            self._score(stream, windows, outcome)
        outcome.requests.extend(stream.requests)
        stream.requests.clear()

    def _score(self, stream: Stream, windows: WindowBatch, outcome: Outcome) -> None:
        self._totals["windows"] += len(windows)
        normalised = z_scores(windows.values, stream.spec.mean, stream.spec.std)
        inference = infer(stream.model, normalised)
        self._count_saturated(stream, inference)
        scores = score(inference.outputs, normalised, stream.spec)
        for prediction in self._predictions(stream, windows, inference, scores):
            self._decide(stream, prediction, outcome)

    def _predictions(
        self, stream: Stream, windows: WindowBatch, inference: Inference, scores: Scores
    ) -> Iterator[Prediction]:
        is_finite = np.isfinite(scores.score)
        if scores.probabilities is not None:
            is_finite &= np.isfinite(scores.probabilities).all(axis=1)
        threshold = stream.decider.threshold
        channels = [channel.name for channel in stream.spec.channels]
        labels = stream.spec.labels
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
        for row, (device, start, end, value) in enumerate(columns):
            if not is_finite[row]:
                self._unscored["model_failed" if inference.is_failed[row] else "model_output_not_finite"] += 1
                continue
            by_label = (
                dict(zip(labels, probabilities[row], strict=True)) if probabilities is not None else None
            )
            yield Prediction(
                device=device,
                start=start,
                end=end,
                samples=stream.spec.length,
                score=value,
                threshold=threshold,
                is_anomalous=value >= threshold,
                contributions=dict(zip(channels, contributions[row], strict=True))
                if contributions is not None
                else None,
                label=max(by_label, key=lambda label: by_label[label]) if by_label is not None else None,
                probabilities=by_label,
            )

    def _decide(self, stream: Stream, prediction: Prediction, outcome: Outcome) -> None:
        self._totals["predictions"] += 1
        device = stream.devices.known[prediction.device]
        alert = stream.decider.decide(
            device=prediction.device,
            end=prediction.end,
            score=prediction.score,
            contributions=prediction.contributions,
        )
        if stream.publishes == "all" or (stream.publishes == "anomalous" and prediction.is_anomalous):
            outcome.publications.append(stream.encoder.prediction(prediction, device))
        if alert is not None:
            self._totals[alert.state] += 1
            outcome.publications.append(stream.encoder.alert(alert, device))
            outcome.changes.append(AlertChange(stream=stream.name, device=device.name, alert=alert))

    def _count_saturated(self, stream: Stream, inference: Inference) -> None:
        if not inference.saturated.any():
            return
        for channel, count in zip(stream.spec.channels, inference.saturated.tolist(), strict=True):
            if count:
                self._saturated[f"{stream.name}/{channel.name}"] += count
