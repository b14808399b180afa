"""Bytes written by hand from the standard's field numbers."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import RejectedInputError
from gatewayd.formats.leaves import MAX_BYTES
from gatewayd.formats.sparkplug_schema import new_payload, parse_payload


def part(number: int, content: bytes) -> bytes:
    """One field of variable length; shorter than 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


VALUES = {
    10: ("int_value", 5, b"\x50\x05"),
    11: ("long_value", 300, b"\x58\xac\x02"),
    12: ("float_value", 1.5, b"\x65" + struct.pack("<f", 1.5)),
    13: ("double_value", 0.1, b"\x69" + struct.pack("<d", 0.1)),
    14: ("boolean_value", True, b"\x70\x01"),
    15: ("string_value", "é", part(15, "é".encode())),
}


@pytest.mark.parametrize("number", VALUES)
def test_a_metric_has_one_value(number):
    name, value, wire = VALUES[number]
    (metric,) = parse_payload(part(2, wire)).metrics
    assert (metric.WhichOneof("value"), getattr(metric, name)) == (name, value)


def test_every_other_field_that_is_read_stands_at_its_number():
    properties = part(1, b"engUnit") + part(2, b"\x08\x0c" + part(8, b"bar"))
    wire = part(1, b"p") + b"\x10\x07\x18\x08\x20\x09\x28\x01\x30\x01\x38\x01" + part(9, properties)
    payload = parse_payload(b"\x08\x01" + part(2, wire) + b"\x18\x02" + part(4, b"u") + part(5, b"\xff"))
    (metric,) = payload.metrics
    assert (payload.timestamp, payload.seq, payload.uuid, payload.body) == (1, 2, "u", b"\xff")
    assert (metric.name, metric.alias, metric.timestamp, metric.datatype) == ("p", 7, 8, 9)
    assert metric.is_historical
    assert metric.is_transient
    assert metric.is_null
    assert list(metric.properties.keys) == ["engUnit"]
    assert [value.string_value for value in metric.properties.values] == ["bar"]


def test_a_payload_is_written_as_it_is_read():
    payload = new_payload()
    payload.timestamp = 1
    metric = payload.metrics.add()
    metric.name, metric.boolean_value = "p", True
    assert payload.SerializeToString() == b"\x08\x01" + part(2, part(1, b"p") + b"\x70\x01")


def test_parts_that_nobody_reads_are_not_looked_into():
    for number in (8, 16, 17, 18, 19):
        wire = (
            bytes([(number << 3 | 2) & 0x7F | 0x80, number >> 4]) if number > 15 else bytes([number << 3 | 2])
        )
        (metric,) = parse_payload(part(2, wire + b"\x03\xff\xff\xff")).metrics
        assert metric.HasField("metadata") == (number == 8)


@pytest.mark.parametrize("data", [b"\x12", b"\x12\x05\x0a", b"\x0f", b"\xff" * 20])
def test_what_is_cut_off_or_no_protobuf_is_rejected(data):
    with pytest.raises(RejectedInputError, match="not_protobuf"):
        parse_payload(data)


def test_a_payload_of_absurd_size_is_rejected_unread():
    with pytest.raises(RejectedInputError, match="too_large"):
        parse_payload(b"\xff" * (MAX_BYTES + 1))


@given(st.binary(max_size=60))
def test_any_bytes_are_a_payload_or_rejected(data):
    try:
        metrics = parse_payload(data).metrics
    except RejectedInputError as error:
        reason, metrics = error.reason, ()
    else:
        reason = None
    assert reason in (None, "not_protobuf")
    assert len(metrics) <= len(data)
