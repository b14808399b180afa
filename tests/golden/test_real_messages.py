"""Messages of real installations: every number and boolean in them is a reading."""

import json
import re

import pytest

from gatewayd.formats.registry import FORMATS
from tests.support.evaluation import recordings

ARRIVAL = 1_700_000_000 * 10**9
OPTIONS = {"tasmota": {"timezone": "Europe/Berlin"}}
# What stands in a message and is no reading, and why.
NO_READINGS = {
    "shelly_gen2": re.compile(r"ts|(.*\.)?id|pid|BTHome_version"),  # when, and numbers that are names
    "zigbee2mqtt": re.compile(r"update\..*"),  # about the device's firmware
}


def _messages(family):
    path = recordings("mqtt_payloads") / "payloads.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    return [message for message in map(json.loads, lines) if message["family"] == family]


def _channel(message, path):
    path = re.sub(r"\[(\d+)\]", r".\1", path).removeprefix("params.")
    topic = message["topic"]
    return f"{topic.rpartition('/')[2]}.{path}" if "/status/" in topic else path


@pytest.mark.data
@pytest.mark.parametrize(("family", "count"), [("zigbee2mqtt", 13), ("tasmota", 52), ("shelly_gen2", 6)])
def test_every_number_of_a_message_is_a_reading(family, count):
    messages = _messages(family)
    assert len(messages) == count
    excluded = NO_READINGS.get(family, re.compile(r"(?!)"))
    for message in messages:
        samples = FORMATS[family](**OPTIONS.get(family, {})).decode(
            message["topic"], message["payload"].encode(), arrived_at=ARRIVAL
        )
        assert not samples.errors, message["id"]
        got = {sample.channel: sample.value for sample in samples.samples}
        expected = {
            _channel(message, path): float(value)
            for path, value in message["expected"].items()
            if not excluded.fullmatch(path.removeprefix("params."))
        }
        assert {channel: got.get(channel) for channel in expected} == expected, message["id"]
        switches = set(got) - set(expected)
        payload = message["payload"].replace(" ", "")
        assert all(
            re.search(rf'"{re.escape(channel.rpartition(".")[2])}":"(ON|OFF)"', payload)
            for channel in switches
        ), (message["id"], switches)


@pytest.mark.data
def test_a_cloud_event_gives_its_data():
    (message,) = _messages("cloudevents")
    samples = FORMATS["cloudevents"]().decode(
        message["topic"], message["payload"].encode(), arrived_at=ARRIVAL
    )
    assert {f"data.{one.channel}": one.value for one in samples.samples} == message["expected"]
    assert {one.device for one in samples.samples} == {"fleet-a/sensors/temp-0042"}


RUUVI = {
    "temperature": "temperature_c",
    "humidity": "humidity_pct",
    "pressure": "pressure_pa",
    "acceleration_x": "accel_x_g",
    "acceleration_y": "accel_y_g",
    "acceleration_z": "accel_z_g",
    "battery": "battery_v",
    "tx_power": "tx_power_dbm",
    "movements": "movement_counter",
    "sequence": "sequence",
}


@pytest.mark.data
def test_a_ruuvi_broadcast_gives_all_its_fields():
    messages = _messages("ruuvi_raw")
    assert len(messages) == 4
    for message in messages:
        samples = FORMATS["ruuvi_raw"]().decode(
            "t", bytes.fromhex(message["payload_hex"]), arrived_at=ARRIVAL
        )
        expected = {name: value for name, value in message["expected"].items() if name != "data_format"}
        assert {RUUVI[one.channel]: one.value for one in samples.samples} == pytest.approx(
            expected, rel=1e-12
        )


@pytest.mark.data
def test_sparkplug_metrics_are_known_by_name_or_by_alias_from_the_birth():
    if "sparkplug_b" not in FORMATS:
        pytest.skip("no format 'sparkplug_b' yet")
    messages, decoder = _messages("sparkplug_b"), FORMATS["sparkplug_b"]()
    assert len(messages) == 6
    aliases: dict[int, str] = {}
    for message in messages:
        samples = decoder.decode(message["topic"], bytes.fromhex(message["payload_hex"]), arrived_at=ARRIVAL)
        assert samples.errors == (), message["id"]
        expected = {}
        for metric in message["expected"]["metrics"]:
            name = metric["name"] or aliases[metric["alias"]]
            if metric.get("alias") is not None:
                aliases[metric["alias"]] = name
            control = name == "bdSeq" or name.startswith("Node Control/")
            if isinstance(metric["value"], int | float) and not control:
                expected[name] = (metric["value"], metric["timestamp"])
        got = {one.channel: (one.value, (one.taken_at or 0) // 10**6) for one in samples.samples}
        assert got.keys() == expected.keys(), message["id"]
        for name, (value, milliseconds) in expected.items():
            assert got[name] == (pytest.approx(float(value), rel=1e-6), milliseconds), message["id"]
