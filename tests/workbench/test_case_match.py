"""Differences are told, each once and in words; what agrees says nothing."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.workbench.case import Expected
from gatewayd.workbench.case_match import differences
from gatewayd.workbench.case_run import Found


def expected(**wanted):
    return Expected(**{"readings": None, "predictions": None, "alerts": None, "counts": {}, **wanted})


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text("abc", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)
TABLES = st.dictionaries(st.text("abc", max_size=2), DOCUMENTS, max_size=3)


@given(st.lists(TABLES, max_size=4), st.data())
def test_a_part_of_what_came_is_matched_and_anything_else_is_not(found, data):
    wanted = [
        {key: one[key] for key in data.draw(st.sets(st.sampled_from(sorted(one))) if one else st.just(()))}
        for one in found
    ]
    came = Found(alerts=copy.deepcopy(found))
    assert differences(expected(alerts=tuple(wanted)), came) == []
    assert differences(expected(alerts=(*wanted, {})), came) == [
        f"alerts[{len(found)}]: expected {{}}, found nothing"
    ]
    for index, one in enumerate(wanted):
        for key in one:
            other = copy.deepcopy(wanted)
            other[index][key] = "something else"
            assert len(differences(expected(alerts=tuple(other)), came)) == 1


@pytest.mark.parametrize(
    ("wanted", "found", "is_same"),
    [
        (21.5, 21.5, True),
        (21.5, 21.50001, True),
        (21.5, 21.5001, False),
        (0, 1e-10, True),
        (0, 1e-8, False),
        (1, 1.0, True),
        (True, 1, False),
        (1, True, False),
        (None, None, True),
        (None, 0, False),
        ("1", 1, False),
        ("> 1", 1.1, True),
        ("> 1", 1, False),
        (">= 1", 1, True),
        ("< 1", 0.9, True),
        ("<1", 1, False),
        ("<= 1e1", 10, True),
        (" 0.4 .. 0.6 ", 0.6, True),
        ("0.4..0.6", 0.61, False),
        ("-2..-1", -1.5, True),
        ("> 1", "> 1", True),
        ("> 1", "2", False),
        ("> 1", True, False),
        ([1, 2], [1, 2], True),
        ([1, 2], [1, 2, 3], False),
        ([{"a": 1}], [{"a": 1, "b": 2}], True),
    ],
)
def test_when_a_value_is_as_expected(wanted, found, is_same):
    lines = differences(expected(readings=({"v": wanted},)), Found(readings=[{"v": found}]))
    assert (lines == []) is is_same


def test_each_difference_has_its_place():
    found = Found(
        readings=[
            {"device": "p1", "values": {"a": 1.0, "b": None}},
            {"device": "p2", "values": {}},
        ],
        predictions=[{}],
        alerts=[{"id": "x", "kind": "alert", "gateway": "g", "model": {}, "state": "cleared"}],
    )
    wanted = expected(
        readings=({"device": "p2", "values": {"a": 2, "b": 1, "c": 3}},),
        predictions=2,
        alerts=(),
    )
    assert differences(wanted, found) == [
        'readings[0].device: expected "p2", found "p1"',
        "readings[0].values.a: expected 2, found 1.0",
        "readings[0].values.b: expected 1, found null",
        "readings[0].values.c: expected 3, found nothing",
        'readings[1]: expected nothing, found {"device": "p2", "values": {}}',
        "predictions: expected 2, found 1",
        'alerts[0]: expected nothing, found {"state": "cleared"}',
    ]


def test_what_is_lost_must_be_expected_and_the_rest_only_if_it_is_named():
    counts = {
        "refused": {"retained": 1},
        "rejected": {"not_json": 2},
        "unread": {"no_birth": 3},
        "dropped": {"late": 4},
        "marked": {"spike": 5},
        "unscored": {"warming_up": 6},
    }
    found = Found(counts=counts, examples={"rejected/not_json": "pump/p1"})
    assert differences(expected(), found) == [
        "refused retained: expected 0, found 1",
        "rejected not_json: expected 0, found 2, first pump/p1",
        "unread no_birth: expected 0, found 3",
        "dropped late: expected 0, found 4",
    ]
    named = {
        "refused": None,
        "rejected": {"not_json": None},
        "unread": {"no_birth": 3},
        "dropped": {"late": 3, "future": 1},
        "marked": {},
    }
    assert differences(expected(counts=named), found) == [
        "dropped late: expected 3, found 4",
        "dropped future: expected 1, found 0",
        "marked spike: expected 0, found 5",
    ]


def test_many_differences_are_cut():
    lines = differences(expected(readings=()), Found(readings=[{}] * 25))
    assert len(lines) == 21
    assert lines[-1] == "and 5 more differences"


def test_what_is_shown_stays_on_its_line():
    (line,) = differences(expected(readings=()), Found(readings=[{"a": "\x1b[2J\u2028" + "x" * 1000}]))
    assert line.isprintable()
    assert len(line) < 400
