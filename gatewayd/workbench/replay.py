"""A recording through the flow, as fast as it goes, with the timers of its own time.

The daemon asks the flow at every turn whether something is due because nothing came. A replay has the time of each
message instead: before one goes in, all that was due by then is done, each at its instant, so that the same recording
always gives the same. Messages go in together, up to ``_BATCH``, as long as nothing can become due between them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
import orjson

from gatewayd.config.settings import Settings, StreamSettings
from gatewayd.domain.reading import Message
from gatewayd.domain.topic import TopicFilter
from gatewayd.domain.verdict import Publication
from gatewayd.errors import RejectedInputError
from gatewayd.formats.leaves import follow, parse_json
from gatewayd.formats.timestamp import Unit, to_ns
from gatewayd.pipeline.flow import Flow, Outcome
from gatewayd.workbench.recording import LATEST_NS, Arrived

_BATCH: Final = 4096
_RUNS_IN_A_FLOOD: Final = (
    60  # at least: alerts of one run are raised at one instant, as far as a flood's time goes
)
_APART_NS: Final = 1000  # as the line keeps arrivals apart
_SET_BACK_NS: Final = -(10**9)  # a clock that falls by less only trembles
_SECOND: Final = 10**9
_TOPICS_REMEMBERED: Final = 10_000


@dataclass(slots=True, kw_only=True)
class Tally:
    """What came of a replay, beside the flow's own figures.

    Attributes:
        alerts: Published changes of alerts, by stream, device and change.
        messages: That were read.
        requests: Requests to sources, which nobody answers in a replay.
        first_at: Arrival of the first message, steady, ns; None: there was none.
        last_at: Of the last one.
    """

    alerts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    messages: int = 0
    requests: int = 0
    first_at: int | None = None
    last_at: int = 0

    @property
    def lasted_s(self) -> float:
        """Time from the first message's arrival to the last one's."""
        return 0.0 if self.first_at is None else (self.last_at - self.first_at) / _SECOND


class OwnTimes:
    """Tells when a message was taken by what stands in it, where its arrival was not recorded.

    Only streams of the format ``json`` point out where that is.
    """

    def __init__(self, settings: Settings) -> None:
        self._streams = [
            (TopicFilter.parse(stream.topic), tuple(stream.time.field.split(".")), stream.time.unit)
            for stream in settings.streams.values()
            if stream.format == "json" and stream.time is not None
        ]
        self._known: dict[bytes, tuple[tuple[str, ...], Unit] | None] = {}

    def __call__(self, message: Message) -> int | None:
        """Return the time, ns since the Unix epoch; None: there is none that can be used."""
        topic = message[0]
        if topic not in self._known:
            if len(self._known) == _TOPICS_REMEMBERED:
                self._known.clear()
            self._known[topic] = self._find(topic.decode())
        place = self._known[topic]
        if place is None:
            return None
        try:
            found = to_ns(follow(parse_json(message[1]), place[0]), place[1])
        except RejectedInputError:
            return None
        return found if found <= LATEST_NS else None

    def _find(self, topic: str) -> tuple[tuple[str, ...], Unit] | None:
        for pattern, path, unit in self._streams:
            if pattern.match(topic) is not None:
                return path, unit
        return None


class Clock:
    """The recorder's clock, and beside it one that never jumps back, as the line has them; ns."""

    def __init__(self) -> None:
        self.wall = self.steady = 0
        self._is_started = False

    def arrive(self, at: int | None, taken_at: int | None) -> tuple[int, int]:
        """Return the next message's arrival by both clocks.

        Args:
            at: As recorded; one that doesn't rise counts as just after the message before, unless it falls by more than
                a second: then the recorder's clock was set back.
            taken_at: Where ``at`` is None the message arrives when it was taken, but never before another.
        """
        if at is None:
            at = max(taken_at or 0, self.wall)
        if not self._is_started:
            self._is_started = True
            self.wall = self.steady = at
            return at, at
        step = at - self.wall
        if _SET_BACK_NS <= step < _APART_NS:
            step = _APART_NS
        return self.wall + step, self.steady + max(step, _APART_NS)


class Replay:
    """Runs recorded messages through a flow.

    Args:
        flow: Fresh; this replay's own from here on.
        settings: What the flow was built from.
    """

    def __init__(self, flow: Flow, settings: Settings) -> None:
        self._flow, self._taken_at = flow, OwnTimes(settings)
        self._clock = Clock()
        self._due: tuple[int | None, int | None] = (None, None)
        timers = [seconds for stream in settings.streams.values() for seconds in _timers_s(stream)]
        self._horizon_ns = round(min(timers) * _SECOND) if timers else LATEST_NS
        self._drain_ns = round(max(map(_drain_s, settings.streams.values()), default=0.0) * _SECOND)
        self.tally = Tally()

    def run(self, arrivals: Iterable[Arrived], *, drains: bool) -> Iterator[Outcome]:
        """Yield what came of it, in order.

        Args:
            arrivals: In order of arrival.
            drains: Let time go on afterwards, until idle devices' readings went on (``idle_timeout_s``) and floods of
                alerts are over (``alert.flood.within_s``).
        """
        batch: list[Message] = []
        walls: list[int] = []
        steadies: list[int] = []
        clock, tally = self._clock, self.tally
        for message, at in arrivals:
            taken_at = None if at is not None else self._taken_at(message)
            wall, steady = clock.arrive(at, taken_at)
            if batch and (
                len(batch) == _BATCH or steady - steadies[0] >= self._horizon_ns or self._is_due(wall, steady)
            ):
                yield self._noted(self._run(batch, walls, steadies))
                batch, walls, steadies = [], [], []
            if self._is_due(wall, steady):
                yield from self._pass_time(wall, steady)
            clock.wall, clock.steady = wall, steady
            if tally.first_at is None:
                tally.first_at = steady
            tally.messages += 1
            batch.append(message)
            walls.append(wall)
            steadies.append(steady)
        tally.last_at = clock.steady
        if batch:
            yield self._noted(self._run(batch, walls, steadies))
            if drains:
                yield from self._pass_time(clock.wall + self._drain_ns, clock.steady + self._drain_ns)

    def _run(self, batch: list[Message], walls: list[int], steadies: list[int]) -> Outcome:
        outcome = self._flow.run(batch, np.array(walls, dtype=np.int64), np.array(steadies, dtype=np.int64))
        self._due = self._flow.deadlines()
        return outcome

    def _is_due(self, wall: int, steady: int) -> bool:
        by_wall, by_steady = self._due
        return (by_steady is not None and by_steady <= steady) or (by_wall is not None and by_wall <= wall)

    def _pass_time(self, wall: int, steady: int) -> Iterator[Outcome]:
        """Do all that is due up to an instant, each at its own."""
        clock = self._clock
        while self._is_due(wall, steady):
            by_wall, by_steady = self._due
            waits = [by_steady - clock.steady] if by_steady is not None else []
            if by_wall is not None and by_wall <= wall:
                waits.append(by_wall - clock.wall)
            wait = max(0, min(waits))
            clock.wall, clock.steady = clock.wall + wait, clock.steady + wait
            before = self._due
            yield self._noted(self._flow.advance(clock.wall, clock.steady))
            self._due = self._flow.deadlines()
            if self._due == before:
                break  # it stays due until more comes

    def _noted(self, outcome: Outcome) -> Outcome:
        self.tally.requests += len(outcome.requests)
        for change in outcome.changes:
            self.tally.alerts[change.stream, change.device, change.alert.state] += 1
        return outcome


def written(publication: Publication) -> bytes:
    """Write a publication as a line of JSON: its payload as it is if that is JSON, else in hex."""
    payload = publication.payload
    line: dict[str, object] = {
        "topic": publication.topic,
        "qos": publication.qos,
        "retain": publication.retain,
    }
    if _is_json(publication):
        line["payload"] = msgspec.Raw(payload)
    else:
        line["payload_hex"] = payload.hex()
    return msgspec.json.encode(line) + b"\n"


def _is_json(publication: Publication) -> bool:
    if publication.content_type == "application/json":
        return bool(publication.payload)
    if b"\n" in publication.payload:
        return False  # would not stay on its line
    try:
        orjson.loads(publication.payload)
    except orjson.JSONDecodeError:
        return False
    return True


def _timers_s(stream: StreamSettings) -> Iterator[float]:
    """Yield the times after which something is due for a stream because nothing came."""
    flood = stream.alert.flood
    for seconds in (
        stream.idle_timeout_s,
        stream.alert.silent_after_s,
        None if flood is None else flood.within_s / _RUNS_IN_A_FLOOD,
    ):
        if seconds is not None:
            yield seconds


def _drain_s(stream: StreamSettings) -> float:
    flood = stream.alert.flood
    return max(stream.idle_timeout_s or 0.0, 0.0 if flood is None else flood.within_s)
