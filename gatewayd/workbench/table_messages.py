"""Tables as the messages of one stream, all devices' rows in order of time.

Rows stream through. Only where they aren't in order of time they are put in order first, on disk.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from gatewayd.config.settings import Settings
from gatewayd.errors import RejectedInputError
from gatewayd.workbench.recording import PUBLISH, Arrived, Kind, RecordingError, Unread
from gatewayd.workbench.recording_table import read_rows
from gatewayd.workbench.row_messages import RowWriter, TableError, TableOptions


def read_tables(
    files: Sequence[tuple[Path, Kind]], settings: Settings, options: TableOptions, unread: Unread
) -> Iterator[Arrived]:
    """Read tables; at equal times, rows stay in the order of files and rows.

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


def _messages(files: Sequence[tuple[Path, Kind]], writer: RowWriter, unread: Unread) -> Iterator[Arrived]:
    for path, kind in files:
        for row in read_rows(path, kind, unread, writer.check):
            try:
                yield writer.message(row)
            except RejectedInputError as error:
                unread.note(error.reason, path, row.number)


def _is_in_order(files: Sequence[tuple[Path, Kind]], writer: RowWriter) -> bool:
    latest = 0
    for path, kind in files:
        for row in read_rows(path, kind, Unread(), writer.check):
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
            yield (topic, payload, PUBLISH, 0), at
    except sqlite3.Error as error:
        raise RecordingError(
            f"rows can't be put in order in the folder for temporary files: {error}"
        ) from error
    finally:
        rows.close()
