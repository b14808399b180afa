"""Nodes as JSON values, and how a node is named in a message."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.config.document import read_node
from gatewayd.workbench.nodes import Nodes, contents, kind_of_node, shortened


def read(text):
    node, faults = read_node(text.encode(), empty="empty")
    assert faults == ()
    nodes = Nodes([])
    return nodes.json(node, "at"), nodes.faults


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(
        st.characters(
            codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufeff\u2028\u2029\x85"
        )
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("abcdef", min_size=1, max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(VALUES)
def test_what_is_written_as_json_is_read_as_json_has_it(value):
    found, faults = read(json.dumps(value, ensure_ascii=False))
    assert (found, faults) == (value, [])
    assert json.dumps(found) == json.dumps(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("~", None),
        ("yes", "yes"),
        ("True", "True"),
        ("0777", "0777"),
        ("1_000", "1_000"),
        (".5", ".5"),
        ("1.", "1."),
        ("0x10", "0x10"),
        (".inf", ".inf"),
        ("12:30", "12:30"),
        ("1.10", 1.1),
        ("-0", 0),
        ("1e3", 1000.0),
        ("'1'", "1"),
        ('"true"', "true"),
        ("٣", "٣"),
    ],
)
def test_only_what_json_calls_a_number_is_one(text, value):
    found, faults = read(text)
    assert (found, faults) == (value, [])
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["1e999", "-1e999", "9" * 41, "9" * 5000])
def test_numbers_that_nothing_can_hold_are_faults(text):
    found, (fault,) = read(f"a: [1, {text}]")
    assert found == {"a": [1, None]}
    assert (fault.place.line, fault.place.column) == (1, 8)
    assert fault.message == "at.a[1]: this number is too large; quote a text"


@pytest.mark.parametrize(
    ("text", "kind"),
    [("{a: 1}", "'key: value'"), ("[1]", "a list"), ("'x'", '"x"'), ("~", "~"), ("''", '""')],
)
def test_a_node_is_named_by_what_it_is(text, kind):
    node, _ = read_node(text.encode(), empty="empty")
    assert kind_of_node(node) == kind


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("here", b"12"),
        (".", "is not a file"),
        ("pipe", "is not a file"),
        ("nowhere", "cannot be read: No such file or directory"),
        ("\0", "cannot be read: No such file or directory"),
        ("x" * 300, "cannot be read: File name too long"),
    ],
)
def test_a_file_is_read_up_to_a_limit_or_it_is_said_why_not(tmp_path, name, found):
    (tmp_path / "here").write_bytes(b"123")
    os.mkfifo(tmp_path / "pipe")
    assert contents(tmp_path / name, 2) == found


@given(st.text())
def test_a_key_stays_within_a_message(key):
    assert len(shortened(key)) <= 64
    assert shortened(key).isprintable()


@pytest.mark.parametrize(
    ("limits", "value", "problem"),
    [
        ((0, None), 0, None),
        ((0, None), -1, "x.n: must be at least 0, not -1"),
        ((1, 9), 9, None),
        ((1, 9), 10, "x.n: must lie in 1..9, not 10"),
    ],
)
def test_a_number_is_held_to_its_limits(limits, value, problem):
    node, _ = read_node(f"{{n: {value}}}".encode(), empty="empty")
    nodes = Nodes([])
    found = nodes.number(node.entries, "n", "x", int, limits)
    assert (found, [fault.message for fault in nodes.faults]) == (
        (value, []) if problem is None else (None, [problem])
    )
