"""The rows of a table, one after the other: CSV, JSON lines of objects, Parquet.

CSV has commas, semicolons or tabs, and a first line that names the columns; it and JSON lines may be gzipped. A row
that can't be read is left out and counted, with its place. Objects within objects are columns with a dot in their
names. Rows stream: none is kept.
"""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from gatewayd.workbench.recording import Kind, RecordingError, Unread, bounded_lines
from gatewayd.workbench.recording_parquet import read_parquet_rows

CheckTitles = Callable[[Path, int, tuple[str, ...]], None]

_BOM: Final = b"\xef\xbb\xbf"
_DELIMITERS: Final = ",;\t"
_DEEPEST: Final = 16  # as the formats
_decode = msgspec.json.Decoder(dict[str, object]).decode


class Row(NamedTuple):
    """One row; a tuple, since one is built for each.

    Attributes:
        number: Of its last line, or of the row in Parquet; from 1.
        titles: Of its columns; the same object for all rows of CSV and Parquet.
        cells: One for each.
    """

    number: int
    titles: tuple[str, ...]
    cells: Sequence[object]


def read_rows(path: Path, kind: Kind, unread: Unread, check_titles: CheckTitles) -> Iterator[Row]:
    """Read a table.

    Args:
        path: The file.
        kind: ``csv``, ``rows`` (JSON lines) or ``parquet``.
        unread: Takes what is left out: ``line_too_long``, ``not_utf8``, ``not_csv``, ``wrong_columns`` (more or fewer
            than in the first line), ``not_json``, ``not_an_object``.
        check_titles: Told the file, the line and the columns where they are the same for all rows; may raise.

    Raises:
        RecordingError: The file can't be read.
    """
    if kind == "parquet":
        titles: tuple[str, ...] | None = None
        for number, (names, cells) in enumerate(read_parquet_rows(path), 1):
            if titles is None:
                titles = names
                check_titles(path, 0, titles)
            yield Row(number, titles, cells)
    elif kind == "csv":
        yield from _csv_rows(path, unread, check_titles)
    else:
        yield from _json_rows(path, unread)


def _json_rows(path: Path, unread: Unread) -> Iterator[Row]:
    for number, line in bounded_lines(path):
        if line is None:
            unread.note("line_too_long", path, number)
            continue
        text = line.removeprefix(_BOM) if number == 1 else line
        if not text or text.isspace():
            continue
        try:
            fields = _decode(text)
        except msgspec.ValidationError:
            unread.note("not_an_object", path, number)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            unread.note("not_json", path, number)
        else:
            if any(isinstance(value, dict) for value in fields.values()):
                fields = dict(_flat(fields, "", _DEEPEST))
            yield Row(number, tuple(fields), tuple(fields.values()))


def _flat(fields: Mapping[str, object], prefix: str, depth: int) -> Iterator[tuple[str, object]]:
    for name, value in fields.items():
        if isinstance(value, dict) and depth:
            yield from _flat(value, f"{prefix}{name}.", depth - 1)
        else:
            yield f"{prefix}{name}", value


def _csv_rows(path: Path, unread: Unread, check_titles: CheckTitles) -> Iterator[Row]:
    lines = _TextLines(path, unread)
    head = next(lines, None)
    if head is None:
        raise RecordingError(f"{path}: is empty")
    delimiter = max(_DELIMITERS, key=head.count)
    titles = tuple(title.strip() for title in next(csv.reader([head], delimiter=delimiter)))
    for title in titles:
        if titles.count(title) > 1:
            raise RecordingError(f"{path}:{lines.number}: column '{title}' occurs twice")
    check_titles(path, lines.number, titles)
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        try:
            cells = next(rows, None)
        except csv.Error:
            unread.note("not_csv", path, lines.number)
            continue
        if cells is None:
            return
        if len(cells) == len(titles):
            yield Row(lines.number, titles, cells)
        elif cells:
            unread.note("wrong_columns", path, lines.number)


class _TextLines:
    """Lines of a file as text, the empty ones before the first left out; remembers where it is."""

    def __init__(self, path: Path, unread: Unread) -> None:
        self._path, self._unread = path, unread
        self._lines = bounded_lines(path)
        self._is_begun = False
        self.number = 0

    def __iter__(self) -> "_TextLines":
        return self

    def __next__(self) -> str:
        for number, line in self._lines:
            self.number = number
            if line is None:
                self._unread.note("line_too_long", self._path, number)
                continue
            try:
                text = (line if self._is_begun else line.removeprefix(_BOM)).decode()
            except UnicodeDecodeError:
                self._unread.note("not_utf8", self._path, number)
                continue
            if self._is_begun or not text.isspace():
                self._is_begun = True
                return text
        raise StopIteration
