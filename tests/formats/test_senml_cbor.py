"""Beyond the recorded messages (test_payload_samples.py): labels, and any bytes whatever."""

import json
import math

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.formats.senml import SenmlJsonFormat
from gatewayd.formats.senml_cbor import SenmlCborFormat
from tests.support.any_message import check, damaged
from tests.support.readings import ARRIVAL, decode, rows

# RFC 8428, table 4
TABLE = {
    "bver": -1, "bn": -2, "bt": -3, "bu": -4, "bv": -5, "bs": -6,
    "n": 0, "u": 1, "v": 2, "vs": 3, "vb": 4, "s": 5, "t": 6, "ut": 7, "vd": 8,
}  # fmt: skip
numbers = st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6)
records = st.fixed_dictionaries(
    {},
    optional={
        "bver": st.sampled_from([10, 99]), "bn": st.sampled_from(["x/", "y"]), "bt": numbers, "bu": st.just("A"),
        "bv": numbers, "bs": numbers, "n": st.sampled_from(["a", "b/c"]), "u": st.just("V"), "v": numbers,
        "vs": st.just("text"), "vb": st.booleans(), "s": numbers, "t": numbers, "ut": numbers, "vd": st.just("AA"),
    },
)  # fmt: skip
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.integers(-7, 9) | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=20,
)


@given(st.lists(records, max_size=6))
def test_a_pack_says_the_same_as_in_json(pack):
    labelled = [{TABLE[label]: value for label, value in record.items()} for record in pack]
    in_json = decode(SenmlJsonFormat(), "t", json.dumps(pack))
    assert decode(SenmlCborFormat(), "t", cbor2.dumps(labelled)) == in_json
    assert decode(SenmlCborFormat(), "t", cbor2.dumps(pack)) == in_json  # labels as text are tolerated


@given(
    st.binary()
    | anything.map(lambda value: cbor2.dumps([value]))
    | damaged([cbor2.dumps([{-2: "d/", -3: 1741944413, 0: "t", 2: 1.5, 6: -1}, {0: "o", 4: True}])])
)
def test_any_message_gives_samples_or_a_reason(payload):
    check(decode(SenmlCborFormat(), "t", payload))


def test_unknown_labels_are_ignored_unless_they_must_be_understood():
    record = {0: "d/t", 2: 1, 99: "x", -50: 3, "foo": 9, b"n": 1}
    assert rows(decode(SenmlCborFormat(), "t", cbor2.dumps([record]))) == [("d", "t", 1.0, None)]
    assert decode(SenmlCborFormat(), "t", cbor2.dumps([{**record, "x_": 1}])).errors == ("unknown_field",)


@pytest.mark.parametrize("key", [True, False, 2.0, None, b"v"])
def test_a_key_that_only_equals_a_label_is_none(key):
    assert decode(SenmlCborFormat(), "t", cbor2.dumps([{"n": "c", key: 1}])).errors == ("no_value",)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_what_is_no_number_says_nothing(value):
    assert rows(decode(SenmlCborFormat(), "t", cbor2.dumps([{0: "c", 2: value}]))) == []


@pytest.mark.parametrize(
    ("document", "reason"), [({0: "c", 2: 1}, "not_an_array"), ([1], "not_an_object"), (7, "not_an_array")]
)
def test_what_is_no_pack_is_counted(document, reason):
    assert decode(SenmlCborFormat(), "t", cbor2.dumps(document)).errors == (reason,)


def test_the_message_may_say_that_it_is_cbor():
    payload = cbor2.dumps(cbor2.CBORTag(55799, [{0: "d/c", 2: 1}]))
    assert rows(SenmlCborFormat().decode("t", payload, arrived_at=ARRIVAL)) == [("d", "c", 1.0, None)]
