"""What was heard at a broker, in bounded memory: of every topic its first messages and a fair draw of the rest.

Whatever peers publish, memory stays below ``MAX_TOPICS`` topics and ``MAX_TOTAL_BYTES`` of payloads; what doesn't fit
is counted. The draw (reservoir sampling, Vitter's algorithm R) has a fixed seed: the same messages give the same draw.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

MAX_TOPICS: Final = 10_000
MAX_TOPIC_BYTES: Final = 512  # no configuration is readable with longer ones
MAX_PAYLOAD_BYTES: Final = 1_048_576
MAX_TOTAL_BYTES: Final = 64 * 1_048_576
FIRST: Final = 16  # messages of a topic that are kept in any case, so that some follow each other
KEPT: Final = 48

_RETAIN = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One message that was kept.

    Attributes:
        order: Its number among all messages.
        number: Its number among those of its topic.
        payload: Never empty.
        arrived_at: Gateway clock, ns since the Unix epoch.
        is_retained: From the broker's memory, so of unknown age.
    """

    order: int
    number: int
    payload: bytes
    arrived_at: int
    is_retained: bool


@dataclass(slots=True, kw_only=True)
class Topic:
    """What was heard on one topic.

    Attributes:
        name: The topic.
        count: Messages with a payload.
        live: Of these, the ones that were published while we listened.
        first_at: When the first of the live ones arrived, ns since the Unix epoch.
        last_at: When the last of them did.
    """

    name: str
    count: int = 0
    live: int = 0
    first_at: int = 0
    last_at: int = 0
    _drawn: list[Heard] = field(default_factory=list)

    @property
    def kept(self) -> Sequence[Heard]:
        """Those that were kept, in order of arrival."""
        return sorted(self._drawn, key=lambda heard: heard.order)

    @property
    def interval_s(self) -> float | None:
        """Mean time between two live messages; None before the second."""
        return None if self.live < 2 else (self.last_at - self.first_at) / (self.live - 1) / 1e9  # noqa: PLR2004

    def place(self, draw: random.Random) -> int | None:
        """Return where the next message is kept, one past the last place for a new one; None: nowhere."""
        if len(self._drawn) < KEPT:
            return len(self._drawn)
        chosen = draw.randrange(self.count - FIRST) + FIRST
        return chosen if chosen < KEPT else None

    def keep(self, place: int, heard: Heard) -> int:
        """Keep a message at a place; return the bytes that were freed there."""
        if place == len(self._drawn):
            self._drawn.append(heard)
            return 0
        freed = len(self._drawn[place].payload)
        self._drawn[place] = heard
        return freed


class Overheard:
    """Collects messages.

    Attributes:
        messages: How many came.
        left_out: How many of them were not looked at, by reason: ``bad_topic`` (not UTF-8), ``topic_too_long``,
            ``too_many_topics``, ``too_large``, ``too_much`` (counted with their topic, but their payload not kept).
    """

    def __init__(self) -> None:
        self.messages = 0
        self.left_out: Counter[str] = Counter()
        self._topics: dict[str, Topic] = {}
        self._bytes = 0
        self._draw = random.Random(0)  # noqa: S311  # a fair draw, no secret

    def __iter__(self) -> Iterator[Topic]:
        return iter(self._topics.values())

    def __len__(self) -> int:
        return len(self._topics)

    def add(self, topic: bytes, payload: bytes, header: int, arrived_at: int) -> None:
        """Take in one message.

        Args:
            topic: As it came.
            payload: As it came; an empty one clears a topic, and is no reading.
            header: First byte of the PUBLISH frame (MQTT 3.1.1, 3.3.1).
            arrived_at: Gateway clock, ns since the Unix epoch.
        """
        self.messages += 1
        if not payload:
            return
        found = self._find(topic)
        if isinstance(found, str):
            self.left_out[found] += 1
            return
        found.count += 1
        is_retained = bool(header & _RETAIN)
        if not is_retained:
            found.live += 1
            found.first_at = found.first_at or arrived_at
            found.last_at = arrived_at
        if len(payload) > MAX_PAYLOAD_BYTES:
            self.left_out["too_large"] += 1
            return
        place = found.place(self._draw)
        if place is None:
            return
        if self._bytes + len(payload) > MAX_TOTAL_BYTES:
            self.left_out["too_much"] += 1
            return
        heard = Heard(
            order=self.messages,
            number=found.count,
            payload=payload,
            arrived_at=arrived_at,
            is_retained=is_retained,
        )
        self._bytes += len(payload) - found.keep(place, heard)

    def _find(self, topic: bytes) -> Topic | str:
        """Return a topic's entry, a new one if need be, or why there is none."""
        if len(topic) > MAX_TOPIC_BYTES:
            return "topic_too_long"
        try:
            name = topic.decode()
        except UnicodeDecodeError:
            return "bad_topic"
        found = self._topics.get(name)
        if found is None:
            if len(self._topics) >= MAX_TOPICS:
                return "too_many_topics"
            found = self._topics[name] = Topic(name=name)
        return found
