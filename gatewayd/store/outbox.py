"""The durable queue towards upstream: a publication stays until its broker acknowledges it, or is evicted.

One SQLite file in WAL mode (why SQLite: docs/decisions/0002-outbox-sqlite.md; its table: ``record.py``).
``outbox.db-wal`` and ``outbox.db-shm`` beside it are SQLite's; after a crash it finds the committed rows there.

Rules. An append is one transaction: all of it survives, or none. Over ``max_bytes`` the oldest predictions go
first, and other kinds, oldest first, only when no prediction is left. Predictions older than ``max_age_s`` go, too
(``ages.py`` says how an age is known); other kinds have no age limit. Damage costs the file's records, never the daemon
(``database.py``). Whatever upstream will not get is counted (``Outbox.figures``).
"""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog

from gatewayd.domain.figures import OutboxFigures
from gatewayd.domain.verdict import Publication
from gatewayd.errors import StartupError, TransientError
from gatewayd.store import database, record, wal
from gatewayd.store.ages import Ages
from gatewayd.store.coverage import Coverage

_RUN_FIGURES = "SELECT count(*), total(size) FROM record WHERE seq BETWEEN ? AND ?"
_RUN_DELETE = "DELETE FROM record WHERE seq BETWEEN ? AND ?"
_TOTALS = "SELECT max(seq), count(*), total(size) FROM record"

_RETIREMENTS = 8
_RETIRED_AT_ONCE = 512  # what retire() holds the lock for: about a millisecond
_TIDY_BYTES = 4 << 20  # tidy() writes the WAL back once about this much went into it
_SHRINK_PAGES = 1024  # free pages (8 MiB) that make it worthwhile to give the space back
_SHRINK_BELOW_BYTES = 1 << 20  # records that VACUUM may have to copy: milliseconds


class Outbox:
    """Records in order of append, on disk.

    Shared by the line, which appends, and the deliverers, which read and acknowledge. One connection does
    that work, opened with ``check_same_thread=False`` and used under one lock. A second one, under a lock of
    its own, only writes the WAL back, so that its fsyncs keep nobody waiting.

    Attributes:
        set_aside: Where the latest damaged file that this object met went; None if there was none.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        durability: database.Durability,
        max_age_s: float | None = None,
    ) -> None:
        """Open the file, or make it.

        Args:
            path: The database file; its folder exists.
            max_bytes: Bytes of topics, payloads and properties kept; at least 1.
            durability: What a record survives once ``append`` has returned. ``power``: a power cut (one fsync
                per append); ``process``: the death of this process; ``none``: nothing promised.
            max_age_s: Age over which ``retire`` gives predictions up; None: none.

        Raises:
            StartupError: The file cannot be opened, belongs to something else, or has a newer format.
            TransientError: The disk is full or failing, or somebody holds the file locked.
        """
        self.set_aside: Path | None = None
        self._path = path
        self._max_bytes = max_bytes
        self._durability = durability
        self._log = structlog.get_logger().bind(component="outbox", path=str(path))
        self._lock = threading.Lock()
        self._tidy_lock = threading.Lock()
        # Met and not yet replaced: while this is set the connections are closed.
        self._damage: sqlite3.Error | None = None
        # The last number given out; rises even over a damaged file: no cursor points into the future.
        self._seq = 0
        self._written = 0  # bytes that went into the WAL since tidy() wrote it back, roughly
        self._appended = 0
        self._appended_bytes = 0
        self._coverage = Coverage()
        self._max_age_s = max_age_s
        self._ages: Ages | None = None
        self._retired_to = 0  # of the mark at hand
        self._acknowledged = 0
        self._evicted: dict[str, int] = {"prediction": 0, "alert": 0}
        try:
            self._open()
        except sqlite3.Error as error:
            if not database.is_damage(error):
                raise database.opening_failure(path, error) from error
            self._replace(error, lost=None)
        if max_age_s is not None:
            self._ages = self._begun_ages(max_age_s)

    @property
    def last(self) -> int:
        """The greatest number that was given out. Any thread."""
        return self._seq

    def append(self, publications: Sequence[Publication], *, at: int) -> None:
        """Store publications in their order, in one transaction, and evict what no longer fits.

        One that is larger than ``max_bytes`` alone is refused, not evicted: it was never stored. It counts as
        appended all the same, and in ``figures().evicted["oversize"]``, so that the figures add up.

        Args:
            publications: Any number; none is no transaction.
            at: When, ns since the Unix epoch.

        Raises:
            TransientError: Nothing was stored (disk full, I/O error); the outbox stays usable.
        """
        with self._lock:
            seq, added = self._seq, 0
            rows: list[record.Row] = []
            for item in publications:
                row = record.row_of(item, seq + 1, at)
                size = row[record.SIZE]
                if size <= self._max_bytes:
                    rows.append(row)
                    seq += 1
                    added += size
            if rows:
                self._insert(rows, added)
            self._appended += len(publications)
            if len(rows) < len(publications):
                refused = len(publications) - len(rows)
                self._count("oversize", refused)

    def pending(
        self, broker: str, *, after: int, limit: int, now: int | None = None
    ) -> list[tuple[int, Publication]]:
        """Return the oldest records of one broker beyond a point.

        Args:
            broker: The broker's name.
            after: Records with a greater sequence number; 0 for all.
            limit: At most this many.
            now: The present, ns since the Unix epoch: ``expires_s`` is then what is left of it, and 0 for a record
                whose time is over (``give_up`` it); None: ``expires_s`` as it was appended.

        Returns:
            ``(seq, publication)`` with ``seq`` rising, not always by one.

        Raises:
            TransientError: The file cannot be read now.
        """
        with self._lock, self._translated():
            floor = self._broker_floors.get(broker, 0)
            start = max(after, floor)
            found = record.pending(self._connection, broker, after=start, limit=limit, now=now)
            if start == floor:  # nothing of this broker lies before what was found
                self._broker_floors[broker] = found[0][0] - 1 if found else self._seq
        return found

    def scan(
        self, broker: str, rank: int, *, after: int, until: int, limit: int, now: int | None = None
    ) -> tuple[list[tuple[int, Publication]], int, bool]:
        """Look for the oldest records of one broker and rank (``record.py``) beyond a point, some way and no further.

        Args:
            broker: The broker's name.
            rank: 0: predictions; 1: everything else.
            after: Records with a greater number,
            until: and none greater than this.
            limit: At most this many; at least 1.
            now: As for ``pending``.

        Returns:
            What was found, as by ``pending``; the number to go on from; whether that is the end for now.

        Raises:
            TransientError: The file cannot be read now.
        """
        with self._lock, self._translated():
            end = min(until, self._seq)
            if after >= end:
                return [], after, True
            found, reached = record.scan(
                self._connection, broker, rank, after=after, until=end, limit=limit, now=now
            )
        return found, reached, reached >= end

    def acknowledge(self, seqs: Sequence[int]) -> None:
        """Remove records that upstream has taken; numbers that are gone already are passed over.

        Cheap for runs of neighbouring numbers. Not synced on its own: a power cut may bring back records that
        were acknowledged, which are then sent again, byte for byte.

        Raises:
            TransientError: Nothing was removed; acknowledge the same numbers again.
        """
        with self._lock:
            self._acknowledged += self._remove(seqs)

    def give_up(self, seqs: Sequence[int], *, reason: str) -> None:
        """Remove records that upstream will never get, and count them as evicted; as ``acknowledge`` otherwise.

        Args:
            seqs: Numbers of records; those that are gone already are passed over.
            reason: Why, in snake_case, such as ``refused`` or ``expired``: the key in ``figures().evicted``.

        Raises:
            TransientError: Nothing was removed; give the same numbers up again.
        """
        with self._lock:
            removed = self._remove(seqs)
            if removed:
                self._count(reason, removed)

    def retire(self, now_s: float) -> None:
        """Give up predictions that are older than ``max_age_s``. Any thread; called often it does nothing.

        A few thousand records at most; the next call goes on. The lock is held for some hundred at a time.

        Args:
            now_s: Monotonic clock, the same one in every call.

        Raises:
            TransientError: The file cannot be read or written now.
        """
        ages = self._ages
        if ages is None or now_s < ages.look_at_s:  # harmless race: a stale look_at_s lies in the past
            return
        for _ in range(_RETIREMENTS):
            with self._lock:
                if not self._retire_some(ages, now_s):
                    ages.note(self._seq, now_s)
                    return

    def figures(self, now_s: float | None = None) -> OutboxFigures:
        """Return what waits, and what was done since this object was made. Any thread.

        ``evicted`` counts what upstream will not get, by reason: a kind (``prediction``, ``alert``) made room for
        others; ``too_old`` was older than ``max_age_s``; ``oversize`` was refused by ``append``, larger than
        ``max_bytes`` alone; ``damaged`` was in a file that was set aside while running, where some may have been sent
        already; any other reason is the one that ``give_up`` was told. All but the first two are keys only once they
        happened. What a file held that was found damaged at the start is unknown, and not counted.

        Args:
            now_s: Monotonic clock, the same one in every call; None: it is looked at.
        """
        now_s = time.monotonic() if now_s is None else now_s
        with self._lock:
            self._coverage.note(self._appended_bytes, now_s)
            covers_s = self._coverage.lasts_s(self._max_bytes - self._bytes)
            if covers_s is not None and self._max_age_s is not None:
                covers_s = min(covers_s, self._max_age_s)
            return OutboxFigures(
                records=self._records,
                payload_bytes=self._bytes,
                appended=self._appended,
                acknowledged=self._acknowledged,
                evicted=dict(self._evicted),
                covers_s=None if covers_s is None else round(covers_s, 0),
            )

    def tidy(self) -> None:
        """Write the WAL back and return unused space, when it is time to. Any thread that can wait.

        Called often it does nothing. Its failures are left for the next append to meet.
        """
        if self._written < _TIDY_BYTES or not self._tidy_lock.acquire(blocking=False):
            return
        try:
            self._written = (
                0  # an append that adds to it at this moment may be lost: the next time comes later
            )
            with contextlib.suppress(sqlite3.Error):
                self._checkpointer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                with self._lock:
                    self._shrink()
        finally:
            self._tidy_lock.release()

    def close(self) -> None:
        """Write everything into the database file and close it. Twice is once."""
        with self._tidy_lock, self._lock:
            self._disconnect()

    def _insert(self, rows: list[record.Row], added: int) -> None:
        """Add rows and cut the outbox to its capacity, in one transaction; the caller holds the lock."""
        evicted: list[tuple[str, int]] = []
        with self._translated():
            floors = self._rank_floors
            excess = self._bytes + added - self._max_bytes
            if len(rows) == 1 and excess <= 0:  # alone a statement is its own transaction
                record.insert(self._connection, rows)
            else:
                self._connection.execute("BEGIN IMMEDIATE")
                record.insert(self._connection, rows)
                if excess > 0:
                    evicted, floors = record.evict(self._connection, floors, excess=excess, last=rows[-1][0])
                self._connection.execute("COMMIT")
        self._seq = rows[-1][0]
        self._records += len(rows)
        self._bytes += added
        self._appended_bytes += added
        self._written += added + database.PAGE_BYTES
        self._rank_floors[:] = floors  # not before the commit: a failed one gives its numbers out again
        for kind, size in evicted:
            self._count(kind, 1)
            self._records -= 1
            self._bytes -= size

    def _remove(self, seqs: Sequence[int]) -> int:
        """Delete records, in one transaction; return how many there were. The caller holds the lock."""
        if not seqs:
            return 0
        records, freed = 0, 0
        with self._translated(), self._unsynced():
            execute = self._connection.execute
            execute("BEGIN IMMEDIATE")
            for run in _runs(seqs):
                count, size = execute(_RUN_FIGURES, run).fetchone()
                if count:
                    execute(_RUN_DELETE, run)
                    records += count
                    freed += int(size)
            execute("COMMIT")
            self._records -= records
            self._bytes -= freed
            self._written += freed // 2 + database.PAGE_BYTES
        return records

    def _retire_some(self, ages: Ages, now_s: float) -> bool:
        """Give up some of what is too old; tell whether more may be. The caller holds the lock."""
        mark = ages.due(now_s)
        if mark is None:
            return False
        with self._translated(), self._unsynced():
            after = max(self._retired_to, self._rank_floors[0])
            gone = record.marked(self._connection, mark, after=after, limit=_RETIRED_AT_ONCE)
            if gone:
                self._connection.execute("BEGIN IMMEDIATE")
                record.delete(self._connection, [seq for seq, _ in gone])
                self._connection.execute("COMMIT")
        is_done = len(gone) < _RETIRED_AT_ONCE
        reached = mark.last if is_done else gone[-1][0]
        if mark.is_about_all:  # then no prediction is left up to there
            self._rank_floors[0] = max(self._rank_floors[0], reached)
        self._retired_to = reached
        if is_done:
            ages.done()
            self._retired_to = 0  # the next mark may be about records that this one passed over
        if gone:
            freed = sum(size for _, size in gone)
            self._records -= len(gone)
            self._bytes -= freed
            self._written += freed // 2 + database.PAGE_BYTES
            self._count("too_old", len(gone))
        return True

    def _begun_ages(self, max_age_s: float) -> Ages:
        """Look how old what is there was when this process began."""
        ages = Ages(max_age_s)
        wall, now_s = time.time_ns(), time.monotonic()
        with self._lock, self._translated():
            found = record.by_age(self._connection, wall=wall, grain_ns=ages.grain_ns)
            ages.begin(found, last=self._seq, wall=wall, now_s=now_s)
        return ages

    def _count(self, reason: str, records: int) -> None:
        self._evicted[reason] = self._evicted.get(reason, 0) + records

    def _shrink(self) -> None:
        """Return the space of a long outage to the file system; the caller holds both locks."""
        if self._bytes < _SHRINK_BELOW_BYTES:
            (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
            if free >= _SHRINK_PAGES:
                self._connection.execute("VACUUM")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def _open(self) -> None:
        """Connect, check whose file it is, and count what it holds.

        The count reads every page of the table's tree, which is the check for damage at once: ``quick_check``
        would read every payload besides, seconds for a full outbox. Damage it misses is dealt with when met.
        """
        is_adopted = wal.adopt_orphan(self._path)
        if is_adopted is False:
            self._path.touch()  # so that it is set aside, with its log
            raise sqlite3.DatabaseError("the database file is gone, and its log does not hold all of it")
        written = wal.frames_written(self._path, page_bytes=database.PAGE_BYTES)
        self._connection = self._checkpointer = database.connect(self._path, self._durability)
        try:
            if written:
                self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # now it recovers
                passed_over = written - wal.frames_used(self._path)
            try:
                database.claim(
                    self._connection,
                    application_id=record.APPLICATION_ID,
                    version=record.VERSION,
                    schema=record.SCHEMA,
                    migrations=record.MIGRATIONS,
                )
            except StartupError as error:
                raise StartupError(f"{self._path}: {error}") from error
            last, records, size = self._connection.execute(_TOTALS).fetchone()
            if written and passed_over > 0:
                self._log.warning("outbox_cut_off", frames=passed_over, lost="unknown", records=records)
            if is_adopted:
                self._log.warning("outbox_restored", records=records)
            self._checkpointer = database.connect(self._path, self._durability)
        except BaseException:
            self._disconnect()
            raise
        self._seq = max(self._seq, last or 0)
        self._records = int(records)
        self._bytes = int(size)
        # Lower bounds, in memory only: no record of this broker, or of this rank, has a number up to that.
        self._broker_floors: dict[str, int] = {}
        self._rank_floors: list[int] = [0] * record.RANKS

    def _disconnect(self) -> None:
        """Close both connections; the last one to close writes the WAL back and removes it."""
        for connection in (self._checkpointer, self._connection):
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    @contextlib.contextmanager
    def _unsynced(self) -> Iterator[None]:
        """Spare a commit its fsync under ``power``; the next synced commit covers the whole WAL."""
        if self._durability != "power":
            yield
            return
        self._connection.execute("PRAGMA synchronous = NORMAL")
        try:
            yield
        finally:
            self._roll_back()  # the setting cannot change inside a transaction
            self._connection.execute("PRAGMA synchronous = FULL")

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """After an error of SQLite roll back, replace a damaged file, raise TransientError; lock held."""
        if self._damage is not None:
            self._replace(self._damage, lost=self._records)
        try:
            yield
        except sqlite3.ProgrammingError:  # used after close(), or a wrong parameter: our bug
            raise
        except sqlite3.Error as error:
            self._roll_back()
            if database.is_damage(error):
                self._disconnect()
                self._replace(error, lost=self._records)
            raise TransientError(f"{self._path}: {error}") from error

    def _roll_back(self) -> None:
        """End an open transaction, if SQLite has not done so itself."""
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def _replace(self, error: sqlite3.Error, *, lost: int | None) -> None:
        """Set a damaged file aside and begin a fresh one.

        Args:
            error: How the damage showed.
            lost: Records in the file, which nobody will send now; None if it was never counted.

        Raises:
            TransientError: The folder does not allow it, or the disk; the next call tries again.
        """
        self._damage = error
        try:
            if self._path.exists():  # not so if an earlier attempt came half way
                self.set_aside = database.set_aside(self._path)
                self._log.error(
                    "outbox_damaged",
                    reason=str(error),
                    set_aside=str(self.set_aside),
                    lost="unknown" if lost is None else lost,
                )
            self._open()
            self._damage = None
        except (OSError, sqlite3.Error) as failure:
            message = f"{self._path}: damaged ({error}), and cannot be replaced: {failure}"
            raise TransientError(message) from failure
        if lost:
            self._count("damaged", lost)


def _runs(seqs: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Return the numbers as ranges ``(first, last)`` without holes, rising."""
    ordered = sorted(seqs)
    first = last = ordered[0]
    for seq in ordered:
        if seq > last + 1:
            yield first, last
            first = seq
        last = seq
    yield first, last
