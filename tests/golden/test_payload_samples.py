"""Sample payloads of every ecosystem, with the readings they should give; they lie beside the repository."""

import os
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from gatewayd.formats.registry import FORMATS
from gatewayd.formats.sample import Sample, Samples

_SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
_FILE = Path(os.environ.get("GATEWAYD_EVAL_DATA", _SHARED)).parent / "cases" / "payloads.yaml"
_ARRIVAL = "2025-03-14T09:26:53.500Z"

# A value that came before its unit: a sample may hold it back or give it without unit.
UNIT_MAY_LACK = {"homie-02"}
# What a sample's note says may come in addition, or its rows leave open: diagnostics and second forms of a value.
EXTRA = {
    "tasmota-07": {"UptimeSec", "Heap", "Sleep", "LoadAvg", "MqttCount", "Wifi.AP", "Wifi.Channel", "Wifi.LinkCount"},
    "shelly-01": {f"switch:0.aenergy.by_minute.{i}" for i in range(3)} | {"switch:0.temperature.tF"},
    "shelly-03": {
        "cloud.connected", "devicepower:0.external.present", "mqtt.connected", "sys.uptime", "sys.wakeup_period",
        "temperature:0.tF",
    },
    "shelly-08": {"temperature:100.tF", "temperature:101.tF"},
    "shelly-09": {f"pm1:0.{a}.by_minute.{i}" for a in ("aenergy", "ret_aenergy") for i in range(3)},
    "esphome-09": {"light.strip.color.r", "light.strip.color.g", "light.strip.color.b"},
}  # fmt: skip


def _samples():
    if not _FILE.is_file():
        return [
            pytest.param(None, marks=pytest.mark.skip("the payload samples are not beside the repository"))
        ]
    samples = yaml.safe_load(_FILE.read_text(encoding="utf-8"))["samples"]
    return [pytest.param(sample, id=sample["id"]) for sample in samples]


def _ns(text: str) -> int:
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole + "+00:00").timestamp())
    return seconds * 10**9 + int(fraction.ljust(9, "0")[:9] or 0)


def _decode_all(sample) -> list[Samples]:
    if sample["format"] not in FORMATS:
        pytest.skip(f"no format '{sample['format']}' yet")
    decoder = FORMATS[sample["format"]](**sample.get("context", {}))
    arrived_at = _ns(sample.get("arrival", _ARRIVAL))
    return [
        decoder.decode(
            message["topic"],
            bytes.fromhex(message["hex"]) if "hex" in message else message["text"].encode(),
            arrived_at=arrived_at,
        )
        for message in sample["messages"]
    ]


def _matches(got: Sample, row, sample) -> bool:
    device, channel, value, unit, time = row
    if time == "arrival":
        # a format may say itself when it arrived
        time_fits = got.taken_at in (None, _ns(sample.get("arrival", _ARRIVAL)))
    else:
        resolution = 10 ** (
            9 - len(time.removesuffix("Z").partition(".")[2])
        )  # as many digits as the row has
        time_fits = got.taken_at is not None and got.taken_at // resolution == _ns(time) // resolution
    return (
        (got.device, got.channel) == (device, channel)
        and abs(Fraction(got.value) - Fraction(value)) <= abs(Fraction(value)) / 10**6
        and (got.unit == unit or (sample["id"] in UNIT_MAY_LACK and got.unit is None))
        and time_fits
    )


@pytest.mark.data
@pytest.mark.parametrize("sample", _samples())
def test_a_sample_gives_its_rows_in_order_and_counts_its_errors(sample):
    decoded = _decode_all(sample)
    extra = EXTRA.get(sample["id"], set())
    got = [one for result in decoded for one in result.samples if one.channel not in extra]
    assert len(got) == len(sample["expect"]), got
    for one, row in zip(got, sample["expect"], strict=True):
        assert _matches(one, row, sample), f"{one} instead of {row}"
    assert sum(len(result.errors) for result in decoded) == sample.get("errors", 0), decoded
