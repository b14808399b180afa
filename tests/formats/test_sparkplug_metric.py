import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import RejectedInputError
from gatewayd.formats.remembered import MAX_TEXT
from gatewayd.formats.sparkplug_metric import UNKNOWN, metric_time, metric_unit, metric_value, text
from gatewayd.formats.sparkplug_schema import parse_payload
from tests.support.sparkplug import (
    AT_MS,
    BOOLEAN,
    DOUBLE,
    FLOAT,
    INT8,
    INT16,
    INT32,
    INT64,
    STRING,
    UINT8,
    UINT64,
    metric,
    payload,
)

BITS = {INT8: 8, INT16: 16, INT32: 32, INT64: 64}


def read(*, timestamp=AT_MS, **fields):
    """Return the metric as it comes off the wire, and its payload."""
    message = parse_payload(payload(metric("m", **fields), timestamp=timestamp))
    return message.metrics[0], message


def value(kind, raw, datatype, announced=UNKNOWN):
    return metric_value(read(datatype=datatype, value=(kind, raw))[0], announced)


@given(st.data(), st.sampled_from(sorted(BITS)))
def test_a_signed_integer_is_itself_again_in_whatever_width_it_travelled(data, datatype):
    bits = BITS[datatype]
    number = data.draw(st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
    widths = {bits: "int_value", 32: "int_value", 64: "long_value"}
    for width, kind in widths.items():
        if width >= bits and (bits < 64 or kind == "long_value"):
            assert value(kind, number % 2**width, datatype) == float(number)


@given(st.sampled_from([UINT8, UINT8 + 1, UINT8 + 2, UINT64]), st.integers(0, 2**64 - 1))
def test_an_unsigned_integer_is_itself_or_out_of_range(datatype, number):
    if number < 2 ** (8 << (datatype - UINT8)):
        assert value("long_value", number, datatype) == float(number)
    else:
        with pytest.raises(RejectedInputError, match="out_of_range"):
            value("long_value", number, datatype)


@pytest.mark.parametrize(
    ("datatype", "raw"), [(INT8, 256), (INT8, 2**32 - 129), (INT16, 65_536), (INT32, 2**32), (INT32, 2**63)]
)
def test_a_number_that_its_type_does_not_have_is_not_masked_into_another(datatype, raw):
    with pytest.raises(RejectedInputError, match="out_of_range"):
        value("long_value", raw, datatype)


@pytest.mark.parametrize(
    ("kind", "raw", "datatype", "expected"),
    [
        ("float_value", 1.5, FLOAT, 1.5),
        ("double_value", 0.1, DOUBLE, 0.1),
        ("double_value", 0.1, FLOAT, 0.1),
        ("float_value", math.nan, FLOAT, None),
        ("double_value", -math.inf, DOUBLE, None),
        ("boolean_value", True, BOOLEAN, 1.0),
        ("boolean_value", False, BOOLEAN, 0.0),
        ("string_value", "12", STRING, None),
        ("long_value", 12, 13, None),
        ("bytes_value", b"12", 34, None),
    ],
)
def test_values_are_read_by_their_type(kind, raw, datatype, expected):
    assert value(kind, raw, datatype) == expected


def test_the_announced_type_counts_where_the_metric_has_none():
    assert value("int_value", 2**32 - 1, None, INT32) == -1.0
    assert value("int_value", 2**32 - 1, UINT8 + 2, INT32) == 2.0**32 - 1


@pytest.mark.parametrize(
    ("kind", "datatype", "reason"),
    [
        ("int_value", UNKNOWN, "unknown_datatype"),
        ("int_value", 35, "unknown_datatype"),
        ("int_value", BOOLEAN, "type_mismatch"),
        ("int_value", DOUBLE, "type_mismatch"),
        ("float_value", INT32, "type_mismatch"),
        ("string_value", FLOAT, "type_mismatch"),
    ],
)
def test_what_is_not_of_its_type_is_rejected(kind, datatype, reason):
    with pytest.raises(RejectedInputError, match=reason):
        value(kind, "1" if kind == "string_value" else 1, datatype)


def test_a_typed_metric_without_value_is_rejected_unless_it_is_null():
    with pytest.raises(RejectedInputError, match="type_mismatch"):
        metric_value(read(datatype=INT32)[0], UNKNOWN)
    assert metric_value(read(datatype=INT32, is_null=True)[0], UNKNOWN) is None


@pytest.mark.parametrize(
    ("name", "unit"), [("engUnit", "°C"), ("Engineering Units", "°C"), ("unit", "°C"), ("quality", None)]
)
def test_the_unit_is_the_property_of_that_name(name, unit):
    found, _ = read()
    found.properties.keys.extend(["engLow", name])
    found.properties.values.add().double_value = 0.0
    found.properties.values.add().string_value = "°C"
    assert metric_unit(found) == unit


def test_a_unit_without_value_or_of_absurd_length_is_none():
    assert metric_unit(read()[0]) is None
    assert metric_unit(read(unit="")[0]) is None
    assert metric_unit(read(unit="x" * (MAX_TEXT + 1))[0]) is None


def test_a_metric_without_believable_time_has_its_payloads():
    assert metric_time(*read(timestamp=AT_MS + 1)) == (AT_MS + 1) * 10**6
    message = parse_payload(payload(metric("m", timestamp=AT_MS), timestamp=AT_MS + 1))
    assert metric_time(message.metrics[0], message) == AT_MS * 10**6
    assert metric_time(*read(timestamp=7)) is None


def test_a_value_of_old_is_never_given_the_present_time():
    with pytest.raises(RejectedInputError, match="no_historical_time"):
        metric_time(*read(is_historical=True))


@given(st.text(max_size=5) | st.binary(max_size=5))
def test_text_is_text_that_is_not_empty(given_text):
    assert text(given_text) == (given_text if isinstance(given_text, str) and given_text else None)
