"""Findings → a first configuration: YAML that a person reads and edits, with what was seen as comments.

Written by hand, not by a YAML library: those keep no comments. Whatever peers call their things, a text becomes a
plain scalar only where nothing in it can mean something to YAML; otherwise it is quoted and escaped (``scalar``), and
in a comment it stays on its line (``remark``).
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gatewayd.config.settings import BrokerSettings
from gatewayd.domain.topic import TopicFilter, filters_overlap
from gatewayd.workbench.channels import Doubt, Seen
from gatewayd.workbench.findings import Findings, StreamFound, level_of
from gatewayd.workbench.times import Clock

MAX_TEXT_BYTES: Final = 786_432  # a configuration file may have 1 MiB

_BROKER = "local"
_ROOT = "gatewayd"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./{}+-]*(?:/#)?")
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
_LONGEST_REMARK = 140
_SHOWN = 4  # devices in a comment
_MOST_DOUBTFUL = 24  # channels left out that are listed
_ALIGN_GAPS = 3  # steps of the grid that a value may be old
_DEFAULT_MAX_GAP_S = 10.0
_FUTURE_MARGIN_S = 60
_CHOSEN_TIME = frozenset({"json", "csv", "flat_cbor", "flat_json", "flat_messagepack", "json_list"})
_DOUBTS: dict[Doubt, str] = {
    "switch": "on or off, no measurement",
    "counter": "a counter: it only grows",
    "constant": "never changed",
    "diagnostic": "the sensor's own health",
    "identity": "a number that measures nothing",
    "time": "a time stamp",
    "partial": "not all of these devices have it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listened:
    """Where and how it was listened.

    Attributes:
        broker: As it was reached; paths absolute.
        gateway: Name for the gateway; a legal one.
        seconds: How long.
    """

    broker: BrokerSettings
    gateway: str
    seconds: float


def write_config(findings: Findings, listened: Listened) -> str:
    """Write a configuration that decodes every stream of the findings.

    Raises:
        ValueError: There is no stream, or their filters cover everything.
    """
    if not findings.streams:
        raise ValueError("no stream was found")
    filters = [TopicFilter.parse(topic).filter for stream in findings.streams for topic in stream.filters]
    root, between = free_place(filters, listened.gateway)
    lines = [*_head(findings, listened), *_broker(listened, root, between), "", "streams:"]
    size = 0
    for stream in findings.streams:
        block = [*_stream(stream, root, between), ""]
        size += sum(len(line.encode()) + 1 for line in block)
        if size > MAX_TEXT_BYTES:
            lines.append("  # More was found than fits into one file: listen to fewer topics with --topic.")
            break
        lines += block
    return "\n".join(lines).rstrip("\n") + "\n"


def scalar(text: str) -> str:
    """Write a text so that YAML reads the same text."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return '"' + "".join(map(_escaped, text)) + '"'


def remark(text: str) -> str:
    """Write a text so that it stays within one comment."""
    line = "".join(c if c.isprintable() else "?" for c in text)
    return line if len(line) <= _LONGEST_REMARK else line[: _LONGEST_REMARK - 1] + "…"


def free_place(filters: Sequence[str], gateway: str) -> tuple[str, str]:
    """Find topics for results that no filter covers.

    Args:
        filters: As subscribed: with ``+``, without names.
        gateway: Name of the gateway.

    Returns:
        The first level; and what stands between gateway and stream: ``results/`` as often as needed, or nothing.

    Raises:
        ValueError: There is none; a filter covers everything.
    """
    longest = max(one.count("/") for one in filters) + 1
    others = ["-results", *(f"-results-{number}" for number in range(2, len(filters) + 1))]
    roots = [_ROOT, *(_ROOT + other for other in others)]
    for between in ("results/" * depth for depth in range(longest + 1)):
        for root in roots:
            place = f"{root}/{gateway}/{between}"
            # stream, named levels and device, kind
            results = [place + "/".join("+" * count) for count in range(1, longest + 4)]
            if not any(filters_overlap(topic, one) for topic in results for one in filters):
                return root, between
    raise ValueError("every topic is subscribed to")


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"  # noqa: PLR2004


def _head(findings: Findings, listened: Listened) -> Iterator[str]:
    broker = listened.broker
    yield (
        f"# A first configuration, from {listened.seconds:.0f} s of listening to "
        f"{broker.host}:{broker.effective_port}: {findings.summary}."
    )
    yield "# Ranges and intervals are what was seen, not what is possible. There is no model yet: a stream is scored by"
    yield "# how far its readings are from their own running mean. Check a change with `gatewayd check -c FILE`."
    if findings.left_out:
        yield "#"
        yield "# Left out:"
    for one in findings.left_out:
        yield f"#   {remark(one.text)}"
    yield ""
    yield "gateway:"
    yield f"  id: {scalar(listened.gateway)}"


def _broker(listened: Listened, root: str, between: str) -> Iterator[str]:
    broker = listened.broker
    yield ""
    yield "brokers:"
    yield f"  {_BROKER}:"
    yield f"    host: {scalar(broker.host)}"
    yield f"    port: {broker.effective_port}"
    for option in ("username", "password_file"):
        value = getattr(broker, option)
        if value is not None:
            yield f"    {option}: {scalar(value)}"
    if root != _ROOT or between:
        yield f"    status_topic: {root}/{{gateway}}/{between}status"
    if broker.tls is None:
        return
    files = {name: getattr(broker.tls, name) for name in ("ca_file", "cert_file", "key_file")}
    given = [f"      {name}: {scalar(path)}" for name, path in files.items() if path is not None]
    if broker.tls.insecure_skip_verify:
        given.append("      insecure_skip_verify: true")
    yield "    tls:" if given else "    tls: {}"
    yield from given


def _stream(stream: StreamFound, root: str, between: str) -> Iterator[str]:
    first, *more = stream.filters
    yield f"  # {_devices(stream)}; {stream.messages} messages{_every(stream)}"
    yield f"  # e.g. on {remark(stream.example)}"
    if stream.is_guess:
        yield "  # Only one topic was heard: {device} is a guess, from a level that looks like an id."
    yield f"  {stream.name}:"
    yield f"    from: {_BROKER}"
    yield f"    topic: {scalar(first)}"
    if more:
        yield "    also:"
    for topic in more:
        yield f"      - {scalar(topic)}"
    yield f"    format: {stream.kind.format}"
    yield from _format_options(stream)
    yield from _time(stream)
    if stream.align_s is not None:
        yield "    # The channels come in separate messages: rows are made at this interval."
        yield "    align:"
        yield f"      every_s: {stream.align_s:g}"
        if stream.align_s * _ALIGN_GAPS > _DEFAULT_MAX_GAP_S:
            yield f"      max_gap_s: {stream.align_s * _ALIGN_GAPS:g}"
    yield "    channels:"
    for name, seen in stream.channels:
        yield from _channel(name, seen, stream)
    yield from _doubtful(stream)
    names = [name for name in TopicFilter.parse(first).names if name != "device"]
    levels = "".join(f"{{{name}}}/" for name in names)
    yield "    publish:"
    yield f"      to: {_BROKER}"
    yield f"      topic: {root}/{{gateway}}/{between}{{stream}}/{levels}{{device}}"


def _devices(stream: StreamFound) -> str:
    names = [level_of(device, stream.filters[0]) for device in stream.devices]
    names = list(dict.fromkeys(names))
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return remark(f"{len(stream.devices)} device{'s' * (len(stream.devices) != 1)}: {shown}")


def _every(stream: StreamFound) -> str:
    if stream.interval_s is None:
        return "; too few to tell how often"
    return f", each device every {stream.interval_s:.3g} s"


def _format_options(stream: StreamFound) -> Iterator[str]:
    options = dict(stream.kind.options)
    if stream.kind.format == "csv" and stream.kind.time is not None and not stream.has_time:
        options["text"] = ",".join(filter(None, (options.get("text"), stream.kind.time)))
    if stream.kind.format == "tasmota" and stream.zone is not None:
        yield f"    # {_zone_remark(stream.clock)}"
        options["timezone"] = stream.zone
    if options:
        yield "    format_options:"
    for name, text in options.items():
        yield f"      {name}: {scalar(text)}"


def _zone_remark(clock: Clock | None) -> str:
    return f"The clocks show {_hours(clock)}. For summer time, name the place: Europe/Berlin."


def _hours(clock: Clock | None) -> str:
    hours = 0.0 if clock is None or clock.zone_hours is None else clock.zone_hours
    return f"UTC{hours:+g} h"


def _time(stream: StreamFound) -> Iterator[str]:
    path = stream.kind.time if stream.kind.format in _CHOSEN_TIME else None
    if path is not None and stream.has_time:
        yield "    time:"
        yield f"      field: {scalar(path)}"
        if stream.zone is not None:
            yield f"      # {_zone_remark(stream.clock)}"
            yield f"      timezone: {stream.zone}"
    clock, why = stream.clock, _clock_trouble(stream.clock)
    if clock is None or why is None or (stream.zone is not None and not clock.is_repeated):
        return
    if path is not None:
        yield f"    # {remark(path)} is a time stamp, but {why}: the time of arrival counts."
        return
    yield f"    # Beware of the time stamps: {why}."
    if clock.is_ahead:
        yield "    # Without this, readings would be dropped for coming from the future; set the clocks right instead."
        yield f"    max_future_s: {math.ceil(-clock.behind_s) + _FUTURE_MARGIN_S}"


def _clock_trouble(clock: Clock | None) -> str | None:
    if clock is None or not (clock.is_ahead or clock.is_repeated):
        return None
    if not clock.is_ahead:
        return "messages that follow each other often have one and the same"
    zone = f", perhaps local time at {_hours(clock)}" if clock.zone_hours is not None else ""
    return f"its clock is {-clock.behind_s:.0f} s ahead of this machine's{zone}"


def _channel(name: str, seen: Seen, stream: StreamFound) -> Iterator[str]:
    yield f"      # {seen.low:.6g} .. {seen.high:.6g} in {seen.readings} reading{'s' * (seen.readings != 1)}"
    yield f"      {scalar(name)}:"
    if seen.field != name and stream.kind.format != "number":
        yield f"        field: {scalar(seen.field)}"
    yield f"        unit: {scalar(seen.unit)}"
    low, high = _suggested(seen.low, seen.high)
    yield f"        #min: {low}"
    yield f"        #max: {high}"


def _suggested(low: float, high: float) -> tuple[str, str]:
    """Suggest limits: what was seen, and as much again to each side, rounded outwards."""
    spread = max(high - low, abs(high) / 10, abs(low) / 10, 1e-6)
    if not math.isfinite(spread) or spread > 1e300:  # noqa: PLR2004  # next to float64's end
        return f"{low:.6g}", f"{high:.6g}"
    step = 10.0 ** math.floor(math.log10(spread))
    least, most = math.floor((low - spread) / step) * step, math.ceil((high + spread) / step) * step
    return f"{max(least, 0.0) if low >= 0 else least:.6g}", f"{most:.6g}"


def _doubtful(stream: StreamFound) -> Iterator[str]:
    for seen in stream.doubtful[:_MOST_DOUBTFUL]:
        assert seen.doubt is not None
        yield f"      # not {remark(seen.field)}: {_DOUBTS[seen.doubt]} ({seen.low:.6g} .. {seen.high:.6g})"
    if len(stream.doubtful) > _MOST_DOUBTFUL:
        yield f"      # nor {len(stream.doubtful) - _MOST_DOUBTFUL} more"
