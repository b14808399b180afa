"""What messages hold: devices, channels, what came together, and when."""

import pytest

from gatewayd.workbench.families import Kind
from gatewayd.workbench.sources import read_sources
from gatewayd.workbench.values import LONGEST_LIST
from tests.support.discovered import LAG_S, overhear
from tests.support.plant import EPOCH_S

JSON = Kind(format="json")


def sources(kind, *said):
    heard = [(float(i), topic, payload.encode(), False) for i, (topic, payload) in enumerate(said)]
    return read_sources(kind, list(overhear(heard)))


def only(kind, *said):
    (source,), silent = sources(kind, *said)
    assert not silent
    return source


def test_waveforms_and_names_that_are_too_long_are_no_channels():
    found, silent = sources(
        JSON, ("a", '{"w":[' + "1," * LONGEST_LIST + "1]}"), ("b", '{"' + "k" * 201 + '":1}'), ("c", "[1]")
    )
    assert not found
    assert silent == {"a": "no_values", "b": "unusable_name", "c": "not_an_object"}


def test_what_comes_together_and_when():
    timed = Kind(format="json", time="ts")
    now = EPOCH_S + 1
    source = only(
        timed,
        ("a", f'{{"ts":{now},"x":1,"y":2}}'),
        ("a", f'{{"ts":{now},"x":1}}'),
        ("a", '{"ts":"?","x":1}'),
    )
    assert source.sets == {frozenset({"x", "y"}): 1, frozenset({"x"}): 2}
    at = round(now * 10**9)
    assert [(taken, (arrived - at) / 10**9) for taken, arrived in source.stamps] == [
        (at, pytest.approx(-1 + LAG_S, abs=1e-6)),
        (at, pytest.approx(LAG_S, abs=1e-6)),
    ]
    assert source.neighbours == [(at, at)]
    assert source.interval_s("x") == pytest.approx(1.0)
    assert source.interval_s("y") is None
    assert source.topics == {"a": {"x", "y"}}


def test_devices_that_messages_name_are_one_on_all_their_topics():
    tasmota = Kind(format="tasmota")
    found, silent = sources(
        tasmota,
        ("tele/d/SENSOR", '{"Time":"2025-11-24T16:00:00","A":{"Temperature":20},"TempUnit":"C"}'),
        ("tele/d/STATE", '{"Time":"2025-11-24T16:00:00","POWER":"ON","Heap":24}'),
        ("tele/e/LWT", "Online"),
    )
    assert [(source.device, source.is_named, sorted(source.topics)) for source in found] == [
        ("d", True, ["tele/d/SENSOR", "tele/d/STATE"])
    ]
    assert found[0].series["A.Temperature"].units == {"°C"}
    assert found[0].series["POWER"].is_switch
    assert not found[0].series["Heap"].is_switch
    assert silent == {"tele/e/LWT": "no_values"}


def test_units_that_come_after_the_values_count():
    found, _ = sources(
        Kind(format="homie", root="homie"),
        ("homie/d/n/t", "21.5"),
        ("homie/d/n/b", "true"),
        ("homie/d/n/t/$unit", "°C"),
    )
    assert found[0].series["n.t"].units == {"°C"}
    assert found[0].series["n.b"].is_switch


def test_numbers():
    source = only(Kind(format="number"), ("a", "21.5"), ("a", "22"))
    assert source.series["value"].values == [21.5, 22.0]
    _, silent = sources(Kind(format="number"), ("a", "nan"), ("b", "x"))
    assert silent == {"a": "no_values", "b": "not_a_number"}
