"""What people say to alerts by MQTT, and the answers: docs/alerts.md, "Commands".

A command is a JSON object: a verb, and an alert by its id or by what it is about. Whatever comes is answered, done or
refused; nobody waits for nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, cast, get_args

import orjson

from gatewayd.domain.verdict import Condition
from gatewayd.errors import RejectedInputError
from gatewayd.formats.leaves import parse_object
from gatewayd.pipeline.alarm import Verb
from gatewayd.pipeline.encode import instant

_LONGEST_TEXT = 200
_LONGEST_S = 366 * 86_400.0
_SECOND = 10**9
Result = Literal["done", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What a person wants.

    Attributes:
        command: What to do.
        alert: An alert's id; None: it is named by the four fields that follow.
        stream: Its stream.
        device: Its device, by name.
        condition: What it is about.
        channel: The channel that it is about; None: the device as a whole.
        by: Who says so; None: unsaid.
        for_s: How long to shelve; None: unsaid.
        request: Whatever the sender wants to find in the answer; None: nothing.
    """

    command: Verb
    alert: str | None = None
    stream: str | None = None
    device: str | None = None
    condition: Condition | None = None
    channel: str | None = None
    by: str | None = None
    for_s: float | None = None
    request: str | None = None

    @property
    def for_ns(self) -> int | None:
        """How long to shelve, in nanoseconds."""
        return None if self.for_s is None else round(self.for_s * _SECOND)


_TEXTS = frozenset({"alert", "stream", "device", "channel", "by", "request"})
_FIELDS = frozenset(field.name for field in fields(Command))


def parse_command(payload: bytes) -> Command:
    """Read a command.

    Raises:
        RejectedInputError: It is none. Reasons: those of ``parse_object``, ``unknown_command``, ``unknown_field``,
            ``not_text``, ``unknown_condition``, ``no_duration``, ``no_alert_named``; the message says more.
    """
    document = parse_object(payload)
    unknown = sorted(set(document) - _FIELDS)
    if unknown:
        raise RejectedInputError("unknown_field", f"{unknown[0][:40]}; known: {', '.join(sorted(_FIELDS))}")
    if document.get("command") not in get_args(Verb):
        raise RejectedInputError("unknown_command", f"expected one of {', '.join(get_args(Verb))}")
    for name in _TEXTS & document.keys():
        value = document[name]
        if value is not None and not (isinstance(value, str) and len(value) <= _LONGEST_TEXT):
            raise RejectedInputError(
                "not_text", f"{name}: expected a text of at most {_LONGEST_TEXT} characters"
            )
    condition = document.get("condition")
    if condition is not None and condition not in get_args(Condition):
        raise RejectedInputError("unknown_condition", f"expected one of {', '.join(get_args(Condition))}")
    for_s = document.get("for_s")
    if for_s is not None and not (
        isinstance(for_s, int | float) and not isinstance(for_s, bool) and 0 < for_s <= _LONGEST_S
    ):
        raise RejectedInputError("no_duration", "for_s: expected seconds, more than 0 and at most a year")
    if document.get("alert") is None and None in (document.get("stream"), document.get("device"), condition):
        raise RejectedInputError("no_alert_named", "expected 'alert', or 'stream', 'device' and 'condition'")
    return _made(document)


def _made(document: Mapping[str, object]) -> Command:
    for_s = document.get("for_s")
    texts = {name: cast("str | None", document.get(name)) for name in _TEXTS}
    return Command(
        command=cast("Verb", document["command"]),
        condition=cast("Condition | None", document.get("condition")),
        for_s=float(cast("float", for_s)) if for_s is not None else None,
        **texts,
    )


def answer(
    command: Command | None, *, result: Result, reason: str | None, detail: str | None, changed: int, at: int
) -> bytes:
    """Write the answer to a command.

    Args:
        command: What was asked for; None where it could not be read.
        result: What became of it.
        reason: Why it was refused, constant and in snake_case.
        detail: More, for a person.
        changed: How many alerts were published because of it.
        at: Gateway clock, ns since the Unix epoch.
    """
    document: dict[str, object] = {"kind": "response", "result": result, "at": instant(at)}
    if command is not None:
        asked = {name: getattr(command, name) for name in sorted(_FIELDS)}
        document |= {
            name: value
            for name, value in asked.items()
            if value is not None and not (isinstance(value, float) and not math.isfinite(value))
        }
    if result == "done":
        document["changed"] = changed
    if reason is not None:
        document["reason"] = reason
    if detail:
        document["detail"] = detail
    return orjson.dumps(document)
