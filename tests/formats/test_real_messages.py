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
