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
        size    INTEGER NOT NULL,           -- bytes of topic, payload and texts; what max_bytes is about
        topic   TEXT    NOT NULL,
        payload BLOB    NOT NULL,
        kind    TEXT    NOT NULL,           -- prediction, alert, ...: open to kinds to come
        content_type    TEXT    NOT NULL,   -- MQTT 5.0, 3.3.2.3.9; empty: unsaid
        expires_s       INTEGER NOT NULL,   -- counted from `at` (MQTT 5.0, 3.3.2.3.3); -1: never
        user_properties TEXT    NOT NULL    -- [["name", "value"], ...] (MQTT 5.0, 3.3.2.3.7); empty: none
    )

The last three know no NULL: Python's sqlite3 takes 0.3 us to bind a None, as long as all other columns together need.

Format 1 called ``rank`` ``kind`` (0 prediction, 1 alert) and ended with ``payload``. Its files are brought here in
place: columns are renamed and added, which touches no row, and only its alerts are written again.

There is no index but the primary key: what would need one (a broker's oldest record, the oldest of a rank) is
remembered in memory as a lower bound, and a scan from there passes little else.
"""

import contextlib
import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Final, cast

import orjson

from gatewayd.domain.verdict import Kind, Publication
from gatewayd.store.ages import CLOCK_SET_NS, GRAINS, Mark

APPLICATION_ID = 0x67777864
VERSION = 2
RANKS = 2
# The order of the columns is that of a file that came here from format 1.
SCHEMA = """CREATE TABLE record (
    seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, broker TEXT NOT NULL, rank INTEGER NOT NULL,
    qos INTEGER NOT NULL, retain INTEGER NOT NULL, size INTEGER NOT NULL, topic TEXT NOT NULL,
    payload BLOB NOT NULL, kind TEXT NOT NULL DEFAULT 'prediction', content_type TEXT NOT NULL DEFAULT '',
    expires_s INTEGER NOT NULL DEFAULT -1, user_properties TEXT NOT NULL DEFAULT ''
)"""
MIGRATIONS = {
    1: (
        "ALTER TABLE record RENAME COLUMN kind TO rank",
        "ALTER TABLE record ADD COLUMN kind TEXT NOT NULL DEFAULT 'prediction'",
        "UPDATE record SET kind = 'alert' WHERE rank = 1",
        "ALTER TABLE record ADD COLUMN content_type TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE record ADD COLUMN expires_s INTEGER NOT NULL DEFAULT -1",
        "ALTER TABLE record ADD COLUMN user_properties TEXT NOT NULL DEFAULT ''",
    )
}

_INSERT = "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
# Many rows in one statement: a tenth cheaper, and the GIL changes hands once instead of once per row.
_AT_ONCE = 16
_INSERT_MANY = _INSERT + ", (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)" * (_AT_ONCE - 1)
_PENDING = """SELECT seq, at, kind, qos, retain, topic, payload, content_type, expires_s, user_properties FROM record
    WHERE seq > ? AND broker = ? ORDER BY seq LIMIT ?"""
_NEXT = "SELECT seq FROM record WHERE seq > ? ORDER BY seq LIMIT 1"
_RANKED = """SELECT seq, at, kind, qos, retain, topic, payload, content_type, expires_s, user_properties FROM record
    WHERE seq > ? AND seq <= ? AND broker = ? AND rank = ? ORDER BY seq LIMIT ?"""
_SPAN = 4096  # numbers that are looked through at once: about a millisecond
_OLDEST = "SELECT seq, size, kind FROM record WHERE seq > ? AND rank = ? ORDER BY seq"
_BY_AGE = """SELECT max(seq), max(at) FROM record WHERE rank = 0 AND at BETWEEN :set AND :wall
    GROUP BY min((:wall - at) / :grain, :grains) ORDER BY max(at)"""
_MARKED = """SELECT seq, size FROM record WHERE seq > ? AND seq <= ? AND rank = 0 AND at BETWEEN ? AND ?
    ORDER BY seq LIMIT ?"""

_NS = 1_000_000_000

_NEVER = -1
# In the table's order.
Row = tuple[int, int, str, int, int, int, int, str, bytes, str, str, int, str]
SIZE: Final = 6  # its place in a row
_Found = tuple[int, int, str, int, int, str, bytes, str, int, str]


def row_of(item: Publication, seq: int, at: int) -> Row:
    """Return a publication as a row."""
    topic, payload, content_type = item.topic, item.payload, item.content_type or ""
    size = len(topic.encode()) + len(payload)
    properties = ""
    if content_type:
        size += len(content_type.encode())
    if item.user_properties:
        properties = orjson.dumps(item.user_properties).decode()
        size += sum(len(text.encode()) for pair in item.user_properties for text in pair)
    return (
        seq,
        at,
        item.broker,
        0 if item.kind == "prediction" else 1,
        item.qos,
        1 if item.retain else 0,  # a bool binds as slowly as None
        size,
        topic,
        payload,
        item.kind,
        content_type,
        _NEVER if item.expires_s is None else item.expires_s,
        properties,
    )


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
    connection: sqlite3.Connection, broker: str, *, after: int, limit: int, now: int | None
) -> list[tuple[int, Publication]]:
    """Read the oldest records of one broker beyond ``after``, at most ``limit``; ``now`` as for ``left_s``."""
    rows: list[_Found] = connection.execute(_PENDING, (after, broker, limit)).fetchall()
    return _publications(rows, broker, now)


def scan(
    connection: sqlite3.Connection,
    broker: str,
    rank: int,
    *,
    after: int,
    until: int,
    limit: int,
    now: int | None,
) -> tuple[list[tuple[int, Publication]], int]:
    """Read the oldest records of one broker and rank within a stretch that begins beyond ``after``.

    Returns:
        At most ``limit`` records, and the number up to which all were looked at: ``until``, or less where the search
        is to go on from there.
    """
    if until - after > _SPAN:
        following = connection.execute(_NEXT, (after,)).fetchone()
        if following is None or following[0] > until:
            return [], until
        end = min(until, following[0] + _SPAN - 1)
    else:
        end = until
    rows: list[_Found] = connection.execute(_RANKED, (after, end, broker, rank, limit)).fetchall()
    return _publications(rows, broker, now), rows[-1][0] if len(rows) == limit else end


def _publications(rows: Sequence[_Found], broker: str, now: int | None) -> list[tuple[int, Publication]]:
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
                content_type=content_type or None,
                expires_s=None if expires_s == _NEVER else left_s(expires_s, at, now),
                user_properties=_pairs(properties) if properties else (),
            ),
        )
        for seq, at, kind, qos, retain, topic, payload, content_type, expires_s, properties in rows
    ]


def left_s(expires_s: int, at: int, now: int | None) -> int:
    """Return what is left of a time limit after the wait in the outbox (MQTT 5.0, 3.3.2.3.3 asks it of servers).

    Args:
        expires_s: When it was appended.
        at: When that was, ns since the Unix epoch. A clock that was not set yet measures no wait: nothing is deducted.
        now: The present, ns since the Unix epoch. Before ``at`` the clock was set back: nothing is deducted, nor is it
            for None.

    Returns:
        Whole seconds, rounded up, so that a record expires when its time is over and not before; 0: it is over.
    """
    if now is None or at < CLOCK_SET_NS or now <= at:
        return expires_s
    return max(0, expires_s - (now - at) // _NS)


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in orjson.loads(text))


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
    seqs: list[int] = []
    floors = list(floors)
    for rank in range(RANKS):
        if excess <= 0:
            break
        # Row by row, no further than needed: the next one may lie beyond all records of the other rank.
        with contextlib.closing(connection.execute(_OLDEST, (floors[rank], rank))) as found:
            for seq, size, kind in found:
                evicted.append((kind, size))
                seqs.append(seq)
                floors[rank] = seq
                excess -= size
                if excess <= 0:
                    break
            else:
                floors[rank] = last  # none is left: that is not looked for again
    delete(connection, seqs)
    return evicted, floors


def by_age(connection: sqlite3.Connection, *, wall: int, grain_ns: int) -> list[tuple[int, int]]:
    """Return the greatest number and latest stamp of each group of predictions of like age, as ``Ages.begin`` asks.

    Reads the whole table, once per start.
    """
    found: list[tuple[int, int]] = connection.execute(
        _BY_AGE, {"set": CLOCK_SET_NS, "wall": wall, "grain": grain_ns, "grains": GRAINS}
    ).fetchall()
    return found


def marked(connection: sqlite3.Connection, mark: Mark, *, after: int, limit: int) -> list[tuple[int, int]]:
    """Return ``(seq, size)`` of the oldest predictions that a mark is about, beyond ``after``, at most ``limit``."""
    found: list[tuple[int, int]] = connection.execute(
        _MARKED, (after, mark.last, *mark.stamped, limit)
    ).fetchall()
    return found


def delete(connection: sqlite3.Connection, seqs: Sequence[int]) -> None:
    """Delete records; the caller has begun a transaction."""
    connection.executemany("DELETE FROM record WHERE seq = ?", [(seq,) for seq in seqs])
