"""Whose file it is, and what becomes of a damaged one."""

import sqlite3

import pytest

from gatewayd.errors import StartupError, TransientError
from gatewayd.store import database

SCHEMA = "CREATE TABLE t (x INTEGER)"


@pytest.fixture
def connection(tmp_path):
    opened = database.connect(tmp_path / "a.db", "process")
    yield opened
    opened.close()


def claim(connection, *, application_id=7, version=2, migrations=None):
    database.claim(
        connection, application_id=application_id, version=version, schema=SCHEMA, migrations=migrations or {}
    )


def test_an_empty_file_becomes_ours_and_stays_so(connection):
    claim(connection)
    claim(connection)
    assert connection.execute("PRAGMA application_id").fetchone() == (7,)
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_another_applications_file_is_left_alone(connection):
    connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StartupError, match="expected a file of gatewayd"):
        claim(connection)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_a_newer_version_is_left_alone(connection):
    claim(connection, version=3)
    with pytest.raises(StartupError, match="expected format 2 or older, found 3"):
        claim(connection, version=2)


def test_an_older_version_is_brought_up_step_by_step(connection):
    claim(connection, version=1)
    connection.execute("INSERT INTO t VALUES (5)")
    steps = {
        1: ("ALTER TABLE t ADD COLUMN y INTEGER NOT NULL DEFAULT 6",),
        2: ("UPDATE t SET y = x + y", "ALTER TABLE t ADD COLUMN z TEXT"),
    }
    for _ in range(2):  # the second time there is nothing to do
        claim(connection, version=3, migrations=steps)
        assert connection.execute("SELECT * FROM t").fetchall() == [(5, 11, None)]
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)


def test_a_step_that_fails_leaves_the_version_before_it(connection, tmp_path):
    claim(connection, version=1)
    connection.execute("INSERT INTO t VALUES (5)")
    steps = {
        1: ("ALTER TABLE t ADD COLUMN y INTEGER",),
        2: ("ALTER TABLE t ADD COLUMN z INTEGER", "UPDATE absent SET x = 1"),
    }
    with pytest.raises(sqlite3.OperationalError, match="absent"):
        claim(connection, version=3, migrations=steps)
    connection.close()
    again = database.connect(tmp_path / "a.db", "process")
    assert again.execute("PRAGMA user_version").fetchone() == (2,)
    assert again.execute("SELECT * FROM t").fetchall() == [(5, None)]
    again.close()


def test_what_the_module_itself_finds_counts_as_damage(connection):
    """Python's sqlite3 raises without a code when a text column is no UTF-8."""
    with pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute("SELECT CAST(x'ff' AS TEXT)").fetchone()
    assert database.is_damage(caught.value)


@pytest.mark.parametrize(("code", "kind"), [(13, TransientError), (266, TransientError), (14, StartupError)])
def test_failures_to_open_are_sorted_by_who_must_act(tmp_path, code, kind):
    """SQLITE_FULL, SQLITE_IOERR_READ (extended) pass; SQLITE_CANTOPEN does not."""
    error = sqlite3.OperationalError("why")
    error.sqlite_errorcode = code
    assert not database.is_damage(error)
    failure = database.opening_failure(tmp_path, error)
    assert type(failure) is kind
    assert str(failure) == f"{tmp_path}: cannot be opened: why"


def test_setting_aside_takes_the_companions_and_the_next_number(tmp_path):
    path = tmp_path / "a.db"
    (tmp_path / "a.db.damaged-9").write_text("")
    (tmp_path / "a.db.damaged-10").write_text("")
    (tmp_path / "a.db.damaged-10-wal").write_text("")
    path.write_text("db")
    (tmp_path / "a.db-wal").write_text("wal")
    target = database.set_aside(path)
    assert target == tmp_path / "a.db.damaged-11"
    assert (target.read_text(), (tmp_path / "a.db.damaged-11-wal").read_text()) == ("db", "wal")
    assert not path.exists()
    assert not (tmp_path / "a.db-wal").exists()
