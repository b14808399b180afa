"""A case through a flow: its messages one by one, and between them all that is due by their time."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from gatewayd.pipeline.flow import Flow
from gatewayd.pipeline.trace import COUNTERS, Reading, Trace, Tracer
from gatewayd.pipeline.verdict_json import instant
from gatewayd.workbench.case import Case, Json


@dataclass(slots=True, kw_only=True)
class Found:
    """What came of a case: documents as ``Expected`` asks for them, in order.

    Attributes:
        readings: Decoded readings: ``stream``, ``device``, ``labels``, ``values`` and ``at``.
        predictions: As published, in JSON.
        alerts: Likewise.
        counts: By counter, how often for each reason.
        examples: For each ``counter/reason``, the first topic or device.
    """

    readings: list[Json] = field(default_factory=list)
    predictions: list[Json] = field(default_factory=list)
    alerts: list[Json] = field(default_factory=list)
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    examples: Mapping[str, str] = field(default_factory=dict)


def run_case(case: Case, flow: Flow) -> Found:
    """Run a case.

    Args:
        case: The case.
        flow: Fresh, and this case's own; it writes JSON (``tap.looked_on``).
    """
    run = _Run(flow)
    for message, at in case.messages():
        run.pass_time(at)
        run.note(run.tracer.run(message, arrived_at=at, steady_at=at))
    run.pass_time(run.now + case.wait_ns)
    figures = run.tracer.figures
    run.found.counts = {name: getattr(figures, name) for name in COUNTERS}
    run.found.examples = figures.examples
    return run.found


class _Run:
    """One case under way. The gateway's clock and the one that never jumps are the same here."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self.tracer, self.found = Tracer(flow), Found()
        self.now = 0

    def pass_time(self, until: int) -> None:
        """Do all that is due up to an instant, each at its own."""
        before, due = None, self._due()
        while due is not None and due <= until and due != before:  # the same again stays due until more comes
            self.now = max(self.now, due)
            trace = self.tracer.advance(self.now, self.now)
            assert trace is not None, "something was due"
            self.note(trace)
            before, due = due, self._due()
        self.now = until

    def note(self, trace: Trace) -> None:
        """Add what came of something."""
        self.found.readings += map(_document, trace.readings)
        for publication in trace.outcome.publications:
            if publication.kind == "prediction":
                self.found.predictions.append(orjson.loads(publication.payload))
            elif publication.kind == "alert":
                self.found.alerts.append(orjson.loads(publication.payload))

    def _due(self) -> int | None:
        return min((at for at in self._flow.deadlines() if at is not None), default=None)


def _document(reading: Reading) -> Json:
    return {
        "stream": reading.stream,
        "device": reading.device.name,
        "labels": dict(reading.device.labels),
        "values": dict(reading.values),
        "at": instant(reading.taken_at),
    }
