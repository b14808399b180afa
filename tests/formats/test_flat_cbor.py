from datetime import UTC, datetime

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.formats.flat_cbor import FlatCborFormat
from gatewayd.formats.leaves import leaves
from tests.support.any_message import check, damaged
from tests.support.readings import decode, rows

STAMP = 1_741_944_413 * 10**9
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)
documents = st.dictionaries(st.text(max_size=3), values, max_size=4)


@given(documents)
def test_every_number_is_a_channel_called_by_its_path(document):
    expected = [(None, ".".join(path), value, None) for path, value in leaves(document)]
    assert rows(decode(FlatCborFormat(), "t", cbor2.dumps(document))) == expected


@given(
    st.binary()
    | documents.map(cbor2.dumps)
    | damaged([cbor2.dumps({"at": datetime(2025, 3, 14, tzinfo=UTC), "v": [1.5, {2: -1}]})]),
    st.sampled_from([None, "at", "v"]),
)
def test_any_message_gives_samples_or_a_reason(payload, time):
    check(decode(FlatCborFormat(time=time), "t", payload))


@pytest.mark.parametrize(
    "stamp",
    [
        datetime(2025, 3, 14, 9, 26, 53, tzinfo=UTC),  # tag 0
        cbor2.CBORTag(1, 1741944413),
        cbor2.CBORTag(1, 1741944413.0),
        1741944413,
        "2025-03-14T09:26:53Z",
    ],
)
def test_times_of_cbors_own_types_need_no_unit(stamp):
    samples = decode(FlatCborFormat(time="at"), "t", cbor2.dumps({"at": stamp, "v": 1}))
    assert [(one.channel, one.taken_at) for one in samples.samples] == [("v", STAMP)]
    assert samples.errors == ()


@pytest.mark.parametrize("seconds", [0, -1, 2**63, -1e300, 1e300])
def test_a_time_that_cannot_be_leaves_the_reading(seconds):
    samples = decode(FlatCborFormat(time="at"), "t", cbor2.dumps({"at": cbor2.CBORTag(1, seconds), "v": 1}))
    assert [(one.channel, one.taken_at) for one in samples.samples] == [("v", None)]
    assert samples.errors == ("unbelievable_time",)


def test_times_and_bytes_are_no_readings_and_keys_may_be_integers():
    document = {
        1: {2: 21.5},
        "at": cbor2.CBORTag(1, 1741944413),
        "b": b"\x01",
        "u": cbor2.undefined,
        "n": 2**70,
    }
    expected = [(None, "1.2", 21.5, None), (None, "n", float(2**70), None)]
    assert rows(decode(FlatCborFormat(), "t", cbor2.dumps(document))) == expected


@pytest.mark.parametrize(
    ("payload", "reason"), [(b"\xff", "not_cbor"), (b"\x01", "not_an_object"), (b"\x80", "not_an_object")]
)
def test_what_is_no_map_is_counted(payload, reason):
    assert decode(FlatCborFormat(), "t", payload).errors == (reason,)
