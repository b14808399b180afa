"""Beyond the recorded messages (test_payload_samples.py): resolution, names, edges, and any bytes whatever."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.formats.leaves import MAX_BYTES, MAX_LEAVES
from gatewayd.formats.senml import SenmlJsonFormat
from tests.support.any_message import check, damaged, json_values
from tests.support.readings import decode, rows

LABELS = ["n", "u", "v", "vs", "vb", "vd", "s", "t", "ut", "bn", "bt", "bu", "bv", "bs", "bver", "x_"]
GOOD = b'[{"bver":10,"bn":"d/","bt":1741944413.25,"bv":1,"n":"t","u":"Cel","v":2,"s":3,"t":-1},{"n":"o","vb":true}]'

numbers = st.integers(-(10**6), 10**6)
records = st.fixed_dictionaries(
    {"n": st.sampled_from(["a", "b"]), "v": numbers},
    optional={
        "bn": st.sampled_from(["x/", "y:", "u:r:n/"]),
        "bt": st.integers(1_700_000_000, 1_800_000_000),
        "bu": st.sampled_from(["A", "V"]),
        "bv": numbers,
        "bs": numbers,
        "s": numbers,
        "t": st.integers(-1000, 1000),
        "u": st.just("Cel"),
    },
)


def senml(*pack):
    return decode(SenmlJsonFormat(), "t", json.dumps(pack))


def resolved(pack):
    """Write each record out with all that it inherits, and no base: RFC 8428, 4.6."""
    bases = {"bn": "", "bt": 0, "bu": None, "bv": 0, "bs": 0}
    for record in pack:
        bases.update({label: record[label] for label in bases if label in record})
        plain = {"n": bases["bn"] + record["n"], "v": bases["bv"] + record["v"]}
        plain["t"] = bases["bt"] + record.get("t", 0)
        if "s" in record:
            plain["s"] = bases["bs"] + record["s"]
        unit = record.get("u", bases["bu"])
        yield plain if unit is None else {**plain, "u": unit}


@given(st.lists(records, max_size=8))
def test_a_pack_says_the_same_as_its_resolved_records(pack):
    assert senml(*pack) == senml(*resolved(pack))


@given(
    st.binary() | json_values(LABELS).map(lambda v: json.dumps([v]).encode()) | damaged([GOOD]),
    st.integers(0, 2**62),
)
def test_any_message_gives_samples_or_a_reason(payload, arrived_at):
    check(SenmlJsonFormat().decode("t", payload, arrived_at=arrived_at))


@pytest.mark.parametrize(
    ("base", "name", "device", "channel"),
    [
        ("dev7/", "t1", "dev7", "t1"),
        ("dev7/", "motor/t1", "dev7", "motor/t1"),
        ("urn:dev:mac:01:", "temp", "urn:dev:mac:01", "temp"),
        ("urn:dev:mac:01", ":temp", "urn:dev:mac:01", "temp"),
        ("dev/sen", "sor1", "dev", "sensor1"),  # the base ends within a word
        ("", "dev7/t1", "dev7", "t1"),
        ("", "a:b/c:d", "a:b/c", "d"),
        ("", "t1", None, "t1"),
        ("dev7/t1", "", "dev7", "t1"),
        ("dev7/", "", None, "dev7"),
        ("/", "t1", None, "t1"),
    ],
)
def test_device_and_channel_are_told_from_the_name(base, name, device, channel):
    assert rows(senml({"bn": base, "n": name, "v": 1})) == [(device, channel, 1.0, None)]


@pytest.mark.parametrize(
    ("stamps", "seconds"),
    [
        ({}, 1_741_944_413),
        ({"t": -60}, 1_741_944_353),
        ({"t": 2**28 - 1}, 1_741_944_413 + 2**28 - 1),
        ({"bt": 1_700_000_000, "t": 2**28}, 1_700_000_000 + 2**28),
        ({"t": 1_700_000_000.5}, 1_700_000_000.5),
        ({"bt": 1_700_000_000.25, "t": 0.5}, 1_700_000_000.75),
        ({"bt": -10, "t": 4}, 1_741_944_407),
    ],
)
def test_times_below_2_to_the_28_are_relative_to_the_arrival(stamps, seconds):
    (sample,) = senml({"n": "d/c", "v": 1, **stamps}).samples
    assert sample.taken_at == int(seconds * 4) * 10**9 // 4


@pytest.mark.parametrize(
    ("stamp", "reason"),
    [
        (2**28, "unbelievable_time"),
        (1e300, "unbelievable_time"),
        (None, "invalid_time"),
        ("noon", "invalid_time"),
    ],
)
def test_a_reading_whose_time_cannot_be_is_kept_without(stamp, reason):
    samples = senml({"n": "d/c", "v": 1, "t": stamp})
    assert [(one.value, one.taken_at) for one in samples.samples] == [(1.0, None)]
    assert samples.errors == (reason,)


def test_relative_times_of_a_gateway_without_clock_are_no_times():
    samples = SenmlJsonFormat().decode("t", b'[{"n":"c","v":1,"t":-5}]', arrived_at=10**9)
    assert samples.samples[0].taken_at is None
    assert samples.errors == ("unbelievable_time",)


@pytest.mark.parametrize("version", [1, 5, 10, 26])
def test_versions_up_to_the_rfcs_and_secondary_units_are_understood(version):
    assert rows(senml({"bver": version, "n": "c", "u": "ms", "v": 1})) == [(None, "c", 1.0, "ms")]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"bver": 11}, "unknown_version"),
        ({"bver": 0}, "unknown_version"),
        ({"bver": True}, "unknown_version"),
        ({"bver": "10"}, "unknown_version"),
        ({"must_": 1}, "unknown_field"),
        ({"bn": 7}, "invalid_base"),
        ({"bu": 7}, "invalid_base"),
        ({"bt": "x"}, "invalid_base"),
        ({"bv": None}, "invalid_base"),
        ({"bs": True}, "invalid_base"),
    ],
)
def test_what_would_falsify_later_records_rejects_the_message(record, reason):
    samples = senml({"n": "a", "v": 1}, {"n": "b", "v": 2, **record}, {"n": "c", "v": 3})
    assert samples.samples == ()
    assert samples.errors == (reason,)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (7, "not_an_object"),
        ({"v": 1}, "no_name"),
        ({"n": "/", "v": 1}, "no_name"),
        ({"n": None, "v": 1}, "no_name"),
        ({"n": "b"}, "no_value"),
        ({}, "no_value"),
        ({"n": "b", "v": 1, "vb": True}, "several_values"),
        ({"n": "b", "v": "1"}, "not_a_number"),
        ({"n": "b", "v": True}, "not_a_number"),
        ({"n": "b", "vb": 1}, "not_a_number"),
        ({"n": "b", "v": 1, "s": "x"}, "not_a_number"),
    ],
)
def test_a_bad_record_costs_itself_alone(record, reason):
    samples = senml({"n": "a", "v": 1}, record, {"n": "c", "v": 3})
    assert [one.channel for one in samples.samples] == ["a", "c"]
    assert samples.errors == (reason,)


@pytest.mark.parametrize(
    "record",
    [
        {"bn": "d/", "bt": 1_700_000_000},
        {"n": "a", "v": None},
        {"n": "a", "vs": "x"},
        {"n": "a", "v": 10**400},
    ],
)
def test_what_states_no_number_says_nothing(record):
    assert rows(senml(record)) == []


def test_a_sum_may_stand_alone_and_a_base_is_no_value():
    samples = senml({"bn": "m/", "bs": 100, "bv": 5, "n": "e", "s": 2.5}, {"n": "e", "v": 1})
    assert rows(samples) == [("m", "e.sum", 102.5, None), ("m", "e", 6.0, None)]


def test_an_empty_unit_is_none_and_an_own_one_wins():
    assert [
        one.unit for one in senml({"bu": "A", "n": "a", "v": 1}, {"n": "b", "u": "", "v": 1}).samples
    ] == ["A", None]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"x", "not_json"),
        (b"{}", "not_an_array"),
        (b"[" * 100_000, "too_deep"),
        (b'["' + b"x" * MAX_BYTES + b'"]', "too_large"),
        (b"[" + b",".join([b"1"] * (MAX_LEAVES + 1)) + b"]", "too_many_values"),
    ],
)
def test_what_is_no_pack_is_counted_once(payload, reason):
    assert decode(SenmlJsonFormat(), "t", payload).errors == (reason,)


@pytest.mark.parametrize("payload", [b"", b"[]"])
def test_nothing_gives_nothing_quietly(payload):
    assert rows(decode(SenmlJsonFormat(), "t", payload)) == []


def test_values_are_finite_even_where_a_base_takes_them_beyond():
    assert rows(senml({"bv": 1.7e308, "n": "a", "v": 1.7e308}, {"n": "b", "v": 0})) == [
        (None, "b", 1.7e308, None)
    ]
