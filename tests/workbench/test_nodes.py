"""Nodes as JSON values, and how a node is named in a message."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.config.document import read_node
from gatewayd.workbench.nodes import Nodes, kind_of_node, shortened


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


@given(st.text())
def test_a_key_stays_within_a_message(key):
    assert len(shortened(key)) <= 64
    assert shortened(key).isprintable()
