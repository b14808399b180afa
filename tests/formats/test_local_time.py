"""Local times without offset, and what happens to them when clocks are put forward and back."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import RejectedInputError
from gatewayd.formats.json_object import JsonObjectFormat
from gatewayd.formats.local_time import Stamps, find_zone, local_ns
from gatewayd.formats.registry import FORMATS
from gatewayd.formats.timestamp import to_ns

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = 3600 * 10**9
instants = st.integers(10**9 + 86_400, 2**31).map(lambda second: datetime.fromtimestamp(second, tz=UTC))


def utc(text):
    return to_ns(text + "Z", "iso")


@pytest.mark.parametrize(
    ("text", "arrival", "expected", "exists"),
    [
        ("2025-03-14T10:26:50", "2025-03-14T09:26:51", "2025-03-14T09:26:50", True),
        ("2025-07-14T10:26:50", "2025-07-14T08:26:51", "2025-07-14T08:26:50", True),
        ("2025-10-26T02:30:00", "2025-10-26T00:30:01", "2025-10-26T00:30:00", True),
        ("2025-10-26T02:30:00", "2025-10-26T01:30:01", "2025-10-26T01:30:00", True),
        ("2025-03-30T02:30:00", "2025-03-30T01:30:01", "2025-03-30T01:30:00", False),
    ],
)
def test_case_34_a_local_time_is_the_instant_nearest_to_its_arrival(text, arrival, expected, exists):
    result = local_ns(text, BERLIN, arrived_at=utc(arrival))
    assert (result.taken_at, result.exists) == (utc(expected), exists)


def test_case_34_the_hour_that_occurs_twice_keeps_all_its_readings_apart():
    start = datetime(2025, 10, 25, 22, 0, tzinfo=UTC)
    sent = [start + timedelta(minutes=10 * step) for step in range(6 * 6)]
    got = []
    for instant in sent:
        local = instant.astimezone(BERLIN).replace(tzinfo=None).isoformat()
        got.append(
            local_ns(local, BERLIN, arrived_at=utc(instant.replace(tzinfo=None).isoformat()) + 10**9).taken_at
        )
    assert got == [utc(instant.replace(tzinfo=None).isoformat()) for instant in sent]
    assert {
        hour: sum(ns // HOUR == hour for ns in got) for hour in {ns // HOUR for ns in got}
    } == dict.fromkeys(range(got[0] // HOUR, got[0] // HOUR + 6), 6)


@given(
    instants,
    st.integers(-20, 20),
    st.sampled_from(["Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "UTC"]),
)
def test_what_arrives_within_minutes_is_read_back_exactly(instant, delay_min, zone):
    """Whatever the season and the zone; half of Lord Howe's 30 minutes is the closest a change leaves to tell."""
    local = instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None).isoformat()
    sent_at = utc(instant.replace(tzinfo=None).isoformat())
    delay_ns = delay_min * 60 * 10**9 * 7 // 10  # up to 14 minutes
    result = local_ns(local, ZoneInfo(zone), arrived_at=sent_at + delay_ns)
    assert result.exists
    assert result.taken_at == sent_at


@given(st.integers(0, 3599), st.integers(-(10**18), 10**18))
def test_a_time_that_clocks_skip_has_the_offset_from_before_whenever_it_arrives(second, arrival_offset):
    clock = f"{second // 60:02d}:{second % 60:02d}"
    result = local_ns(
        f"2025-03-30T02:{clock}", BERLIN, arrived_at=utc("2025-03-30T01:00:00") + arrival_offset
    )
    assert not result.exists
    assert result.taken_at == utc(f"2025-03-30T01:{clock}")


def test_of_two_instants_equally_near_the_earlier_is_taken():
    result = local_ns("2025-10-26T02:30:00", BERLIN, arrived_at=utc("2025-10-26T01:00:00"))
    assert result.taken_at == utc("2025-10-26T00:30:00")


def test_a_stated_offset_outweighs_the_zone_and_fractions_are_kept():
    assert local_ns("2025-07-14T10:26:50.25+05:30", BERLIN, arrived_at=0).taken_at == utc(
        "2025-07-14T04:56:50.25"
    )
    assert local_ns("2025-07-14T10:26:50Z", BERLIN, arrived_at=0).taken_at == utc("2025-07-14T10:26:50")
    assert local_ns("2025-07-14 10:26:50.123456789", BERLIN, arrived_at=0).taken_at == utc(
        "2025-07-14T08:26:50.123456789"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1970-01-01T00:00:07", "unbelievable_time"),
        ("9999-12-31T23:59:59", "unbelievable_time"),
        ("0001-01-01T00:00:00", "unbelievable_time"),
        ("2025-02-30T10:00:00", "invalid_time"),
        ("2025-07-14", "invalid_time"),
        ("1752481610", "invalid_time"),
        ("", "invalid_time"),
    ],
)
def test_a_time_that_cannot_be_is_rejected(text, reason):
    with pytest.raises(RejectedInputError) as caught:
        local_ns(text, BERLIN, arrived_at=0)
    assert caught.value.reason == reason


@given(st.text() | st.from_regex(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}", fullmatch=True), st.integers())
def test_any_text_is_a_time_or_rejected(text, arrived_at):
    with suppress(RejectedInputError):
        assert 10**18 <= local_ns(text, BERLIN, arrived_at=arrived_at).taken_at < 2**63


def test_a_zone_is_found_by_its_name():
    assert find_zone("Europe/Berlin").key == "Europe/Berlin"


@pytest.mark.parametrize(
    "name", ["Europe/Berln", "Europe", "", "../etc/passwd", "/etc/localtime", "a\0b", "x" * 5000]
)
def test_a_name_of_no_zone_is_refused_in_one_line(name):
    with pytest.raises(ValueError, match="no time zone") as caught:
        find_zone(name)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=30))
def test_any_text_is_a_zone_or_refused(name):
    try:
        find_zone(name)
    except ValueError as error:
        assert "no time zone" in str(error)  # noqa: PT017  # most texts are refused, "UTC" isn't


def at(text):
    return to_ns(text, "iso")


@pytest.mark.parametrize("timezone", [None, "UTC", "Europe/Berlin"])
@pytest.mark.parametrize(
    "value", [1_741_944_413, "1741944413", 1_741_944_413.25, "2025-03-14T10:26:53+01:00"]
)
def test_what_names_its_instant_means_it_in_any_zone(timezone, value):
    stamp = Stamps("auto", timezone).read(value, arrived_at=0)
    assert (stamp.taken_at // 10**9, stamp.exists) == (1_741_944_413, True)


@pytest.mark.parametrize(
    ("text", "arrival", "expected"),
    [
        ("2025-03-14T10:26:50", "2025-03-14T09:26:51Z", "2025-03-14T09:26:50Z"),
        ("2025-07-14T10:26:50", "2025-07-14T08:26:51Z", "2025-07-14T08:26:50Z"),
        ("2025-10-26T02:30:00", "2025-10-26T00:30:01Z", "2025-10-26T00:30:00Z"),
        ("2025-10-26T02:30:00", "2025-10-26T01:30:01Z", "2025-10-26T01:30:00Z"),
    ],
)
def test_case_34_a_json_stream_reads_local_times(text, arrival, expected):
    payload = json.dumps({"ts": text, "a": 1}).encode()
    decoded = JsonObjectFormat(["a"], time_path="ts", timezone="Europe/Berlin").decode(
        [payload, b"{"], np.array([at(arrival), 0])
    )
    assert decoded.taken_at.tolist() == [at(expected)]
    for name in ("flat_json", "json_list", "csv"):
        if name == "csv":
            data = f"ts,a\n{text},1".encode()
        else:
            data = payload if name == "flat_json" else b"[" + payload + b"]"
        made = FORMATS[name](time="ts", timezone="Europe/Berlin")
        [sample] = made.decode("t", data, arrived_at=at(arrival)).samples
        assert sample.taken_at == at(expected)


def test_case_34_a_time_that_clocks_skip_is_told():
    payload = b'{"ts": "2025-03-30T02:30:00", "a": 1}'
    found = FORMATS["flat_json"](time="ts", timezone="Europe/Berlin").decode(
        "t", payload, arrived_at=at("2025-03-30T01:30:01Z")
    )
    assert found.samples[0].taken_at == at("2025-03-30T01:30:00Z")
    assert found.errors == ("skipped_time",)


def test_case_34_the_autumn_night_has_six_readings_in_every_hour():
    start = at("2025-10-25T22:00:00Z")
    stamps, berlin = Stamps("auto", "Europe/Berlin"), ZoneInfo("Europe/Berlin")
    found = set()
    for step in range(36):
        real = start + step * 600 * 10**9
        text = datetime.fromtimestamp(real // 10**9, berlin).replace(tzinfo=None).isoformat()
        found.add(stamps.read(text, arrived_at=real + 10**9).taken_at)
    assert found == {start + step * 600 * 10**9 for step in range(36)}
