"""Which field of a document is the time of its readings, and whether the sensors' clocks can be relied on."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from gatewayd.errors import RejectedInputError
from gatewayd.formats.timestamp import to_ns
from gatewayd.workbench.quantities import time_rank

_ZONELESS = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:]{5,8}(?:[.,][0-9]{1,12})?")
_DEEPEST = 4  # keys above a time stamp
_ALLOWED_FUTURE_S: Final = 30.0  # half of the default of max_future_s
_QUARTER_S: Final = 900.0
_ZONE_TOLERANCE_S: Final = 120.0
_FURTHEST_ZONE: Final = 56  # quarters of an hour: UTC+14
_FOUND_SHARE = 0.8
_REPEATED_SHARE = 0.05


def time_of(documents: Sequence[object]) -> str | None:
    """Return the path of the time stamp, joined by dots; None: none of the fields is one.

    A field is one that is called so and holds a believable time in nearly all documents that are objects. Of several,
    the one with the surest name is taken, then the one highest up.
    """
    objects = [document for document in documents if isinstance(document, dict)]
    counts: dict[str, int] = {}
    for document in objects:
        for path, value in _fields(document, ""):
            if time_rank(path) is not None and is_believable(value):
                counts[path] = counts.get(path, 0) + 1
    sure = [path for path, count in counts.items() if count >= _FOUND_SHARE * len(objects)]
    return min(sure, key=lambda path: (path.count("."), time_rank(path) or 0, path), default=None)


def lacks_zone(documents: Sequence[object], path: str | None) -> bool:
    """Tell whether all time stamps at a path are texts that don't say how far they are from UTC."""
    found = [] if path is None else [_at(document, path) for document in documents]
    stamps = [stamp for stamp in found if isinstance(stamp, str)]
    return (
        bool(stamps)
        and len(stamps) == sum(stamp is not None for stamp in found)
        and all(map(is_zoneless, stamps))
    )


def is_zoneless(stamp: str) -> bool:
    """Tell whether a text is a date and a time of day, and nothing behind."""
    return _ZONELESS.fullmatch(stamp.strip()) is not None


def _at(document: object, path: str) -> object:
    for key in path.split("."):
        document = document.get(key) if isinstance(document, dict) else None
    return document


def is_believable(value: object) -> bool:
    """Tell whether a value can be a time stamp: of this century, by its magnitude, or ISO 8601."""
    if isinstance(value, str) and not value.strip():
        return False
    try:
        to_ns(value, "auto")
    except (RejectedInputError, OverflowError):
        return False
    return True


def _fields(document: Mapping[object, object], prefix: str, depth: int = 0) -> Iterator[tuple[str, object]]:
    for key, value in document.items():
        if not isinstance(key, str) or "." in key:
            continue  # not to be reached by a path
        if isinstance(value, dict):
            if depth < _DEEPEST:
                yield from _fields(value, f"{prefix}{key}.", depth + 1)
        elif not isinstance(value, list):
            yield f"{prefix}{key}", value


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """What a comparison of time stamps with times of arrival shows.

    Attributes:
        behind_s: Median of arrival less stamp, in seconds; negative: the sensors' clocks are ahead.
        is_repeated: Readings that follow each other often have one and the same stamp, or an earlier one.
    """

    behind_s: float
    is_repeated: bool

    @property
    def is_ahead(self) -> bool:
        """Whether readings would be dropped for coming from the future."""
        return self.behind_s < -_ALLOWED_FUTURE_S

    @property
    def zone_hours(self) -> float | None:
        """Hours by which local time that is read as UTC would be ahead; None: the difference is no time zone's."""
        quarters = round(-self.behind_s / _QUARTER_S)
        is_zone = abs(self.behind_s + quarters * _QUARTER_S) < _ZONE_TOLERANCE_S
        return quarters / 4 if is_zone and 0 < abs(quarters) <= _FURTHEST_ZONE else None


def judge_clock(stamps: Sequence[tuple[int, int]], neighbours: Sequence[tuple[int, int]]) -> Clock | None:
    """Compare time stamps with times of arrival.

    Args:
        stamps: (taken at, arrived at) of live messages, ns since the Unix epoch.
        neighbours: Time stamps of two messages of a device, the second of which came next.

    Returns:
        None without stamps.
    """
    if not stamps:
        return None
    repeated = sum(second <= first for first, second in neighbours)
    return Clock(
        behind_s=median(arrived - taken for taken, arrived in stamps) / 1e9,
        is_repeated=repeated > _REPEATED_SHARE * len(neighbours),
    )
