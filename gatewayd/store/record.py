"""The outbox's one table: its drawing, the way to it from older ones, and a row's two directions.

Format 2::

    PRAGMA application_id = 0x67777864      -- "gwxd": this file is an outbox of ours
    PRAGMA user_version   = 2               -- of this drawing; a newer one is refused, never rewritten
    CREATE TABLE record (
        seq     INTEGER PRIMARY KEY,        -- order of append over all brokers; rises, has holes
        at      INTEGER NOT NULL,           -- when appended, ns since the Unix epoch, gateway's clock
        broker  TEXT    NOT NULL,           -- name of the broker in the configuration
        rank    INTEGER NOT NULL,           -- 0 is evicted before 1: predictions, everything else
        qos     INTEGER NOT NULL,           -- 0 or 1
        retain  INTEGER NOT NULL,           -- 0 or 1
        size    INTEGER NOT NULL,           -- bytes of topic (UTF-8) and payload; what max_bytes is about
        topic   TEXT    NOT NULL,
        payload BLOB    NOT NULL,
        kind    TEXT    NOT NULL            -- prediction, alert, ...: open to kinds to come
    )

Format 1 called ``rank`` ``kind`` (0 prediction, 1 alert) and ended with ``payload``. Its files are brought here in
place: columns are renamed and added, which touches no row, and only its alerts are written again.

There is no index but the primary key: what would need one (a broker's oldest record, the oldest of a rank) is
remembered in memory as a lower bound, and a scan from there passes little else.
"""

import contextlib
import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import cast

from gatewayd.domain.verdict import Kind, Publication

APPLICATION_ID = 0x67777864
VERSION = 2
RANKS = 2
# The order of the columns is that of a file that came here from format 1.
SCHEMA = """CREATE TABLE record (
    seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, broker TEXT NOT NULL, rank INTEGER NOT NULL,
    qos INTEGER NOT NULL, retain INTEGER NOT NULL, size INTEGER NOT NULL, topic TEXT NOT NULL,
    payload BLOB NOT NULL, kind TEXT NOT NULL DEFAULT 'prediction'
)"""
MIGRATIONS = {
    1: (
        "ALTER TABLE record RENAME COLUMN kind TO rank",
        "ALTER TABLE record ADD COLUMN kind TEXT NOT NULL DEFAULT 'prediction'",
        "UPDATE record SET kind = 'alert' WHERE rank = 1",
    )
}

_INSERT = "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
# Many rows in one statement: a tenth cheaper, and the GIL changes hands once instead of once per row.
_AT_ONCE = 16
_INSERT_MANY = _INSERT + ", (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)" * (_AT_ONCE - 1)
_PENDING = """SELECT seq, kind, qos, retain, topic, payload FROM record
    WHERE seq > ? AND broker = ? ORDER BY seq LIMIT ?"""
_OLDEST = "SELECT seq, size, kind FROM record WHERE seq > ? AND rank = ? ORDER BY seq"

Row = tuple[int, int, str, int, int, int, int, str, bytes, str]


def size_of(item: Publication) -> int:
    """Return the bytes that a publication counts for."""
    return len(item.topic.encode()) + len(item.payload)


def row_of(item: Publication, *, seq: int, at: int, size: int) -> Row:
    """Return a publication as a row."""
    rank = 0 if item.kind == "prediction" else 1
    return (seq, at, item.broker, rank, item.qos, item.retain, size, item.topic, item.payload, item.kind)


def insert(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Add rows; the caller has begun a transaction, unless it is a single row."""
    whole = len(rows) - len(rows) % _AT_ONCE
    for first in range(0, whole, _AT_ONCE):
        connection.execute(_INSERT_MANY, list(chain.from_iterable(rows[first : first + _AT_ONCE])))
    if whole + 1 == len(rows):
        connection.execute(_INSERT, rows[whole])
    else:
        connection.executemany(_INSERT, rows[whole:])


def pending(
    connection: sqlite3.Connection, broker: str, *, after: int, limit: int
) -> list[tuple[int, Publication]]:
    """Read the oldest records of one broker beyond ``after``, at most ``limit``."""
    rows: list[tuple[int, str, int, int, str, bytes]]
    rows = connection.execute(_PENDING, (after, broker, limit)).fetchall()
    return [
        (
            seq,
            Publication(
                broker=broker,
                kind=cast("Kind", kind),  # no older gatewayd opens this file, so it is one that we know
                topic=topic,
                payload=payload,
                qos=1 if qos else 0,
                retain=bool(retain),
            ),
        )
        for seq, kind, qos, retain, topic, payload in rows
    ]


def evict(
    connection: sqlite3.Connection, floors: Sequence[int], *, excess: int, last: int
) -> tuple[list[tuple[str, int]], list[int]]:
    """Delete records until ``excess`` bytes are free: rank 0 first, in each rank the oldest first.

    Args:
        connection: Within a transaction.
        floors: For each rank: none of its records has a number up to that.
        excess: Bytes to free; at least 1.
        last: The greatest number in the table.

    Returns:
        ``(kind, size)`` of what went, and the floors from then on.
    """
    evicted: list[tuple[str, int]] = []
    seqs: list[tuple[int]] = []
    floors = list(floors)
    for rank in range(RANKS):
        if excess <= 0:
            break
        # Row by row, no further than needed: the next one may lie beyond all records of the other rank.
        with contextlib.closing(connection.execute(_OLDEST, (floors[rank], rank))) as found:
            for seq, size, kind in found:
                evicted.append((kind, size))
                seqs.append((seq,))
                floors[rank] = seq
                excess -= size
                if excess <= 0:
                    break
            else:
                floors[rank] = last  # none is left: that is not looked for again
    connection.executemany("DELETE FROM record WHERE seq = ?", seqs)
    return evicted, floors
