import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import RejectedInputError
from gatewayd.formats.flat import FlatFormat, FlatJsonFormat, Instant, with_text_keys
from gatewayd.formats.leaves import MAX_DEPTH, leaves
from tests.support.any_message import check, damaged, json_values
from tests.support.readings import decode, rows

documents = st.dictionaries(st.text(max_size=3), json_values(["a", "time"]), max_size=4)
STAMP = 1_741_944_413 * 10**9


@given(documents)
def test_every_number_is_a_channel_called_by_its_path(document):
    try:
        text = json.dumps(document, allow_nan=False)
    except ValueError:  # JSON has no NaN
        assert decode(FlatJsonFormat(), "t", json.dumps(document)).errors == ("not_json",)
        return
    expected = [(None, ".".join(path), value, None) for path, value in leaves(document)]
    assert rows(decode(FlatJsonFormat(), "t", text)) == expected


@given(
    st.binary()
    | documents.map(lambda value: json.dumps(value).encode())
    | damaged([b'{"a":{"time":1741944413,"b":[1,true]}}']),
    st.sampled_from([None, "time", "a.time", "a.0", "", "."]),
    st.sampled_from(["auto", "s", "ms", "us", "ns", "iso"]),
)
def test_any_message_gives_samples_or_a_reason(payload, time, unit):
    check(decode(FlatJsonFormat(time=time, time_unit=unit), "t", payload))


def test_lists_are_called_by_index_and_text_is_no_reading():
    text = '{"m":{"t":21.5,"on":true,"name":"x","none":null},"a":[1.5,"x",{"b":2}]}'
    assert rows(decode(FlatJsonFormat(), "t", text)) == [
        (None, "m.t", 21.5, None), (None, "m.on", 1.0, None), (None, "a.0", 1.5, None), (None, "a.2.b", 2.0, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "unit", "document"),
    [
        ("ts", "auto", {"ts": 1741944413}),
        ("ts", "ms", {"ts": 1741944413000}),
        ("meta.at", "iso", {"meta": {"at": "2025-03-14T09:26:53Z"}}),
        ("at.1", "auto", {"at": [None, 1741944413]}),
    ],
)
def test_the_time_stands_where_configured_and_is_no_reading(path, unit, document):
    samples = decode(FlatJsonFormat(time=path, time_unit=unit), "t", json.dumps({**document, "v": 1}))
    assert [(one.channel, one.taken_at) for one in samples.samples] == [("v", STAMP)]
    assert samples.errors == ()


@pytest.mark.parametrize(
    ("path", "stamp", "reason"),
    [
        ("ts", None, "no_time"),
        ("other", 1, "no_time"),
        ("ts.x", 1, "no_time"),
        ("ts.1", [1], "no_time"),
        ("ts.x", [1], "no_time"),
        ("ts", "noon", "invalid_time"),
        ("ts", True, "invalid_time"),
        ("ts", 12, "unbelievable_time"),
        ("ts", 10**4000, "unbelievable_time"),
    ],
)
def test_readings_whose_time_cannot_be_are_kept_without(path, stamp, reason):
    samples = decode(FlatJsonFormat(time=path, time_unit="s"), "t", json.dumps({"ts": stamp, "v": 1}))
    assert ("v", None) in [(one.channel, one.taken_at) for one in samples.samples]
    assert samples.errors == (reason,)


def test_a_document_without_readings_needs_no_time():
    assert rows(decode(FlatJsonFormat(time="ts"), "t", '{"a":"x"}')) == []


@pytest.mark.parametrize(
    ("payload", "reason"), [("x", "not_json"), ("[1]", "not_an_object"), ("1", "not_an_object")]
)
def test_what_is_no_object_is_counted(payload, reason):
    assert decode(FlatJsonFormat(), "t", payload).errors == (reason,)


def test_nothing_gives_nothing_quietly():
    assert rows(decode(FlatJsonFormat(), "t", "")) == []


def test_integers_as_keys_become_text_and_other_keys_are_left_out():
    document = {7: {2: 3}, "a": [{-1: 4}], None: 5, b"x": 6, 2.5: 7, (1,): 8}
    assert with_text_keys(document, lambda leaf: leaf) == {"7": {"2": 3}, "a": [{"-1": 4}]}
    assert with_text_keys({False: 1}, lambda leaf: leaf) == {}


def test_depth_is_limited_before_leaves_are_collected():
    document = 1
    for _ in range(MAX_DEPTH):
        document = {0: document}
    assert leaves(with_text_keys(document, lambda leaf: leaf)) == [(("0",) * MAX_DEPTH, 1.0)]
    for deeper in ({0: document}, {0: [[[document]]]}):
        with pytest.raises(RejectedInputError) as caught:
            with_text_keys(deeper, lambda leaf: leaf)
        assert caught.value.reason == "too_deep"


@pytest.mark.parametrize("instant", [STAMP, -1, 10**30])
def test_an_instant_is_a_time_and_never_a_reading(instant):
    decoder = FlatFormat(lambda _: {"at": Instant(taken_at=instant), "v": 1}, time="at")
    samples = decode(decoder, "t", b"x")
    assert [(one.channel, one.taken_at) for one in samples.samples] == [
        ("v", STAMP if instant == STAMP else None)
    ]
