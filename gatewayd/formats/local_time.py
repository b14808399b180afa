"""Local times without offset, and the zones they are in.

When clocks are put back, an hour occurs twice: of the two instants the one nearest to the arrival is taken, the earlier
of two equally near. When they are put forward, an hour does not occur at all: whoever sends such a time has a clock
that was not put forward yet, so the offset from before the change is taken, and the result says so.

Reference:
    PEP 495, "fold", for times that occur twice or never.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from gatewayd.domain.arrays import Int64
from gatewayd.errors import RejectedInputError
from gatewayd.formats.decoded import NO_TIME
from gatewayd.formats.timestamp import Unit, column_ns, to_ns

_OFFSET = re.compile(r"(?:[Zz]|[+-]\d{2}(?::?\d{2})?)\Z")  # at the end of what to_ns takes for ISO 8601
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")  # ISO 8601 begins so; a number as text doesn't
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # a wall clock's, whose zone is what we look for
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalInstant:
    """What a local time means.

    Attributes:
        taken_at: Nanoseconds since the Unix epoch, 2001..2262.
        exists: False for a time that clocks skip when they are put forward.
    """

    taken_at: int
    exists: bool


def find_zone(name: str) -> ZoneInfo:
    """Find a time zone of the IANA database.

    Raises:
        ValueError: There is none of this name; the message says so in a few words.
    """
    try:
        return ZoneInfo(name)
    except (
        ZoneInfoNotFoundError,
        ValueError,
        OSError,
    ) as error:  # OSError: the name of a folder, or too long
        raise ValueError(
            f"no time zone {name!r}; expected a name such as 'Europe/Berlin' (are the system's time zones installed?)"
        ) from error


def local_ns(text: str, zone: ZoneInfo, *, arrived_at: int) -> LocalInstant:
    """Read a time stamp in ISO 8601 that is local time where it names no offset.

    Args:
        text: ``2025-10-26T02:30:00``, with or without fraction and offset.
        zone: Of local times, such as ``find_zone("Europe/Berlin")``.
        arrived_at: Gateway clock, ns since the Unix epoch.

    Raises:
        RejectedInputError: ``invalid_time`` or ``unbelievable_time``.
    """
    wall_ns = to_ns(text, "iso")  # without offset: what a clock in UTC shows
    if _OFFSET.search(text.strip()):
        return LocalInstant(taken_at=wall_ns, exists=True)
    wall = _EPOCH + timedelta(microseconds=wall_ns // 1000)
    first, second = (wall_ns - _offset_ns(wall.replace(fold=fold), zone) for fold in (0, 1))
    exists = first <= second  # in a skipped hour, the offset from after the change gives the earlier instant
    taken_at = min((first, second), key=lambda ns: abs(ns - arrived_at)) if exists else first
    return LocalInstant(taken_at=to_ns(taken_at, "ns"), exists=exists)


class Stamps:
    """Reads time stamps of one unit; texts without an offset are local to a zone, where one is given.

    Args:
        unit: See ``timestamp.to_ns``.
        timezone: Name of the zone; None: a text without an offset is UTC.

    Raises:
        ValueError: There is no such zone.
    """

    def __init__(self, unit: Unit = "auto", timezone: str | None = None) -> None:
        self._unit: Unit = unit
        self._zone = None if timezone is None else find_zone(timezone)

    def read(self, value: object, *, arrived_at: int) -> LocalInstant:
        """Read a time stamp; see ``timestamp.to_ns`` and ``local_ns`` for what is refused.

        Args:
            value: As a parser made it.
            arrived_at: Gateway clock, ns since the Unix epoch: of two instants that a local time may mean, the nearer.

        Raises:
            RejectedInputError: ``no_time``, ``invalid_time`` or ``unbelievable_time``.
        """
        if self._zone is None or not isinstance(value, str) or not _DATE.match(value.strip()):
            return LocalInstant(taken_at=to_ns(value, self._unit), exists=True)
        return local_ns(value, self._zone, arrived_at=arrived_at)

    def column(self, values: Sequence[object], arrived_at: Int64 | None) -> tuple[Int64, dict[str, int]]:
        """Read one time stamp per reading, as ``timestamp.column_ns`` does."""
        if self._zone is None or arrived_at is None:
            return column_ns(values, self._unit)
        taken_at = np.empty(len(values), dtype=np.int64)
        reasons: dict[str, int] = {}
        for index, (value, arrived) in enumerate(zip(values, arrived_at.tolist(), strict=True)):
            try:
                taken_at[index] = self.read(value, arrived_at=arrived).taken_at
            except RejectedInputError as error:
                taken_at[index] = NO_TIME
                reasons[error.reason] = reasons.get(error.reason, 0) + 1
        return taken_at, reasons


def _offset_ns(wall: datetime, zone: ZoneInfo) -> int:
    offset = zone.utcoffset(wall)
    assert offset is not None  # of a ZoneInfo it's None for times of day only
    return offset // _MICROSECOND * 1000
