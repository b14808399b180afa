"""Beyond the recorded messages (test_payload_samples.py, test_real_messages.py): edges, and any bytes whatever."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.formats.tasmota import TasmotaFormat
from gatewayd.formats.timestamp import to_ns
from tests.support.any_message import check, damaged, json_values, topics
from tests.support.readings import ARRIVAL, decode, rows

SENSOR = '{"Time":"2025-07-14T10:26:50","AM2301":{"Temperature":21.4},"TempUnit":"C"}'
TOPICS = ["tele/a/SENSOR", "tele/a/STATE", "tele/a/LWT", "stat/a/POWER", "cmnd/a/POWER", "a/tele/SENSOR"]
KEYS = [
    "Time",
    "Epoch",
    "TempUnit",
    "PressureUnit",
    "ENERGY",
    "Power",
    "Temperature",
    "Pressure",
    "Wifi",
    "RSSI",
]


@pytest.mark.parametrize(
    ("topic", "device"),
    [
        ("tele/kitchen/SENSOR", "kitchen"),
        ("kitchen/tele/SENSOR", "kitchen"),
        ("tele/house/kitchen/SENSOR", "house/kitchen"),
        ("house/kitchen/tele/SENSOR", "house/kitchen"),
    ],
)
def test_the_device_is_what_the_full_topic_leaves(topic, device):
    samples = decode(TasmotaFormat(), topic, SENSOR)
    assert rows(samples) == [(device, "AM2301.Temperature", 21.4, "°C")]


@pytest.mark.parametrize("topic", ["kitchen/SENSOR", "tele", "SENSOR", "tele/SENSOR/", "zigbee2mqtt/x", ""])
def test_a_topic_of_another_shape_is_counted(topic):
    samples = decode(TasmotaFormat(), topic, SENSOR)
    assert samples.errors == ("unknown_topic",) or samples.samples


def test_local_time_is_utc_unless_a_zone_is_configured():
    for timezone, expected in [("UTC", "2025-07-14T10:26:50Z"), ("Europe/Berlin", "2025-07-14T08:26:50Z")]:
        (sample,) = decode(TasmotaFormat(timezone=timezone), "tele/a/SENSOR", SENSOR).samples
        assert sample.taken_at == to_ns(expected, "iso")


def test_the_epoch_outweighs_the_local_time():
    text = '{"Time":"2019-09-04T13:08:48","Epoch":1567595328,"ANALOG":{"A0":8}}'
    samples = decode(TasmotaFormat(), "tele/a/SENSOR", text).samples
    assert [(one.channel, one.value) for one in samples] == [("Epoch", 1567595328.0), ("ANALOG.A0", 8.0)]
    assert {one.taken_at for one in samples} == {1567595328 * 10**9}


def test_a_time_may_be_the_epoch_itself():
    (sample,) = decode(
        TasmotaFormat(timezone="Europe/Berlin"), "tele/a/SENSOR", '{"Time":1567595328,"A":{"B":8}}'
    ).samples
    assert sample.taken_at == 1567595328 * 10**9


@pytest.mark.parametrize("time", ['"1970-01-01T00:00:07"', '"soon"', "7", "null", '"2025-02-30T00:00:00"'])
def test_a_time_that_cannot_be_leaves_the_reading_its_arrival(time):
    (sample,) = decode(TasmotaFormat(), "tele/a/SENSOR", '{"Time":%s,"ANALOG":{"A0":8}}' % time).samples  # noqa: UP031
    assert sample.taken_at is None


def test_units_are_the_messages_own_and_never_assumed():
    text = '{"A":{"Temperature":66.2,"Pressure":29.72,"Humidity":4}%s}'
    for stated, temperature, pressure in [
        ("", None, None),
        (',"TempUnit":"F","PressureUnit":"inHg"', "°F", "inHg"),
        (',"TempUnit":"K","PressureUnit":""', None, None),
        (',"TempUnit":{},"PressureUnit":7', None, None),
    ]:
        samples = decode(TasmotaFormat(), "tele/a/SENSOR", text % stated)
        units = {one.channel: one.unit for one in samples.samples if one.channel.startswith("A.")}
        assert units == {"A.Temperature": temperature, "A.Pressure": pressure, "A.Humidity": "%"}


def test_power_has_a_unit_where_it_is_energy_and_none_where_it_is_a_switch():
    text = '{"ENERGY":{"Power":[5,6]},"ZbReceived":{"0x4773":{"Power":true}}}'
    assert rows(decode(TasmotaFormat(), "tele/a/SENSOR", text)) == [
        ("a", "ENERGY.Power.0", 5.0, "W"),
        ("a", "ENERGY.Power.1", 6.0, "W"),
        ("a", "ZbReceived.0x4773.Power", 1.0, None),
    ]
    assert rows(decode(TasmotaFormat(), "tele/a/ENERGY", '{"Power":7}')) == [("a", "Power", 7.0, "W")]


def test_the_two_received_strengths_are_told_apart():
    text = '{"Wifi":{"RSSI":74,"Signal":-63},"IBEACON":{"RSSI":-56}}'
    assert [unit for *_, unit in rows(decode(TasmotaFormat(), "tele/a/STATE", text))] == ["%", "dBm", "dBm"]


def test_switches_speak_on_and_off_and_nothing_else():
    decoder = TasmotaFormat()
    assert rows(decode(decoder, "stat/a/POWER2", "ON")) == [("a", "POWER2", 1.0, None)]
    assert decode(decoder, "stat/a/POWER", "TOGGLE").errors == ("not_on_or_off",)


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("cmnd/a/POWER", "ON"),
        ("cmnd/a/TelePeriod", "10"),
        ("stat/a/RESULT", '{"TelePeriod":300}'),
        ("stat/a/STATUS8", '{"StatusSNS":{"ANALOG":{"A0":1}}}'),
        ("tele/a/INFO3", '{"Info3":{"RestartReason":"Power On","BootCount":10}}'),
        ("tele/a/LWT", "Online"),
        ("tele/a/SENSOR", ""),
    ],
)
def test_what_is_no_telemetry_gives_nothing_quietly(topic, payload):
    samples = decode(TasmotaFormat(), topic, payload)
    assert (samples.samples, samples.errors, samples.offline) == ((), (), ())


def test_the_last_will_names_the_device():
    assert decode(TasmotaFormat(), "tele/house/a/LWT", "Offline").offline == ("house/a",)


@given(
    topics(TOPICS),
    st.binary() | json_values(KEYS).map(lambda v: json.dumps(v).encode()) | damaged([SENSOR.encode()]),
    st.sampled_from(["UTC", "Europe/Berlin"]),
)
def test_any_message_gives_samples_or_a_reason(topic, payload, timezone):
    check(TasmotaFormat(timezone=timezone).decode(topic, payload, arrived_at=ARRIVAL))
