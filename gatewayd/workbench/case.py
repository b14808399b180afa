"""A test of a configuration: what is said to it, and what is expected of it. docs/testing-a-configuration.md.

A message may be repeated with rising time. In its topic and its payload these words, in their braces, stand for what
changes with it; where one is the whole of a text in ``json``, it becomes a number there:

==========  ==============================================================================================
``{at}``    when it arrives, in seconds since 1970
``{at_ms}``  the same in milliseconds
``{at_ns}``  the same in nanoseconds
``{at_iso}``  the same as RFC 3339 in UTC
``{n}``     how many repetitions came before it, from 0
==========  ==============================================================================================
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from gatewayd.domain.reading import Message
from gatewayd.pipeline.verdict_json import instant

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

BEGIN_NS: Final = (
    1_700_000_000 * 10**9
)  # when the first message arrives, unless it says so: 2023-11-14T22:13:20Z
_APART_NS: Final = 1000  # as the line keeps arrivals apart
_SECOND: Final = 10**9
_PUBLISH: Final = 0x30  # MQTT 3.1.1, 3.3.1
_RETAIN: Final = 1
_WORD = re.compile(r"\{(at|at_ms|at_ns|at_iso|n)\}")


@dataclass(frozen=True, slots=True)
class JsonPayload:
    """A payload that is written as JSON."""

    value: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One message, or several alike.

    Attributes:
        topic: With its words.
        payload: Bytes as they are; or a text or a JSON value with its words.
        at: When the first of them arrives, ns since the Unix epoch.
        interval_ns: From one to the next.
        repeat: How many there are, at least 1.
        is_retained: Whether the broker had kept them.
    """

    topic: str
    payload: bytes | str | JsonPayload
    at: int
    interval_ns: int
    repeat: int
    is_retained: bool

    @property
    def last_at(self) -> int:
        """When the last of them arrives."""
        return self.at + (self.repeat - 1) * self.interval_ns

    def messages(self) -> Iterator[tuple[Message, int]]:
        """Yield the messages, each with its arrival, ns since the Unix epoch."""
        header = _PUBLISH | (_RETAIN if self.is_retained else 0)
        for n in range(self.repeat):
            at = self.at + n * self.interval_ns
            words = _words(at, n)
            topic = _text(self.topic, words)
            yield (topic.encode(), self._payload(words), header, 0), at

    def _payload(self, words: Mapping[str, int | float | str]) -> bytes:
        if isinstance(self.payload, bytes):
            return self.payload
        if isinstance(self.payload, str):
            return _text(self.payload, words).encode()
        return json.dumps(_filled(self.payload.value, words), ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Messages that were recorded, with their arrivals, ns since the Unix epoch; at least one."""

    arrivals: tuple[tuple[Message, int], ...]

    @property
    def last_at(self) -> int:
        """When the last of them arrives."""
        return self.arrivals[-1][1]

    def messages(self) -> Iterator[tuple[Message, int]]:
        """Yield the messages, each with its arrival."""
        return iter(self.arrivals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What must come of the messages.

    Attributes:
        readings: How many are decoded, or each of them in order, in part; None: whatever comes.
        predictions: Published predictions, likewise.
        alerts: Published changes of alerts, likewise.
        counts: By counter, how often for each reason; None in place of a number or of a counter: any number.
    """

    readings: int | tuple[Json, ...] | None
    predictions: int | tuple[Json, ...] | None
    alerts: int | tuple[Json, ...] | None
    counts: Mapping[str, Mapping[str, int | None] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A test of a configuration.

    Attributes:
        name: Says what it claims.
        path: The file that it stands in.
        line: Where it begins there.
        said: What is said, in order of arrival.
        wait_ns: How long nothing comes after that.
        expected: What must come of it.
    """

    name: str
    path: Path
    line: int
    said: tuple[Said | Recorded, ...]
    wait_ns: int
    expected: Expected

    def messages(self) -> Iterator[tuple[Message, int]]:
        """Yield all messages with their arrivals, which rise."""
        latest = 0
        for said in self.said:
            for message, at in said.messages():
                latest = max(at, latest + _APART_NS)
                yield message, latest


def _words(at: int, n: int) -> dict[str, int | float | str]:
    seconds = at // _SECOND if at % _SECOND == 0 else at / _SECOND
    return {"at": seconds, "at_ms": at // 1_000_000, "at_ns": at, "at_iso": instant(at), "n": n}


def _text(text: str, words: Mapping[str, int | float | str]) -> str:
    return _WORD.sub(lambda found: str(words[found[1]]), text)


def _filled(value: Json, words: Mapping[str, int | float | str]) -> Json:
    if isinstance(value, str):
        alone = _WORD.fullmatch(value)
        return words[alone[1]] if alone is not None else _text(value, words)
    if isinstance(value, list):
        return [_filled(item, words) for item in value]
    if isinstance(value, dict):
        return {_text(key, words): _filled(item, words) for key, item in value.items()}
    return value
