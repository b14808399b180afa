"""A recording as columns: read from CSV, checked before anything is trained on it.

Comma, semicolon or tab, plain or ``.gz``; the first line names the columns. Whatever a person must put right
is a ``Problem`` with file and line; the first one of a file ends the reading. A channel's name is its column's,
with ``_`` for what a name cannot hold: ``Volume Flow (l/min)`` is ``Volume_Flow_l_min``.
"""

import csv
import gzip
import hashlib
import io
import math
import re
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from gatewayd.domain.arrays import Float64, Int64
from gatewayd.domain.model import ChannelSpec
from gatewayd.errors import ConfigError, Problem

_NS = 1_000_000_000
_GREATEST_CLASS = 1000  # beyond it, the column holds no classes but measurements
_GREATEST = float(np.finfo(np.float32).max)  # the model computes with float32
_TIME_TITLES = frozenset(("ts", "time", "timestamp", "date", "datetime"))
_TELLING_ROWS = 16  # a few values may rise by chance
# s, ms, µs, ns since 1970, told apart by magnitude: 1e11 s is the year 5138
_MAGNITUDES = ((1e11, 1_000_000_000), (1e14, 1_000_000), (1e17, 1_000), (math.inf, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which columns of a CSV file mean what.

    Attributes:
        channels: Names and units, in the model's order; empty: every column that no other option names.
        time: Column of the time stamp: s, ms, µs or ns since 1970, or ISO 8601; None: evenly spaced rows.
        device: Column that tells machines apart; None: one machine a file.
        label: Column with 0 (normal) or 1 (anomalous), or the class as 0, 1, 2 …; None: no labels.
        ignore: Columns to leave out where ``channels`` is empty.
    """

    channels: tuple[ChannelSpec, ...] = ()
    time: str | None = None
    device: str | None = None
    label: str | None = None
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """One recording.

    Attributes:
        source: Where it came from, for messages and provenance.
        sha256: Of the file's bytes, or of the values where there was no file.
        channels: Names and units of the values' columns.
        values: Shape ``(rows, channels)``, in each channel's unit; finite.
        time: Shape ``(rows,)``, ns since the Unix epoch, rising within each device; None where not recorded.
        device: Shape ``(rows,)``, a number for each device, 0 where there is one.
        label: Shape ``(rows,)``, 0 or greater; None where there are none.
        path: The file, for messages; None where there was none.
    """

    source: str
    sha256: str
    channels: tuple[ChannelSpec, ...]
    values: Float64
    time: Int64 | None
    device: Int64
    label: Int64 | None
    path: Path | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def place(self) -> str:
        """Where it came from, for messages: the file with its folder if there was one."""
        return self.source if self.path is None else str(self.path)

    def rising(self) -> tuple[str, ...]:
        """Return the channels whose every value is greater than the one before: clocks and counters, mostly.

        A model of normal values knows none of those that such a channel will have tomorrow. A recording that is too
        short to tell has none.
        """
        found = np.full(len(self.channels), len(self) >= _TELLING_ROWS)
        for device in np.unique(self.device):
            found &= (np.diff(self.values[self.device == device], axis=0) > 0).all(axis=0)
        return tuple(channel.name for channel, rises in zip(self.channels, found, strict=True) if rises)


def read_table(path: Path, columns: Columns) -> Table:
    """Read a recording.

    Raises:
        ConfigError: The file cannot be read, or a column, a number, a time or a label is not what it must
            be; with file and line.
    """
    data = _read(path)
    try:
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise _problem(path, 0, f"cannot be read as UTF-8 text: {error}") from error
    header, rows, lines = _split(path, text)
    reader = _Reader(path, header, rows, lines)
    channels = columns.channels or reader.remaining(columns)
    device = reader.devices(columns.device)
    return Table(
        source=path.name,
        sha256=hashlib.sha256(data).hexdigest(),
        channels=channels,
        values=reader.numbers([channel.name for channel in channels]),
        time=None if columns.time is None else reader.times(columns.time, device),
        device=device,
        label=None if columns.label is None else reader.labels(columns.label),
        path=path,
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _problem(path, 0, f"cannot be read: {(error.strerror or str(error)).lower()}") from error


def _split(path: Path, text: str) -> tuple[list[str], list[list[str]], list[int]]:
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows, lines = [], []
    try:
        for row in reader:
            if row:
                rows.append([field.strip() for field in row])
                lines.append(reader.line_num)
    except csv.Error as error:
        raise _problem(path, reader.line_num, f"is not CSV: {error}") from error
    if len(rows) < 2:  # noqa: PLR2004  # the header and one reading
        raise _problem(path, 0, "must have a line of column names and at least one row")
    header = rows[0]
    for name in header:
        if header.count(name) > 1:
            raise _problem(path, 1, f"column '{name}' occurs twice")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(header):
            raise _problem(path, line, f"expected {len(header)} columns as in line 1, not {len(row)}")
    return header, rows[1:], lines[1:]


class _Reader:
    """The rows of one file, and how its columns become numbers."""

    def __init__(self, path: Path, header: list[str], rows: list[list[str]], lines: list[int]) -> None:
        self._path = path
        self._header = header
        self._rows = rows
        self._lines = lines

    def _column(self, name: str) -> list[str]:
        if name in self._header:
            position = self._header.index(name)
            return [row[position] for row in self._rows]
        found = [position for position, title in enumerate(self._header) if channel_name(title) == name]
        if len(found) != 1:
            problem = "more than one" if found else "no"
            raise _problem(
                self._path, 1, f"has {problem} column '{name}'; there are {', '.join(self._header)}"
            )
        return [row[found[0]] for row in self._rows]

    def remaining(self, columns: Columns) -> tuple[ChannelSpec, ...]:
        """Return every column that has no other meaning, but refuse one that cannot be meant as a channel."""
        named = {columns.time, columns.device, columns.label, *columns.ignore}
        titles = [title for title in self._header if title not in named]
        if not titles:
            raise _problem(self._path, 1, "has no column left to be a channel")
        for title in titles:
            if not channel_name(title):
                raise _problem(
                    self._path, 1, f"column '{title}' has no name for a channel: give it one, or --ignore it"
                )
            if columns.time is None and title.lower() in _TIME_TITLES:
                raise _problem(
                    self._path,
                    1,
                    f"column '{title}' looks like the time stamp: name it with --time-column or leave it out with "
                    "--ignore; if it is measured, list all channels with --channels",
                )
        return tuple(ChannelSpec(name=channel_name(title), unit="") for title in titles)

    def numbers(self, names: list[str]) -> Float64:
        values = np.empty((len(self._rows), len(names)))
        for position, name in enumerate(names):
            for row, text in enumerate(self._column(name)):
                try:
                    values[row, position] = float(text)
                except ValueError:
                    values[row, position] = math.nan
                if not math.isfinite(values[row, position]):
                    raise _problem(
                        self._path,
                        self._lines[row],
                        f"column '{name}' must be a finite number, not '{text}'",
                    )
                if abs(values[row, position]) > _GREATEST:
                    raise _problem(
                        self._path,
                        self._lines[row],
                        f"column '{name}' must be of size {_GREATEST:.2g} at most (float32), not '{text}'",
                    )
        return values

    def devices(self, name: str | None) -> Int64:
        if name is None:
            return np.zeros(len(self._rows), np.int64)
        order: dict[str, int] = {}
        return np.array([order.setdefault(text, len(order)) for text in self._column(name)], np.int64)

    def labels(self, name: str) -> Int64:
        labels = np.empty(len(self._rows), np.int64)
        for row, text in enumerate(self._column(name)):
            try:
                label = float(text)
            except ValueError:
                label = math.nan
            if not (label.is_integer() and 0 <= label <= _GREATEST_CLASS):
                raise _problem(
                    self._path, self._lines[row], f"label '{name}' must be 0, 1, 2 …, not '{text}'"
                )
            labels[row] = int(label)
        return labels

    def times(self, name: str, device: Int64) -> Int64:
        times = np.empty(len(self._rows), np.int64)
        latest: dict[int, int] = {}
        for row, text in enumerate(self._column(name)):
            try:
                times[row] = parse_time(text)
            except ValueError as error:
                raise _problem(self._path, self._lines[row], f"column '{name}': {error}") from error
            key = int(device[row])
            if key in latest and times[row] <= latest[key]:
                raise _problem(
                    self._path, self._lines[row], f"time '{text}' must be after the row before it, and is not"
                )
            latest[key] = int(times[row])
        return times


def channel_name(title: str) -> str:
    """Turn a column's title into a channel's name: letters, digits, ``_``, ``.`` and ``-``, at most 64."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", title).strip("_.-")[:64]


def parse_time(text: str) -> int:
    """Read a time stamp: a number since 1970 whose unit its magnitude tells, or ISO 8601.

    A time without zone is UTC.

    Returns:
        Nanoseconds since the Unix epoch.

    Raises:
        ValueError: Neither; the message says so.
    """
    try:
        number = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"'{text}' is no time: a number since 1970 or ISO 8601 is expected") from None
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)
        return (since.days * 86_400 + since.seconds) * _NS + since.microseconds * 1000
    if not math.isfinite(number) or abs(number) > 9.2e18:  # noqa: PLR2004  # int64
        raise ValueError(f"'{text}' is no time: a number since 1970 or ISO 8601 is expected")
    factor = next(factor for limit, factor in _MAGNITUDES if abs(number) < limit)
    # a whole number of ns has more digits than a float holds
    return int(text) * factor if text.lstrip("+-").isdigit() else round(number * factor)


def _problem(path: Path, line: int, message: str) -> ConfigError:
    return ConfigError([Problem(path=str(path), line=line, column=1 if line else 0, message=message)])
