"""Messages → findings: which streams a broker carries, how they are read, and what was left out, and why.

A stream is devices of one kind: one format, one set of channels. Its filter covers their topics and, as far as topics
can tell, nothing else that was heard.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from gatewayd.workbench.channels import Seen, come_together, fields_of, judge
from gatewayd.workbench.families import Families, Kind
from gatewayd.workbench.findings import Findings, LeftOut, StreamFound, grid_s, interval_s, named, stream_name
from gatewayd.workbench.generalise import Pattern, by_quantity, cover
from gatewayd.workbench.overheard import Overheard, Topic
from gatewayd.workbench.quantities import is_generic, known_unit
from gatewayd.workbench.recognise import recognise
from gatewayd.workbench.sources import Source, read_sources
from gatewayd.workbench.times import judge_clock

MAX_STREAMS: Final = 100  # of one configuration that a person can read
MAX_CHANNELS: Final = 64  # of one stream, likewise
_MOST_FILTERS: Final = 16  # of one stream

# topics that should hold readings, and what is wrong where they hold none
_MISSING: Final = {
    re.compile(r"spBv1\.0/[^/]+/[ND]DATA/.+", re.DOTALL): "no_birth",
    re.compile(r"v3/[^/]+/devices/[^/]+/up", re.DOTALL): "no_decoded_payload",
}
_ALIKE: Final = 0.5  # of the channels must be common to devices that are put together
_FEW: Final = 2
_MOST_COMPARED: Final = 64  # kinds of devices; where there are more, these are no kinds


@dataclass(slots=True)
class _Class:
    """Devices of one kind with the same channels."""

    kind: Kind
    sources: list[Source]
    quantity: str = ""
    seen: list[Seen] = field(default_factory=list)

    @property
    def is_named(self) -> bool:
        """Whether the messages name their devices."""
        return all(source.is_named for source in self.sources)

    @property
    def fields(self) -> frozenset[str]:
        return frozenset(fields_of(self.seen))

    @property
    def units(self) -> dict[str, str]:
        """Units by channel."""
        return {seen.field: seen.unit for seen in self.seen if seen.doubt is None}

    @property
    def topics(self) -> set[str]:
        wanted = self.fields
        return {topic for source in self.sources for topic, held in source.topics.items() if held & wanted}


def discover(overheard: Overheard) -> Findings:
    """Make findings of all that was heard."""
    return _Discovery(overheard).findings()


class _Discovery:
    """One run of it."""

    def __init__(self, overheard: Overheard) -> None:
        self._heard = {topic.name: topic for topic in overheard}
        self._messages = overheard.messages
        self._families = Families.among(overheard)
        self._left_out: dict[str, list[str]] = defaultdict(list)
        self._of_kind: dict[Kind, set[str]] = defaultdict(set)
        self._uncounted = overheard.left_out

    def findings(self) -> Findings:
        kinds: dict[Kind, list[Topic]] = defaultdict(list)
        for topic in self._heard.values():
            kind = recognise(topic, self._families)
            if isinstance(kind, str):
                self._left_out[kind].append(topic.name)
            else:
                kinds[kind].append(topic)
                self._of_kind[kind].add(topic.name)
        classes = [found for kind, topics in kinds.items() for found in self._classes(kind, topics)]
        streams = self._streams(classes)
        left_out = [
            LeftOut(reason=reason, count=len(topics), example=topics[0])
            for reason, topics in self._left_out.items()
            if topics
        ]
        left_out += [LeftOut(reason=reason, count=n, example="") for reason, n in self._uncounted.items()]
        return Findings(
            streams=tuple(streams),
            left_out=tuple(sorted(left_out, key=lambda one: one.reason)),
            messages=self._messages,
            topics=len(self._heard),
        )

    # From kinds to classes of devices.

    def _classes(self, kind: Kind, topics: Sequence[Topic]) -> list[_Class]:
        sources, silent = read_sources(kind, topics)
        for topic, reason in silent.items():
            missing = next((why for shape, why in _MISSING.items() if shape.fullmatch(topic)), None)
            if reason == "no_values" and missing is None and self._families.kind_of(topic) is not None:
                continue  # it has its place there: an announcement, a state, a command
            self._left_out[missing or reason].append(topic)
        alike: dict[object, list[Source]] = defaultdict(list)
        for source in sources:
            units = {name: tuple(sorted(series.units)) for name, series in source.series.items()}
            alike[source.is_named, frozenset(units.items())].append(source)
        found = [_Class(kind, group, seen=judge(group)) for group in alike.values()]
        found = [part for one in found for part in self._by_quantity(one)]
        found = _merged(found)
        for one in found:
            if not one.fields:
                doubt = one.seen[0].doubt or "no_values"
                self._left_out[doubt] += [topic for source in one.sources for topic in source.topics]
        return [one for one in found if one.fields]

    def _by_quantity(self, one: _Class) -> list[_Class]:
        """Part devices whose only channel is called ``value``: the topic says of what."""
        if any(source.is_named for source in one.sources) or not all(map(is_generic, one.fields)):
            return [one]
        by_topic = {source.device: source for source in one.sources}
        parts = []
        for quantity, topics in by_quantity(by_topic).items():
            sources = [by_topic[topic] for topic in topics]
            seen = [self._with_unit(found, quantity, topics) for found in judge(sources)]
            parts.append(_Class(one.kind, sources, quantity, seen))
        return parts

    def _with_unit(self, seen: Seen, quantity: str, topics: Sequence[str]) -> Seen:
        announced = {self._families.units.get(topic, "") for topic in topics}
        unit = seen.unit or (announced.pop() if len(announced) == 1 else "") or known_unit(quantity)
        return replace(seen, unit=unit)

    # From classes to streams.

    def _streams(self, classes: list[_Class]) -> list[StreamFound]:
        filters = [self._filters(one, classes) for one in classes]
        found: list[StreamFound] = []
        names: set[str] = set()
        for one, patterns in sorted(
            ((c, p) for c, group in zip(classes, filters, strict=True) for p in group),
            key=lambda pair: pair[1][0].pattern,
        ):
            if len(found) == MAX_STREAMS:
                self._left_out["too_many_streams"] += patterns[0].topics
                continue
            stream = self._stream(one, patterns, names)
            names.add(stream.name)
            found.append(stream)
        return found

    def _filters(self, one: _Class, classes: Sequence[_Class]) -> list[list[Pattern]]:
        """Return the filters of each stream that a class becomes."""
        topics = one.topics
        whole = [[Pattern(pattern=f"{one.kind.root}/#", topics=tuple(sorted(topics)))]]
        fields = one.fields
        rivals = {
            topic
            for other in classes
            if other is not one and other.kind == one.kind
            for source in other.sources
            if not fields.isdisjoint(source.series)
            for topic, held in source.topics.items()
            if held & fields
        } - topics
        if one.kind.root is not None and (not rivals or one.kind.format == "sparkplug_b"):
            return whole
        # What a format names itself it also passes over; where the topic names the device, nothing else may come.
        harmless = self._of_kind[one.kind] - rivals if one.is_named else set()
        patterns = cover(topics, self._heard.keys() - topics - harmless, names=not one.is_named)
        missed = topics.difference(*(pattern.topics for pattern in patterns))
        if missed and one.kind.root is not None:
            return whole
        self._left_out["no_filter"] += sorted(missed)
        if not one.is_named:
            return [[pattern] for pattern in patterns]
        groups = [patterns[i : i + _MOST_FILTERS] for i in range(0, len(patterns), _MOST_FILTERS)]
        return [[*group, *self._beside(one)] for group in groups]

    def _beside(self, one: _Class) -> list[Pattern]:
        """Return filters of topics where the format finds units."""
        if one.kind.format == "zigbee2mqtt":
            return [Pattern(pattern=f"{one.kind.root}/bridge/devices", topics=())]
        if one.kind.format == "homie":
            return [
                Pattern(pattern=f"{one.kind.root}/+/+/+/{attribute}", topics=())
                for attribute in ("$datatype", "$unit", "$format")
            ]
        if one.kind.format == "esphome":
            announced = self._families.discovery
            return [replace(found, topics=()) for found in cover(announced, (), names=False)[:_MOST_FILTERS]]
        return []

    def _stream(self, one: _Class, patterns: Sequence[Pattern], names: Collection[str]) -> StreamFound:
        topics = {topic for pattern in patterns for topic in pattern.topics}
        sources = [source for source in one.sources if not topics.isdisjoint(source.topics)]
        seen = [found for found in one.seen if found.doubt is None][:MAX_CHANNELS]
        fields = [found.field for found in seen]
        is_together = len(fields) == 1 or come_together(sources, fields)
        if not is_together:
            seen.sort(key=lambda found: found.field)  # in which order they came was chance
        channels = named(seen, one.quantity)
        clock = judge_clock(
            [stamp for source in sources for stamp in source.stamps],
            [pair for source in sources for pair in source.neighbours],
        )
        first, *_ = channels[0]
        return StreamFound(
            name=stream_name(one.kind, patterns[0].pattern, sources, first, names, quantity=one.quantity),
            kind=one.kind,
            filters=tuple(pattern.pattern for pattern in patterns),
            is_guess=any(pattern.is_guess for pattern in patterns),
            channels=channels,
            doubtful=tuple(found for found in one.seen if found.doubt is not None),
            devices=tuple(source.device for source in sources),
            messages=sum(self._heard[topic].count for topic in topics),
            interval_s=interval_s(sources, fields, slowest=False),
            example=min(topics),
            align_s=None if is_together else grid_s(interval_s(sources, fields, slowest=True)),
            clock=clock,
        )


def _merged(classes: list[_Class]) -> list[_Class]:
    """Put each class to the largest one that it seems to belong to."""
    kept: list[_Class] = []
    for one in sorted(classes, key=lambda found: -len(found.fields)):
        whole = next((other for other in kept[:_MOST_COMPARED] if _belongs(one, other)), None)
        if whole is None:
            kept.append(one)
            continue
        common = one.fields & whole.fields
        is_part = _is_part(one, whole)
        whole.sources += one.sources
        whole.seen = judge(whole.sources)
        if not is_part:
            whole.seen = [
                replace(seen, doubt="partial") if seen.doubt is None and seen.field not in common else seen
                for seen in whole.seen
            ]
    return kept


def _belongs(one: _Class, whole: _Class) -> bool:
    if (one.quantity, one.is_named) != (whole.quantity, whole.is_named) or not one.fields:
        return False
    return one.units == whole.units or _is_part(one, whole) or _is_entangled(one, whole)


def _is_part(one: _Class, whole: _Class) -> bool:
    """Tell whether devices whose channels come one by one seem to have sent only some of them so far."""
    return (
        one.is_named
        and one.units.items() <= whole.units.items()
        and len(one.units) >= _ALIKE * len(whole.units)
        and not come_together(whole.sources, whole.fields)
    )


def _is_entangled(one: _Class, whole: _Class) -> bool:
    """Tell whether devices have much in common, and stand so that no few filters set them apart."""
    common = one.units.items() & whole.units.items()
    if one.is_named or len(common) < _ALIKE * len(one.units.keys() | whole.units.keys()):
        return False
    alone, apart = (len(cover(one.topics, others, names=True)) for others in ((), whole.topics))
    return apart > alone + _FEW
