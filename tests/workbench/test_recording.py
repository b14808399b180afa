"""Recorded messages: what a line means, what is left out, and where it stands."""

import base64
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gatewayd.workbench.recording
from gatewayd.errors import RejectedInputError
from gatewayd.workbench.recording import (
    RecordingError,
    Unread,
    bounded_lines,
    instant,
    kind_of,
    read_messages,
)

AT = 1_700_000_000 * 10**9


def write(folder, *lines, name="r.jsonl"):
    path = folder / name
    data = b"".join(
        (line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode())
        + b"\n"
        for line in lines
    )
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def read(path):
    unread = Unread()
    return list(read_messages(path, unread)), unread


def one(folder, line):
    found, unread = read(write(folder, line))
    assert not unread.counts
    return found[0]


@pytest.mark.parametrize(
    ("fields", "payload"),
    [
        ({"payload": "21.5"}, b"21.5"),
        ({"payload": 'gr\u00fcn "x"\n'}, 'grün "x"\n'.encode()),
        ({"payload": ""}, b""),
        ({"payload_hex": "00ff01"}, b"\x00\xff\x01"),
        ({"payload_base64": base64.b64encode(b"\x00\xff").decode()}, b"\x00\xff"),
    ],
)
def test_a_payload_is_what_was_sent(tmp_path, fields, payload):
    assert one(tmp_path, {"topic": "a/b", **fields}) == ((b"a/b", payload, 0x30, 0), None)


@pytest.mark.parametrize("value", ["21.50", "null", "true", '{"b":1.0, "a": [1 ,2]}', "[]"])
def test_a_json_value_is_the_payload_as_it_is_written(tmp_path, value):
    """Not parsed and written anew: 21.50 stays 21.50, spaces stay."""
    (_, payload, _, _), _ = one(tmp_path, f'{{"topic": "t", "payload": {value} }}')
    assert payload == value.encode()


@given(payload=st.binary(max_size=200), topic=st.text(min_size=1).filter(lambda t: t.isprintable()))
def test_any_payload_can_be_recorded(tmp_path_factory, payload, topic):
    folder = tmp_path_factory.getbasetemp()
    line = {"topic": topic, "payload_hex": payload.hex(), "qos": 2, "retain": True, "at": 1}
    assert one(folder, line) == ((topic.encode(), payload, 0x35, 0), 10**9)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2023-11-14T22:13:20Z", AT),
        ("2023-11-14T23:13:20.123456789+01:00", AT + 123_456_789),
        ("2023-11-14T23:13:20.250000Z+0100", AT + 250_000_000),  # mosquitto_sub 2.0
        ("2023-11-14 22:13:20", AT),
        (1_700_000_000, AT),
        (1_700_000_000.25, AT + 250_000_000),
        (1_700_000_000_250, AT + 250_000_000),
        ("1700000000.000000001", AT + 1),
        (0, 0),
        (12.5, 12_500_000_000),  # a clock that was never set
        ("1970-01-01T00:00:01Z", 10**9),
    ],
)
def test_every_spelling_of_an_arrival(tmp_path, at, expected):
    assert one(tmp_path, {"topic": "t", "payload": "", "at": at})[1] == expected
    assert one(tmp_path, {"topic": "t", "payload": "", "tst": at})[1] == expected


@pytest.mark.parametrize(
    "value", ["", "soon", -1, float("inf"), 1e30, "9999-01-01T00:00:00Z", True, None, [1]]
)
def test_what_is_no_time_is_said_to_be_none(value):
    with pytest.raises(RejectedInputError, match="bad_time"):
        instant(value)


def test_what_mosquitto_sub_prints_is_read(tmp_path):
    """Lines as mosquitto_sub 2.0.11 printed them: %j, and %J in the last but one."""
    found, unread = read(
        write(
            tmp_path,
            r'{"tst":"2026-01-25T09:03:48.284675Z+0000","topic":"a/b","qos":1,"retain":0,"payloadlen":28,"mid":1,'
            r'"payload":"{\"ts\": 1700000000.5, \"x\": 1}"}',
            '{"tst":"2026-01-25T09:03:48.292176Z+0000","topic":"a/b","qos":1,"retain":0,"payloadlen":0,"mid":2,'
            '"payload":null}',
            '{"tst":"2026-01-25T09:03:48.312276Z+0000","topic":"a/ü","qos":1,"retain":0,"payloadlen":9,"mid":3,'
            r'"payload":"grün \"x\""}',
            '{"tst":"2026-01-25T09:03:48.323028Z+0000","topic":"a/r","qos":0,"retain":1,"payloadlen":4,'
            '"payload":"21.5"}',
            '{"tst":"2026-01-25T09:03:48.284714Z+0000","topic":"a/b","qos":1,"retain":0,"payloadlen":28,"mid":1,'
            '"payload":{"ts":1700000000.5,"x":1}}',
            '{"tst":"2026-01-25T09:03:48.316849Z+0000","topic":"a/bin","qos":1,"retain":0,"payloadlen":5,"mid":4,'
            '"payload":""}',
        )
    )
    assert [message[:3] for message, _ in found] == [
        (b"a/b", b'{"ts": 1700000000.5, "x": 1}', 0x32),
        (b"a/b", b"", 0x32),
        ("a/ü".encode(), 'grün "x"'.encode(), 0x32),
        (b"a/r", b"21.5", 0x31),
        (b"a/b", b'{"ts":1700000000.5,"x":1}', 0x32),
    ]
    assert found[0][1] == 1_769_331_828_284_675_000
    assert unread.counts == {"payload_incomplete": 1}  # it prints no bytes
    assert unread.examples["payload_incomplete"].endswith("r.jsonl:6")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not_json"),
        (b'{"topic": "\xff", "payload": 1}', "not_json"),
        (b'{"topic": "t", "payload": "\xff"}', "not_json"),
        ("nonsense", "not_json"),
        ("[1]", "not_a_message"),
        ({"payload": 1}, "not_a_message"),
        ({"topic": 5, "payload": 1}, "not_a_message"),
        ({"topic": "t", "payload": 1, "qos": 3}, "not_a_message"),
        ({"topic": "t", "payload": 1, "retain": 2}, "not_a_message"),
        ({"topic": "t", "payload": 1, "at": {}}, "not_a_message"),
        ({"topic": "t"}, "no_single_payload"),
        ({"topic": "t", "payload": 1, "payload_hex": ""}, "no_single_payload"),
        ({"topic": "t", "payload_hex": "0"}, "bad_payload"),
        ({"topic": "t", "payload_base64": "*"}, "bad_payload"),
        ({"topic": "t", "payload_base64": "ü"}, "bad_payload"),
        ({"topic": "t", "payload": "", "at": "soon"}, "bad_time"),
        ('{"topic": "t", "payload": "\\ud800"}', "not_json"),
    ],
)
def test_a_bad_line_is_counted_with_its_place_and_the_others_are_read(tmp_path, line, reason):
    good = {"topic": "t", "payload": 1}
    path = write(tmp_path, good, "", line, good, line)
    found, unread = read(path)
    assert len(found) == 2
    assert unread.counts == {reason: 2}
    assert unread.examples == {reason: f"{path}:3"}


@given(st.lists(st.binary(max_size=60).filter(lambda line: b"\n" not in line), max_size=8))
def test_any_bytes_are_read_or_counted(tmp_path_factory, lines):
    path = write(tmp_path_factory.getbasetemp(), *lines, name="any.jsonl")
    found, unread = read(path)
    assert len(found) + unread.counts.total() == sum(bool(line.strip()) for line in lines)


def test_a_byte_order_mark_is_no_damage(tmp_path):
    path = write(tmp_path, b'\xef\xbb\xbf{"topic": "t", "payload": 1}')
    assert kind_of(path) == "messages"
    assert len(read(path)[0]) == 1


def test_no_line_is_longer_than_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(gatewayd.workbench.recording, "MAX_LINE_BYTES", 40)
    good = '{"topic": "t", "payload": 1}'
    path = write(tmp_path, good, "x" * 40, "x" * 200, good)
    assert [(number, line is None) for number, line in bounded_lines(path)] == [
        (1, False),
        (2, True),
        (3, True),
        (4, False),
    ]
    path.write_text(good.ljust(39) + "\n" + "y" * 90)  # the longest that is read; the last has no end
    found, unread = read(path)
    assert (len(found), unread.counts) == (1, {"line_too_long": 1})


def test_a_gzipped_recording_is_read_and_a_torn_one_says_where(tmp_path):
    line = {"topic": "t", "payload": 1}
    path = write(tmp_path, *[line] * 5, name="r.jsonl.gz")
    assert len(read(path)[0]) == 5
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(RecordingError, match=r"r\.jsonl\.gz.*: cannot be read"):
        read(path)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(RecordingError) as caught:
        read(tmp_path / "none")
    assert str(caught.value) == f"{tmp_path}/none: cannot be read: No such file or directory"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"topic": "t", "payload": 1}', "messages"),
        ('\n\n{"topic": "t", "payload_hex": ""}', "messages"),
        ('rbage"}\n{"topic": "t", "payload": 1}', "messages"),
        ("ts,x\n1,{\n{,2", "csv"),
        ('{"cut off\n{"topic": "t", "payload": 1}', "messages"),
        ('{"topic": "t", "x": 1}', "rows"),
        ('\ufeff{"ts": 1, "x": 1}', "rows"),
        ("ts,x\n1,2", "csv"),
        ("", "messages"),
        ("{\n" * 20, "messages"),
        ("PAR1...", "parquet"),
    ],
)
def test_what_a_file_holds_is_told_by_its_first_lines(tmp_path, text, kind):
    path = tmp_path / "r"
    path.write_text(text, encoding="utf-8")
    assert kind_of(path) == kind
