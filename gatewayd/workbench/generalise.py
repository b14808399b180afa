"""Topics → topic filters: which levels tell devices apart, which name something else, which stay.

``site/a/p1/temp`` and ``site/a/p2/temp`` become ``site/a/{device}/temp``. A filter never covers a topic that carries
something else: where it would, it is split at the level that sets the two apart, in the end down to single topics.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from gatewayd.domain.topic import TopicFilter
from gatewayd.workbench.quantities import is_quantity

MAX_PATTERNS = 64  # for one kind of topics; whatever needs more is no kind

_FEW = 3
_HEX = re.compile(r"(?:0x)?(?=[0-9a-fA-F]*[0-9])[0-9a-fA-F]{6,}")
_ADDRESS = re.compile(r"[0-9a-fA-F]{2}(?:[:_-][0-9a-fA-F]{2}){5,7}")
_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_NUMBERED = re.compile(r"[^\W\d][\w.-]*?[-_. ]?[0-9]+[a-zA-Z]?")
_SURE = re.compile(rf"(?:.*[-_])?{_HEX.pattern}|{_ADDRESS.pattern}|{_UUID.pattern}")
_ID_DIGITS = 3  # a lone 0 or 12 counts channels, more often than devices
_SERIAL = re.compile(r"(?:.*[0-9]){3}.*", re.DOTALL)
_VERSION = re.compile(
    r"(?:api|gen|rev|v|ver|version)[-_.]?[0-9.]+|zigbee2mqtt|spBv1\.0|esp(?:32|8266)", re.IGNORECASE
)
_STEM = re.compile(r"([A-Za-z]+)[-_. ]?[0-9]*")
_RESERVED = frozenset({"gateway", "stream", "kind", "device"})
_UNFIXABLE = re.compile(r"[{}]")  # may stand in a topic, not in a filter of ours

Levels = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """A topic filter, and why.

    Attributes:
        pattern: As in the configuration: ``site/{line}/{device}/telemetry``.
        topics: Those heard that it covers.
        is_guess: It was generalised from one topic, by a level that looks like an id.
    """

    pattern: str
    topics: tuple[str, ...]
    is_guess: bool = False


def looks_like_id(level: str) -> bool:
    """Tell whether a level of a topic looks like what tells devices apart: a serial, an address, ``pump-3``."""
    if is_quantity(level) or _VERSION.fullmatch(level):
        return False
    return level.isdecimal() or any(
        shape.fullmatch(level) for shape in (_HEX, _ADDRESS, _UUID, _NUMBERED, _SERIAL)
    )


def cover(topics: Collection[str], foreign: Collection[str], *, names: bool) -> list[Pattern]:
    """Find filters that cover these topics and none of the foreign ones.

    Args:
        topics: All of one kind.
        foreign: Topics that carry something else.
        names: Whether varying levels get names, ``{device}`` among them; otherwise they're ``+``.

    Returns:
        In order of their topics; topics that no filter can be had for are missing.
    """
    others: dict[int, list[Levels]] = defaultdict(list)
    for topic in foreign:
        levels = tuple(topic.split("/"))
        others[len(levels)].append(levels)
    groups: dict[int, list[Levels]] = defaultdict(list)
    for topic in sorted(topics):
        levels = tuple(topic.split("/"))
        groups[len(levels)].append(levels)
    found: list[Pattern] = []
    for count, group in groups.items():
        found += _cover(group, others[count], names=names)
    return [pattern for pattern in found if _is_valid(pattern)]


def by_quantity(topics: Collection[str]) -> dict[str, list[str]]:
    """Part topics of single values by what they measure, which one of their levels names.

    Returns:
        Topics by quantity; an empty name: no level says it.
    """
    groups: dict[tuple[int, str], list[Levels]] = defaultdict(list)
    for topic in sorted(topics):
        levels = tuple(topic.split("/"))
        groups[len(levels), levels[0]].append(levels)
    result: dict[str, list[str]] = defaultdict(list)
    for group in groups.values():
        place = _quantity_level(group)
        for levels in group:
            own = next((i for i in range(len(levels) - 1, -1, -1) if is_quantity(levels[i])), place)
            result["" if own is None else levels[own]].append("/".join(levels))
    return dict(result)


def _quantity_level(group: Sequence[Levels]) -> int | None:
    """Return the level that names quantities, where words that we know don't show it."""
    varied = _varied(group)
    last = len(group[0]) - 1
    if last not in varied:
        return None if looks_like_id(group[0][last]) or last == 0 else last
    values = {levels[last] for levels in group}
    if sum(map(looks_like_id, values)) * 2 >= len(values):
        return None
    parents: dict[str, set[Levels]] = defaultdict(set)
    for levels in group:
        parents[levels[last]].add(levels[:last])
    is_repeated = any(len(found) > 1 for found in parents.values())
    return last if is_repeated or varied == [last] else None


def _varied(group: Sequence[Levels]) -> list[int]:
    return [index for index, values in enumerate(zip(*group, strict=True)) if len(set(values)) > 1]


def _cover(group: list[Levels], foreign: list[Levels], *, names: bool) -> Iterator[Pattern]:
    """Split until nothing foreign is covered."""
    waiting = [(group, foreign, True)]
    given = 0
    while waiting and given < MAX_PATTERNS:
        part, others, may_guess = waiting.pop()
        wild = _wild(part)
        if not wild:  # one topic
            guess = _id_level(part[0])
            if guess is not None and names and may_guess and not _covered(others, part[0], [guess]):
                wild = [guess]
        found = _covered(others, part[0], wild)
        varied = _varied(part)
        is_broad = 0 in varied and len(varied) > 1 and _device_level(part, varied) != 0
        if varied and (found or is_broad):
            # what may still be guessed at may come to cover what the whole part did not
            parts = _parted(part, found) if found else _parted(part, others, level=0)
            waiting += [(*one, may_guess and not found) for one in reversed(parts)]
            continue
        if found:
            continue  # cannot be told from what it is not
        given += 1
        yield Pattern(
            pattern="/".join(_pattern(part, wild, names=names)),
            topics=tuple("/".join(levels) for levels in part),
            is_guess=bool(wild) and len(part) == 1 and not _UNFIXABLE.search("/".join(part[0])),
        )


def _wild(part: Sequence[Levels]) -> list[int]:
    """Return the levels that can't be written as they are: they vary, or hold a brace."""
    unfixable = {i for i, level in enumerate(part[0]) if _UNFIXABLE.search(level)}
    return sorted({*_varied(part), *unfixable})


def _covered(foreign: Sequence[Levels], levels: Levels, wild: Sequence[int]) -> list[Levels]:
    fixed = [(i, level) for i, level in enumerate(levels) if i not in wild]
    return [other for other in foreign if all(other[i] == level for i, level in fixed)]


def _parted(
    part: list[Levels], foreign: list[Levels], *, level: int | None = None
) -> list[tuple[list[Levels], list[Levels]]]:
    """Split at a level: where few values set apart all that is foreign, else where there are the fewest."""
    varied = _varied(part)
    if level is None:
        count = {i: len({levels[i] for levels in part}) for i in varied}
        apart = [i for i in varied if not {x[i] for x in part} & {x[i] for x in foreign}]
        few = [i for i in apart if count[i] <= _FEW]
        level = min(few or varied, key=lambda i: (count[i], i))
    values: dict[str, list[Levels]] = defaultdict(list)
    for levels in part:
        values[levels[level]].append(levels)
    others: dict[str, list[Levels]] = defaultdict(list)
    for levels in foreign:
        others[levels[level]].append(levels)
    return [
        (found, foreign if _UNFIXABLE.search(value) else others[value]) for value, found in values.items()
    ]


def _id_level(levels: Levels) -> int | None:
    """Return the level of a single topic that tells devices apart, by its looks; None: none looks like it."""
    sure = [i for i, level in enumerate(levels) if _SURE.fullmatch(level)]
    likely = [
        i
        for i, level in enumerate(levels)
        if i > 0 and looks_like_id(level) and not (level.isdecimal() and len(level) < _ID_DIGITS)
    ]
    return max(sure or likely, default=None)


def _device_level(part: Sequence[Levels], wild: Sequence[int]) -> int:
    """Return the level that tells devices apart: one of ids if there is one, else the most varied, else the last."""

    def rank(index: int) -> tuple[bool, int, int]:
        values = {levels[index] for levels in part}
        return sum(map(looks_like_id, values)) * 2 > len(values), len(values), index

    return max(wild, key=rank)


def _pattern(part: Sequence[Levels], wild: Sequence[int], *, names: bool) -> list[str]:
    levels = list(part[0])
    if not names:
        return ["+" if index in wild else level for index, level in enumerate(levels)]
    device = _device_level(part, wild) if wild else None
    taken: set[str] = set()
    for index in wild:
        name = "device" if index == device else _level_name(part, index, taken)
        taken.add(name)
        levels[index] = f"{{{name}}}"
    return levels


def _level_name(part: Sequence[Levels], index: int, taken: set[str]) -> str:
    """Name a level by what its values begin with, ``line3`` → ``line``, or by the level before it, ``lines/3``."""
    stems = {match[1].lower() for levels in part if (match := _STEM.fullmatch(levels[index]))}
    before = part[0][index - 1].lower() if index else ""
    names = [stem for stem in stems if len(stems) == 1 and len(stem) > 1]
    if (
        before.endswith("s")
        and before.isascii()
        and before.isalpha()
        and len({x[index - 1] for x in part}) == 1
    ):
        names.append(before[:-1])
    for name in names:
        if name not in taken | _RESERVED and re.fullmatch(r"[a-z][a-z0-9_]*", name):
            return name
    return f"level{index + 1}"


def _is_valid(pattern: Pattern) -> bool:
    try:
        parsed = TopicFilter.parse(pattern.pattern)
    except ValueError:
        return False
    return all(parsed.match(topic) is not None for topic in pattern.topics)
