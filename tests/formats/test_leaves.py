import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import RejectedInputError
from gatewayd.formats.leaves import (
    ABSENT,
    MAX_BYTES,
    MAX_DEPTH,
    MAX_LEAVES,
    follow,
    leaf_number,
    leaves,
    parse_object,
)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=30,
)


def standing_at(document, path):
    for key in path:
        document = document[int(key)] if isinstance(document, list) else document[key]
    return document


def numbers_in(document):
    if isinstance(document, dict):
        return sum(map(numbers_in, document.values()))
    if isinstance(document, list):
        return sum(map(numbers_in, document))
    return isinstance(document, bool | int | float) and math.isfinite(document)


@given(st.dictionaries(st.text(max_size=5), values, max_size=4))
def test_every_finite_number_is_found_where_its_path_leads(document):
    found = leaves(document)
    assert len(found) == numbers_in(document)
    for path, value in found:
        assert value == float(standing_at(document, path))


@given(st.dictionaries(st.text(max_size=5), st.booleans() | st.floats(allow_nan=False, allow_infinity=False)))
def test_an_object_is_parsed_as_it_was_written(document):
    assert parse_object(json.dumps(document).encode()) == document


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not_json"),
        (b"[1]", "not_an_object"),
        (b"1", "not_an_object"),
        (b'{"a":nan}', "not_json"),
        (b'{"a":1}x', "not_json"),
        (b'{"a":"\xff"}', "not_json"),
        (b'{"a":' * 100_000, "too_deep"),
        (b'{"a":"' + b"x" * MAX_BYTES + b'"}', "too_large"),
    ],
)
def test_what_is_no_object_is_rejected(payload, reason):
    with pytest.raises(RejectedInputError) as caught:
        parse_object(payload)
    assert caught.value.reason == reason


def test_depth_is_limited():
    document = 1.0
    for _ in range(MAX_DEPTH):
        document = {"a": document}
    assert leaves(document) == [(("a",) * MAX_DEPTH, 1.0)]
    with pytest.raises(RejectedInputError) as caught:
        leaves({"a": document})
    assert caught.value.reason == "too_deep"


def test_the_number_of_values_is_limited():
    assert len(leaves({"a": [1] * MAX_LEAVES})) == MAX_LEAVES
    with pytest.raises(RejectedInputError) as caught:
        leaves({"a": [1] * (MAX_LEAVES + 1)})
    assert caught.value.reason == "too_many_values"


@pytest.mark.parametrize("value", [None, "12", "NaN", math.nan, math.inf, 10**400, [], {}])
def test_what_says_no_number_is_none(value):
    assert leaf_number(value, switches=True) is None


def test_a_switch_is_a_number_where_asked_for_in_capitals():
    document = {"a": "ON", "b": "OFF", "c": "on", "d": "ONE"}
    assert leaves(document) == []
    assert leaves(document, switches=True) == [(("a",), 1.0), (("b",), 0.0)]


def test_a_path_leads_through_keys_and_indices_or_nowhere():
    document = {"a": [{"0": None}, 7], "": 1}
    assert follow(document, ()) is document
    assert follow(document, ("a", "0", "0")) is None
    assert follow(document, ("a", "1")) == 7
    assert follow(document, ("",)) == 1
    for path in (("b",), ("a", "2"), ("a", "-1"), ("a", "²"), ("a", "1", "x"), ("a", "9" * 5000), ("a", "x")):
        assert follow(document, path) is ABSENT
