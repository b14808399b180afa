"""Beyond the recorded messages (test_payload_samples.py): edges, and any bytes whatever."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.formats.timestamp import to_ns
from gatewayd.formats.ttn import TtnFormat
from tests.support.any_message import check, damaged, json_values, topics
from tests.support.readings import ARRIVAL, decode, rows

TOPIC = "v3/app1@ttn/devices/soil-04/up"
UPLINK = (
    '{"end_device_ids":{"device_id":"d"},"received_at":"2025-03-14T09:00:00Z",'
    '"uplink_message":{"decoded_payload":{"t":1.5}}}'
)
KEYS = ["end_device_ids", "device_id", "uplink_message", "decoded_payload", "received_at", "settings", "time"]


def uplink(**parts):
    message = {"decoded_payload": {"t": 1.5}, **parts}
    return json.dumps({"received_at": "2025-03-14T09:00:03Z", "uplink_message": message})


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (
            {"received_at": "2025-03-14T09:00:01.5Z", "settings": {"time": "2025-03-14T09:00:02Z"}},
            "2025-03-14T09:00:01.5Z",
        ),
        ({"settings": {"time": "2025-03-14T09:00:02Z"}}, "2025-03-14T09:00:02Z"),
        ({"received_at": "soon", "settings": {"time": 7}}, "2025-03-14T09:00:03Z"),
        ({"settings": []}, "2025-03-14T09:00:03Z"),
    ],
)
def test_the_networks_time_comes_first_then_the_gateways_then_the_platforms(parts, expected):
    (sample,) = decode(TtnFormat(), TOPIC, uplink(**parts)).samples
    assert sample.taken_at == to_ns(expected, "iso")


def test_without_any_time_it_is_the_arrival():
    (sample,) = decode(TtnFormat(), TOPIC, '{"uplink_message":{"decoded_payload":{"t":1}}}').samples
    assert sample.taken_at is None


@pytest.mark.parametrize(
    ("topic", "ids", "device"),
    [
        (TOPIC, {"device_id": "d"}, "d"),
        (TOPIC, {}, "soil-04"),
        (TOPIC, {"device_id": ""}, "soil-04"),
        (TOPIC, [], "soil-04"),
        ("bridged/up", {"device_id": "d"}, "d"),
        ("bridged/up", None, None),
    ],
)
def test_the_device_is_named_in_the_message_or_else_in_the_topic(topic, ids, device):
    text = json.dumps({"end_device_ids": ids, "uplink_message": {"decoded_payload": {"t": 1}}})
    assert rows(decode(TtnFormat(), topic, text)) == [(device, "t", 1.0, None)]


@pytest.mark.parametrize(
    "text", ["", "{}", '{"uplink_message":null}', '{"uplink_message":{"decoded_payload":null}}']
)
def test_what_carries_no_readings_gives_nothing_quietly(text):
    assert rows(decode(TtnFormat(), TOPIC, text)) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("hello", "not_json"),
        ("[]", "not_an_object"),
        ('{"uplink_message":{"decoded_payload":[1]}}', "no_payload_object"),
    ],
)
def test_what_the_platform_never_sends_is_counted(text, reason):
    assert decode(TtnFormat(), TOPIC, text).errors == (reason,)


@given(
    topics([TOPIC, "v3/app1@ttn/devices/a/join"]),
    st.binary() | json_values(KEYS).map(lambda v: json.dumps(v).encode()) | damaged([UPLINK.encode()]),
)
def test_any_message_gives_samples_or_a_reason(topic, payload):
    check(TtnFormat().decode(topic, payload, arrived_at=ARRIVAL))
