"""Spellings are folded, sizes are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.formats.units import canonical, same_unit


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("°C", "Cel"),
        ("°C", "degrees Celsius"),
        ("C", "celsius"),
        ("\u00b5g/m\u00b3", "\u03bcg/m3"),
        ("% RH", "%"),
        ("m/s²", "m/s^2"),
        ("mbar", "hPa"),
        ("", "bar"),
        ("V", "Volts"),
    ],
)
def test_spellings_of_one_unit_are_one(first, second):
    assert same_unit(first, second)
    assert same_unit(second, first)


@pytest.mark.parametrize(
    ("first", "second"),
    [("mV", "V"), ("mW", "MW"), ("°C", "°F"), ("K", "°C"), ("Pa", "hPa"), ("s", "S"), ("h", "H")],
)
def test_units_that_differ_in_size_or_kind_stay_apart(first, second):
    assert not same_unit(first, second)


@given(st.text(max_size=20))
def test_folding_twice_changes_nothing(unit):
    assert canonical(canonical(unit)) == canonical(unit)
