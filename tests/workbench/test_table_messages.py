"""Tables of one stream: in order of time whatever their own, in one file or in several."""

import csv
import io
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gatewayd.workbench.table_messages
from gatewayd.config.settings import Settings
from gatewayd.workbench.recording import RecordingError, Unread
from gatewayd.workbench.row_messages import TableError, TableOptions
from gatewayd.workbench.table_messages import read_tables


def make(*names):
    stream = {
        "from": "local",
        "topic": "site/{line}/{device}/t",
        "time": {"field": "ts"},
        "channels": {"a": {}},
        "publish": {"to": "local", "topic": "out/{stream}/{line}/{device}"},
    }
    brokers = {"local": {"host": "h"}}
    return Settings.model_validate(
        {"gateway": {"id": "gw"}, "brokers": brokers, "streams": dict.fromkeys(names or ("pump",), stream)}
    )


def test_tables_belong_to_one_stream():
    def read(settings, **options):
        return read_tables([], settings, TableOptions(**options), Unread())

    with pytest.raises(TableError, match="--stream which one the rows belong to: x, y"):
        read(make("x", "y"))
    with pytest.raises(TableError, match="there is no stream 'z'; there are x, y"):
        read(make("x", "y"), stream="z")
    assert list(read(make("x", "y"), stream="y")) == []


def table(folder, name, rows):
    text = io.StringIO()
    csv.writer(text).writerows([("ts", "device", "a"), *rows])
    path = folder / name
    path.write_text(text.getvalue())
    return path, "csv"


def read_all(files):
    unread = Unread()
    found = list(read_tables(files, make(), TableOptions(), unread))
    return [(message[0], json.loads(message[1])["a"], at) for message, at in found], unread


some_rows = st.lists(
    st.tuples(st.integers(1_700_000_000, 1_700_000_009), st.sampled_from("pqr"), st.integers(0, 99)),
    max_size=12,
)


@given(some_rows, st.lists(st.integers(0, 12), max_size=3))
def test_any_order_and_any_cut_into_files_give_rows_in_order_of_time(tmp_path_factory, rows, cuts):
    folder = tmp_path_factory.getbasetemp()
    edges = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    whole, _ = read_all([table(folder, "whole.csv", rows)])
    parts = [table(folder, f"part{i}.csv", rows[begin:end]) for i, (begin, end) in enumerate(pairwise(edges))]
    expected = [
        (f"site/_/{device}/t".encode(), a, second * 10**9)
        for second, device, a in sorted(rows, key=lambda row: row[0])  # stable: at equal times as they stand
    ]
    assert whole == expected
    assert read_all(parts)[0] == expected


def test_some_rowsleft_out_are_counted_once(tmp_path):
    rows = [(1_700_000_005, "p", 1), ("soon", "p", 2), (1_700_000_001, "a/b", 3), (1_700_000_002, "p", "")]
    file = table(tmp_path, "t.csv", rows)
    found, unread = read_all([file])
    assert [a for _, a, _ in found] == [1]
    assert unread.counts == {"bad_time": 1, "bad_level": 1, "no_values": 1}
    assert unread.examples["bad_level"] == f"{file[0]}:4"


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    connect = gatewayd.workbench.table_messages.sqlite3.connect

    def small(name):
        database = connect(name)
        database.execute("PRAGMA max_page_count = 3")
        return database

    monkeypatch.setattr(gatewayd.workbench.table_messages.sqlite3, "connect", small)
    file = table(tmp_path, "t.csv", [(1_700_000_999 - n, "p", n) for n in range(500)])
    with pytest.raises(
        RecordingError, match=r"can't be put in order in the folder for temporary files: .*full"
    ):
        read_all([file])
