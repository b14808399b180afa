import struct
from datetime import UTC, datetime

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.formats.flat_messagepack import MAX_FREE_KEYS_BYTES, FlatMessagePackFormat
from gatewayd.formats.leaves import MAX_BYTES, MAX_DEPTH, leaves
from tests.support.any_message import check, damaged
from tests.support.readings import decode, rows

STAMP = 1_741_944_413 * 10**9
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=4)
    | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)
documents = st.dictionaries(st.text(max_size=3), values, max_size=4)


def packed(document):
    return msgpack.packb(document, datetime=True)


@given(documents)
def test_every_number_is_a_channel_called_by_its_path(document):
    expected = [(None, ".".join(path), value, None) for path, value in leaves(document)]
    assert rows(decode(FlatMessagePackFormat(), "t", packed(document))) == expected


@given(
    st.binary()
    | documents.map(packed)
    | damaged(
        [packed({"at": datetime(2025, 3, 14, tzinfo=UTC), "v": [1.5, {2: -1}, msgpack.ExtType(5, b"x")]})]
    ),
    st.sampled_from([None, "at", "v"]),
)
def test_any_message_gives_samples_or_a_reason(payload, time):
    check(decode(FlatMessagePackFormat(time=time), "t", payload))


@pytest.mark.parametrize(
    "stamp", [datetime(2025, 3, 14, 9, 26, 53, tzinfo=UTC), 1741944413, "2025-03-14T09:26:53Z"]
)
def test_a_time_of_messagepacks_own_type_needs_no_unit(stamp):
    samples = decode(FlatMessagePackFormat(time="at"), "t", packed({"at": stamp, "v": 1}))
    assert [(one.channel, one.taken_at) for one in samples.samples] == [("v", STAMP)]
    assert samples.errors == ()


def test_a_time_that_cannot_be_leaves_the_reading():
    stamp = msgpack.Timestamp(2**63 - 1, 999_999_999)
    samples = decode(FlatMessagePackFormat(time="at"), "t", packed({"at": stamp, "v": 1}))
    assert [(one.channel, one.taken_at) for one in samples.samples] == [("v", None)]
    assert samples.errors == ("unbelievable_time",)


def test_times_bytes_and_extensions_are_no_readings_and_keys_may_be_integers():
    document = {1: {2: 21.5}, "at": msgpack.Timestamp(1, 0), "b": b"\x01", "e": msgpack.ExtType(5, b"x")}
    assert rows(decode(FlatMessagePackFormat(), "t", packed(document))) == [(None, "1.2", 21.5, None)]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\x01", "not_an_object"),
        (b"\xc1", "not_messagepack"),
        (b"\x81\xa1a", "not_messagepack"),  # cut off
        (b"\x80\x00", "not_messagepack"),  # one byte too many
        (b"\x81\x91\x01\x01", "not_messagepack"),  # a list as a key
        (b"\xdf\xff\xff\xff\xff", "not_messagepack"),
        (b"\xc7\x03\xffabc", "not_messagepack"),  # a time of 3 bytes
        (b"\x81\xa1a" + b"\x91" * MAX_DEPTH + b"\x01", "too_deep"),
        (b"\x81\xa1a" + b"\x91" * 900 + b"\x01", "too_deep"),
        (b"\x91" * 100_000, "not_messagepack"),
        (b"\x81\xa1a\xc6" + struct.pack(">I", MAX_BYTES) + b"x" * MAX_BYTES, "too_large"),
    ],
)
def test_what_is_no_map_is_counted(payload, reason):
    assert decode(FlatMessagePackFormat(), "t", payload).errors == (reason,)


def test_integers_as_keys_are_for_small_messages():
    """Keys that collide on purpose cost n² steps, so there may not be many of them."""
    document = dict.fromkeys(range(2**20, 2**20 + MAX_FREE_KEYS_BYTES // 6 + 1), 1)
    assert decode(FlatMessagePackFormat(), "t", packed(document)).errors == ("not_messagepack",)
