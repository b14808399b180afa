"""Rows of tables → the messages that would have brought them, all devices' rows in order of time.

A table has a column for the time and one for each channel, called as the channel is or as its ``field``; perhaps one
for the device, and one for each further named level of the stream's topic. A row becomes the JSON object that the
stream reads, on its device's topic, and arrives when it was taken. Empty cells, nulls and NaN are left out of it.

Rows stream through. Only where they aren't in order of time they are put in order first, on disk.
"""

import math
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from gatewayd.config.settings import Settings, StreamSettings, TimeSettings
from gatewayd.domain.topic import TopicFilter
from gatewayd.errors import GatewayError, RejectedInputError
from gatewayd.formats.leaves import ABSENT, follow
from gatewayd.workbench.recording import Arrived, Kind, RecordingError, Unread, instant
from gatewayd.workbench.recording_parquet import Nanoseconds
from gatewayd.workbench.recording_table import Row, read_rows
from gatewayd.workbench.table import channel_name

_TIME_TITLES: Final = ("time", "timestamp", "ts", "datetime", "date", "at")
_PUBLISH: Final = 0x30  # MQTT 3.1.1, 3.3.1
_ANY_LEVEL: Final = "_"  # where the topic filter lets anything stand
_JSON_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = 10**9


class TableError(GatewayError):
    """Tables can't be had for this stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOptions:
    """What was said about tables: the stream of their rows (None: the only one), columns (None: found by name)."""

    stream: str | None = None
    time: str | None = None
    device: str | None = None


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
        self._fields = {channel: options.field or channel for channel, options in settings.channels.items()}
        self._levels = TopicFilter.parse(settings.topic).pattern.split("/")
        self._titles: tuple[str, ...] | None = None
        self._places = _Places()
        self._device: object = ABSENT  # of the first row, where the topic has no level for it

    def check(self, path: Path, line: int, titles: tuple[str, ...]) -> None:
        """Look whether a table has the columns that it needs.

        Raises:
            RecordingError: It lacks one.
        """
        places = self._find(titles)
        where = f"{path}:{line}" if line else str(path)
        there = f"there are {', '.join(titles)}"
        if places.time is None:
            raise RecordingError(
                f"{where}: has no column that looks like a time stamp: name it with --time-column; {there}"
            )
        for given in (self._options.time, self._options.device):
            if given is not None and given not in titles:
                raise RecordingError(f"{where}: has no column '{given}'; {there}")
        missing = [channel for channel, title in places.channels.items() if title is None]
        if missing and (self._settings.align is None or len(missing) == len(places.channels)):
            raise RecordingError(f"{where}: has no column for channel {', '.join(missing)}; {there}")

    def taken_at(self, row: Row) -> int:
        """Return a row's time, ns since the Unix epoch.

        Raises:
            RejectedInputError: ``bad_time``.
        """
        title = self._placed(row).time
        value = ABSENT if title is None else row.get(title, ABSENT)
        if value is ABSENT and self._time is not None:
            value = follow(row, self._time.field.split("."))
        if isinstance(value, Nanoseconds):
            return int(value)
        return instant(None if value is ABSENT else value)

    def message(self, row: Row) -> Arrived:
        """Write a row.

        Raises:
            RejectedInputError: ``bad_time``; ``no_values``: all its channels are empty; ``bad_level``: a device, or
                another level of the topic, that no topic can have.
            RecordingError: There are several devices, and the stream's topic doesn't tell them apart.
        """
        at, places = self.taken_at(row), self._placed(row)
        found: dict[str, object] = {}
        for channel, path in self._fields.items():
            title = places.channels[channel]
            value = _cell(follow(row, path.split(".")) if title is None else row[title])
            if value is not None:
                found[path] = value
        if not found:
            raise RejectedInputError("no_values")
        if self._time is not None:
            found[self._time.field] = stamp(at, self._time)
        payload = msgspec.json.encode(_nested(found))
        return (self._topic(row, places).encode(), payload, _PUBLISH, 0), at

    def _topic(self, row: Row, places: "_Places") -> str:
        levels: list[str] = []
        for level in self._levels:
            if level.startswith("{"):
                levels.append(self._level(row, level[1:-1], places))
            elif level == "+":
                levels.append(_ANY_LEVEL)
            elif level != "#":
                levels.append(level)
        if places.device is not None and "{device}" not in self._levels:
            self._expect_one(row[places.device])
        return "/".join(levels or [_ANY_LEVEL])

    def _level(self, row: Row, name: str, places: "_Places") -> str:
        title = places.device if name == "device" else (name if name in row else None)
        if title is None:
            return (self._settings.device or self._name) if name == "device" else _ANY_LEVEL
        level = str(row[title]).strip()
        if not level or row[title] is None or "/" in level or "\0" in level:
            raise RejectedInputError("bad_level", level[:40])
        return level

    def _expect_one(self, device: object) -> None:
        if self._device is ABSENT:
            self._device = device
        elif device != self._device:
            raise RecordingError(
                f"the table has several devices ('{self._device}', '{device}'), and the topic of stream "
                f"'{self._name}' has no {{device}} that tells them apart"
            )

    def _placed(self, row: Row) -> "_Places":
        titles = tuple(row)
        if titles != self._titles:
            self._titles, self._places = titles, self._find(titles)
        return self._places

    def _find(self, titles: tuple[str, ...]) -> "_Places":
        lower = {title.lower(): title for title in reversed(titles)}
        wanted = [self._options.time] if self._options.time is not None else []
        if not wanted:
            wanted = [self._time.field] if self._time is not None else []
            wanted += [lower[title] for title in _TIME_TITLES if title in lower]
        time = next((title for title in wanted if title in titles), None)
        device = self._options.device if self._options.device is not None else lower.get("device")
        named = {channel_name(title): title for title in reversed(titles) if title not in (time, device)}
        channels = {
            channel: next((title for title in (field, channel) if title in titles), named.get(channel))
            for channel, field in self._fields.items()
        }
        return _Places(time=time, device=device if device in titles else None, channels=channels)


def read_tables(
    files: Sequence[tuple[Path, Kind]],
    settings: Settings,
    options: TableOptions,
    unread: Unread,
) -> Iterator[Arrived]:
    """Read tables as the messages of one stream, in order of time; at equal times in that of files and rows.

    Args:
        files: Tables and their kinds.
        settings: All of them.
        options: Whose rows they are, and their columns.
        unread: Takes the rows that are left out.

    Raises:
        TableError: It isn't clear which stream is meant, or that one doesn't read JSON objects.
        RecordingError: A file can't be read.
    """
    names = list(settings.streams)
    if options.stream is None and len(names) > 1:
        raise TableError(f"say with --stream which one the rows belong to: {', '.join(names)}")
    name = options.stream if options.stream is not None else names[0]
    if name not in names:
        raise TableError(f"there is no stream '{name}'; there are {', '.join(names)}")
    writer = RowWriter(name, settings.streams[name], options)
    messages = _messages(files, writer, unread)
    return messages if _is_in_order(files, writer) else _in_order(messages)


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
    elif time.unit != "iso" and at % 1000 == 0 and at >= _SECOND * _SECOND:
        if time.unit == "ms":
            return msgspec.Raw(b"%d.%03d" % (at // 10**6, at // 1000 % 1000))
        return msgspec.Raw(b"%d.%06d" % (at // _SECOND, at // 1000 % 10**6))
    second, fraction = divmod(at, _SECOND)
    moment = datetime.fromtimestamp(second, UTC)
    return msgspec.Raw(f'"{moment:%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"'.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """The titles of the columns in use."""

    time: str | None = None
    device: str | None = None
    channels: Mapping[str, str | None] = field(default_factory=dict)


def _messages(files: Sequence[tuple[Path, Kind]], writer: RowWriter, unread: Unread) -> Iterator[Arrived]:
    for path, kind in files:
        for number, row in read_rows(path, kind, unread, writer.check):
            try:
                yield writer.message(row)
            except RejectedInputError as error:
                unread.note(error.reason, path, number)


def _is_in_order(files: Sequence[tuple[Path, Kind]], writer: RowWriter) -> bool:
    latest = 0
    for path, kind in files:
        for _, row in read_rows(path, kind, Unread(), writer.check):
            try:
                at = writer.taken_at(row)
            except RejectedInputError:
                continue
            if at < latest:
                return False
            latest = at
    return True


def _in_order(messages: Iterator[Arrived]) -> Iterator[Arrived]:
    """Put messages in order of time, in a temporary file that ends with this process."""
    rows = sqlite3.connect("")
    try:
        rows.execute("CREATE TABLE message (at INTEGER, topic BLOB, payload BLOB)")
        rows.executemany(
            "INSERT INTO message VALUES (?, ?, ?)",
            ((at, topic, payload) for (topic, payload, _, _), at in messages),
        )
        for at, topic, payload in rows.execute("SELECT at, topic, payload FROM message ORDER BY at, rowid"):
            yield (topic, payload, _PUBLISH, 0), at
    except sqlite3.Error as error:
        raise RecordingError(
            f"rows can't be put in order in the folder for temporary files: {error}"
        ) from error
    finally:
        rows.close()


def _cell(value: object) -> object:
    """Return a cell as JSON carries it; None: nothing is in it."""
    if isinstance(value, str):
        text = value.strip()
        return None if not text else msgspec.Raw(text.encode()) if _JSON_NUMBER.fullmatch(text) else text
    if value is ABSENT or value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return value


def _nested(fields: dict[str, object]) -> dict[str, object]:
    """Turn paths joined by dots into objects within objects."""
    if not any("." in path for path in fields):
        return fields
    tree: dict[str, object] = {}
    for path, value in fields.items():
        *outer, last = path.split(".")
        node: dict[str, object] = tree
        for key in outer:
            inner = node.setdefault(key, {})
            assert isinstance(inner, dict), "one path ends where another goes on"
            node = inner
        node[last] = value
    return tree
