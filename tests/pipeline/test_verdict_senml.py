"""Packs obey RFC 8428, and our own reader finds in them what the verdict says."""

import json
import re
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.formats.senml import SenmlJsonFormat
from gatewayd.pipeline.origin import Device
from gatewayd.pipeline.verdict_json import significant
from gatewayd.pipeline.verdict_senml import SenmlPacks, legal
from tests.support.schemas import shown
from tests.support.verdicts import (
    ANOMALOUS,
    DEVICES,
    P3,
    PREDICTIONS,
    PUMP,
    RAISED,
    ROOM,
    ROOM_ORIGIN,
    STUCK,
    VACANT,
    alerts,
)

PUMPS = SenmlPacks(PUMP)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-:./_]*")  # RFC 8428, 4.5.1
LABELS = {"bn", "bt", "n", "u", "v", "vb", "vs"}
OLDEST = 2**28  # what is earlier is relative to now (RFC 8428, 4.5.3)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


def read(pack):
    """What our own reader makes of a pack; it doesn't believe in the year 2262."""
    found = SenmlJsonFormat().decode("", pack, arrived_at=4 * 10**18)
    assert set(found.errors) <= {"unbelievable_time"}
    return {sample.channel: sample for sample in found.samples}


def check_pack(pack, at):
    """Whatever the verdict."""
    records = json.loads(pack, parse_float=Decimal)
    base = records[0]["bn"]
    for record in records:
        assert set(record) <= LABELS
        assert NAME.fullmatch(base + record["n"])
        assert sum(label in record for label in ("v", "vb", "vs")) == 1
    assert len({record["n"] for record in records}) == len(records)
    assert all("bn" not in record and "bt" not in record for record in records[1:])
    if at >= OLDEST * 10**9:
        assert records[0]["bt"] * 10**9 == at  # to the nanosecond
    else:
        assert "bt" not in records[0]
    return {record["n"]: record for record in records}


@given(prediction=PREDICTIONS, device=DEVICES)
def test_a_prediction_is_a_legal_pack_that_reads_back(prediction, device):
    pack = PUMPS.prediction(prediction, device)
    records = check_pack(pack, prediction.end)
    assert records["id"]["vs"] == PUMP.identify("prediction", device, prediction.end)
    assert records["anomalous"]["vb"] is prediction.is_anomalous
    values = {name: sample.value for name, sample in read(pack).items()}
    expected = {"score": significant(prediction.score), "anomalous": float(prediction.is_anomalous)}
    if prediction.threshold is not None:
        expected["threshold"] = significant(prediction.threshold)
    if prediction.contributions is not None:
        expected |= {f"contribution/{name}": part for name, part in prediction.contributions.items()}
    if prediction.probabilities is not None:
        expected |= {f"probability/{name}": part for name, part in prediction.probabilities.items()}
        assert records["label"]["vs"] == prediction.label
    assert values == expected


@given(alert=alerts(), device=DEVICES)
def test_an_alert_is_a_legal_pack_that_reads_back(alert, device):
    pack = PUMPS.alert(alert, device)
    records = check_pack(pack, alert.changed_at)
    name = f"alert/{alert.condition}" + ("" if alert.channel is None else f"/{legal(alert.channel)}")
    assert records[f"{name}/raised"]["vb"] is (alert.cleared_at is None)
    for text in ("state", "status", "severity", "id"):
        assert records[f"{name}/{text}"]["vs"] == getattr(alert, text)
    values = {channel: sample.value for channel, sample in read(pack).items()}
    for number in ("score", "peak_score", "threshold"):
        assert values[f"{name}/{number}"] == significant(getattr(alert, number))


@given(first=NAMES, second=NAMES)
def test_different_names_give_different_legal_levels(first, second):
    levels = [legal(name) for name in (first, second)]
    assert (levels[0] == levels[1]) == (first == second)
    for level in levels:
        assert re.fullmatch(r"[A-Za-z0-9\-:._]{1,128}", level)


def test_long_names_that_differ_at_their_end_have_different_levels():
    levels = {legal("n" * 200 + end) for end in ("a", "b", "")}
    assert len(levels) == 3
    assert {len(level) for level in levels} == {128}
    assert legal("n" * 128) == "n" * 128


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("p3", "p3"),
        ("Pump_1.a-b", "Pump_1.a-b"),
        ("a#1", "a:231"),
        ("a:1", "a:3A1"),
        ("ü", ":C3:BC"),
        ("", ":"),
    ],
)
def test_what_is_illegal_is_written_byte_by_byte(name, level):
    assert legal(name) == level


def test_devices_of_one_name_are_told_apart_by_their_other_levels():
    bases = set()
    for line in ("l1", "l2", ""):
        device = Device(name="p3", levels={"line": line, "device": "p3"})
        bases.add(json.loads(PUMPS.prediction(ANOMALOUS, device))[0]["bn"])
    assert bases == {
        "gatewayd/line1-gw/pump/l1/p3/",
        "gatewayd/line1-gw/pump/l2/p3/",
        "gatewayd/line1-gw/pump/:/p3/",
    }


def test_units_stand_where_there_is_one():
    """Seconds of standing still are seconds; a model's score has no unit."""
    units = {record["n"]: record.get("u") for record in json.loads(PUMPS.alert(STUCK, P3))}
    assert units["alert/stuck/temperature/score"] == units["alert/stuck/temperature/threshold"] == "s"
    units = {record["n"]: record.get("u") for record in json.loads(PUMPS.alert(RAISED, P3))}
    assert units["alert/anomaly/score"] is None
    assert units["alert/anomaly/contribution/vibration"] == "/"


def test_a_window_without_threshold_has_no_such_record():
    pack = PUMPS.prediction(replace(ANOMALOUS, threshold=None, is_anomalous=False), P3)
    assert "threshold" not in {record["n"] for record in json.loads(pack)}


def test_the_documentation_shows_what_these_verdicts_give():
    rooms = SenmlPacks(ROOM_ORIGIN)
    packs = [PUMPS.prediction(ANOMALOUS, P3), rooms.prediction(VACANT, ROOM), PUMPS.alert(RAISED, P3)]
    assert [pack.decode() for pack in packs] == shown("json", "senml")
