"""Rows of tables → the messages that would have brought them.

A table has a column for the time and one for each channel, called as the channel is or as its ``field``; perhaps one
for the device, and one for each further named level of the stream's topic. A row becomes the JSON object that the
stream reads, on its device's topic, and arrives when it was taken. Empty cells, nulls and NaN are left out of it.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from gatewayd.config.settings import StreamSettings, TimeSettings
from gatewayd.domain.topic import TopicFilter
from gatewayd.errors import GatewayError, RejectedInputError
from gatewayd.workbench.recording import PUBLISH, Arrived, RecordingError, instant
from gatewayd.workbench.recording_parquet import Nanoseconds
from gatewayd.workbench.recording_table import Row
from gatewayd.workbench.table import channel_name

_TIME_TITLES: Final = ("time", "timestamp", "ts", "datetime", "date", "at")
_ANY_LEVEL: Final = "_"  # where the topic filter lets anything stand
_TOPICS_REMEMBERED: Final = 10_000
_JSON_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
_SECOND: Final = 10**9
# between these, a float64 of seconds or milliseconds, scaled once, rounds to the right microsecond; and tells its unit
_EARLIEST_NS: Final = 10**9 * _SECOND
_LATEST_NS: Final = 2**32 * _SECOND  # the year 2106


class TableError(GatewayError):
    """Tables can't be had for this stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOptions:
    """What was said about tables: the stream of their rows (None: the only one), columns (None: found by name)."""

    stream: str | None = None
    time: str | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """Where in a row is what.

    Attributes:
        time: Index of the time stamp's cell; None: there is none.
        channels: Path in the payload, index of the cell.
        missing: Channels without a column.
        levels: Levels of the topic that have a column, ``device`` also where the topic has no such level; and indices
            of their cells.
    """

    time: int | None = None
    channels: tuple[tuple[str, int], ...] = ()
    missing: tuple[str, ...] = ()
    levels: tuple[tuple[str, int], ...] = ()


class RowWriter:
    """Writes rows as messages of one stream.

    Args:
        name: The stream's.
        settings: The stream's.
        options: What was said about columns.

    Raises:
        TableError: The stream doesn't read JSON objects.
    """

    def __init__(self, name: str, settings: StreamSettings, options: TableOptions) -> None:
        if settings.format != "json":
            raise TableError(
                f"tables need a stream of format json: '{name}' reads {settings.format}; replay its messages instead"
            )
        self._name, self._settings, self._options = name, settings, options
        self._time = settings.time
        self._paths = {channel: given.field or channel for channel, given in settings.channels.items()}
        stamped = [] if self._time is None else [self._time.field]
        self._is_nested = any("." in path for path in (*self._paths.values(), *stamped))
        self._levels = settings.topic.split("/")
        self._level_names = TopicFilter.parse(settings.topic).names
        self._titles: tuple[str, ...] | None = None
        self._places = _Places()
        self._topics: dict[tuple[object, ...], bytes] = {}
        self._latest: tuple[str | None, int] = None, 0  # the latest time stamp in text, and what it says
        self._device: object = None  # of the first row, where the topic has no level for it

    def check(self, path: Path, line: int, titles: tuple[str, ...]) -> None:
        """Look whether a table has the columns that it needs.

        Raises:
            RecordingError: It lacks one.
        """
        places = self._find(titles)
        where = f"{path}:{line}" if line else str(path)
        there = f"there are {', '.join(titles)}"
        for given in (self._options.time, self._options.device):
            if given is not None and given not in titles:
                raise RecordingError(f"{where}: has no column '{given}'; {there}")
        if places.time is None:
            raise RecordingError(
                f"{where}: has no column that looks like a time stamp: name it with --time-column; {there}"
            )
        if places.missing and (self._settings.align is None or not places.channels):
            raise RecordingError(f"{where}: has no column for channel {', '.join(places.missing)}; {there}")

    def taken_at(self, row: Row) -> int:
        """Return a row's time, ns since the Unix epoch.

        Raises:
            RejectedInputError: ``bad_time``.
        """
        place = self._placed(row.titles).time
        cell = None if place is None else row.cells[place]
        if isinstance(cell, Nanoseconds):
            return int(cell)
        if not isinstance(cell, str):
            return instant(cell)
        if cell != self._latest[0]:  # rows of several devices often share an instant
            self._latest = cell, instant(cell)
        return self._latest[1]

    def message(self, row: Row) -> Arrived:
        """Write a row.

        Raises:
            RejectedInputError: ``bad_time``; ``no_values``: all its channels are empty; ``bad_level``: a device, or
                another level of the topic, that no topic can have.
            RecordingError: There are several devices, and the stream's topic doesn't tell them apart.
        """
        at = self.taken_at(row)
        places, cells = self._placed(row.titles), row.cells
        found: dict[str, object] = {}
        for path, place in places.channels:
            value = _value(cells[place])
            if value is not None:
                found[path] = value
        if not found:
            raise RejectedInputError("no_values")
        if self._time is not None:
            found[self._time.field] = stamp(at, self._time)
        payload = msgspec.json.encode(_nested(found) if self._is_nested else found)
        return (self._topic(places, row), payload, PUBLISH, 0), at

    def _topic(self, places: _Places, row: Row) -> bytes:
        key = tuple([row.cells[place] for _, place in places.levels])
        topic = self._topics.get(key)
        if topic is None:
            topic = self._render({name: row.cells[place] for name, place in places.levels})
            if len(self._topics) < _TOPICS_REMEMBERED:
                self._topics[key] = topic
        return topic

    def _render(self, named: Mapping[str, object]) -> bytes:
        levels: list[str] = []
        for level in self._levels:
            if level.startswith("{"):
                levels.append(self._level(level[1:-1], named))
            elif level == "+":
                levels.append(_ANY_LEVEL)
            elif level != "#":
                levels.append(level)
        if "device" in named and "device" not in self._level_names:
            self._expect_one(named["device"])
        return "/".join(levels or [_ANY_LEVEL]).encode()

    def _level(self, name: str, named: Mapping[str, object]) -> str:
        if name not in named:
            return (self._settings.device or self._name) if name == "device" else _ANY_LEVEL
        level = "" if named[name] is None else str(named[name]).strip()
        if not level or "/" in level or "\0" in level:
            raise RejectedInputError("bad_level", level[:40])
        return level

    def _expect_one(self, device: object) -> None:
        if self._device is None:
            self._device = device
        elif device != self._device:
            raise RecordingError(
                f"the table has several devices ('{self._device}', '{device}'), and the topic of stream "
                f"'{self._name}' has no {{device}} that tells them apart"
            )

    def _placed(self, titles: tuple[str, ...]) -> _Places:
        if titles is not self._titles and titles != self._titles:
            self._titles, self._places = titles, self._find(titles)
            self._topics.clear()
        return self._places

    def _find(self, titles: tuple[str, ...]) -> _Places:
        lower = {title.lower(): title for title in reversed(titles)}
        wanted = [self._options.time]
        if self._options.time is None:
            wanted = [self._time.field if self._time is not None else None, *map(lower.get, _TIME_TITLES)]
        time = next((title for title in wanted if title in titles), None)
        device = self._options.device if self._options.device is not None else lower.get("device")
        named = {channel_name(title): title for title in reversed(titles) if title not in (time, device)}
        channels: list[tuple[str, int]] = []
        missing: list[str] = []
        for channel, path in self._paths.items():
            title = next((title for title in (path, channel) if title in titles), named.get(channel))
            if title is None:
                missing.append(channel)
            else:
                channels.append((path, titles.index(title)))
        levels = {name: name for name in self._level_names if name != "device" and name in titles}
        if device is not None and device in titles:
            levels["device"] = device
        return _Places(
            time=None if time is None else titles.index(time),
            channels=tuple(channels),
            missing=tuple(missing),
            levels=tuple((name, titles.index(title)) for name, title in levels.items()),
        )


def stamp(at: int, time: TimeSettings) -> msgspec.Raw:
    """Write a time stamp as the stream reads it, exactly.

    Args:
        at: ns since the Unix epoch.
        time: What the stream reads. Seconds and milliseconds are written so where microseconds hold the time, since
            that is read fastest; else it is ISO 8601, which is read in any unit.
    """
    if time.unit in ("us", "ns"):
        factor = 1000 if time.unit == "us" else 1
        if at % factor == 0:
            return msgspec.Raw(b"%d" % (at // factor))
    elif time.unit != "iso" and at % 1000 == 0 and _EARLIEST_NS <= at < _LATEST_NS:
        if time.unit == "ms":
            return msgspec.Raw(b"%d.%03d" % (at // 10**6, at // 1000 % 1000))
        return msgspec.Raw(b"%d.%06d" % (at // _SECOND, at // 1000 % 10**6))
    second, fraction = divmod(at, _SECOND)
    moment = datetime.fromtimestamp(second, UTC)
    return msgspec.Raw(f'"{moment:%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"'.encode())


def _value(cell: object) -> object:
    """Return a cell as JSON carries it, a number in text as a number of the same digits; None: nothing is in it."""
    if isinstance(cell, str):
        text = cell.strip()
        return None if not text else msgspec.Raw(text.encode()) if _JSON_NUMBER.fullmatch(text) else text
    return None if isinstance(cell, float) and math.isnan(cell) else cell


def _nested(fields: Mapping[str, object]) -> dict[str, object]:
    """Turn paths joined by dots into objects within objects."""
    tree: dict[str, object] = {}
    for path, value in fields.items():
        *outer, last = path.split(".")
        node = tree
        for key in outer:
            inner = node.setdefault(key, {})
            assert isinstance(inner, dict), "one path ends where another goes on"
            node = inner
        node[last] = value
    return tree
