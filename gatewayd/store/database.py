"""One SQLite file of ours: whose it is, which version, and what becomes of a damaged one.

A file that SQLite cannot read is set aside as ``NAME.damaged-N`` and a fresh one takes its place: a gateway
that nobody looks after must go on. A file that belongs to something else, or that a newer gatewayd wrote, is
left alone.
"""

import contextlib
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from gatewayd.errors import StartupError, TransientError

Durability = Literal["power", "process", "none"]

# SQLite's default is 4096; appends of 16 records cost a quarter less with this (tools/bench/outbox.py).
PAGE_BYTES = 8192
# The appending thread writes the WAL back at this size, so it never grows far beyond 16 MiB. The owner is
# expected to do it earlier and elsewhere: the fsync of a memory card takes tens of milliseconds.
WAL_PAGES = 2048

_SYNCHRONOUS = {"power": "FULL", "process": "NORMAL", "none": "OFF"}
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PASSING = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_COMPANIONS = ("", "-wal", "-shm")
_DAMAGED_KEPT = 3  # a card that dies slowly must not fill itself with files set aside
_BUSY_TIMEOUT_S = 1.0  # somebody looks at the file with the sqlite3 command


def connect(path: Path, durability: Durability) -> sqlite3.Connection:
    """Open a connection with our settings, in autocommit mode, for any thread that holds the owner's lock."""
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # counts for a file that is still empty
        connection.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[durability]}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_PAGES * PAGE_BYTES}")
    except sqlite3.Error:  # a file that is no database shows it here
        connection.close()
        raise
    return connection


def claim(
    connection: sqlite3.Connection,
    *,
    application_id: int,
    version: int,
    schema: str,
    migrations: Mapping[int, Sequence[str]],
) -> None:
    """Make sure that a file is ours, or make it ours if it is empty; switch it to WAL, bring it up to date.

    Args:
        connection: To the file, outside of a transaction.
        application_id: Whose file it has to be.
        version: The version it has afterwards.
        schema: The statement that makes an empty file one of that version.
        migrations: For each older version the statements that make it the next one. Each step is a transaction: a
            crash leaves the one version or the other.

    Raises:
        StartupError: It is another application's, or has a newer version. Nothing was changed.
    """
    (found_id,) = connection.execute("PRAGMA application_id").fetchone()
    (found_version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    is_empty = tables == 0 and found_id == 0
    if not is_empty and found_id != application_id:
        raise StartupError(f"expected a file of gatewayd, found a database with application id {found_id:#x}")
    if found_version > version:
        raise StartupError(f"expected format {version} or older, found {found_version}, of a newer gatewayd")
    connection.execute("PRAGMA journal_mode = WAL")
    if is_empty:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(schema)
        connection.execute(f"PRAGMA application_id = {application_id}")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")
        return
    for older in range(found_version, version):
        connection.execute("BEGIN IMMEDIATE")
        for statement in migrations[older]:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {older + 1}")
        connection.execute("COMMIT")


def is_damage(error: sqlite3.Error) -> bool:
    """Tell whether the file's content is the reason; what Python's module finds in it (no code) counts too.

    Reference:
        https://www.sqlite.org/rescode.html: the low byte of an extended result code is the primary one.
    """
    return (getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF) in _DAMAGE


def opening_failure(path: Path, error: sqlite3.Error) -> StartupError | TransientError:
    """Sort a failure to open by who must act: a full or busy disk may pass, a missing right does not."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    kind = TransientError if code in _PASSING else StartupError
    return kind(f"{path}: cannot be opened: {error}")


def set_aside(path: Path) -> Path:
    """Rename a closed database and its companions to the next ``.damaged-N``; only the latest few are kept.

    Raises:
        OSError: The folder does not allow it.
    """
    numbers = sorted(
        int(number)
        for found in path.parent.glob(f"{path.name}.damaged-*")
        if (number := found.name.rpartition("-")[2]).isdecimal()
    )
    target = path.with_name(f"{path.name}.damaged-{numbers[-1] + 1 if numbers else 1}")
    # The companions first: if this is cut short, no WAL is left to be taken for the fresh file's.
    for suffix in reversed(_COMPANIONS):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").replace(f"{target}{suffix}")
    for old in numbers[: max(0, len(numbers) + 1 - _DAMAGED_KEPT)]:
        for suffix in _COMPANIONS:
            path.with_name(f"{path.name}.damaged-{old}{suffix}").unlink(missing_ok=True)
    return target
