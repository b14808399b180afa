"""Recordings: what is read, and what a person is told to put right."""

import gzip
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.model import ChannelSpec
from gatewayd.errors import ConfigError
from gatewayd.workbench.table import Columns, channel_name, parse_time, read_table

ALL = Columns(time="ts", device="device", label="anomaly")
GOOD = "ts,device,flow,temp,anomaly\n1,a,1.5,20,0\n1,b,2.5,21,1\n2,a,3.5,22,0\n"


def write(folder, text, name="data.csv"):
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def refusal(folder, text, columns=ALL):
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        read_table(path, columns)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(path), "FILE")


@pytest.mark.parametrize("name", ["data.csv", "data.csv.gz"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_columns_are_told_apart_by_delimiter_and_name(tmp_path, name, delimiter):
    table = read_table(write(tmp_path, GOOD.replace(",", delimiter), name), ALL)
    assert [channel.name for channel in table.channels] == ["flow", "temp"]
    assert table.values.tolist() == [[1.5, 20], [2.5, 21], [3.5, 22]]
    assert table.device.tolist() == [0, 1, 0]
    assert table.label.tolist() == [0, 1, 0]
    assert table.time.tolist() == [10**9, 10**9, 2 * 10**9]
    assert table.source == name


def test_channels_come_in_the_order_asked_for_and_by_their_safe_names(tmp_path):
    path = write(tmp_path, "Volume Flow (l/min),ts,x\r\n1,1,9\r\n2,2,8\r\n")
    wanted = (ChannelSpec(name="x", unit=""), ChannelSpec(name="Volume_Flow_l_min", unit="l/min"))
    assert read_table(path, Columns(channels=wanted)).values.tolist() == [[9, 1], [8, 2]]
    rest = read_table(path, Columns(time="ts", ignore=("x",)))
    assert [channel.name for channel in rest.channels] == ["Volume_Flow_l_min"]
    assert rest.label is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "FILE: must have a line of column names and at least one row"),
        ("ts,device,flow,anomaly\n", "FILE: must have a line of column names and at least one row"),
        ("ts,flow,anomaly\n1,1,0\n", "FILE:1:1: has no column 'device'; there are ts, flow, anomaly"),
        (GOOD + "3,a,,22,0\n", "FILE:5:1: column 'flow' must be a finite number, not ''"),
        (GOOD + "3,a,nan,22,0\n", "FILE:5:1: column 'flow' must be a finite number, not 'nan'"),
        (GOOD + "3,a,1,1e999,0\n", "FILE:5:1: column 'temp' must be a finite number, not '1e999'"),
        (
            GOOD + "3,a,1,-1e300,0\n",
            "FILE:5:1: column 'temp' must be of size 3.4e+38 at most (float32), not '-1e300'",
        ),
        (GOOD + "3,a,1,1\n", "FILE:5:1: expected 5 columns as in line 1, not 4"),
        (GOOD + "2,a,1,1,0\n", "FILE:5:1: time '2' must be after the row before it, and is not"),
        (
            GOOD + "soon,a,1,1,0\n",
            "FILE:5:1: column 'ts': 'soon' is no time: a number since 1970 or ISO 8601 is expected",
        ),
        (GOOD + "3,a,1,1,0.5\n", "FILE:5:1: label 'anomaly' must be 0, 1, 2 …, not '0.5'"),
        (GOOD + "3,a,1,1,bad\n", "FILE:5:1: label 'anomaly' must be 0, 1, 2 …, not 'bad'"),
        (GOOD + '3,a,"1,1,0\n', "FILE:5:1: is not CSV: unexpected end of data"),
        ("a,a\n1,2\n", "FILE:1:1: column 'a' occurs twice"),
        ("ts,device,anomaly\n1,a,0\n", "FILE:1:1: has no column left to be a channel"),
    ],
)
def test_each_mistake_is_one_line_with_its_place(tmp_path, text, message):
    assert refusal(tmp_path, text) == message


@pytest.mark.parametrize("title", ["ts", "Time", "timestamp", "date", "DateTime"])
def test_a_time_stamp_does_not_silently_become_a_channel(tmp_path, title):
    text = f"{title},flow\n1,5\n2,6\n"
    found = refusal(tmp_path, text, Columns())
    assert found.startswith(
        f"FILE:1:1: column '{title}' looks like the time stamp: name it with --time-column"
    )
    assert len(read_table(write(tmp_path, text), Columns(ignore=(title,))).channels) == 1
    wanted = (ChannelSpec(name=title, unit=""),)
    assert read_table(write(tmp_path, text), Columns(channels=wanted)).channels == wanted


def test_a_column_whose_title_leaves_no_name_is_refused(tmp_path):
    assert refusal(tmp_path, "a,°\n1,2\n", Columns()) == (
        "FILE:1:1: column '°' has no name for a channel: give it one, or --ignore it"
    )


def test_a_channel_rises_if_it_does_so_within_each_device(tmp_path):
    rows = "".join(f"{row},{'ab'[row % 2]},{row % 5},{1000 * (row % 2) + row}\n" for row in range(20))
    table = read_table(write(tmp_path, "n,device,flow,meter\n" + rows), Columns(device="device"))
    assert table.rising() == ("n", "meter")
    short = read_table(write(tmp_path, "n\n1\n2\n"), Columns())
    assert short.rising() == ()


def test_a_missing_or_damaged_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.csv: cannot be read: no such file"):
        read_table(tmp_path / "none.csv", ALL)
    cut_short = tmp_path / "cut.csv.gz"
    cut_short.write_bytes(gzip.compress(GOOD.encode())[:-9])
    with pytest.raises(ConfigError, match=r"cut\.csv\.gz: cannot be read as UTF-8 text"):
        read_table(cut_short, ALL)
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read as UTF-8 text"):
        read_table(binary, ALL)


def test_two_titles_with_one_safe_name_are_refused(tmp_path):
    wanted = Columns(channels=(ChannelSpec(name="a_b", unit=""),))
    assert "more than one column 'a_b'" in refusal(tmp_path, "a b,a/b\n1,2\n", wanted)


@given(st.integers(0, 4_000_000_000))
def test_a_time_is_the_same_in_every_unit_and_as_iso(second):
    expected = second * 10**9
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
    assert parse_time(moment.isoformat()) == expected
    assert parse_time(moment.replace(tzinfo=None).isoformat(sep=" ")) == expected
    assert parse_time(str(second)) == expected
    if second >= 1_000_000_000:  # from 2001 on, the magnitude tells the unit
        assert parse_time(str(second * 1000)) == expected
        assert parse_time(str(second * 10**6)) == expected
        assert parse_time(str(expected + 1)) == expected + 1


def test_a_zone_and_a_fraction_count():
    assert parse_time("1970-01-01T01:00:00.25+01:00") == 250_000_000
    assert parse_time("0.5") == 500_000_000


@pytest.mark.parametrize("text", ["", "nan", "inf", "1e30", "12:30", "yesterday"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="is no time"):
        parse_time(text)


@given(st.text())
def test_a_channel_name_is_safe_whatever_the_title(title):
    name = channel_name(title)
    assert len(name) <= 64
    assert all(letter.isascii() and (letter.isalnum() or letter in "_.-") for letter in name)
    assert np.all([name == "" or name[0].isalnum()])
