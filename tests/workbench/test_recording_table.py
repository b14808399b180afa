"""Rows of CSV and JSON lines: what is read, what is left out and where it stands."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gatewayd.workbench.recording
from gatewayd.workbench.recording import RecordingError, Unread
from gatewayd.workbench.recording_table import read_rows


def read(path, kind="csv"):
    unread, told = Unread(), []
    rows = list(read_rows(path, kind, unread, lambda *titles: told.append(titles)))
    return [(number, dict(zip(titles, cells, strict=True))) for number, titles, cells in rows], unread, told


def write(folder, text, name="t.csv"):
    path = folder / name
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_csv_is_read_whatever_its_delimiter(tmp_path, delimiter, name):
    text = '\ufeff\n ts ,a,b\n1,2,"x, ; \t"\n\n2,"3\n",\n'.replace(",", delimiter)
    path = write(tmp_path, text, name)
    rows, unread, told = read(path)
    quoted = "x, ; \t".replace(",", delimiter)
    assert rows == [(3, {"ts": "1", "a": "2", "b": quoted}), (6, {"ts": "2", "a": "3\n", "b": ""})]
    assert told == [(path, 2, ("ts", "a", "b"))]
    assert not unread.counts


@pytest.mark.parametrize(
    ("line", "reason"),
    [("1,2,3", "wrong_columns"), ("1", "wrong_columns"), (b"1,\xff", "not_utf8"), ('"1"x,2', "not_csv")],
)
def test_a_bad_row_is_counted_with_its_place_and_the_others_are_read(tmp_path, line, reason):
    bad = line if isinstance(line, bytes) else line.encode()
    path = write(tmp_path, b"ts,a\n1,2\n" + bad + b"\n3,4\n" + bad + b"\n")
    rows, unread, _ = read(path)
    assert [number for number, _ in rows] == [2, 4]
    assert unread.counts == {reason: 2}
    assert unread.examples == {reason: f"{path}:3"}


def test_a_quote_that_never_ends_does_not_fill_the_memory(tmp_path):
    path = write(tmp_path, "ts,a\n" + '1,"2\n' + "3,4\n" * 100_000)
    rows, unread, _ = read(path)
    assert unread.counts["not_csv"] == 1
    assert len(rows) > 60_000  # csv's limit of a field is 128 KiB: what comes after is read


def test_a_long_line_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(gatewayd.workbench.recording, "MAX_LINE_BYTES", 10)
    for kind, head, row in (("csv", "ts,a\n", "1,2\n"), ("rows", "", '{"a": 1}\n')):
        rows, unread, _ = read(write(tmp_path, head + row + "9" * 30 + "\n" + row), kind)
        assert len(rows) == 2
        assert unread.counts == {"line_too_long": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "is empty"), ("\n \n", "is empty"), ("a,b,a\n1,2,3", ":1: column 'a' occurs twice")],
)
def test_a_csv_without_a_first_line_is_no_recording(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(RecordingError) as caught:
        read(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_objects_within_objects_are_columns_with_a_dot(tmp_path):
    text = (
        '{"t": 1, "motor": {"temp": 2, "axis": {"x": 3}}, "list": [{"y": 1}]}\n'
        + '{"a":' * 20
        + "1"
        + "}" * 20
    )
    rows, unread, _ = read(write(tmp_path, text), "rows")
    assert rows[0] == (1, {"t": 1, "motor.temp": 2, "motor.axis.x": 3, "list": [{"y": 1}]})
    ((name, rest),) = rows[1][1].items()
    assert name == ".".join("a" * 17)  # deeper than any format reads
    assert isinstance(rest, dict)
    assert not unread.counts


def test_json_lines_are_rows(tmp_path):
    path = write(tmp_path, '\ufeff{"a": 1.50, "b": null}\n\n{"c": "x"}\n[1]\n{\nnull\n')
    rows, unread, told = read(path, "rows")
    assert rows == [(1, {"a": 1.5, "b": None}), (3, {"c": "x"})]
    assert unread.counts == {"not_an_object": 2, "not_json": 1}
    assert unread.examples == {"not_an_object": f"{path}:4", "not_json": f"{path}:5"}
    assert told == []  # each row has its own columns


@given(
    st.lists(st.lists(st.text(alphabet="ab1 ;\"'\n\r", max_size=5), min_size=2, max_size=3), max_size=6),
)
def test_any_text_is_read_or_counted(tmp_path_factory, cells):
    text = "ts,a\n" + "\n".join(",".join(row) for row in cells)
    rows, unread, _ = read(write(tmp_path_factory.getbasetemp(), text, "any.csv"))
    assert all(set(row) == {"ts", "a"} for _, row in rows)
    assert len(rows) + unread.counts.total() <= text.count("\n") + text.count("\r") + 1
