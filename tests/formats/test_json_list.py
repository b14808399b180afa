import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.formats.json_list import MAX_ELEMENTS, JsonListFormat
from gatewayd.formats.leaves import MAX_BYTES, MAX_DEPTH, MAX_LEAVES
from tests.support.any_message import check, damaged, json_values
from tests.support.readings import decode, rows

CASE_07 = (
    '{"timestamp":1741944413000,"values":[{"id":"press.in","v":4.21,"q":true,"t":1741944412250},'
    '{"id":"press.out","v":3.98,"q":true,"t":1741944411900},{"id":"flow","v":0,"q":false,"t":1741944400000}]}'
)
LONG = {"channel": "id", "value": "v", "time": "t", "good": "q"}
T = 1_741_944_413

FORMS = [
    {},
    {"list": "values", **LONG},
    {"list": "values", "device": "/id", "time": "/timestamp"},
    {"list": "*.values", "device": "@key", **LONG},
    {"list": "values.*", "channel": "@key", "value": ""},
    {"list": "*.*", "device": "/*.id", "unit": "u", **LONG},
]
KEYS = ["values", "id", "v", "q", "t", "u", "timestamp", "0"]


def read(document, **options):
    return decode(JsonListFormat(**options), "t", json.dumps(document))


def instant(text):
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000) * 10**6


def test_case_07_each_reading_of_a_list_has_its_own_time_and_quality():
    decoder = JsonListFormat(list="values", time_unit="ms", **LONG)
    found = decode(decoder, "t", CASE_07)
    assert [(one.channel, one.value, one.taken_at) for one in found.samples] == [
        ("press.in", 4.21, instant("2025-03-14T09:26:52.250")),
        ("press.out", 3.98, instant("2025-03-14T09:26:51.900")),
    ]
    assert found.errors == ("bad_quality",)  # flow is no good 0.0
    assert decode(decoder, "t", CASE_07.replace('"v":4.21,', "")).errors == ("no_value", "bad_quality")


def test_case_07_an_empty_list_gives_no_readings_and_no_error():
    for values in ([], None):
        assert rows(read({"timestamp": T, "values": values}, list="values", **LONG)) == []


elements = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from(["x", "y.z"]),
        st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.integers(-(2**60), 2**60),
        st.none() | st.integers(1_000_000_000, 2_000_000_000),
        st.booleans(),
    ),
    max_size=8,
)


@given(elements)
def test_every_good_element_gives_its_value_in_order(parts):
    document = [
        {"d": device, "id": name, "v": value, "q": good, **({} if time is None else {"t": time})}
        for device, name, value, time, good in parts
    ]
    found = read(document, device="d", time_unit="s", **LONG)
    assert [(one.device, one.channel, one.value, one.taken_at) for one in found.samples] == [
        (device, name, float(value), None if time is None else time * 10**9)
        for device, name, value, time, good in parts
        if good
    ]
    expected = ["no_time" if good else "bad_quality" for *_, time, good in parts if not good or time is None]
    assert list(found.errors) == expected


@given(elements)
def test_elements_say_the_same_in_one_message_as_each_in_its_own(parts):
    document = [
        {"d": d, "id": name, "v": value, "t": time, "q": good} for d, name, value, time, good in parts
    ]
    decoder = JsonListFormat(device="d", **LONG)
    together = decode(decoder, "t", json.dumps(document))
    alone = [decode(decoder, "t", json.dumps([element])) for element in document]
    assert together.samples == tuple(sample for one in alone for sample in one.samples)
    assert together.errors == tuple(error for one in alone for error in one.errors)


@given(
    st.binary()
    | json_values(KEYS).map(lambda value: json.dumps(value).encode())
    | damaged([CASE_07.encode(), b'{"p1":{"id":7,"values":[{"id":"a","v":1,"u":"bar","t":1741944413}]}}']),
    st.sampled_from(FORMS),
    st.sampled_from(["auto", "s", "ms", "us", "ns", "iso"]),
)
def test_any_message_gives_samples_or_a_reason(payload, form, unit):
    check(decode(JsonListFormat(time_unit=unit, **form), "t", payload))


def test_the_wide_form_takes_every_number_of_an_element_but_what_it_says_of_itself():
    document = {
        "gateway": {"id": "gw7"},
        "values": [
            {"n": 3, "t": T, "q": 192, "motor": {"temp": 21.5, "on": True, "name": "x"}, "amps": [1, 2.5]},
            {"n": 4, "t": T + 1, "q": 24, "motor": {"temp": 99}},
        ],
    }
    found = read(document, list="values", device="n", time="t", good="q")
    assert [(one.device, one.channel, one.value) for one in found.samples] == [
        ("3", "motor.temp", 21.5), ("3", "motor.on", 1.0), ("3", "amps.0", 1.0), ("3", "amps.1", 2.5),
    ]  # fmt: skip
    assert {one.taken_at for one in found.samples} == {T * 10**9}
    assert found.errors == ("bad_quality",)


def test_device_and_time_may_stand_at_the_root():
    document = {"gateway": {"id": "gw7"}, "ts": T, "values": [{"id": "a", "v": 1}, {"id": "b", "v": 2}]}
    found = read(document, list="values", device="/gateway.id", channel="id", value="v", time="/ts")
    assert rows(found) == [("gw7", "a", 1.0, None), ("gw7", "b", 2.0, None)]
    assert {one.taken_at for one in found.samples} == {T * 10**9}


def test_a_star_goes_through_devices_by_their_keys():
    document = {"p1": {"s": [{"c": "x", "v": 1}]}, "meta": "none", "p2": {"s": [{"c": "x", "v": 2}]}}
    found = read(document, list="*.s", device="@key", channel="c", value="v")
    assert rows(found) == [("p1", "x", 1.0, None), ("p2", "x", 2.0, None)]


def test_a_star_at_the_root_follows_the_one_of_the_list():
    document = {"devices": [{"id": "p1", "s": [{"c": "x", "v": 1}]}, {"id": "p2", "s": [{"c": "x", "v": 2}]}]}
    found = read(document, list="devices.*.s", device="/devices.*.id", channel="c", value="v")
    assert rows(found) == [("p1", "x", 1.0, None), ("p2", "x", 2.0, None)]


def test_a_star_at_the_end_goes_through_the_elements_themselves():
    document = {"temp": {"v": 21.5, "u": "°C"}, "rh": {"v": "48", "u": ""}}
    assert rows(read(document, list="*", channel="@key", value="v", unit="u")) == [
        (None, "temp", 21.5, "°C"), (None, "rh", 48.0, None),
    ]  # fmt: skip
    nested = {"p1": {"temp": {"v": 1}, "rh": {"v": 2}}}
    assert rows(read(nested, list="*.*", device="@key.1", channel="@key", value="v")) == [
        ("p1", "temp", 1.0, None), ("p1", "rh", 2.0, None),
    ]  # fmt: skip


def test_a_table_of_rows_is_read_by_index_and_the_elements_may_be_values():
    rows_of_table = {"rows": [[T, "a", 1.5], [T, "b", True]]}
    found = read(rows_of_table, list="rows", time="0", channel="1", value="2")
    assert [(one.channel, one.value, one.taken_at) for one in found.samples] == [
        ("a", 1.5, T * 10**9), ("b", 1.0, T * 10**9),
    ]  # fmt: skip
    assert rows(read({"a": 1.5, "b": None}, list="*", channel="@key", value="")) == [(None, "a", 1.5, None)]


@pytest.mark.parametrize(
    ("element", "reason"),
    [
        ({"id": "b", "q": 1, "t": T}, "no_value"),
        ({"v": 1, "t": T}, "no_channel"),
        ({"id": "", "v": 1, "t": T}, "no_channel"),
        ({"id": True, "v": 1, "t": T}, "no_channel"),
        ({"id": 10**30, "v": 1, "t": T}, "no_channel"),
        ({"id": "b", "v": "x", "t": T}, "not_a_number"),
        ({"id": "b", "v": [1], "t": T}, "not_a_number"),
        ({"id": "b", "v": 1, "t": T, "q": "bad"}, "bad_quality"),
        ({"id": "b", "v": 1, "t": T, "q": 0x80310000}, "bad_quality"),
        ({"id": "b", "v": 1, "t": T, "q": "perhaps"}, "unknown_quality"),
        (7, "no_channel"),
        (None, "no_channel"),
    ],
)
def test_a_bad_element_costs_itself_alone(element, reason):
    good = {"id": "a", "v": 1, "q": True, "t": T}
    found = read([good, element, {**good, "id": "c"}], **LONG)
    assert [one.channel for one in found.samples] == ["a", "c"]
    assert found.errors == (reason,)


@pytest.mark.parametrize("element", [7, "x", None, [1, 2]])
def test_a_wide_element_must_be_an_object(element):
    found = read([{"a": 1}, element])
    assert (len(found.samples), found.errors) == (1, ("not_an_object",))


def test_an_element_that_names_no_device_is_not_given_to_the_topics():
    found = read([{"d": "p1", "a": 1}, {"a": 2}, {"d": None, "a": 3}], device="d")
    assert [one.value for one in found.samples] == [1.0]
    assert found.errors == ("no_device", "no_device")


def test_null_says_that_a_value_is_absent():
    assert rows(read([{"id": "a", "v": None, "t": T}], **LONG)) == []


@pytest.mark.parametrize(
    ("stamp", "reason"), [({}, "no_time"), ({"t": "noon"}, "invalid_time"), ({"t": 7}, "unbelievable_time")]
)
def test_a_sample_whose_time_cannot_be_is_kept_without(stamp, reason):
    found = read([{"id": "a", "v": 1, **stamp}], **{**LONG, "time_unit": "s"})
    assert [(one.value, one.taken_at) for one in found.samples] == [(1.0, None)]
    assert found.errors == (reason,)


@pytest.mark.parametrize(
    ("document", "path", "reason"),
    [
        ({}, "values", "no_list"),
        (7, "values", "no_list"),
        ({"values": 7}, "values", "not_an_array"),
        ({"values": {"a": 1}}, "values", "not_an_array"),
        ({}, "values.*", "no_list"),
        ({"values": 7}, "values.*", "no_list"),
        ({"p": 1}, "*.values", "no_list"),
        ({}, "", "not_an_array"),
    ],
)
def test_a_path_that_leads_to_no_list_is_an_error(document, path, reason):
    found = read(document, list=path)
    assert (found.samples, found.errors) == ((), (reason,))


@pytest.mark.parametrize("document", [{"values": {}}, {"values": []}, {"values": None}])
@pytest.mark.parametrize("path", ["values.*", "values.*.s"])
def test_nothing_to_go_through_is_no_error(document, path):
    assert rows(read(document, list=path)) == []


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"x", "not_json"),
        (b"[" * 100_000, "too_deep"),
        (b'["' + b"x" * MAX_BYTES + b'"]', "too_large"),
        (b'[{"a":' * 20 + b"1" + b"}]" * 20, "too_deep"),
    ],
)
def test_a_message_that_is_too_much_is_counted_once(payload, reason):
    assert decode(JsonListFormat(), "t", payload).errors == (reason,)


def test_what_stands_before_the_limits_is_kept():
    short = b"[" + b",".join([b'{"a":1}'] * (MAX_ELEMENTS + 5)) + b"]"
    found = decode(JsonListFormat(), "t", short)
    assert (len(found.samples), found.errors) == (MAX_ELEMENTS, ("too_many_elements",))
    wide = b"[" + b",".join([b'{"a":1,"b":2,"c":3}'] * (MAX_LEAVES // 3 + 5)) + b"]"
    found = decode(JsonListFormat(), "t", wide)
    assert (len(found.samples), found.errors) == (MAX_LEAVES, ("too_many_values",))


def test_nothing_gives_nothing_quietly():
    assert rows(decode(JsonListFormat(), "t", "")) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channel": "id"}, "channel and value go together"),
        ({"value": "v"}, "channel and value go together"),
        ({"unit": "u"}, "unit is for the form with channel and value"),
        ({"device": "@key"}, "device is @key, but list goes through 0 *"),
        ({"list": "*", "device": "@key.2"}, "device is @key.2, but list goes through 1 *"),
        ({"list": "*", "device": "/*.*.id"}, "device goes through more * than list"),
        ({"list": ".".join("a" * (MAX_DEPTH + 1))}, f"list must have at most {MAX_DEPTH} levels, not {MAX_DEPTH + 1}"),
    ],
)  # fmt: skip
def test_paths_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError) as caught:
        JsonListFormat(**options)
    assert message in str(caught.value)
