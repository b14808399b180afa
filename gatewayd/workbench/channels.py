"""Which of the values that sensors send are worth a channel, and what was seen of each."""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from gatewayd.formats.units import canonical
from gatewayd.workbench.quantities import is_counter, is_diagnostic, is_identity, known_unit, time_rank
from gatewayd.workbench.sources import Series, Source
from gatewayd.workbench.times import is_believable

Doubt = Literal["switch", "counter", "constant", "diagnostic", "identity", "time", "partial"]

ENOUGH: Final = 8  # readings from which on equal or rising ones mean something
TOGETHER: Final = 0.95  # of the messages in which all channels come, for them to come together
_NEVER: Final = frozenset(
    {"switch", "counter", "identity", "time"}
)  # no channels, even where there are no others


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen of one channel at all devices of a stream.

    Attributes:
        field: The channel as the format or the payload calls it.
        unit: As stated, or known for the name; empty: not known.
        low: The least value.
        high: The greatest.
        readings: How many were looked at.
        doubt: Why it is no channel; None: it is one.
    """

    field: str
    unit: str
    low: float
    high: float
    readings: int
    doubt: Doubt | None


def judge(sources: Sequence[Source]) -> list[Seen]:
    """Look at all channels of like devices.

    What is only constant or of the sensors' own health becomes a channel where nothing else would.
    """
    seen = [_seen(field, sources) for field in dict.fromkeys(name for one in sources for name in one.series)]
    if any(one.doubt is None for one in seen):
        return seen
    return [_without_doubt(one) if one.doubt not in _NEVER else one for one in seen]


def fields_of(seen: Sequence[Seen]) -> list[str]:
    """Return those that are channels."""
    return [one.field for one in seen if one.doubt is None]


def come_together(sources: Sequence[Source], fields: Collection[str]) -> bool:
    """Tell whether nearly every message that holds one of the channels holds all of them."""
    wanted, counts = frozenset(fields), Counter[bool]()
    for source in sources:
        for channels, count in source.sets.items():
            if channels & wanted:
                counts[channels >= wanted] += count
    return counts[True] >= TOGETHER * counts.total()


def _seen(field: str, sources: Sequence[Source]) -> Seen:
    series = [source.series[field] for source in sources if field in source.series]
    values = [value for one in series for value in one.values]
    units: dict[str, str] = {}
    for unit in (unit for one in series for unit in sorted(one.units)):
        units.setdefault(canonical(unit), unit)
    return Seen(
        field=field,
        unit=next(iter(units.values())) if len(units) == 1 else "" if units else known_unit(field),
        low=min(values),
        high=max(values),
        readings=len(values),
        doubt=_doubt(field, series, values),
    )


def _doubt(field: str, series: Sequence[Series], values: Sequence[float]) -> Doubt | None:
    if any(one.is_switch for one in series) or set(values) == {0.0, 1.0}:
        return "switch"
    if time_rank(field) is not None and all(map(is_believable, values)):
        return "time"
    if is_identity(field):
        return "identity"
    if is_diagnostic(field):
        return "diagnostic"
    if all(_is_rising(one.values, is_named=is_counter(field)) for one in series):
        return "counter"
    return "constant" if len(values) >= ENOUGH and len(set(values)) == 1 else None


def _is_rising(values: Sequence[float], *, is_named: bool) -> bool:
    """Tell whether values only grow: by whole numbers each time, or, where the name says counter, by anything."""
    steps = [after - before for before, after in pairwise(values)]
    if is_named:
        return all(step >= 0 for step in steps)
    is_whole = all(math.isfinite(value) and value == int(value) for value in values)
    return is_whole and len(steps) >= ENOUGH - 1 and all(step > 0 for step in steps)


def _without_doubt(seen: Seen) -> Seen:
    return Seen(
        field=seen.field, unit=seen.unit, low=seen.low, high=seen.high, readings=seen.readings, doubt=None
    )
