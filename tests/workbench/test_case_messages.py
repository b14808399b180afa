"""Messages of a case file: each way of saying them, when they arrive, and what is wrong with them."""

import gzip
import json
from pathlib import Path

import pytest

from gatewayd.workbench.case import BEGIN_NS, JsonPayload
from gatewayd.workbench.case_file import parse_cases, read_cases
from gatewayd.workbench.case_messages import MAX_REPEAT

SECOND = 10**9
PATH = Path("x.cases.yaml")


def parse(text, path=PATH):
    return parse_cases(text.encode(), path)


def one(messages):
    (case,), faults = parse(f"- name: n\n  messages: {messages}\n  expect: {{}}\n")
    assert faults == []
    return case


def test_messages_follow_each_other_at_their_intervals():
    case = one(
        """
    - {topic: a, payload: x}
    - {topic: a, payload: x}
    - {topic: a, payload: x, interval_s: 0.5, repeat: 3}
    - {topic: a, payload: x, at: "2023-11-14T22:20:00Z"}
    - {topic: a, payload: x, interval_s: 0}
    - {topic: a, payload: x, at: 1700000400.5}
"""
    )
    assert [(said.at - BEGIN_NS) / SECOND for said in case.said] == [0, 1, 1.5, 400, 400, 400.5]
    assert [said.repeat for said in case.said] == [1, 1, 3, 1, 1, 1]


def test_payloads_come_in_four_ways(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"\x00\x01")
    path = tmp_path / "cases.yaml"
    path.write_text(
        """
- name: n
  messages:
    - {topic: a, json: {a: [1, 2.5, "{at}", true, ~]}}
    - {topic: a, payload: 21.50, retain: true}
    - {topic: a, payload: ""}
    - {topic: a, payload: }
    - {topic: a, hex: 0a FF}
    - {topic: a, file: x.bin}
  expect: {}
"""
    )
    (case,) = read_cases([path])
    assert [said.payload for said in case.said] == [
        JsonPayload({"a": [1, 2.5, "{at}", True, None]}),
        "21.50",
        "",
        b"",
        b"\x0a\xff",
        b"\x00\x01",
    ]
    assert [said.is_retained for said in case.said] == [False, True, False, False, False, False]


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ("5", "expected a message as 'key: value', not 5"),
        ("{payload: x}", "the key 'topic' is missing"),
        ("{topic: a}", "expected one of payload, json, hex, file, not 0 of them"),
        ("{topic: a, payload: x, hex: ff}", "expected one of payload, json, hex, file, not 2 of them"),
        ("{topic: a/+, payload: x}", "topic: is no topic that a sensor can publish on"),
        ("{topic: '', payload: x}", "topic: is no topic that a sensor can publish on"),
        ("{topic: a, payload: [x]}", "payload: expected a single value, not a list"),
        ("{topic: a, hex: f}", "hex: expected pairs of hexadecimal digits"),
        ("{topic: a, file: nowhere.bin}", "file: cannot be read: No such file or directory"),
        ("{topic: a, file: .}", "file: is not a file"),
        ('{topic: a, file: "\\0"}', "file: cannot be read: No such file or directory"),
        ("{topic: a, payload: x, repeat: 0}", "repeat: must lie in 1..100000, not 0"),
        ("{topic: a, payload: x, repeat: many}", "repeat: expected a whole number, not many"),
        ("{topic: a, payload: x, interval_s: -1}", "interval_s: must lie in 0..1000000000, not -1"),
        ("{topic: a, payload: x, retain: maybe}", "retain: expected true or false, not maybe"),
        ("{topic: a, payload: x, at: soon}", "at: expected a time, RFC 3339 or seconds since 1970, not soon"),
        (
            "{topic: a, payload: x, at: 2261-01-01, interval_s: 1000000000, repeat: 2}",
            "goes beyond the year 2261, where nanoseconds end",
        ),
    ],
)
def test_what_is_wrong_with_a_message_is_told(message, problem):
    ((fault),) = parse(f"- {{name: x, expect: {{}}, messages: [{message}]}}")[1]
    assert fault.message.removeprefix("messages[0]").removeprefix(".").removeprefix(": ") == problem


def test_time_does_not_run_back():
    text = """
- name: x
  messages:
    - {topic: a, payload: x}
    - {topic: a, payload: x, at: 1699999999}
  expect: {}
"""
    assert [(f.place.line, f.place.column, f.message) for f in parse(text)[1]] == [
        (5, 34, "messages[1].at: is before the message above arrives")
    ]


RECORDED = [
    {"at": "2026-01-31T07:00:00Z", "topic": "a/1", "payload": {"x": 1}},
    {"at": "2026-01-31T07:00:00.500Z", "topic": "a/2", "payload": "text", "retain": True},
    {"topic": "a/3", "payload_hex": "ff"},
    {"at": "2026-01-31T06:00:00Z", "topic": "a/4", "payload": ""},
]


def recorded(tmp_path, lines, before="", after=""):
    (tmp_path / "r.jsonl").write_text("".join(f"{line}\n" for line in lines))
    path = tmp_path / "x.cases.yaml"
    text = f"- name: n\n  messages:\n{before}    - {{recording: r.jsonl, interval_s: 2}}\n{after}  expect: {{}}\n"
    return parse(text, path)


def test_a_recording_is_said_as_it_arrived(tmp_path):
    after = "    - {topic: b, payload: x}\n"
    (case,), faults = recorded(tmp_path, map(json.dumps, RECORDED), after=after)
    assert faults == []
    begin = 1_769_842_800 * SECOND
    assert [(message, (at - begin) / SECOND) for message, at in case.messages()] == [
        ((b"a/1", b'{"x": 1}', 0x30, 0), 0),
        ((b"a/2", b"text", 0x31, 0), 0.5),
        ((b"a/3", b"\xff", 0x30, 0), 2.5),
        ((b"a/4", b"", 0x30, 0), 2.500001),
        ((b"b", b"x", 0x30, 0), 3.5),
    ]


def test_a_recording_without_times_goes_on_at_the_interval(tmp_path):
    before = "    - {topic: b, payload: x}\n"
    lines = [json.dumps({"topic": "a", "payload": index}) for index in range(2)]
    (case,), _ = recorded(tmp_path, lines, before=before)
    assert [(at - BEGIN_NS) / SECOND for _, at in case.messages()] == [0, 2, 4]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["{"], "{folder}/r.jsonl:1: not_json"),
        ([json.dumps(RECORDED[0]), '{"topic": "a"}'], "{folder}/r.jsonl:2: no_single_payload"),
        ([], "holds no message"),
    ],
)
def test_what_is_wrong_with_a_recording_is_told(tmp_path, lines, problem):
    _, faults = recorded(tmp_path, lines)
    assert faults[0].message == f"messages[0].recording: {problem.format(folder=tmp_path)}"


def test_a_recording_that_is_not_there_is_told():
    _, (fault,) = parse("- {name: n, messages: [{recording: nowhere.jsonl}], expect: {}}")
    assert fault.message == "messages[0].recording: cannot be read: No such file or directory"


def test_a_recording_that_is_cut_off_is_told(tmp_path):
    (tmp_path / "r.jsonl.gz").write_bytes(gzip.compress(b'{"topic": "a", "payload": 1}\n' * 9)[:-9])
    text = "- {name: n, messages: [{recording: r.jsonl.gz}], expect: {}}"
    _, (fault,) = parse(text, tmp_path / "x.cases.yaml")
    assert "r.jsonl.gz" in fault.message
    assert "cannot be read" in fault.message


def test_a_recording_is_no_longer_than_repetitions_are(tmp_path):
    (tmp_path / "r.jsonl").write_text('{"topic": "a", "payload": 1}\n' * (MAX_REPEAT + 1))
    _, (fault,) = parse(
        "- {name: n, messages: [{recording: r.jsonl}], expect: {}}", tmp_path / "x.cases.yaml"
    )
    assert fault.message == "messages[0].recording: holds more than 100000 messages"


def test_a_recording_is_a_file():
    _, (fault,) = parse("- {name: n, messages: [{recording: [a]}], expect: {}}")
    assert fault.message == "messages[0].recording: expected a single value, not a list"


def test_a_recording_that_never_ends_is_none():
    _, (fault,) = parse("- {name: n, messages: [{recording: /dev/zero}], expect: {}}")
    assert fault.message == "messages[0].recording: is not a file"


def test_a_recording_says_all_by_itself():
    _, faults = parse("- {name: n, messages: [{recording: r.jsonl, topic: a}], expect: {}}")
    assert faults[0].message == "messages[0]: unknown key 'topic'; known here: recording, interval_s"
