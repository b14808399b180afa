import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.formats.cloudevents import CloudEventsFormat
from gatewayd.formats.timestamp import to_ns
from tests.support.any_message import check, damaged, json_values
from tests.support.readings import ARRIVAL, decode, rows

EVENT = {
    "specversion": "1.0",
    "type": "reading",
    "source": "mqtt://broker/fleet",
    "id": "1",
    "subject": "fleet/temp-42",
    "time": "2025-03-14T09:26:52.512Z",
    "data": {"celsius": 22.4, "site": "hall", "ok": True, "axes": [1, 2]},
}
KEYS = ["specversion", "subject", "time", "data"]


def test_the_envelope_names_device_and_time_and_data_holds_the_readings():
    samples = decode(CloudEventsFormat(), "fleet/x", json.dumps(EVENT))
    assert rows(samples) == [
        ("fleet/temp-42", "celsius", 22.4, None),
        ("fleet/temp-42", "ok", 1.0, None),
        ("fleet/temp-42", "axes.0", 1.0, None),
        ("fleet/temp-42", "axes.1", 2.0, None),
    ]
    assert {one.taken_at for one in samples.samples} == {to_ns(EVENT["time"], "iso")}


@pytest.mark.parametrize("part", [{"subject": None}, {"subject": ""}, {"subject": 7}])
def test_without_subject_the_device_is_the_topics(part):
    assert {device for device, *_ in rows(decode(CloudEventsFormat(), "t", json.dumps(EVENT | part)))} == {
        None
    }


def test_without_time_it_is_the_arrival():
    samples = decode(CloudEventsFormat(), "t", json.dumps(EVENT | {"time": None}))
    assert {one.taken_at for one in samples.samples} == {None}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (json.dumps(EVENT | {"specversion": "2.0"}), "unknown_version"),
        ('{"celsius":22.4}', "unknown_version"),
        (json.dumps(EVENT | {"data": "text"}), "no_data_object"),
        ('{"specversion":"1.0","data_base64":"AQI="}', "no_data_object"),
        ("[]", "not_an_object"),
    ],
)
def test_what_is_no_event_with_readings_is_counted(text, reason):
    assert decode(CloudEventsFormat(), "t", text).errors == (reason,)


def test_an_empty_payload_clears_a_topic():
    assert rows(decode(CloudEventsFormat(), "t", "")) == []


@given(
    st.binary()
    | json_values(KEYS).map(lambda v: json.dumps(v).encode())
    | damaged([json.dumps(EVENT).encode()])
)
def test_any_message_gives_samples_or_a_reason(payload):
    check(CloudEventsFormat().decode("t", payload, arrived_at=ARRIVAL))
