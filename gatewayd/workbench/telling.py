"""What was traced, in words for a terminal or as JSON lines; docs/tap.md shows both.

Names, topics and payloads come from the network: whatever could move a terminal's cursor is written as an escape.
"""

import codecs
from collections.abc import Iterator, Mapping
from typing import Final, Literal

import orjson

from gatewayd.config.settings import Settings
from gatewayd.domain.reading import Message
from gatewayd.pipeline.trace import Reading, Trace, place
from gatewayd.pipeline.verdict_json import instant

Document = dict[str, object]
Colour = Literal["red", "green", "yellow", "dim"]

_SGR: Final = {"red": "31;1", "green": "32", "yellow": "33", "dim": "2"}  # ECMA-48, 8.3.117
_SHOWN_CHARS: Final = 60  # of a payload
_RAW_CHARS: Final = 400
_WIDEST: Final = 32  # columns for a device's name
_CAUSES: Final = 3
_SECOND: Final = 10**9
_MESSAGE_LOSSES = ("refused", "rejected", "unread")  # where the payload explains more than the device does
_BAD_CHANGES = {"raised", "escalated"}
_decoder = codecs.getincrementaldecoder("utf-8")


class Teller:
    """Tells traces in words. Columns grow with what they have held so far, so that they stay under each other.

    Args:
        settings: Whose streams are traced; for the units.
        is_coloured: Whether losses and alerts are coloured.
        is_raw: Whether each message's topic and payload are shown as well.
    """

    def __init__(self, settings: Settings, *, is_coloured: bool, is_raw: bool) -> None:
        self._units = {
            (name, channel): f" {options.unit}" if options.unit else ""
            for name, stream in settings.streams.items()
            for channel, options in stream.channels.items()
        }
        self._is_coloured, self._is_raw = is_coloured, is_raw
        self._widths: dict[tuple[str, ...], int] = {}

    def lines(self, trace: Trace, message: Message | None, at: int) -> Iterator[str]:
        """Tell what came of a message.

        Args:
            trace: What came of it.
            message: The message; None: what is told came of waiting, or of many messages.
            at: When that was, gateway clock, ns since the Unix epoch.
        """
        if message is not None and self._is_raw:
            yield self._coloured("dim", f"{clock(at)}  {_topic(message)}  {_payload(message, _RAW_CHARS)}")
        for reading in trace.readings:
            yield self._reading(reading)
        for name, counts in trace.counts.items():
            for reason, count in counts.items():
                what = f"{name.replace('_', ' ')} {reason}" + (f" x {count}" if count > 1 else "")
                yield self._loss(what, trace, message, at)
        for document in documents(trace):
            yield self._prediction(document) if document["kind"] == "prediction" else self._alert(document)

    def more(self, messages: int, counts: Mapping[str, Mapping[str, int]]) -> str:
        """Tell of messages that came faster than they are shown, and what was lost of them."""
        losses = [
            f"{count:,} {name} {reason}"
            for name, by_reason in counts.items()
            for reason, count in by_reason.items()
        ]
        what = f"… {messages:,} more" + (f": {', '.join(losses)}" if losses else "")
        return self._coloured("dim", what)

    def _reading(self, reading: Reading) -> str:
        cells = []
        for name, value in reading.values.items():
            text = "-" if value is None else f"{value:.6g}"
            text = text.rjust(self._width(("value", reading.stream, name), text))
            cells.append(f"{name} {text}{self._units.get((reading.stream, name), '')}")
        return "  ".join((*self._head(reading.taken_at, reading.stream, place(reading.device)), *cells))

    def _loss(self, what: str, trace: Trace, message: Message | None, at: int) -> str:
        is_of_message = what.startswith(_MESSAGE_LOSSES) or not trace.readings
        if message is not None and is_of_message:
            line = f"{clock(at)}  {what}  {_topic(message)}  {_payload(message, _SHOWN_CHARS)}"
        elif trace.readings:
            whose = {(reading.stream, place(reading.device)) for reading in trace.readings}
            stream, device = whose.pop()
            line = "  ".join((*self._head(at, stream, "…" if whose else device), what))
        else:
            line = f"{clock(at)}  {what}"
        return self._coloured("yellow", line)

    def _prediction(self, document: Document) -> str:
        score, threshold = document["score"], document["threshold"]
        is_anomalous = document["verdict"] == "anomalous"
        limit = (
            ", no threshold yet" if threshold is None else f" {'≥' if is_anomalous else '<'} {threshold:.6g}"
        )
        cells = [f"score {score:.6g}{limit}", str(document["verdict"])]
        probabilities = document.get("probabilities")
        if isinstance(probabilities, dict):
            label = document["label"]
            cells.append(f"{printable(str(label))} {100 * probabilities[label]:.0f} %")
        contributions = document.get("contributions")
        if is_anomalous and isinstance(contributions, dict):
            first = sorted(contributions.items(), key=lambda pair: -pair[1])[:_CAUSES]
            cells.append(_parts(first))
        window = document["window"]
        assert isinstance(window, dict)
        line = "  ".join((_to_the_millisecond(window["end"]), self._who(document), *cells))
        return self._coloured("red", line) if is_anomalous else line

    def _alert(self, document: Document) -> str:
        channel, causes = document["channel"], document["causes"]
        assert isinstance(causes, list)
        cells = [
            f"ALERT {document['state']}: {document['condition']}"
            + ("" if channel is None else f" of {printable(str(channel))}"),
            f"severity {printable(str(document['severity']))}",
            f"score {document['score']:.6g}, threshold {document['threshold']:.6g}",
        ]
        if causes:
            cells.append(_parts([(cause["channel"], cause["contribution"]) for cause in causes[:_CAUSES]]))
        line = "  ".join((_to_the_millisecond(str(document["changed_at"])), self._who(document), *cells))
        return self._coloured("red" if document["state"] in _BAD_CHANGES else "green", line)

    def _who(self, document: Document) -> str:
        labels = document["labels"]
        assert isinstance(labels, dict)
        return self._named(str(document["stream"]), "/".join((*labels.values(), str(document["device"]))))

    def _head(self, at: int, stream: str, device: str) -> tuple[str, str]:
        return clock(at), self._named(stream, device)

    def _named(self, stream: str, device: str) -> str:
        name = f"{stream}/{printable(device)}"
        return name.ljust(min(_WIDEST, self._width(("device",), name)))

    def _width(self, column: tuple[str, ...], text: str) -> int:
        width = self._widths[column] = max(len(text), self._widths.get(column, 0))
        return width

    def _coloured(self, colour: Colour, line: str) -> str:
        return f"\x1b[{_SGR[colour]}m{line}\x1b[0m" if self._is_coloured else line


def documents(trace: Trace) -> Iterator[Document]:
    """Yield the predictions and alerts of a trace as they are published, in order; the flow must write JSON."""
    for publication in trace.outcome.publications:
        if publication.kind in ("prediction", "alert"):
            document = orjson.loads(publication.payload)
            assert isinstance(document, dict)
            yield document


def events(trace: Trace, message: Message | None, at: int, *, is_raw: bool) -> Iterator[Document]:
    """Tell a trace as documents: readings, losses, then predictions and alerts as they are published.

    Args:
        trace: What came of a message.
        message: The message; None: what is told came of waiting.
        at: When that was, gateway clock, ns since the Unix epoch.
        is_raw: Whether the message itself comes first.
    """
    where: Document = {} if message is None else {"topic": message[0].decode(errors="backslashreplace")}
    if message is not None and is_raw:
        yield {"kind": "message", "at": instant(at), **where, **payload_document(message[1])}
    for reading in trace.readings:
        yield {
            "kind": "reading",
            "at": instant(at),
            "stream": reading.stream,
            "device": reading.device.name,
            "labels": reading.device.labels,
            "taken_at": instant(reading.taken_at),
            "values": reading.values,
        }
    for name, counts in trace.counts.items():
        for reason, count in counts.items():
            loss: Document = {"kind": name, "at": instant(at), "reason": reason, "count": count, **where}
            if message is not None and name in _MESSAGE_LOSSES:
                loss |= payload_document(message[1][:_SHOWN_CHARS])
            yield loss
    yield from documents(trace)


def payload_document(payload: bytes) -> Document:
    """Put a payload into a document as recordings have it: a text, or hex."""
    try:
        return {"payload": payload.decode()}
    except UnicodeDecodeError:
        return {"payload_hex": payload.hex()}


def clock(nanoseconds: int) -> str:
    """Write an instant as RFC 3339 in UTC, always to the millisecond, so that lines stand under each other."""
    seconds, fraction = divmod(nanoseconds, _SECOND)
    return f"{instant(seconds * _SECOND)[:-1]}.{fraction // 1_000_000:03d}Z"


def _to_the_millisecond(time: str) -> str:
    """Cut or fill the fraction of a time as published."""
    return f"{time[:19]}{time[19:23] if time[19] == '.' else '.000'}Z"


def printable(text: str) -> str:
    """Write what a terminal would obey as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _parts(contributions: list[tuple[str, float]]) -> str:
    return ", ".join(f"{printable(name)} {100 * part:.0f} %" for name, part in contributions)


def _topic(message: Message) -> str:
    return printable(message[0].decode(errors="backslashreplace"))


def _payload(message: Message, most: int) -> str:
    """Show a payload's beginning: as text, or in hex where it isn't one."""
    payload = message[1]
    cut = payload[: 4 * most]  # by bytes first, so that a payload of a megabyte costs nothing
    try:
        text = _decoder().decode(
            cut, final=len(cut) == len(payload)
        )  # half a character at the cut is no fault
        shown, is_whole = printable(text[:most]), len(text) <= most and len(cut) == len(payload)
    except UnicodeDecodeError:
        shown, is_whole = f"0x{payload[: most // 2].hex()}", len(payload) <= most // 2
    return shown if is_whole else f"{shown}… ({len(payload):,} bytes)"
