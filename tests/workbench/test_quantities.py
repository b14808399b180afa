"""What a name says, and what it doesn't."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from gatewayd.config.settings import Name
from gatewayd.workbench.quantities import (
    is_counter,
    is_diagnostic,
    is_generic,
    is_identity,
    is_quantity,
    known_unit,
    last_word,
    legal_name,
    time_rank,
)


@given(st.text(max_size=100), st.integers(1, 12))
def test_any_text_gives_legal_names_none_twice(text, count):
    names: list[str] = []
    for _ in range(count):
        names.append(legal_name(text, names, otherwise="channel"))
    assert len(set(names)) == count
    for name in names:
        assert TypeAdapter(Name).validate_python(name) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("motor.temp", "motor.temp"),
        ("switch:0.apower", "switch_0.apower"),
        ("Vorlauftemperatur Kühlung", "Vorlauftemperatur_Kuhlung"),
        ("Hydraulics/Pressure", "Hydraulics_Pressure"),
        ("_ts", "ts"),
        ("温度", "channel"),
        ("Volume Flow (l/min)", "Volume_Flow_l_min"),
    ],
)
def test_a_name_stays_as_near_as_it_can(text, name):
    assert legal_name(text, otherwise="channel") == name


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("temp_c", "°C"),
        ("env.airTempC", "°C"),
        ("temperature", ""),
        ("oil_temp_f", "°F"),
        ("c", ""),
        ("pressure_bar", "bar"),
        ("rpm", "rpm"),
        ("humidity", "%"),
        ("vibration_mm_s", "mm/s"),
        ("supply_v", "V"),
        ("battery_mv", "mV"),
        ("voltage", ""),
        ("phases.0.current_a", "A"),
    ],
)
def test_a_unit_is_taken_from_a_name_only_where_it_stands_in_it(path, unit):
    assert known_unit(path) == unit


@pytest.mark.parametrize(
    ("path", "word"),
    [("env.airTemp.0", "air_temp"), ("ENERGY.Power", "power"), ("0.1", "0_1"), ("a b-c", "a_b_c")],
)
def test_the_last_word_is_the_name_of_the_value(path, word):
    assert last_word(path) == word


def test_words_are_told_apart():
    assert all(
        map(
            is_quantity,
            ["temperature", "oil-temp2", "co2", "flow_temperature", "Pressure", "temp_c", "pm25", "flow_lpm"],
        )
    )
    assert not any(
        map(is_quantity, ["pump-1", "press-07", "load-cell-3", "telemetry", "value", "line", "", "12", "bar"])
    )
    assert all(map(is_generic, ["value", "data.v", "Val"]))
    assert not is_generic("temperature")
    assert all(map(is_counter, ["seq", "energy_total", "msgCount"]))
    assert all(map(is_diagnostic, ["wifi.rssi", "linkquality"]))
    assert all(map(is_identity, ["id", "meta.serial_number", "code"]))
    assert time_rank("ts") == 0
    assert time_rank("meta.sampledAt") is not None
    assert time_rank("temperature") is None
