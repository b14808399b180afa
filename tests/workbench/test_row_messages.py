"""Rows become the messages that would have brought them, and their order is that of time."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gatewayd.workbench.row_messages
from gatewayd.config.settings import StreamSettings, TimeSettings
from gatewayd.errors import RejectedInputError
from gatewayd.formats.json_object import JsonObjectFormat
from gatewayd.formats.timestamp import to_ns
from gatewayd.workbench.recording import RecordingError
from gatewayd.workbench.recording_parquet import Nanoseconds
from gatewayd.workbench.recording_table import Row
from gatewayd.workbench.row_messages import RowWriter, TableError, TableOptions, stamp

BEGIN = 1_700_000_000 * 10**9


def writer(options=None, **stream):
    settings = {
        "from": "local",
        "topic": "site/{line}/{device}/t",
        "time": {"field": "ts"},
        "channels": {"a": {}, "b": {}},
        "publish": {"to": "local"},
        **stream,
    }
    return RowWriter("pump", StreamSettings.model_validate(settings), options or TableOptions())


def row(fields):
    return Row(1, tuple(fields), tuple(fields.values()))


def payload(fields, options=None, **stream):
    return json.loads(writer(options, **stream).message(row(fields))[0][1])


def topic(fields, options=None, **stream):
    return writer(options, **stream).message(row(fields))[0][0].decode()


ROW = {"ts": 1_700_000_000.25, "device": "p7", "line": "l1", "a": 1.5, "b": 2}


def test_a_row_is_the_message_that_would_have_brought_it():
    message, at = writer().message(row(ROW))
    assert message == (b"site/l1/p7/t", b'{"a":1.5,"b":2,"ts":1700000000.250000}', 0x30, 0)
    assert at == BEGIN + 250_000_000


def test_fields_are_paths_and_columns_are_called_as_either():
    channels = {"a": {"field": "motor.temp"}, "b": {"field": "motor.speed"}}
    expected = {"motor": {"temp": 1.5, "speed": 2}, "head": {"ts": 1_700_000_000.25}}
    for fields in (
        {"ts": ROW["ts"], "a": 1.5, "b": 2},
        {"ts": ROW["ts"], "motor.temp": 1.5, "motor.speed": 2},
        {"head.ts": ROW["ts"], "a": 1.5, "b": 2},
    ):
        assert payload(fields, channels=channels, time={"field": "head.ts"}) == expected


def test_a_channel_is_found_by_the_name_that_training_gave_it():
    """As gatewayd train turns titles into names."""
    channels = {"Volume_Flow_l_min": {}}
    assert (
        payload({"ts": 1_700_000_000, "Volume Flow (l/min)": "3"}, channels=channels)["Volume_Flow_l_min"]
        == 3
    )


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("21.50", b"21.50"),
        (" -1e-3 ", b"-1e-3"),
        ("0", b"0"),
        ("007", b'"007"'),
        (".5", b'".5"'),
        ("on", b'"on"'),
        ("broken", b'"broken"'),
        ("٣", '"٣"'.encode()),
        (True, b"true"),
        (1.5, b"1.5"),
        (2**70, str(2**70).encode()),
    ],
)
def test_a_cell_stays_what_it_is(cell, expected):
    """Numbers in text are numbers of the same digits; what is no number is left to the format to judge."""
    assert (
        writer(channels={"a": {}}, time=None).message(row({"ts": 1, "a": cell}))[0][1]
        == b'{"a":' + expected + b"}"
    )


@pytest.mark.parametrize("cell", ["", "  ", None, float("nan")])
def test_an_empty_cell_is_left_out(cell):
    assert payload({**ROW, "b": cell}) == {"a": 1.5, "ts": 1_700_000_000.25}
    with pytest.raises(RejectedInputError, match="no_values"):
        writer().message(row({**ROW, "a": cell, "b": cell}))


@given(
    at=st.integers(10**18, 5 * 10**18) | st.integers(10**18, 9 * 10**18),
    unit=st.sampled_from(["auto", "s", "ms", "us", "ns", "iso"]),
    digits=st.sampled_from([1, 1000, 10**6, 10**9]),
)
def test_a_time_stamp_is_read_back_exactly(at, unit, digits):
    at = at // digits * digits
    if unit == "auto":
        at = min(at, 99_999_999_999 * 10**9)
    found = JsonObjectFormat(["a"], time_path="ts", time_unit=unit).decode(
        [b'{"a": 1, "ts": ' + bytes(stamp(at, TimeSettings(field="ts", unit=unit))) + b"}"]
    )
    assert found.taken_at.tolist() == [at]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"time": "2023-11-14T22:13:20.000000001Z"}, BEGIN + 1),
        ({"Timestamp": "1700000000.5"}, BEGIN + 500_000_000),
        ({"DateTime": "2023-11-14 22:13:20"}, BEGIN),
        ({"ts": 5.0, "time": 7.0}, 5 * 10**9),
        ({"time": Nanoseconds(12)}, 12),
        ({"when": 9.0}, None),
        ({"ts": ""}, None),
        ({"ts": "soon"}, None),
        ({"ts": None}, None),
    ],
)
def test_the_time_is_found_by_its_name(fields, expected):
    if expected is None:
        with pytest.raises(RejectedInputError, match="bad_time"):
            writer().taken_at(row(fields))
    else:
        assert writer().taken_at(row(fields)) == expected


def test_rows_of_one_instant_and_a_bad_one_between_them_keep_their_times():
    one = writer()
    cells = ["2023-11-14T22:13:20Z", "2023-11-14T22:13:20Z", "soon", "2023-11-14T22:13:20Z", "", "1700000001"]
    found = []
    for cell in cells:
        try:
            found.append(one.taken_at(row({"ts": cell})))
        except RejectedInputError as error:
            found.append(error.reason)
    assert found == [BEGIN, BEGIN, "bad_time", BEGIN, "bad_time", BEGIN + 10**9]


def test_columns_are_what_somebody_says():
    options = TableOptions(time="logged", device="unit")
    fields = {"ts": 5, "logged": 1_700_000_000, "device": "x", "unit": "p1", "a": 1}
    message, at = writer(options).message(row(fields))
    assert (message[0], at) == (b"site/_/p1/t", BEGIN)


def test_a_topic_has_all_its_levels():
    assert topic(ROW) == "site/l1/p7/t"
    assert topic({**ROW, "device": 7}) == "site/l1/7/t"
    bare = {"ts": 1, "a": 1}
    assert topic(bare) == "site/_/pump/t"
    assert topic(bare, device="machine") == "site/_/machine/t"
    assert topic(bare, topic="+/{device}/#") == "_/pump"
    assert topic(bare, topic="#") == "_"
    assert topic({**bare, "device": "p"}, topic="t/x") == "t/x"


@pytest.mark.parametrize("device", ["", "a/b", None, "x\0"])
def test_a_device_that_no_topic_can_name_is_left_out(device):
    with pytest.raises(RejectedInputError, match="bad_level"):
        writer().message(row({**ROW, "device": device}))


def test_devices_that_the_topic_cannot_tell_apart_are_no_stream():
    one = writer(topic="t")
    one.message(row(ROW))
    one.message(row(ROW))
    with pytest.raises(RecordingError, match=r"several devices \('p7', 'p8'\).*no \{device\}"):
        one.message(row({**ROW, "device": "p8"}))


@pytest.mark.parametrize(
    ("titles", "options", "message"),
    [
        (
            ("when", "a", "b"),
            {},
            "t.csv:1: has no column that looks like a time stamp: name it with --time-column",
        ),
        (("ts", "a"), {}, "t.csv:1: has no column for channel b; there are ts, a"),
        (("ts", "a", "b"), {"time": "x"}, "t.csv:1: has no column 'x'; there are ts, a, b"),
        (("ts", "a", "b"), {"device": "x"}, "t.csv:1: has no column 'x'; there are ts, a, b"),
    ],
)
def test_a_table_without_the_columns_is_no_recording(tmp_path, titles, options, message):
    with pytest.raises(RecordingError) as caught:
        writer(TableOptions(**options)).check(tmp_path / "t.csv", 1, titles)
    assert message in str(caught.value)


def test_channels_that_come_apart_may_come_in_tables_of_their_own(tmp_path):
    align = {"every_s": 1.0}
    writer(align=align).check(tmp_path, 1, ("ts", "a"))
    with pytest.raises(RecordingError, match="no column for channel a, b"):
        writer(align=align).check(tmp_path, 0, ("ts", "c"))


def test_rows_may_have_columns_of_their_own():
    """As JSON lines do: each is looked at anew, and a level of the topic that comes later is used."""
    one = writer()
    assert one.message(row({"ts": 1, "a": 1}))[0][0] == b"site/_/pump/t"
    assert one.message(row({"a": 1, "device": "p", "ts": 1}))[0][0] == b"site/_/p/t"
    assert json.loads(one.message(row({"ts": 1, "b": 2}))[0][1])["b"] == 2


def test_more_devices_than_are_remembered_have_their_topics_all_the_same(monkeypatch):
    monkeypatch.setattr(gatewayd.workbench.row_messages, "_TOPICS_REMEMBERED", 2)
    one = writer()
    for _ in range(2):
        for device in "pqrs":
            assert one.message(row({**ROW, "device": device}))[0][0] == f"site/l1/{device}/t".encode()


def test_a_stream_of_another_format_has_no_columns():
    with pytest.raises(TableError, match="tables need a stream of format json: 'pump' reads csv"):
        writer(format="csv")


def test_a_stamp_before_2001_is_iso_and_left_to_the_format():
    """No unit's magnitude tells it; the format calls it unbelievable, as it would live."""
    text = json.loads(bytes(stamp(5 * 10**9, TimeSettings(field="ts"))))
    assert text == "1970-01-01T00:00:05.000000000Z"
    with pytest.raises(RejectedInputError, match="unbelievable_time"):
        to_ns(text, "auto")
