"""What the messages of one kind hold: which devices, and of each its channels with their readings."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gatewayd.errors import RejectedInputError
from gatewayd.formats.leaves import MAX_DEPTH, parse_json
from gatewayd.formats.registry import FORMATS
from gatewayd.formats.sample import Sample
from gatewayd.formats.scalar import text_number
from gatewayd.formats.timestamp import to_ns
from gatewayd.workbench.families import Kind
from gatewayd.workbench.overheard import Heard, Topic
from gatewayd.workbench.quantities import is_generic

MAX_CHANNELS: Final = 256  # of one device; what's beyond is no set of sensors
LONGEST_LIST: Final = 16  # a longer one is a waveform, not channels
_LONGEST_NAME: Final = 200  # characters; a key that is longer holds data
NUMBER: Final = "value"  # what the one channel of a plain number is called

_REMEMBERING = frozenset({"esphome", "homie", "sparkplug_b", "zigbee2mqtt"})
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_SWITCHES = frozenset({"on", "off", "true", "false"})
_UNIT_KEYS = ("unit", "units", "uom", "unit_of_measurement")


@dataclass(slots=True, kw_only=True)
class Series:
    """One channel of one device.

    Attributes:
        values: Of the messages that were kept, in order of arrival.
        units: As the messages state them; empty: they don't.
        is_switch: Some value was written as a boolean or as on and off.
        live: Readings while we listened, an estimate where not all were kept.
    """

    values: list[float] = field(default_factory=list)
    units: set[str] = field(default_factory=set)
    is_switch: bool = False
    live: float = 0.0


@dataclass(slots=True, kw_only=True)
class Source:
    """One device of one kind.

    Attributes:
        device: As its messages call it; else its topic.
        is_named: Whether the messages name it.
        topics: Where it was heard, with the channels there.
        series: By channel.
        sets: How often which channels came together, at one instant of one message.
        stamps: (taken at, arrived at) of live messages, ns since the Unix epoch.
        neighbours: Time stamps of two messages that followed each other.
        first_at: When it was first heard live, ns since the Unix epoch.
        last_at: When it was last.
    """

    device: str
    is_named: bool
    topics: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    series: dict[str, Series] = field(default_factory=dict)
    sets: Counter[frozenset[str]] = field(default_factory=Counter)
    stamps: list[tuple[int, int]] = field(default_factory=list)
    neighbours: list[tuple[int, int]] = field(default_factory=list)
    first_at: int = 0
    last_at: int = 0

    def interval_s(self, channel: str) -> float | None:
        """Mean time between two readings of a channel; None where there were too few to tell."""
        live = self.series[channel].live
        return None if live < 2 else (self.last_at - self.first_at) / (live - 1) / 1e9  # noqa: PLR2004


@dataclass(frozen=True, slots=True)
class _Value:
    """One value of a message, however it was read."""

    device: str | None
    channel: str
    value: float
    unit: str
    taken_at: int | None
    is_switch: bool


def read_sources(kind: Kind, topics: Sequence[Topic]) -> tuple[list[Source], dict[str, str]]:
    """Read all that was kept of the topics of one kind, in order of arrival.

    Returns:
        The devices; and, by topic, why nothing could be read there: the format's first error, ``no_values`` or
        ``unusable_name`` (all of its channels have names that are too long, or none).
    """
    messages = sorted(
        ((heard, topic) for topic in topics for heard in topic.kept), key=lambda pair: pair[0].order
    )
    reader = _reader(kind)
    if kind.format in _REMEMBERING:  # units and births may have come after the values
        for heard, topic in messages:
            reader(topic.name, heard)
    sources: dict[tuple[str, str | None], Source] = {}
    silent: dict[str, str] = {}
    heard_from: set[str] = set()
    last: dict[tuple[str, str | None], tuple[int, int]] = {}
    for heard, topic in messages:
        values, error = reader(topic.name, heard)
        if not values:
            silent.setdefault(topic.name, error or "no_values")
            continue
        heard_from.add(topic.name)
        for device in dict.fromkeys(value.device for value in values):
            key = ("", device) if device is not None else (topic.name, None)
            source = sources.get(key)
            if source is None:
                source = Source(
                    device=device if device is not None else topic.name, is_named=device is not None
                )
                sources[key] = source
            own = [value for value in values if value.device == device]
            _take(source, topic, heard, own)
            _compare(source, topic.name, heard, own, last)
    for source in sources.values():
        if not source.series:
            silent.update(dict.fromkeys(source.topics, "unusable_name"))
            heard_from -= source.topics.keys()
    found = [source for source in sources.values() if source.series]
    return found, {name: why for name, why in silent.items() if name not in heard_from}


def _take(source: Source, topic: Topic, heard: Heard, values: Sequence[_Value]) -> None:
    weight = 0.0 if heard.is_retained else topic.count / len(topic.kept)
    together: dict[int | None, set[str]] = defaultdict(set)
    held = source.topics[topic.name]
    for value in values:
        series = source.series.get(value.channel)
        if series is None:
            if len(source.series) >= MAX_CHANNELS or not 0 < len(value.channel) <= _LONGEST_NAME:
                continue
            series = source.series[value.channel] = Series()
        series.values.append(value.value)
        series.units |= {value.unit} - {""}
        series.is_switch |= value.is_switch
        series.live += weight
        held.add(value.channel)
        together[value.taken_at].add(value.channel)
    for channels in together.values():
        source.sets[frozenset(channels)] += 1
    if not heard.is_retained:
        source.first_at = min(source.first_at or topic.first_at, topic.first_at)
        source.last_at = max(source.last_at, topic.last_at)


def _compare(
    source: Source,
    topic: str,
    heard: Heard,
    values: Sequence[_Value],
    last: dict[tuple[str, str | None], tuple[int, int]],
) -> None:
    """Note the message's time stamps: against its arrival, and against those of the message before."""
    taken = [value.taken_at for value in values if value.taken_at is not None]
    if not taken or heard.is_retained:
        return
    source.stamps.append((max(taken), heard.arrived_at))
    key = (topic, source.device)
    number, before = last.get(key, (0, 0))
    if heard.number == number + 1 and number:
        source.neighbours.append((before, min(taken)))
    last[key] = (heard.number, max(taken))


class _Reader:
    """Reads messages of one kind."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        given = {} if kind.time is None else {"time": kind.time}
        factory = FORMATS.get(kind.format)
        self._format = None if factory is None else factory.from_text(dict(kind.options), **given)

    def __call__(self, topic: str, heard: Heard) -> tuple[list[_Value], str | None]:
        """Read one message; return its values, and an error."""
        if self._format is not None:
            found = self._format.decode(topic, heard.payload, arrived_at=heard.arrived_at)
            switches = _switches(heard.payload)
            values = [_of_sample(sample, switches) for sample in found.samples]
            return values, found.errors[0] if found.errors else None
        try:
            return list(self._own(heard.payload)), None
        except RejectedInputError as error:
            return [], error.reason

    def _own(self, payload: bytes) -> Iterator[_Value]:
        if self._kind.format == "number":
            try:
                text = payload.decode()
            except UnicodeDecodeError as error:
                raise RejectedInputError("not_text") from error
            value = text_number(text)
            if not math.isnan(value):
                yield _Value(None, NUMBER, value, "", None, text.strip().lower() in _SWITCHES)
            return
        document = parse_json(payload)
        if not isinstance(document, dict):
            raise RejectedInputError("not_an_object")
        taken_at = _taken_at(document, self._kind.time)
        for path, value, unit, is_switch in _leaves(document, "", 0):
            if path != self._kind.time:
                yield _Value(None, path, value, unit, taken_at, is_switch)


def _reader(kind: Kind) -> _Reader:
    return _Reader(kind)


def _of_sample(sample: Sample, switches: frozenset[str]) -> _Value:
    last = sample.channel.rpartition(".")[2]
    is_switch = sample.value in (0.0, 1.0) and (last in switches or "" in switches)
    return _Value(
        sample.device or None, sample.channel, sample.value, sample.unit or "", sample.taken_at, is_switch
    )


def _switches(payload: bytes) -> frozenset[str]:
    """Return the keys of a JSON document that hold booleans, or on and off; the empty one: the payload itself does."""
    if payload[:8].strip().lower().decode(errors="replace") in _SWITCHES:
        return frozenset({""})
    if payload.lstrip()[:1] not in (b"{", b"["):
        return frozenset()
    try:
        document = parse_json(payload)
    except RejectedInputError:
        return frozenset()
    found: set[str] = set()
    _find_switches(document, found)
    return frozenset(found)


def _find_switches(node: object, found: set[str]) -> None:
    # as deep as the parser went, which has a limit of its own
    for key, child in (
        node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    ):
        if isinstance(child, bool) or (isinstance(child, str) and child.lower() in _SWITCHES):
            found.add(str(key))
        elif isinstance(child, dict | list):
            _find_switches(child, found)


def _taken_at(document: Mapping[str, object], path: str | None) -> int | None:
    found: object = document
    for key in path.split(".") if path is not None else ():
        found = found.get(key) if isinstance(found, dict) else None
    try:
        return None if path is None else to_ns(found, "auto")
    except (RejectedInputError, OverflowError):
        return None


def _leaves(
    document: Mapping[str, object], prefix: str, depth: int, above: str = ""
) -> Iterator[tuple[str, float, str, bool]]:
    """Go through what the format ``json`` could read: path, value, unit stated beside it, whether it is a switch."""
    stated = _stated_unit(document) or above
    is_lone = sum(_plain(child) is not None for child in document.values()) == 1
    for key, child in document.items():
        path = f"{prefix}{key}"
        unit = stated if above or is_lone or is_generic(key) else ""
        if isinstance(child, list):
            elements = {str(i): one for i, one in enumerate(child)} if len(child) <= LONGEST_LIST else {}
            if depth < MAX_DEPTH - 1:
                yield from _leaves(elements, f"{path}.", depth + 1, unit)
        elif isinstance(child, dict):
            if depth < MAX_DEPTH - 1:
                yield from _leaves(child, f"{path}.", depth + 1)
        elif isinstance(child, bool):
            yield path, float(child), "", True
        elif isinstance(child, str) and child.strip().lower() in _SWITCHES:
            yield path, text_number(child), "", True
        elif (value := _plain(child)) is not None:
            yield path, value, unit, False


def _stated_unit(document: Mapping[str, object]) -> str:
    for key in _UNIT_KEYS:
        unit = document.get(key)
        if isinstance(unit, str):
            return unit
    return ""


def _plain(value: object) -> float | None:
    """Return a number, also one that stands as text; None: it is none (as no boolean is), or beyond float64."""
    if isinstance(value, str):
        value = value.strip()
        if not _DECIMAL.fullmatch(value) or len(value) > MAX_CHANNELS:
            return None
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None
