"""Beyond the recorded messages (test_payload_samples.py, test_real_messages.py): edges, and any bytes whatever."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.formats.remembered import MAX_ENTRIES
from gatewayd.formats.timestamp import to_ns
from gatewayd.formats.zigbee2mqtt import Zigbee2MqttFormat
from tests.support.any_message import check, damaged, json_values, topics
from tests.support.readings import ARRIVAL, decode, rows

STATE = '{"battery":87,"humidity":47.3,"last_seen":"2025-03-14T09:26:52.731Z","voltage":2985}'
DEVICES = json.dumps(
    [
        {"friendly_name": "Coordinator", "type": "Coordinator", "definition": None},
        {
            "friendly_name": "hall/lamp",
            "definition": {
                "model": "x",
                "exposes": [
                    {
                        "type": "light",
                        "features": [{"property": "brightness", "unit": "lm", "value_max": 254}],
                    },
                    {"type": "numeric", "property": "voltage", "unit": "mV"},
                    {"type": "numeric", "property": "temperature"},
                ],
            },
        },
    ]
)
TOPICS = [
    "zigbee2mqtt/a",
    "zigbee2mqtt/a/b",
    "zigbee2mqtt/bridge/devices",
    "zigbee2mqtt/a/availability",
    "zigbee2mqtt/a/set",
]
KEYS = [
    "last_seen",
    "voltage",
    "battery",
    "power",
    "state",
    "update",
    "definition",
    "exposes",
    "friendly_name",
    "features",
]


def test_definitions_outweigh_names_and_what_stands_beside():
    decoder, text = Zigbee2MqttFormat(), '{"brightness":9,"power":5,"temperature":20.5,"voltage":230}'
    assert [unit for *_, unit in rows(decode(decoder, "zigbee2mqtt/hall/lamp", text))] == [
        None,
        "W",
        "°C",
        "V",
    ]
    assert rows(decode(decoder, "zigbee2mqtt/bridge/devices", DEVICES)) == []
    assert [unit for *_, unit in rows(decode(decoder, "zigbee2mqtt/hall/lamp", text))] == [
        "lm",
        "W",
        None,
        "mV",
    ]
    assert [unit for *_, unit in rows(decode(decoder, "zigbee2mqtt/other", text))] == [None, "W", "°C", "V"]


def test_a_voltage_alone_has_no_unit():
    assert rows(decode(Zigbee2MqttFormat(), "zigbee2mqtt/a", '{"voltage":3}')) == [
        ("a", "voltage", 3.0, None)
    ]


def test_the_base_is_the_first_level_unless_it_is_configured():
    assert rows(decode(Zigbee2MqttFormat(), "zigbee/a", '{"x":1}')) == [("a", "x", 1.0, None)]
    decoder = Zigbee2MqttFormat(base="home/z2m")
    assert rows(decode(decoder, "home/z2m/a/b", '{"x":1}')) == [("a/b", "x", 1.0, None)]
    assert decode(decoder, "home/z2m2/a", '{"x":1}').errors == ("unknown_topic",)
    assert decode(decoder, "home/z2m/", '{"x":1}').errors == ("unknown_topic",)


@pytest.mark.parametrize(
    "name",
    ["a/set", "a/b/set", "a/set/state", "a/get", "a/get/state", "bridge/request/device/remove", "bridge/log"],
)
def test_commands_and_the_bridge_are_no_devices(name):
    samples = decode(Zigbee2MqttFormat(), f"zigbee2mqtt/{name}", '{"state":"ON","x":1}')
    assert (samples.samples, samples.errors, samples.offline) == ((), (), ())


def test_a_device_may_be_named_like_a_command():
    assert rows(decode(Zigbee2MqttFormat(), "zigbee2mqtt/set", '{"x":1}')) == [("set", "x", 1.0, None)]


@pytest.mark.parametrize(
    ("payload", "offline"),
    [
        ("offline", True),
        ('{"state":"offline"}', True),
        ("online", False),
        ('{"state":"online"}', False),
        ("[]", False),
    ],
)
def test_availability_is_told_in_both_styles(payload, offline):
    samples = decode(Zigbee2MqttFormat(), "zigbee2mqtt/a/b/availability", payload)
    assert samples.offline == (("a/b",) if offline else ())
    assert samples.samples == samples.errors == ()


@pytest.mark.parametrize(
    ("last_seen", "expected"),
    [
        ('"2025-03-14T09:26:52.731Z"', "2025-03-14T09:26:52.731Z"),
        ('"2025-03-14T10:26:52+01:00"', "2025-03-14T09:26:52Z"),
        ("1741944412731", "2025-03-14T09:26:52.731Z"),
        ('"1741944412731"', "2025-03-14T09:26:52.731Z"),
        ("null", None),
        ('"disabled"', None),
        ("7", None),
    ],
)
def test_last_seen_in_all_its_spellings(last_seen, expected):
    (sample,) = decode(Zigbee2MqttFormat(), "zigbee2mqtt/a", f'{{"x":1,"last_seen":{last_seen}}}').samples
    assert sample.taken_at == (None if expected is None else to_ns(expected, "iso"))


def test_events_firmware_and_the_device_itself_are_no_readings():
    text = (
        '{"action":"single","action_step_size":8,"device":{"networkAddress":5},'
        '"device_temperature":20,"update":{"progress":5}}'
    )
    assert rows(decode(Zigbee2MqttFormat(), "zigbee2mqtt/a", text)) == [
        ("a", "device_temperature", 20.0, "°C")
    ]


def test_one_topic_per_value_is_read_where_configured():
    decoder = Zigbee2MqttFormat(output="attribute")
    assert rows(decode(decoder, "zigbee2mqtt/a/b/temperature", "27.35")) == [
        ("a/b", "temperature", 27.35, "°C")
    ]
    assert rows(decode(decoder, "zigbee2mqtt/a/state", "ON")) == [("a", "state", 1.0, None)]
    for attribute, payload in [
        ("last_seen", "1741944412731"),
        ("mode", "auto"),
        ("x", "nan"),
        ("x", b"\xff"),
        ("x", ""),
    ]:
        assert rows(decode(decoder, f"zigbee2mqtt/a/{attribute}", payload)) == []


def test_with_both_outputs_a_value_is_read_once():
    decoder = Zigbee2MqttFormat(output="attribute_and_json")
    assert rows(decode(decoder, "zigbee2mqtt/a/humidity", "47.3")) == []
    assert len(rows(decode(decoder, "zigbee2mqtt/a", STATE))) == 3
    assert decode(decoder, "zigbee2mqtt/a", STATE[:-1]).errors == ("not_json",)


def test_what_is_no_list_of_devices_is_counted_and_memory_is_bounded():
    decoder = Zigbee2MqttFormat()
    for payload in ["{}", '[{"friendly_name":7}]', "[", b"\xff", '[{"definition":' * 50_000]:
        assert decode(decoder, "zigbee2mqtt/bridge/devices", payload).errors == ("not_definitions",)
    too_large = b"[" + b" " * 16 * 1_048_576
    assert decode(decoder, "zigbee2mqtt/bridge/devices", too_large).errors == ("too_large",)
    many = [{"friendly_name": f"d{n}", "definition": None} for n in range(MAX_ENTRIES + 10)]
    assert decode(decoder, "zigbee2mqtt/bridge/devices", json.dumps(many)).errors == ()
    assert len(decoder._units) == MAX_ENTRIES


def test_names_and_units_of_absurd_length_are_not_kept():
    decoder = Zigbee2MqttFormat()
    exposes = [
        {"property": "x" * 513},
        {"property": "temperature", "unit": "y" * 513},
        {"property": "z", "unit": "u"},
    ]
    definitions = [{"friendly_name": "a", "definition": {"exposes": exposes}}]
    assert decode(decoder, "zigbee2mqtt/bridge/devices", json.dumps(definitions)).errors == ()
    assert decoder.state() == {"units": {"a": {"z": "u"}}}
    following = Zigbee2MqttFormat()
    following.restore(decoder.state())
    assert rows(decode(following, "zigbee2mqtt/a", '{"z":1}')) == [("a", "z", 1.0, "u")]
    assert rows(decode(decoder, "zigbee2mqtt/a", '{"temperature":20}')) == [("a", "temperature", 20.0, "°C")]


def test_a_state_with_more_properties_than_may_be_is_refused():
    units = {f"p{number}": None for number in range(513)}
    with pytest.raises(ValueError, match="at most 512"):
        Zigbee2MqttFormat().restore({"units": {"a": units}})


@given(
    topics(TOPICS),
    st.binary()
    | json_values(KEYS).map(lambda v: json.dumps(v).encode())
    | damaged([STATE.encode(), DEVICES.encode()]),
    st.sampled_from(["json", "attribute", "attribute_and_json"]),
)
def test_any_message_gives_samples_or_a_reason(topic, payload, output):
    check(Zigbee2MqttFormat(output=output).decode(topic, payload, arrived_at=ARRIVAL))
