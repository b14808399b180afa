"""Beyond the sample payloads (test_payload_samples.py): envelopes, types, optimised events, and any bytes whatever."""

import base64
import json
import math

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.formats.edgex import EdgeXFormat
from gatewayd.formats.leaves import MAX_LEAVES
from tests.support.any_message import check, damaged, json_values, topics
from tests.support.readings import ARRIVAL, decode, rows

TOPIC = "edgex/events/device/device-modbus/prof/chiller/all"
ORIGIN = 1_741_944_413_590_123_456  # no float64 has these digits


def reading(value, kind, **more):
    return {
        "resourceName": "r",
        "deviceName": "chiller",
        "origin": ORIGIN,
        "valueType": kind,
        "value": value,
    } | more


def event(*readings, **more):
    return {"apiVersion": "v3", "deviceName": "chiller", "sourceName": "all", "origin": ORIGIN} | {
        "readings": list(readings),
        **more,
    }


def read(document):
    return decode(EdgeXFormat(), TOPIC, document if isinstance(document, bytes) else json.dumps(document))


def values(*readings):
    return [(channel, value) for _, channel, value, _ in rows(read(event(*readings)))]


EVENT = event(reading("6.84e+00", "Float32", units="Cel"))
REQUEST = {"apiVersion": "v3", "requestId": "", "event": EVENT}


def envelope(payload, content_type="application/json"):
    return {
        "apiVersion": "v3",
        "receivedTopic": "",
        "errorCode": 0,
        "payload": payload,
        "contentType": content_type,
    }


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    "message",
    [
        EVENT,
        REQUEST,
        envelope(EVENT),
        envelope(REQUEST),
        envelope(as_base64(json.dumps(REQUEST).encode())),
        envelope(as_base64(cbor2.dumps(REQUEST)), "application/cbor"),
        {
            "CorrelationID": "",
            "Payload": as_base64(json.dumps(EVENT).encode()),
            "ContentType": "application/json",
        },
        cbor2.dumps(EVENT),
        cbor2.dumps(REQUEST),
        cbor2.dumps(envelope(json.dumps(REQUEST).encode())),
    ],
    ids=[
        "event",
        "request",
        "v4",
        "v4 request",
        "base64",
        "base64 cbor",
        "v2",
        "cbor",
        "cbor request",
        "cbor envelope",
    ],
)
def test_an_event_is_the_same_in_every_wrapping(message):
    samples = read(message)
    assert rows(samples) == [("chiller", "r", 6.84, "Cel")]
    assert samples.samples[0].taken_at == ORIGIN


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"event": {"deviceName": "d"}}, "no_event"),
        ({"event": {"event": {"event": EVENT}}}, "no_event"),
        ({"payload": 7}, "no_event"),
        ({"payload": ""}, "no_event"),
        ({"payload": "?"}, "not_base64"),
        ({"payload": "é"}, "not_base64"),
        (envelope(as_base64(b"[1]")), "not_an_object"),
        (envelope(as_base64(b"{")), "not_json"),
        (envelope("no such device") | {"errorCode": 1}, "error_envelope"),
        (cbor2.dumps([EVENT]), "not_an_object"),
        (b"\xff", "not_cbor"),
        (b"no", "not_json"),
    ],
)
def test_a_message_without_event_is_counted(message, reason):
    samples = read(message)
    assert (samples.samples, samples.errors) == ((), (reason,))


def test_a_cleared_topic_says_nothing():
    assert (read(b"").samples, read(b"").errors) == ((), ())


def test_an_optimised_event_says_for_its_readings_what_they_leave_out():
    lone = event({"valueType": "Int16", "value": "-12"}, sourceName="Setpoint")
    samples = read(lone)
    assert rows(samples) == [("chiller", "Setpoint", -12.0, None)]
    assert samples.samples[0].taken_at == ORIGIN
    null = event({"valueType": "Int16"}, sourceName="Setpoint")  # null fields are left out as well
    assert rows(read(null)) == []


def test_of_several_readings_each_names_its_resource():
    samples = read(
        event(
            {"valueType": "Bool", "value": "true"},
            {"resourceName": "b", "valueType": "Bool", "value": "true"},
        )
    )
    assert (samples.errors, [one.channel for one in samples.samples]) == (("no_resource",), ["b"])


def test_a_reading_goes_before_its_event():
    samples = read(event(reading("1", "Int8", deviceName="other", origin=ORIGIN - 1)))
    assert (samples.samples[0].device, samples.samples[0].taken_at) == ("other", ORIGIN - 1)


def test_without_device_or_believable_origin_the_topic_and_the_arrival_speak():
    samples = read(event(reading("1", "Int8", deviceName="", origin=0), deviceName=None, origin="x"))
    assert (samples.samples[0].device, samples.samples[0].taken_at) == (None, None)


@given(st.sampled_from([("Int", 8), ("Int", 64), ("Uint", 16), ("Uint", 64)]), st.integers(-(2**65), 2**65))
def test_an_integer_is_itself_or_out_of_its_types_range(kind, number):
    sign, bits = kind
    low = -(2 ** (bits - 1)) if sign == "Int" else 0
    samples = read(event(reading(str(number), f"{sign}{bits}")))
    if low <= number < low + 2**bits:
        assert rows(samples)[0][2] == float(number)
    else:
        assert samples.errors in (
            ("out_of_range",),
            ("not_an_integer",),
        )  # the latter: of more than 20 digits


@given(st.floats())
def test_a_float_as_go_prints_it_is_itself_or_absent(number):
    text = f"{number:.16e}".replace("nan", "NaN").replace("inf", "Inf")
    text = "+Inf" if text == "Inf" else text
    assert values(reading(text, "Float64")) == ([("r", number)] if math.isfinite(number) else [])


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("true", "Bool", [1.0]),
        (False, "Bool", [0.0]),
        (None, "Bool", []),
        ("", "Float32", []),
        (" 2.5 ", "Float32", [2.5]),
        (7, "Int8", [7.0]),
        (7.5, "Float64", [7.5]),
        ("12", "String", []),
        ("[12]", "StringArray", []),
        (None, "Binary", []),
        (None, "Int8Array", []),
    ],
)
def test_values_are_cast_by_their_type(value, kind, expected):
    assert [number for _, number in values(reading(value, kind))] == expected


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("[1, -2]", "Int16Array", [("r.0", 1.0), ("r.1", -2.0)]),
        ("[true, false]", "BoolArray", [("r.0", 1.0), ("r.1", 0.0)]),
        ("[1e0, NaN, +Inf, 2e0]", "Float32Array", [("r.0", 1.0), ("r.3", 2.0)]),
        ("[]", "Float64Array", []),
        ([1.5, None], "Float64Array", [("r.0", 1.5)]),
    ],
)
def test_the_elements_of_an_array_keep_their_places(value, kind, expected):
    assert values(reading(value, kind)) == expected


def test_an_object_gives_the_paths_of_its_numbers():
    found = {"axis": [{"x": 1}, {"x": 2.5, "ok": True}], "name": "spindle", "no": None}
    assert values({"resourceName": "r", "valueType": "Object", "objectValue": found}) == [
        ("r.axis.0.x", 1.0),
        ("r.axis.1.x", 2.5),
        ("r.axis.1.ok", 1.0),
    ]
    keys = cbor2.dumps(event({"resourceName": "r", "valueType": "Object", "objectValue": {1: 2}}))
    assert rows(read(keys)) == [("chiller", "r.1", 2.0, None)]


@pytest.mark.parametrize(
    ("value", "kind", "reason"),
    [
        ("on", "Float32", "not_a_number"),
        ("6,84", "Float32", "not_a_number"),
        (True, "Float32", "not_a_number"),
        ([1], "Float32", "not_a_number"),
        ("1.5", "Int16", "not_an_integer"),
        (1.0, "Int16", "not_an_integer"),
        ("true", "Int16", "not_an_integer"),
        ("256", "Uint8", "out_of_range"),
        ("True", "Bool", "not_a_boolean"),
        (1, "Bool", "not_a_boolean"),
        ("1, 2", "Int8Array", "not_an_array"),
        (12, "Int8Array", "not_an_array"),
        ("[1, x]", "Int8Array", "not_an_integer"),
        ("1", "int16", "unknown_value_type"),
        ("1", None, "unknown_value_type"),
    ],
)
def test_a_bad_reading_is_counted_and_spoils_no_other(value, kind, reason):
    samples = read(event(reading(value, kind), reading("1", "Int8", resourceName="good")))
    assert (samples.errors, [one.channel for one in samples.samples]) == ((reason,), ["good"])


def test_what_is_no_reading_at_all_is_counted():
    assert read(event(7, None)).errors == ("not_a_reading", "not_a_reading")


def test_a_message_has_only_so_many_values():
    many = event(*([{"resourceName": "r", "valueType": "Int8", "value": "1"}] * (MAX_LEAVES + 5)))
    samples = read(many)
    assert (len(samples.samples), samples.errors) == (MAX_LEAVES, ("too_many_values",))
    wide = f"[{','.join('1' * (MAX_LEAVES + 1))}]"
    assert read(event(reading(wide, "Int8Array"))).errors == ("too_many_values",)


KEYS = [
    "event",
    "payload",
    "readings",
    "deviceName",
    "resourceName",
    "valueType",
    "value",
    "objectValue",
    "origin",
]
PAYLOADS = [json.dumps(envelope(REQUEST)).encode(), cbor2.dumps(REQUEST), json.dumps(EVENT).encode()]


@given(topics([TOPIC]), damaged(PAYLOADS) | st.binary(max_size=40))
def test_any_bytes_give_samples_or_a_reason(topic, payload):
    check(EdgeXFormat().decode(topic, payload, arrived_at=ARRIVAL))


@given(st.lists(json_values(KEYS) | st.fixed_dictionaries({"resourceName": st.just("r")}, optional={
    "valueType": st.sampled_from(["Bool", "Int8", "Float64", "Float32Array", "Object"]), "value": json_values(KEYS),
    "objectValue": json_values(KEYS), "origin": st.integers() | st.floats(),
}), max_size=4), st.booleans())  # fmt: skip
def test_any_readings_give_samples_or_a_reason(readings, is_cbor):
    document = event(*readings)
    samples = read(cbor2.dumps(document) if is_cbor else document)
    check(samples)
    assert is_cbor or len(samples.errors) <= max(len(readings), 1)
