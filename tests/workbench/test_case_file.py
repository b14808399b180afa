"""Any file is cases, or problems with their places; what is read means what it says."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import ConfigError
from gatewayd.workbench.case_file import parse_cases, read_cases
from gatewayd.workbench.case_messages import MAX_REPEAT

PATH = Path("x.cases.yaml")


def parse(text):
    return parse_cases(text.encode() if isinstance(text, str) else text, PATH)


def told(text):
    return [
        f"{f.place.line}:{f.place.column}: {f.message}" for f in sorted(parse(text)[1], key=lambda f: f.place)
    ]


def one(messages="[]", expect="{}", more=""):
    cases, faults = parse(f"- name: n\n  messages: {messages}\n  expect: {expect}\n{more}")
    assert faults == []
    return cases[0]


WORDS = st.sampled_from(
    [
        "name",
        "messages",
        "expect",
        "topic",
        "json",
        "payload",
        "hex",
        "file",
        "at",
        "interval_s",
        "repeat",
        "retain",
        "wait_s",
        "readings",
        "predictions",
        "alerts",
        "rejected",
        "dropped",
        "any",
        "true",
        "1",
        "-1",
        "0.5",
        "1e400",
        "~",
        "a/b",
        "a/#",
        "2023-11-14T22:13:20Z",
        "{at}",
        "ff",
        "x",
    ]
)
NODES = st.recursive(
    WORDS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(WORDS, inner, max_size=4).map(
            lambda pairs: "{" + ", ".join(f'"{key}": {value}' for key, value in pairs.items()) + "}"
        )
    ),
    max_leaves=20,
)
CASES = st.builds(
    lambda said, expect, more: f"- {{name: n, messages: [{', '.join(said)}], expect: {expect}{more}}}",
    st.lists(
        st.builds(
            lambda at, more: f"{{topic: a/b, payload: x, at: {at}{more}}}",
            WORDS,
            st.just("") | NODES.map(lambda node: f", repeat: {node}"),
        ),
        max_size=3,
    ),
    NODES,
    st.just("") | NODES.map(lambda node: f", wait_s: {node}"),
)


@given(
    st.binary(max_size=80)
    | NODES.map(str.encode)
    | CASES.map(str.encode)
    | st.text(max_size=80).map(str.encode)
)
def test_any_file_is_cases_or_problems(data):
    cases, faults = parse_cases(data, PATH)
    assert cases or faults
    for fault in faults:
        assert fault.place.line >= 1
        assert fault.message.isprintable()
    for case in cases:
        assert case.name.strip()
        for said in case.said:
            assert 1 <= said.repeat <= MAX_REPEAT
            next(iter(said.messages()))


def test_expectations_are_counts_or_lists_or_nothing():
    expected = one(
        expect="""
    readings: [{device: p1, values: {a: 1}, at: 1700000000.5}, {}]
    predictions: 3
    rejected: {not_json: 1, no_time: any}
    dropped: any"""
    ).expected
    assert expected.readings == ({"device": "p1", "values": {"a": 1}, "at": "2023-11-14T22:13:20.500Z"}, {})
    assert (expected.predictions, expected.alerts) == (3, None)
    assert expected.counts == {"rejected": {"not_json": 1, "no_time": None}, "dropped": None}


def test_a_case_knows_its_place_and_how_long_it_waits():
    cases, faults = parse(
        "- {name: one, messages: [], expect: {}}\n\n- {name: two, messages: [], expect: {}, wait_s: 1.5}\n"
    )
    assert faults == []
    assert [(case.name, case.path, case.line, case.wait_ns) for case in cases] == [
        ("one", PATH, 1, 0),
        ("two", PATH, 3, 1_500_000_000),
    ]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["1:1: the file is empty; expected a list of cases"]),
        ("[]", ["1:1: the file is empty; expected a list of cases"]),
        ("a: 1", ["1:1: expected a list of cases, each beginning with '- name:', not 'key: value'"]),
        ("- 7", ["1:3: expected a case as 'key: value', not 7"]),
        ("- {}", [
            "1:3: the key 'expect' is missing",
            "1:3: the key 'messages' is missing",
            "1:3: the key 'name' is missing",
        ]),
        ("- {nam: x, messages: [], expect: {}}", ["1:4: unknown key 'nam'; did you mean 'name'?"]),
        ("- {name: ' ', messages: [], expect: {}}", ["1:10: name: must not be empty"]),
        (
            "- {name: x, messages: [], expect: {}, zzz: 1}",
            ["1:39: unknown key 'zzz'; known here: name, messages, expect, wait_s"],
        ),
        (
            "- {name: x, messages: [], expect: {}}\n- {name: x, messages: [], expect: {}}",
            ["2:3: name: stands in line 1 already; names tell cases apart"],
        ),
        ("- {name: x, messages: [], expect: {}, wait_s: -1}", ["1:47: wait_s: must lie in 0..1000000000, not -1"]),
        ("- {name: x, messages: {}, expect: {}}", ["1:23: messages: expected a list of messages, not 'key: value'"]),
        ("- {name: x, messages: [], expect: 3}", ["1:35: expect: expected what is expected as 'key: value', not 3"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_case_is_told_with_its_place(text, problems):
    assert sorted(told(text)) == problems


def test_a_wait_ends_where_nanoseconds_do():
    text = "- {name: x, messages: [{topic: a, payload: x, at: 2261-01-01}], wait_s: 1000000000, expect: {}}"
    assert told(text) == ["1:3: wait_s: goes beyond the year 2261, where nanoseconds end"]


@pytest.mark.parametrize(
    ("expect", "problem"),
    [
        ("{readings: -1}", "readings: must be at least 0, not -1"),
        ("{readings: few}", "readings: expected a whole number, not few"),
        ("{readings: {}}", "readings: expected a count or a list, not 'key: value'"),
        ("{readings: [1]}", "readings[0]: expected some of its fields as 'key: value', not 1"),
        ("{readings: [{devise: x}]}", "readings[0]: unknown key 'devise'; did you mean 'device'?"),
        (
            "{readings: [{at: then}]}",
            "readings[0].at: expected a time, RFC 3339 or seconds since 1970, not then",
        ),
        ("{alerts: [1e999]}", "alerts[0]: expected some of its fields as 'key: value', not 1e999"),
        ("{alerts: [{score: 1e999}]}", "alerts[0].score: this number is too large; quote a text"),
        ("{rejected: 3}", "rejected: expected 'any' or reasons as 'reason: count', not 3"),
        ("{rejected: {not_json: -1}}", "rejected.not_json: must be at least 0, not -1"),
        ("{rejected: {not_json: x}}", "rejected.not_json: expected a whole number, not x"),
    ],
)
def test_what_is_wrong_with_an_expectation_is_told(expect, problem):
    (fault,) = parse(f"- {{name: x, messages: [], expect: {expect}}}")[1]
    assert fault.message == f"expect.{problem}"


def test_an_unknown_expectation_is_told():
    (fault,) = parse("- {name: x, messages: [], expect: {drpped: {}}}")[1]
    assert fault.message == "expect: unknown key 'drpped'; did you mean 'dropped'?"


def test_problems_of_all_files_come_together(tmp_path):
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("- 1\n- 2\n")
    second.write_text("[")
    with pytest.raises(ConfigError) as caught:
        read_cases([first, tmp_path / "none.yaml", second])
    assert [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems] == [
        "a.yaml:1:3: expected a case as 'key: value', not 1",
        "a.yaml:2:3: expected a case as 'key: value', not 2",
        "none.yaml: cannot be read: No such file or directory",
        str(caught.value.problems[3]).removeprefix(f"{tmp_path}/"),
    ]
    assert caught.value.problems[3].path == str(second)
