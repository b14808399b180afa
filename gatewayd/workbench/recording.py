"""Recorded messages, one JSON object a line, as they arrived.

    {"at": "2026-01-31T07:00:00.250Z", "topic": "site/line1/p7/telemetry", "payload": {"temperature": 21.5}}

``at``: when the message arrived, RFC 3339 or a number since 1970; it may be missing. ``payload``: a text is the
payload itself, any other JSON value the payload as it is written there; or ``payload_hex`` or ``payload_base64``.
``qos`` and ``retain`` as in MQTT, 0 and false where missing. What ``mosquitto_sub -F '%j'`` and ``'%J'`` print is read
too: its ``tst`` is the arrival, and its ``payloadlen`` tells of payloads that it could not print.

A line that can't be read is left out and counted, with its place. Files may be gzipped (``.gz``); no line is longer
than ``MAX_LINE_BYTES``, so that memory is bounded whatever the file holds.
"""

import base64
import binascii
import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Annotated, Final, Literal

import msgspec

from gatewayd.domain.reading import Message
from gatewayd.errors import GatewayError, RejectedInputError
from gatewayd.formats.timestamp import to_ns
from gatewayd.workbench.table import parse_time

MAX_LINE_BYTES: Final = 8 * 1024 * 1024  # a payload of 1 MiB, escaped or in hex, with room
LATEST_NS: Final = 9_200_000_000_000_000_000  # within int64, with room for timers

# The message, and when it arrived by the recorder's clock, ns since the Unix epoch; None: not recorded.
Arrived = tuple[Message, int | None]
Kind = Literal["messages", "csv", "rows", "parquet"]

PUBLISH = 0x30  # MQTT 3.1.1, 3.3.1
_BOM = b"\xef\xbb\xbf"
_LINES_LOOKED_AT = 16  # to tell what a file is; the first may be cut off
# mosquitto_sub 2.0 writes both, such as 2026-01-31T07:00:00.250000Z+0100, where the offset is the one that holds
_Z_BEFORE_OFFSET = re.compile(r"Z(?=[+-]\d{4}$)")


class RecordingError(GatewayError):
    """A recording that can't be read at all; the message has its place."""


@dataclass(slots=True, kw_only=True)
class Unread:
    """Lines and rows that were left out: how many, by reason, and where the first of each stands."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def note(self, reason: str, path: Path, line: int) -> None:
        """Count one."""
        self.counts[reason] += 1
        self.examples.setdefault(reason, f"{path}:{line}")


class _Line(msgspec.Struct, gc=False):
    topic: str
    at: float | int | str | None = None
    tst: float | int | str | None = None
    payload: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    payload_hex: str | None = None
    payload_base64: str | None = None
    payloadlen: int | None = None
    retain: Annotated[int, msgspec.Meta(ge=0, le=1)] | bool = False
    qos: Annotated[int, msgspec.Meta(ge=0, le=2)] = 0


_decode = msgspec.json.Decoder(_Line).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_any = msgspec.json.Decoder().decode


def kind_of(path: Path) -> Kind:
    """Tell what a file holds, from its name and its first lines.

    Raises:
        RecordingError: It can't be read.
    """
    guess: Kind = "messages"
    looked_at = 0
    for number, line in bounded_lines(path):
        if number == 1 and line is not None and line.startswith(b"PAR1"):
            return "parquet"
        text = (line or b"").removeprefix(_BOM).strip()
        if not text:
            continue
        if text.startswith(b"{"):
            try:
                document = _decode_any(text)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                document = None
            if isinstance(document, dict):
                is_message = isinstance(document.get("topic"), str) and _PAYLOADS & document.keys()
                return "messages" if is_message else "rows"
        elif looked_at == 0:
            guess = "csv"
        looked_at += 1
        if looked_at == _LINES_LOOKED_AT:
            break
    return guess


def read_messages(path: Path, unread: Unread) -> Iterator[Arrived]:
    """Read recorded messages, in the order of the file.

    Args:
        path: The file.
        unread: Takes the lines that are left out: ``line_too_long``, ``not_json``, ``not_a_message`` (no topic, or a
            field of another type), ``no_single_payload``, ``bad_payload`` (not hex, not base64), ``payload_incomplete``
            (not what its ``payloadlen`` says: ``mosquitto_sub -F %j`` can't print bytes), ``bad_time``.

    Raises:
        RecordingError: The file can't be read.
    """
    for number, line in bounded_lines(path):
        if line is None:
            unread.note("line_too_long", path, number)
            continue
        if not line or line.isspace():
            continue
        try:
            yield _message(line.removeprefix(_BOM) if number == 1 else line)
        except RejectedInputError as error:
            unread.note(error.reason, path, number)


def bounded_lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """Read a file line by line; one that is longer than ``MAX_LINE_BYTES`` is None.

    Returns:
        Line numbers, from 1, and lines, with their ends.

    Raises:
        RecordingError: The file can't be read.
    """
    number = 0
    try:
        with _opened(path) as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) <= MAX_LINE_BYTES:
                    yield number, line
                    continue
                while line and not line.endswith(b"\n"):
                    line = file.readline(MAX_LINE_BYTES)
                yield number, None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        where = f"{path}:{number + 1}" if number else str(path)
        raise RecordingError(f"{where}: cannot be read: {reason}") from error


def instant(value: object) -> int:
    """Read a time stamp of a recording.

    Args:
        value: A number since 1970, whose unit its magnitude tells, or ISO 8601; a time without zone is UTC.

    Returns:
        Nanoseconds since the Unix epoch; also of clocks that were never set.

    Raises:
        RejectedInputError: ``bad_time``.
    """
    if isinstance(value, str):
        value = _Z_BEFORE_OFFSET.sub("", value.strip())
    try:
        found = to_ns(value, "auto")
    except RejectedInputError:
        try:
            found = parse_time(str(value))
        except (ValueError, OverflowError) as error:
            raise RejectedInputError("bad_time", str(value)[:40]) from error
    if not 0 <= found <= LATEST_NS:
        raise RejectedInputError("bad_time", str(value)[:40])
    return found


_PAYLOADS = {"payload", "payload_hex", "payload_base64"}


def _opened(path: Path) -> gzip.GzipFile | IO[bytes]:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _message(line: bytes) -> Arrived:
    try:
        fields = _decode(line)
        topic = fields.topic.encode()
    except msgspec.ValidationError as error:
        raise RejectedInputError("not_a_message", str(error)[:80]) from error
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise RejectedInputError("not_json", str(error)[:80]) from error
    at = fields.at if fields.at is not None else fields.tst
    header = PUBLISH | fields.qos << 1 | int(fields.retain)
    return (topic, _payload(fields), header, 0), None if at is None else instant(at)


def _payload(fields: _Line) -> bytes:
    given = (
        fields.payload is not msgspec.UNSET,
        fields.payload_hex is not None,
        fields.payload_base64 is not None,
    )
    if sum(given) != 1:
        raise RejectedInputError("no_single_payload")
    try:
        if fields.payload_hex is not None:
            return bytes.fromhex(fields.payload_hex)
        if fields.payload_base64 is not None:
            return base64.b64decode(fields.payload_base64, validate=True)
    except (ValueError, binascii.Error) as error:
        raise RejectedInputError("bad_payload") from error
    assert isinstance(fields.payload, msgspec.Raw)
    return _plain(bytes(fields.payload), fields.payloadlen)


def _plain(raw: bytes, length: int | None) -> bytes:
    """Return what a ``payload`` stands for: a text's characters, else the JSON value as it is written."""
    if not raw.startswith(b'"'):
        return b"" if raw == b"null" and length == 0 else raw  # so mosquitto_sub prints an empty payload
    try:
        payload = _decode_text(raw).encode()
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise RejectedInputError("not_json", str(error)[:80]) from error
    if length is not None and length != len(payload):
        raise RejectedInputError("payload_incomplete")
    return payload
