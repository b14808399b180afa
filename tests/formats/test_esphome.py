"""Beyond the recorded messages (test_payload_samples.py): edges, and any bytes whatever."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.formats.esphome import EspHomeFormat
from tests.support.any_message import check, damaged, json_values, topics
from tests.support.readings import ARRIVAL, decode, rows

CONFIG = '{"~":"site/weather","stat_t":"~/sensor/out/state","unit_of_meas":"°C"}'
TOPICS = [
    "a/sensor/t/state",
    "a/light/l/state",
    "a/switch/s/state",
    "homeassistant/sensor/a/t/config",
    "a/status",
    "a/debug",
]
KEYS = ["~", "stat_t", "state_topic", "unit_of_meas", "unit_of_measurement", "state", "brightness"]


@pytest.mark.parametrize(
    ("topic", "payload", "row"),
    [
        ("site/hall/sensor/t/state", "7.5", ("site/hall", "sensor.t", 7.5, None)),
        ("sensor/sensor/t/state", "7.5", ("sensor", "sensor.t", 7.5, None)),
        ("a/number/n/state", "3", ("a", "number.n", 3.0, None)),
        ("a/climate/c/current_temperature/state", "21", ("a", "climate.c.current_temperature", 21.0, None)),
        ("a/cover/c/position/state", "0.5", ("a", "cover.c.position", 0.5, None)),
        ("a/fan/f/state", "ON", ("a", "fan.f", 1.0, None)),
    ],
)
def test_prefix_kind_and_object_make_device_and_channel(topic, payload, row):
    assert rows(decode(EspHomeFormat(), topic, payload)) == [row]


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("a/climate/c/mode/state", "heat"),
        ("a/climate/c/current_temperature/state", "nan"),
        ("a/switch/s/command", "ON"),
        ("a/text_sensor/t/state", "12"),
        ("sensor/t/state", "12"),
        ("state", "12"),
        ("status", "offline"),
        ("homeassistant/status", "online"),
        ("homeassistant/sensor/a/t/config", ""),
    ],
)
def test_what_is_no_reading_gives_nothing_quietly(topic, payload):
    samples = decode(EspHomeFormat(), topic, payload)
    assert (samples.samples, samples.errors, samples.offline) == ((), (), ())


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        ("a/sensor/t/state", "7,7", "not_a_number"),
        ("a/sensor/t/state", b"\xff", "not_text"),
        ("a/switch/s/state", "1", "not_on_or_off"),
        ("a/light/l/state", "ON", "not_json"),
        ("homeassistant/sensor/a/t/config", "{", "not_json"),
    ],
)
def test_what_a_kind_never_sends_is_counted(topic, payload, reason):
    assert decode(EspHomeFormat(), topic, payload).errors == (reason,)


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        '{"~":"sensor/out/state","stat_t":"site/weather/~","unit_of_meas":"°C"}',
        '{"state_topic":"site/weather/sensor/out/state","unit_of_measurement":"°C"}',
    ],
)
def test_the_unit_comes_from_discovery_under_both_names_and_with_a_base(config):
    decoder = EspHomeFormat(discovery="ha")
    decode(decoder, "ha/sensor/weather/out/config", config)
    assert rows(decode(decoder, "site/weather/sensor/out/state", "1"))[0][3] == "°C"
    assert rows(decode(decoder, "site/weather/sensor/in/state", "1"))[0][3] is None


def test_only_the_kinds_asked_for_are_read():
    decoder = EspHomeFormat(only=["switch"])
    assert rows(decode(decoder, "a/sensor/t/state", "1")) == []
    assert rows(decode(decoder, "a/switch/s/state", "OFF")) == [("a", "switch.s", 0.0, None)]


def test_a_device_goes_offline_by_its_status():
    assert decode(EspHomeFormat(), "site/hall/status", "offline").offline == ("site/hall",)
    assert decode(EspHomeFormat(), "site/hall/status", "online").offline == ()


@given(
    st.lists(
        st.tuples(
            topics(TOPICS),
            st.binary()
            | json_values(KEYS).map(lambda v: json.dumps(v).encode())
            | damaged([CONFIG.encode(), b"7.7"]),
        ),
        max_size=4,
    )
)
def test_any_messages_give_samples_or_a_reason(messages):
    decoder = EspHomeFormat()
    for topic, payload in messages:
        check(decoder.decode(topic, payload, arrived_at=ARRIVAL))


def test_units_can_be_written_down():
    before, after = EspHomeFormat(), EspHomeFormat()
    assert decode(before, "homeassistant/sensor/x/config", CONFIG).errors == ()
    assert before.state() == {"units": {"site/weather/sensor/out/state": "°C"}}
    after.restore(before.state())
    assert rows(decode(after, "site/weather/sensor/out/state", "7.5"))[0][3] == "°C"
    with pytest.raises(ValueError, match="expected"):
        after.restore({"units": {"site/weather/sensor/out/state": None}})
    assert after.state() == before.state()
