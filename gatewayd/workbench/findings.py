"""What was found at a broker, and what to call it."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from gatewayd.workbench.channels import Seen
from gatewayd.workbench.families import Kind
from gatewayd.workbench.quantities import is_generic, last_word, legal_name
from gatewayd.workbench.sources import Source
from gatewayd.workbench.times import Clock
from gatewayd.workbench.values import NUMBER

_GRID_S: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600)
_UNKNOWN_GRID_S: Final = 60.0
_STEM = re.compile(r"([A-Za-z][A-Za-z_-]*[A-Za-z])[-_. ]?[0-9]")
_DULL = frozenset(
    {
        "data",
        "events",
        "json",
        "rpc",
        "sensor",
        "sensors",
        "state",
        "status",
        "tele",
        "telemetry",
        "up",
        "value",
    }
)
_HEX = re.compile(r"[0-9a-fA-F:_-]{8,}")
_SHORT = {
    "senml_json": "senml",
    "senml_cbor": "senml",
    "sparkplug_b": "sparkplug",
    "shelly_gen2": "shelly",
    "ttn_v3": "ttn",
    "influx_line": "influx",
    "ruuvi_raw": "ruuvi",
}

_REASONS = {
    "bad_topic": "the topic is not UTF-8",
    "broker_status": "the broker's own figures",
    "command": "commands to devices",
    "compressed": "compressed data",
    "constant": "values that never change",
    "counter": "counters",
    "diagnostic": "the sensors' own health",
    "discovery": "announcements to Home Assistant",
    "empty": "nothing was kept of them",
    "identity": "numbers that measure nothing",
    "image": "images",
    "needs_extra": "in formats that need further packages; pip install '.[formats]' brings them",
    "no_birth": "Sparkplug data whose birth was not heard; listen longer, or restart the node",
    "no_decoded_payload": "LoRaWAN uplinks without decoded_payload; set up a payload formatter",
    "no_filter": "no topic filter can be written for them",
    "no_values": "no numbers in them",
    "own_results": "results of a gatewayd",
    "switch": "only on and off",
    "text": "text",
    "time": "only time stamps",
    "too_large": "larger than 1 MiB",
    "too_many_streams": "more kinds of sensors than fit into one file; listen to fewer topics with --topic",
    "too_many_topics": "on more topics than can be followed; listen to fewer with --topic",
    "too_much": "payloads beyond the memory for them",
    "topic_too_long": "the topic is too long",
    "unknown_binary": "binary data of no known format",
    "unknown_json": "JSON without numbers to read",
    "unusable_name": "names of values that are too long",
    "unusable_topic": "the topic holds characters that no filter can have",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFound:
    """One stream as it may be configured.

    Attributes:
        name: A legal one; no other stream has it.
        kind: How it is read.
        filters: The topic filter, and further ones.
        is_guess: The filter was generalised from one topic.
        channels: (name, what was seen), the legal names in order.
        doubtful: What was seen and left out, with ``doubt``.
        devices: How many, and what some are called.
        messages: How many there were on its topics.
        interval_s: Mean time between two messages of a device; None: too few to tell.
        example: A topic.
        align_s: Grid for channels that come in separate messages; None: they come together.
        clock: How the time stamps compare with arrival; None: there are none.
    """

    name: str
    kind: Kind
    filters: tuple[str, ...]
    is_guess: bool
    channels: tuple[tuple[str, Seen], ...]
    doubtful: tuple[Seen, ...]
    devices: tuple[str, ...]
    messages: int
    interval_s: float | None
    example: str
    align_s: float | None
    clock: Clock | None

    @property
    def zone(self) -> str | None:
        """The time zone that the clocks show; None: UTC, or none of whole hours, or it makes no difference."""
        hours = None if self.clock is None else self.clock.zone_hours
        if hours is None or hours != int(hours) or not (self.kind.is_local or self.kind.format == "tasmota"):
            return None
        return f"Etc/GMT{-int(hours):+d}"  # POSIX's sign: positive is west of Greenwich

    @property
    def has_time(self) -> bool:
        """Whether the time stamps can be used."""
        if self.clock is None or self.clock.is_repeated:
            return False
        return not self.clock.is_ahead or self.zone is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Something that no stream was made of.

    Attributes:
        reason: Constant, in snake_case; ``text`` says it to a person.
        count: How many topics, or messages where these weren't told apart by topic.
        example: One of the topics; empty: messages are counted.
    """

    reason: str
    count: int
    example: str

    @property
    def text(self) -> str:
        """How many of what, and why, in words."""
        what = _counted(self.count, "topic" if self.example else "message")
        why = _REASONS.get(self.reason, f"not readable: {self.reason.replace('_', ' ')}")
        example = f", such as {self.example}" if self.example else ""
        return f"{what}: {why}{example}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All that was found.

    Attributes:
        streams: In order of their filters.
        left_out: By reason.
        messages: How many came.
        topics: How many there were, as far as they were told apart.
    """

    streams: tuple[StreamFound, ...]
    left_out: tuple[LeftOut, ...]
    messages: int
    topics: int

    @property
    def summary(self) -> str:
        """How much was heard, in words."""
        return f"{_counted(self.messages, 'message')} on {_counted(self.topics, 'topic')}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def named(seen: Sequence[Seen], quantity: str) -> tuple[tuple[str, Seen], ...]:
    """Give channels their names: the fields', made legal.

    Args:
        seen: The channels.
        quantity: What the topic says that a single channel called ``value`` measures; empty: nothing.
    """
    names: dict[str, Seen] = {}
    for one in seen:
        is_nameless = quantity and len(seen) == 1 and (one.field == NUMBER or is_generic(one.field))
        name = legal_name(quantity if is_nameless else one.field, names, otherwise="channel")
        names[name] = one
    return tuple(names.items())


def stream_name(
    kind: Kind,
    pattern: str,
    sources: Sequence[Source],
    channel: str,
    taken: Collection[str],
    *,
    quantity: str = "",
) -> str:
    """Name a stream: by what its devices are called in common, else by its topic; a single value's also by that.

    Args:
        kind: How it is read.
        pattern: Its topic filter.
        sources: Its devices.
        channel: Name of its first channel.
        taken: Names in use.
        quantity: What the topic says that its single channel measures; empty: nothing.
    """
    names = [source.device if source.is_named else level_of(source.device, pattern) for source in sources]
    stems = {_stem(name.rpartition("/")[2]) for name in names}
    fixed = [level for level in pattern.split("/") if level and not level.startswith(("+", "#", "{"))]
    telling = [level for level in fixed if len(level) > 1 and level.lower() not in _DULL and level != channel]
    telling = [level for level in telling if not level.isdecimal()]
    if len(stems) == 1 and "" not in stems:
        name = stems.pop()
    elif any(source.is_named for source in sources) or kind.root is not None:
        return legal_name(
            f"{_SHORT.get(kind.format, kind.format)}-{last_word(channel)}", taken, otherwise="stream"
        )
    else:
        name = telling[-1] if telling else kind.format
    if kind.format == "number" or quantity:
        name = f"{name}-{channel}"
    return legal_name(name, taken, otherwise="stream")


def _stem(name: str) -> str:
    """Return what a device's name begins with, ``pump-3`` → ``pump``; empty: nothing that says something."""
    match = None if _HEX.fullmatch(name) else _STEM.match(name)
    return match[1].lower() if match else ""


def level_of(topic: str, pattern: str) -> str:
    """Return what stands in a topic where its filter has ``{device}``; without that, the topic."""
    levels = pattern.split("/")
    return topic.split("/")[levels.index("{device}")] if "{device}" in levels else topic


def interval_s(sources: Sequence[Source], fields: Collection[str], *, slowest: bool) -> float | None:
    """Return the median device's time between two readings of its fastest or slowest channel; None: unknown."""
    pick = max if slowest else min
    found = []
    for source in sources:
        intervals = [source.interval_s(field) for field in fields if field in source.series]
        known = [interval for interval in intervals if interval is not None and interval > 0]
        if known and (not slowest or len(known) == len(intervals)):
            found.append(pick(known))
    return median(found) if found else None


def grid_s(slowest_s: float | None) -> float:
    """Return a round time that is no less than the slowest channel's interval."""
    if slowest_s is None:
        return _UNKNOWN_GRID_S
    return next((step for step in _GRID_S if step >= slowest_s * 0.98), _GRID_S[-1])
