"""Time stamps in all their spellings (case-33), against datetime as the independent source."""

import math
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import RejectedInputError
from gatewayd.formats.decoded import NO_TIME
from gatewayd.formats.timestamp import column_ns, float_column_ns, to_ns

WHOLE = 1_741_944_413 * 10**9  # 2025-03-14T09:26:53Z


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1741944413, WHOLE),
        (1741944413.25, WHOLE + 250_000_000),
        ("1741944413", WHOLE),
        ("1741944413.25", WHOLE + 250_000_000),
        (1741944413250, WHOLE + 250_000_000),
        (1741944413250125, WHOLE + 250_125_000),
        (1741944413250125500, WHOLE + 250_125_500),
        ("2025-03-14T09:26:53Z", WHOLE),
        ("2025-03-14 09:26:53", WHOLE),
        ("2025-03-14T10:26:53+01:00", WHOLE),
        ("2025-03-14T10:26:53+0100", WHOLE),
        ("2025-03-14T10:26:53+01", WHOLE),
        ("2025-03-14T09:26Z", WHOLE - 53 * 10**9),
        ("2025-03-14T09:26:53.123456789Z", WHOLE + 123_456_789),
        ("2025-03-14T09:26:53,5Z", WHOLE + 500_000_000),
    ],
)
def test_case_33_believable_times(value, expected):
    assert to_ns(value, "auto") == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("1970-01-01T00:00:03", "unbelievable_time"),
        (188, "unbelievable_time"),
        (946684800, "unbelievable_time"),
        (0, "unbelievable_time"),
        (-1, "unbelievable_time"),
        (1741944413000000000000, "unbelievable_time"),
        ("2025-02-30T00:00:00Z", "invalid_time"),
        ("2025-03-14T25:00:00Z", "invalid_time"),
        ("9999-12-31T23:59:59-23:00", "invalid_time"),
        ("yesterday", "invalid_time"),
        ("2025-03-14T09:26:53.\N{ARABIC-INDIC DIGIT THREE}Z", "invalid_time"),
        ("\N{FULLWIDTH DIGIT TWO}025-03-14T09:26:53Z", "invalid_time"),
        ("", "invalid_time"),
        (True, "invalid_time"),
        (math.nan, "invalid_time"),
        (math.inf, "invalid_time"),
        ([], "invalid_time"),
        (None, "no_time"),
    ],
)
def test_case_33_times_that_cannot_be_used(value, reason):
    with pytest.raises(RejectedInputError, match=f"^{reason}"):
        to_ns(value, "auto")


@given(
    st.datetimes(datetime(2001, 9, 10), datetime(2200, 1, 1)),  # noqa: DTZ001  # the zone is drawn beside it
    st.integers(-14 * 60, 14 * 60),
)
def test_iso_8601_is_read_as_datetime_reads_it(naive, minutes):
    moment = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    if moment.timestamp() < 1e9:
        return
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    expected = (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000
    assert to_ns(moment.isoformat(), "auto") == expected
    assert to_ns(moment.isoformat(), "iso") == expected


@given(st.integers(10**9, 9 * 10**9), st.sampled_from([("s", 10**9), ("ms", 10**6), ("us", 1000), ("ns", 1)]))
def test_the_unit_is_told_by_magnitude_and_may_be_given(seconds, unit):
    name, factor = unit
    value = seconds * 10**9 // factor
    assert to_ns(value, "auto") == to_ns(value, name) == value * factor


@given(
    st.integers(10**18, 2**63 - 10**10),
    st.sampled_from([("s", 10**9), ("ms", 10**6), ("us", 1000)]),
    st.integers(0, 12),
    st.booleans(),
)
def test_decimals_in_a_text_are_read_to_the_last_digit(nanoseconds, unit, digits, is_stated):
    """A float64 of seconds has 16 digits: two to three too few for nanoseconds."""
    name, factor = unit
    whole, rest = divmod(nanoseconds, factor)
    fraction = f"{rest * 10**12 // factor:012}"[:digits]
    text = f"{whole}.{fraction}" if fraction else str(whole)
    expected = Fraction(text) * factor
    assert to_ns(text, name if is_stated else "auto") == math.floor(expected)


@given(st.integers(10**15, 4 * 10**15))
def test_float_seconds_give_back_the_microseconds_that_were_written(microseconds):
    """Up to 2106 a float64 of seconds tells microseconds apart."""
    assert to_ns(microseconds / 1e6, "s") == microseconds * 1000


VALUES = st.lists(
    st.floats(0, 1e12)
    | st.floats(1.6e9, 1.8e9)
    | st.sampled_from([math.nan, math.inf, -1.0, 1.7e12, 1.7e15]),
    max_size=20,
)


@given(values=VALUES, unit=st.sampled_from(["auto", "s", "ms", "us", "ns", "iso"]))
def test_columns_are_read_as_their_values_are(values, unit):
    taken_at, reasons = float_column_ns(np.array(values, dtype=np.float64), unit)
    again, same = column_ns(values, unit)
    assert (taken_at.tolist(), reasons) == (again.tolist(), same)
    for value, found in zip(values, taken_at.tolist(), strict=True):
        try:
            expected = to_ns(value, unit)
        except RejectedInputError:
            expected = NO_TIME
        assert found == expected


@pytest.mark.parametrize("unit", ["auto", "s", "iso"])
def test_integers_that_python_refuses_to_print_are_refused_too(unit):
    with pytest.raises(RejectedInputError, match=r"_time$|invalid_time: int"):
        to_ns(10**5000, unit)


@given(st.text(max_size=40) | st.integers() | st.floats() | st.none() | st.booleans())
def test_anything_gives_a_time_or_a_reason(value):
    for unit in ("auto", "s", "ms", "us", "ns", "iso"):
        try:
            found = to_ns(value, unit)
        except RejectedInputError as error:
            reason = error.reason
        else:
            assert 10**18 <= found < 2**63
            continue
        assert reason in {"no_time", "invalid_time", "unbelievable_time"}
