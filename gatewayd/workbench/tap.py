"""What a stream makes of messages as they come, told at a rate that a person can read.

Up to ``shown_per_s`` messages a second go through the flow one by one and are told. What comes faster goes through
together and is only counted, for a second at a time; alerts are told always. So looking on costs little, however busy
the broker is.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import orjson

from gatewayd.assemble import build_flow
from gatewayd.domain.figures import LineFigures
from gatewayd.domain.reading import Message
from gatewayd.pipeline.trace import COUNTERS, Trace, Tracer
from gatewayd.startup import Prepared
from gatewayd.workbench.telling import Document, Teller, events, printable

_SECOND: Final = 10**9
_APART_NS: Final = 1000  # as the line keeps arrivals apart
_DEVICES_SHOWN: Final = 20


def looked_on(prepared: Prepared, streams: Sequence[str], *, has_all_scores: bool = True) -> Prepared:
    """Make a configuration fit to be looked at: some of its streams, whose results come out as JSON and nowhere else.

    Args:
        prepared: The configuration.
        streams: Names; none: all.
        has_all_scores: Whether every score comes out, or those that are published.

    Raises:
        ValueError: There is no such stream.
    """
    settings = prepared.settings
    for name in streams:
        if name not in settings.streams:
            raise ValueError(f"there is no stream '{name}'; there are {', '.join(settings.streams)}")
    changes: dict[str, object] = {"encoding": "json", "alert_state": False, "home_assistant": None}
    if has_all_scores:
        changes["predictions"] = "all"
    kept = {
        name: stream.model_copy(update={"publish": stream.publish.model_copy(update=changes)})
        for name, stream in settings.streams.items()
        if name in streams or not streams
    }
    loaded = dataclasses.replace(
        prepared.loaded, settings=settings.model_copy(update={"streams": kept, "commands": None})
    )
    return dataclasses.replace(prepared, loaded=loaded)


class Tap:
    """Runs what comes through a flow of its own and tells it, line by line.

    Args:
        prepared: As ``looked_on`` gives it.
        steady_now: A clock that never jumps, ns since the Unix epoch.
        shown_per_s: Messages told one by one; as many at once after a pause.
        teller: Tells in words; None: as JSON lines.
        is_raw: Whether messages themselves are told as well, in JSON.
    """

    def __init__(
        self, prepared: Prepared, *, steady_now: int, shown_per_s: int, teller: Teller | None, is_raw: bool
    ) -> None:
        self._tracer = Tracer(build_flow(prepared))
        self._teller, self._is_raw = teller, is_raw
        self._shown_per_s, self._room, self._room_at = shown_per_s, float(shown_per_s), steady_now
        self._began_at = self._steady_now = steady_now
        self._latest_at = 0
        self._more = 0
        self._more_at = steady_now
        self._lost: dict[str, Counter[str]] = {}
        self._requests = 0

    def take(self, messages: Sequence[Message], *, now: int, steady_now: int) -> Iterator[str]:
        """Take messages in; yield lines.

        Args:
            messages: In order of arrival; none: time has passed.
            now: Gateway clock, ns since the Unix epoch.
            steady_now: The clock that never jumps.
        """
        self._steady_now = steady_now
        grown = self._shown_per_s * (steady_now - self._room_at) / _SECOND
        self._room, self._room_at = min(self._shown_per_s, self._room + grown), steady_now
        if self._more and steady_now - self._more_at >= _SECOND:
            yield self._rest()
        # Once some are only counted, so are all for a second: a run of messages says more than one here and there.
        told = 0 if self._more else min(len(messages), int(self._room))
        self._room -= told
        for message in messages[:told]:
            at = self._next(now)
            yield from self._lines(
                self._tracer.run(message, arrived_at=at, steady_at=steady_now), message, at
            )
        rest = messages[told:]
        if rest:
            yield from self._skim(rest, now)
        trace = self._tracer.advance(now, steady_now)
        if trace is not None:
            yield from self._lines(trace, None, now)

    def end(self) -> Iterator[str]:
        """Yield what is left to be told, and the summary."""
        if self._more:
            yield self._rest()
        figures, lasted_s = self._tracer.figures, (self._steady_now - self._began_at) / _SECOND
        if self._teller is None:
            yield _json(self._summary(figures, lasted_s))
        else:
            yield from _summary_lines(figures, self._tracer.heard, lasted_s)
            if self._requests:
                yield f"requests to sensors, not sent: {self._requests}"

    @property
    def messages(self) -> int:
        """Messages taken in so far."""
        return self._tracer.figures.messages

    def _skim(self, messages: Sequence[Message], now: int) -> Iterator[str]:
        arrived_at = self._next(now) + np.arange(len(messages), dtype=np.int64) * _APART_NS
        self._latest_at = int(arrived_at[-1])
        steady_at = np.full(len(messages), self._steady_now, dtype=np.int64)
        trace = self._tracer.run_all(messages, arrived_at=arrived_at, steady_at=steady_at)
        if not self._more:
            self._more_at = self._steady_now
        self._more += len(messages)
        for name, counts in trace.counts.items():
            self._lost.setdefault(name, Counter()).update(counts)
        yield from self._lines(_alerts_of(trace), None, now)

    def _lines(self, trace: Trace, message: Message | None, at: int) -> Iterator[str]:
        self._requests += len(trace.outcome.requests)
        if self._teller is not None:
            yield from self._teller.lines(trace, message, at)
        else:
            yield from map(_json, events(trace, message, at, is_raw=self._is_raw))

    def _rest(self) -> str:
        more, lost = self._more, self._lost
        self._more, self._lost = 0, {}
        if self._teller is None:
            return _json({"kind": "more", "messages": more, **lost})
        return self._teller.more(more, lost)

    def _next(self, now: int) -> int:
        """Return the next arrival: after the one before, so that no two windows end at one instant.

        Unless the clock was set back: then it is what the clock says, as the daemon has it.
        """
        is_set_back = self._latest_at - now > _SECOND
        self._latest_at = now if is_set_back else max(now, self._latest_at + _APART_NS)
        return self._latest_at

    def _summary(self, figures: LineFigures, lasted_s: float) -> Document:
        totals = (
            "messages",
            "readings",
            "devices",
            "waiting",
            "windows",
            "predictions",
            "alerts_raised",
            "alerts_cleared",
        )
        return {
            "kind": "summary",
            "seconds": round(lasted_s, 3),
            **{name: getattr(figures, name) for name in totals},
            **{name: getattr(figures, name) for name in COUNTERS},
            "requests_not_sent": self._requests,
            "readings_by_device": {
                f"{stream}/{device}": count for (stream, device), count in self._tracer.heard.items()
            },
        }


def _alerts_of(trace: Trace) -> Trace:
    """Keep of a trace what is told even when there is no room: alerts."""
    outcome = dataclasses.replace(
        trace.outcome, publications=[one for one in trace.outcome.publications if one.kind == "alert"]
    )
    return dataclasses.replace(trace, readings=(), counts={}, outcome=outcome)


def _json(document: Mapping[str, object]) -> str:
    return orjson.dumps(document).decode()


def _summary_lines(
    figures: LineFigures, heard: Mapping[tuple[str, str], int], lasted_s: float
) -> Iterator[str]:
    rate = 1 / lasted_s if lasted_s > 0 else 0.0
    yield f"messages:    {figures.messages:,} in {lasted_s:.1f} s, {figures.messages * rate:,.1f}/s"
    yield f"readings:    {figures.readings:,} of {figures.devices:,} devices; {figures.waiting:,} wait in open windows"
    yield f"predictions: {figures.predictions:,} of {figures.windows:,} windows"
    yield f"alerts:      {figures.alerts_raised:,} raised, {figures.alerts_cleared:,} cleared"
    for name in COUNTERS:
        for reason, count in sorted(getattr(figures, name).items()):
            example = figures.examples.get(f"{name}/{reason}")
            first = f", first {printable(example)}" if example else ""
            yield f"{name.replace('_', ' ')}, {reason}: {count:,}{first}"
    busiest = sorted(heard.items(), key=lambda item: (-item[1], item[0]))[:_DEVICES_SHOWN]
    names = [printable(f"{stream}/{device}") for (stream, device), _ in busiest]
    width = max(map(len, names), default=0)
    for name, (_, count) in zip(names, busiest, strict=True):
        yield f"  {name.ljust(width)}  {count:,} reading{'' if count == 1 else 's'}, {count * rate:,.2f}/s"
    if len(heard) > _DEVICES_SHOWN:
        yield f"  and {len(heard) - _DEVICES_SHOWN:,} more devices"
