"""Beyond the recorded messages (test_payload_samples.py, test_real_messages.py): edges, and any bytes whatever."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.formats.shelly import ShellyFormat
from tests.support.any_message import check, damaged, json_values, topics
from tests.support.readings import ARRIVAL, decode, rows

NOTIFY = (
    '{"src":"s-1","method":"NotifyStatus","params":{"ts":1741944413.59,"switch:0":{"id":0,"apower":1.5}}}'
)
TOPICS = ["a/b/events/rpc", "a/status/em:0", "a/online", "x/events/7c:c6:b6:00:00:0d", "a/rpc", "a/status/"]
KEYS = ["params", "method", "ts", "id", "switch:0", "apower", "aenergy", "total", "NotifyStatus"]


def test_both_ways_of_one_device_give_one_device():
    decoder = ShellyFormat()
    by_notification = decode(decoder, "site/status/pump/events/rpc", NOTIFY)
    by_topic = decode(decoder, "site/status/pump/status/switch:0", '{"id":0,"apower":1.5}')
    assert rows(by_notification) == rows(by_topic) == [("site/status/pump", "switch:0.apower", 1.5, "W")]
    assert [one.taken_at for one in by_notification.samples] == [1741944413_590000000]
    assert [one.taken_at for one in by_topic.samples] == [None]


@pytest.mark.parametrize("ts", ["null", "3.2", '"x"', "true", "{}"])
def test_a_clock_that_was_never_set_leaves_the_reading_its_arrival(ts):
    (sample,) = decode(ShellyFormat(), "a/events/rpc", NOTIFY.replace("1741944413.59", ts)).samples
    assert sample.taken_at is None


def test_units_follow_the_phase_and_the_kind_of_energy():
    text = (
        '{"a_act_power":1,"total_aprt_power":2,"n_current":3,"a_pf":1,"total_act":5,'
        '"aenergy":{"total":6,"by_minute":[7]},"total":8}'
    )
    assert rows(decode(ShellyFormat(), "a/status/em:0", text)) == [
        ("a", "em:0.a_act_power", 1.0, "W"),
        ("a", "em:0.total_aprt_power", 2.0, "VA"),
        ("a", "em:0.n_current", 3.0, "A"),
        ("a", "em:0.a_pf", 1.0, None),
        ("a", "em:0.total_act", 5.0, "Wh"),
        ("a", "em:0.aenergy.total", 6.0, "Wh"),
        ("a", "em:0.aenergy.by_minute.0", 7.0, "mWh"),
        ("a", "em:0.total", 8.0, None),
    ]


def test_a_sensor_heard_over_bluetooth_is_a_device_of_its_own():
    text = '{"BTHome_version":2,"pid":149,"battery":100,"temperature":17,"rssi":-92}'
    assert rows(decode(ShellyFormat(), "shelly-blu/events/7c:c6:b6:00:00:0d", text)) == [
        ("7c:c6:b6:00:00:0d", "battery", 100.0, "%"),
        ("7c:c6:b6:00:00:0d", "temperature", 17.0, "°C"),
        ("7c:c6:b6:00:00:0d", "rssi", -92.0, "dBm"),
    ]


def test_a_device_goes_offline_by_its_will():
    assert decode(ShellyFormat(), "site/pump/online", "false").offline == ("site/pump",)
    assert decode(ShellyFormat(), "site/pump/online", "true").offline == ()


@pytest.mark.parametrize("method", ["[]", "{}", "null", '"NotifyEvent"', "7"])
def test_another_method_gives_nothing_quietly(method):
    assert rows(decode(ShellyFormat(), "a/events/rpc", NOTIFY.replace('"NotifyStatus"', method))) == []


def test_a_notification_without_object_is_counted():
    assert decode(ShellyFormat(), "a/events/rpc", '{"method":"NotifyStatus"}').errors == ("no_params",)
    assert decode(ShellyFormat(), "a/events/rpc", "hello").errors == ("not_json",)


@given(
    topics(TOPICS),
    st.binary() | json_values(KEYS).map(lambda v: json.dumps(v).encode()) | damaged([NOTIFY.encode()]),
)
def test_any_message_gives_samples_or_a_reason(topic, payload):
    check(ShellyFormat().decode(topic, payload, arrived_at=ARRIVAL))
