"""What the messages of one kind hold: which devices, and of each its channels with their readings."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from gatewayd.workbench.families import Kind
from gatewayd.workbench.overheard import Heard, Topic
from gatewayd.workbench.values import Reader, Value

MAX_CHANNELS: Final = 256  # of one device; what's beyond is no set of sensors
_LONGEST_NAME: Final = 200  # characters; a key that is longer holds data

_REMEMBERING = frozenset({"esphome", "homie", "sparkplug_b", "zigbee2mqtt"})


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


def read_sources(kind: Kind, topics: Sequence[Topic]) -> tuple[list[Source], dict[str, str]]:
    """Read all that was kept of the topics of one kind, in order of arrival.

    Returns:
        The devices; and, by topic, why nothing could be read there: the format's first error, ``no_values`` or
        ``unusable_name`` (all of its channels have names that are too long, or none).
    """
    messages = sorted(
        ((heard, topic) for topic in topics for heard in topic.kept), key=lambda pair: pair[0].order
    )
    reader = Reader(kind)
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


def _take(source: Source, topic: Topic, heard: Heard, values: Sequence[Value]) -> None:
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
    values: Sequence[Value],
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
