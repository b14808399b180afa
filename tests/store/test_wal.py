"""What SQLite passes over is counted, and a log without its database is not thrown away."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from gatewayd.store import database, wal

PAGE = database.PAGE_BYTES
FRAME = 24 + PAGE


@pytest.fixture
def crashed(tmp_path):
    """Ten commits of one row, as the kernel holds them when the process is killed."""
    connection = database.connect(tmp_path / "live.db", "process")
    database.claim(connection, application_id=7, version=1, schema="CREATE TABLE t (x)", migrations={})
    for number in range(10):
        connection.execute("INSERT INTO t VALUES (?)", (number,))
    for suffix in ("", "-wal", "-shm"):
        shutil.copy(tmp_path / f"live.db{suffix}", tmp_path / f"a.db{suffix}")
    connection.close()
    return tmp_path / "a.db"


def recovered(path):
    """What SQLite finds, and how many frames it used."""
    connection = sqlite3.connect(path)
    rows = [x for (x,) in connection.execute("SELECT x FROM t")]
    used = wal.frames_used(path)
    connection.close()
    return rows, used


def log_of(path):
    return Path(f"{path}-wal")


def test_a_whole_log_is_used_whole(crashed):
    written = wal.frames_written(crashed, page_bytes=PAGE)
    assert written == (log_of(crashed).stat().st_size - 32) // FRAME > 10
    assert recovered(crashed) == (list(range(10)), written)


@pytest.mark.parametrize("cut", [1, 24, 200, FRAME - 24, FRAME - 1])
def test_a_frame_that_is_cut_counts_as_written_and_not_as_used(crashed, cut):
    log = log_of(crashed)
    written = wal.frames_written(crashed, page_bytes=PAGE)
    log.write_bytes(log.read_bytes()[:-cut])
    assert wal.frames_written(crashed, page_bytes=PAGE) == written
    assert recovered(crashed) == (list(range(9)), written - 1)


def test_frames_of_an_older_generation_do_not_count(crashed):
    """After a checkpoint the log begins again at its front, and what lies behind is left from before."""
    connection = sqlite3.connect(crashed, isolation_level=None)
    connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    connection.execute("INSERT INTO t VALUES (10)")
    copy = crashed.with_name("b.db")
    for suffix in ("", "-wal"):
        shutil.copy(f"{crashed}{suffix}", f"{copy}{suffix}")
    connection.close()
    assert log_of(copy).stat().st_size > 10 * FRAME
    assert wal.frames_written(copy, page_bytes=PAGE) == 1
    assert recovered(copy) == (list(range(11)), 1)


def test_a_log_whose_header_is_gone_counts_by_its_size(crashed):
    log = log_of(crashed)
    written = wal.frames_written(crashed, page_bytes=PAGE)
    log.write_bytes(bytes(32) + log.read_bytes()[32:])
    assert wal.frames_written(crashed, page_bytes=PAGE) == written


@pytest.mark.parametrize("left", [0, 10, 32])
def test_a_log_without_a_frame_holds_nothing(crashed, left):
    log_of(crashed).write_bytes(log_of(crashed).read_bytes()[:left])
    assert wal.frames_written(crashed, page_bytes=PAGE) == 0
    crashed.unlink()
    assert not wal.adopt_orphan(crashed)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_an_orphaned_log_that_holds_everything_is_recovered(crashed, damage):
    damage(crashed)
    assert wal.adopt_orphan(crashed) is True
    assert recovered(crashed)[0] == list(range(10))


def test_an_orphaned_log_without_the_first_page_is_hopeless(crashed):
    connection = sqlite3.connect(crashed, isolation_level=None)
    connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    connection.execute("UPDATE t SET x = 0 WHERE x = 1")
    copy = crashed.with_name("b.db")
    shutil.copy(log_of(crashed), log_of(copy))
    connection.close()
    assert wal.adopt_orphan(copy) is False
    assert not copy.exists()


def test_a_database_that_is_there_is_left_alone(crashed):
    before = crashed.read_bytes()
    assert wal.adopt_orphan(crashed) is None
    assert crashed.read_bytes() == before
    assert wal.adopt_orphan(crashed.with_name("none.db")) is None
    assert wal.frames_written(crashed.with_name("none.db"), page_bytes=PAGE) == 0
    assert wal.frames_used(crashed.with_name("none.db")) == 0


def test_a_frame_that_never_reached_the_disk_hides_none_behind_it(crashed):
    log = bytearray(log_of(crashed).read_bytes())
    written = wal.frames_written(crashed, page_bytes=PAGE)
    lost = 32 + (written - 4) * FRAME
    log[lost : lost + FRAME] = bytes(FRAME)
    log_of(crashed).write_bytes(log)
    assert wal.frames_written(crashed, page_bytes=PAGE) == written
    assert recovered(crashed) == (list(range(6)), written - 4)
