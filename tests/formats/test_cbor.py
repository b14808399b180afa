import contextlib
import math
import struct

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import RejectedInputError
from gatewayd.formats.cbor import MAX_DEPTH, MAX_FREE_KEYS_BYTES, EpochTime, parse_cbor
from gatewayd.formats.leaves import MAX_BYTES

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**1023), 2**1023)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5)
)
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5) | st.integers(-20, 20), inner, max_size=4)
    ),
    max_leaves=20,
)
tags = st.sampled_from(
    [0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 55799]
)


@st.composite
def tagged(draw):
    """Bytes of a document in which tags stand at any place, also where their content makes no sense."""
    inner = draw(st.recursive(scalars, lambda d: st.lists(d, max_size=3) | st.builds(cbor2.CBORTag, tags, d)))
    return cbor2.dumps(inner)


def rejected(payload):
    with pytest.raises(RejectedInputError) as caught:
        parse_cbor(payload)
    return caught.value.reason


@given(documents)
def test_a_document_is_parsed_as_it_was_written(document):
    assert parse_cbor(cbor2.dumps(document)) == document


@given(documents, st.binary(min_size=1, max_size=3))
def test_bytes_after_the_item_are_rejected(document, rest):
    assert rejected(cbor2.dumps(document) + rest) == "not_cbor"


@given(st.lists(scalars, min_size=1, max_size=5), st.data())
def test_a_document_that_is_cut_off_is_rejected(document, data):
    payload = cbor2.dumps(document)
    assert rejected(payload[: data.draw(st.integers(0, len(payload) - 1))]) == "not_cbor"


@given(st.binary(max_size=60) | tagged())
def test_any_bytes_are_a_document_or_not_cbor(payload):
    with contextlib.suppress(RejectedInputError):  # nothing else
        parse_cbor(payload)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("c48221196ab3", 273.15),  # RFC 8949, 3.4.4
        ("c5822003", 1.5),  # RFC 8949, 3.4.4
        ("c249010000000000000000", 18446744073709551616),  # RFC 8949, appendix A
        ("c349010000000000000000", -18446744073709551617),  # RFC 8949, appendix A
        ("c11a514b67b0", EpochTime(seconds=1363896240)),  # RFC 8949, appendix A
        ("c1fb41d452d9ec200000", EpochTime(seconds=1363896240.5)),  # RFC 8949, appendix A
        ("c074323031332d30332d32315432303a30343a30305a", "2013-03-21T20:04:00Z"),  # RFC 8949, appendix A
        ("d9d9f7f93e00", 1.5),
        ("f97c00", math.inf),
    ],
)
def test_tags_of_numbers_and_times_are_understood(text, value):
    assert parse_cbor(bytes.fromhex(text)) == value


@pytest.mark.parametrize(
    ("tag", "content"),
    [
        (0, 5), (1, "x"), (1, True), (1, math.nan), (2, "x"), (3, 7), (4, [1]), (4, [1.5, 2]), (4, [2000, 1]),
        (4, 7), (4, [1, 2**65]), (5, ["a", 1]), (5, [2000, 1]), (30, [1, 2]), (35, "(a*)*b"), (36, "From: x"),
        (258, [1]), (260, b"\x7f\0\0\1"), (12345, 1),
    ],
)  # fmt: skip
def test_any_other_tag_or_content_says_nothing(tag, content):
    assert parse_cbor(cbor2.dumps([cbor2.CBORTag(tag, content), 7])) == [None, 7]


def test_a_document_cannot_contain_itself():
    assert parse_cbor(bytes.fromhex("d81c81d81d00")) is None  # shared: a list that holds a reference to it


def test_a_bigfloat_beyond_float64_is_infinite():
    assert parse_cbor(cbor2.dumps(cbor2.CBORTag(5, [1100, 1]))) == math.inf


@pytest.mark.parametrize("tag", [2, 3, 4, 5, 30])
def test_a_number_of_half_a_mebibyte_is_not_computed(tag):
    """cbor2 by itself takes 20 s for the decimal; the time limit of the test run is the only clock here."""
    huge = b"\xc2\x5a\x00\x08\x00\x00" + b"\xff" * 0x80000
    payload = huge if tag == 2 else b"\xc3" + huge[1:] if tag == 3 else None
    if payload is None:
        payload = (b"\xd8\x1e" if tag == 30 else bytes([0xC0 | tag])) + b"\x82\x01" + huge
    assert parse_cbor(payload) in (None, math.inf, -math.inf)


@pytest.mark.parametrize(
    "payload",
    [
        b"\x81" * (MAX_DEPTH + 1) + b"\x01",
        b"\xc6" * 100_000 + b"\x01",
        b"\x9b" + b"\xff" * 8,  # an array of 2**64 items
        b"\x5a\x7f\xff\xff\xff",  # 2 GiB of bytes
        b"\xa1\x81\x81\x01\x01" + b"\xff",
        b"\x61\xff",
    ],
)
def test_depth_and_lengths_that_lie_are_rejected(payload):
    assert rejected(payload) == "not_cbor"


def test_size_is_limited():
    assert parse_cbor(cbor2.dumps(b"x" * (MAX_BYTES - 5))) is not None
    assert rejected(cbor2.dumps(b"x" * (MAX_BYTES - 4))) == "too_large"


def test_integers_as_keys_are_for_small_messages():
    """Keys that collide on purpose cost n² steps, so there may not be many of them."""
    keys = (struct.pack(">BQ", 0x1B, number) for number in range(MAX_FREE_KEYS_BYTES // 10 + 1))
    many = (
        b"\xb9" + struct.pack(">H", MAX_FREE_KEYS_BYTES // 10 + 1) + b"".join(key + b"\x01" for key in keys)
    )
    assert rejected(many) == "not_cbor"
    assert parse_cbor(b"\xa1\x01\x02") == {1: 2}
    assert len(parse_cbor(cbor2.dumps({str(number): 1 for number in range(10_000)}))) == 10_000
