"""The table by itself: files of older formats."""

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.verdict import Publication
from gatewayd.store import record
from gatewayd.store.outbox import Outbox

# As the first version of gatewayd made it.
FORMAT_1 = """CREATE TABLE record (
    seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, broker TEXT NOT NULL, kind INTEGER NOT NULL,
    qos INTEGER NOT NULL, retain INTEGER NOT NULL, size INTEGER NOT NULL, topic TEXT NOT NULL,
    payload BLOB NOT NULL
)"""
ROWS_1 = [
    (3, 17, "cloud", 0, 1, 0, 4, "t", b"abc"),
    (4, 17, "cloud", 1, 0, 1, 4, "\u00b5", b"\x00\xff"),
    (9, 18, "site", 1, 1, 0, 1, "t", b""),
]


@pytest.fixture
def old_file(tmp_path):
    path = tmp_path / "outbox.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA page_size = 8192")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(FORMAT_1)
    connection.execute("PRAGMA application_id = 0x67777864")
    connection.execute("PRAGMA user_version = 1")
    connection.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", ROWS_1)
    connection.close()
    return path


def drawing(path):
    connection = sqlite3.connect(path)
    found = connection.execute("PRAGMA table_info(record)").fetchall()
    connection.close()
    return found


def test_a_file_of_format_1_is_brought_here_in_place(old_file, tmp_path):
    """Every record comes back with its number and its kind, and the table is drawn as a fresh one is."""
    old = Outbox(old_file, max_bytes=1000, durability="process")
    assert old.set_aside is None
    wanted = {
        seq: Publication(
            broker=broker,
            kind=("prediction", "alert")[kind],
            topic=topic,
            payload=payload,
            qos=qos,
            retain=bool(retain),
        )
        for seq, _, broker, kind, qos, retain, _, topic, payload in ROWS_1
    }
    found = [pair for broker in ("cloud", "site") for pair in old.pending(broker, after=0, limit=9)]
    assert dict(found) == wanted
    assert (old.figures().records, old.figures().payload_bytes) == (3, 9)
    added = Publication(broker="cloud", kind="alert", topic="t", payload=b"x", qos=1, retain=False)
    old.append([added], at=19)
    assert old.pending("cloud", after=4, limit=9) == [(10, added)]
    old.close()
    Outbox(tmp_path / "fresh.db", max_bytes=1000, durability="process").close()
    assert drawing(old_file) == drawing(tmp_path / "fresh.db")


def test_the_policy_of_eviction_holds_for_records_of_format_1(old_file):
    old = Outbox(old_file, max_bytes=10, durability="process")
    big = Publication(broker="site", kind="alert", topic="t", payload=b"1234", qos=1, retain=False)
    old.append([big], at=19)
    assert [seq for broker in ("cloud", "site") for seq, _ in old.pending(broker, after=0, limit=9)] == [
        4,
        9,
        10,
    ]
    assert old.figures().evicted == {"prediction": 1, "alert": 0}
    old.close()


@pytest.mark.parametrize("kind", ["alert_state", "discovery", "response"])
def test_a_kind_that_is_not_known_yet_is_kept_as_alerts_are(tmp_path, kind):
    """It comes back by its name, outlives predictions, and goes in its turn among the others."""
    item = Publication(broker="b", kind=kind, topic="t", payload=b"1234", qos=1, retain=True)
    prediction = Publication(broker="b", kind="prediction", topic="t", payload=b"p234", qos=1, retain=False)
    alert = Publication(broker="b", kind="alert", topic="t", payload=b"a234", qos=1, retain=False)
    outbox = Outbox(tmp_path / "outbox.db", max_bytes=10, durability="process")
    outbox.append([item, prediction], at=1)
    outbox.append([alert], at=2)
    assert [found for _, found in outbox.pending("b", after=0, limit=9)] == [item, alert]
    outbox.append([alert], at=3)
    assert [found for _, found in outbox.pending("b", after=0, limit=9)] == [alert, alert]
    assert outbox.figures().evicted == {"prediction": 1, "alert": 0, kind: 1}
    outbox.close()


def publication(**fields):
    plain = {"broker": "b", "kind": "alert", "topic": "\u00b5", "payload": b"abc", "qos": 1, "retain": False}
    return Publication(**(plain | fields))


def test_a_row_counts_topic_payload_and_properties_in_bytes():
    assert record.row_of(publication(), 1, 1)[record.SIZE] == 5
    item = publication(content_type="a/\u00b5", user_properties=(("k", "\u00b5"), ("k", "")))
    assert record.row_of(item, 1, 1)[record.SIZE] == 5 + 4 + 3 + 1


AT = 1_700_000_000 * 10**9


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**34))
def test_what_is_left_of_a_time_limit_falls_second_by_second_to_zero(expires_s, waited_s):
    left = record.left_s(expires_s, AT, AT + waited_s * 10**9)
    assert left == max(0, expires_s - waited_s)
    # not before its time is over, though less than a second may be left
    assert record.left_s(expires_s, AT, AT + waited_s * 10**9 - 1) == min(
        max(0, expires_s - waited_s + 1), expires_s
    )


@pytest.mark.parametrize(
    ("at", "now"),
    [
        (AT, None),
        (AT, AT - 10**12),  # the clock was set back
        (100 * 10**9, AT),  # appended in 1970, before the clock was set: the wait is unknown
    ],
)
def test_a_wait_that_nobody_knows_is_not_deducted(at, now):
    assert record.left_s(60, at, now) == 60
