"""Numbers as firmware writes them (case-06); nothing is guessed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import RejectedInputError
from gatewayd.formats.scalar import number, text_number


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("23.5", 23.5),
        (" 23.5\r\n", 23.5),
        ("-0.0", 0.0),
        ("1e3", 1000.0),
        ("+.5", 0.5),
        ("5.", 5.0),
        ("ON", 1.0),
        ("off", 0.0),
        ("true", 1.0),
        ("False", 0.0),
    ],
)
def test_case_06_texts_that_are_numbers(text, expected):
    assert text_number(text) == expected


@pytest.mark.parametrize(
    "text", ["", "unavailable", "unknown", "None", "nan", "-nan", "Infinity", "1e400", " "]
)
def test_case_06_texts_that_mean_absent(text):
    assert math.isnan(text_number(text))


@pytest.mark.parametrize(
    "text",
    [
        "23,5",
        "1.234,5",
        "1,234.5",
        "1_000",
        "0003092.68'",
        "0x1F",
        "12.3 °C",
        "1e99999",
        "--1",
        "1.2.3",
        "٣",
        "yes",
        "9" * 500,
    ],
)
def test_case_06_texts_that_are_rejected_never_guessed(text):
    with pytest.raises(RejectedInputError, match="not_a_number"):
        text_number(text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_that_python_writes_is_read_back(value):
    assert text_number(repr(value)) == value
    assert number(value) == value


@given(st.text(max_size=500))
def test_any_text_gives_a_number_nan_or_a_reason(text):
    try:
        value = text_number(text)
    except RejectedInputError as error:
        value, reason = 0.0, error.reason
    else:
        reason = "not_a_number"
    assert not math.isinf(value)
    assert reason == "not_a_number"


@pytest.mark.parametrize(
    ("value", "expected"), [(True, 1.0), (False, 0.0), (7, 7.0), (8121069193333309404, 8121069193333309404.0)]
)
def test_parsed_values(value, expected):
    assert number(value) == expected


@pytest.mark.parametrize("value", [None, math.nan, math.inf, 10**400])
def test_parsed_values_that_mean_absent(value):
    assert math.isnan(number(value))


@pytest.mark.parametrize("value", [[], {}, b"1"])
def test_parsed_values_that_are_no_numbers(value):
    with pytest.raises(RejectedInputError, match="not_a_number"):
        number(value)
