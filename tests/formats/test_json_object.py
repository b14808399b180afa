"""JSON objects: the fast way and the careful way never disagree, and any bytes give rows or a reason."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.formats import json_object
from gatewayd.formats.decoded import NO_TIME
from gatewayd.formats.json_object import JsonObjectFormat

KEYS = st.sampled_from(["ts", "a", "b", "c", "deep", "0"])
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.sampled_from(["1.5", "on", "x", "nan", "2025-03-14T09:26:53Z", 1.7e9, 1700000000123])
)
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)
WHOLE = st.dictionaries(KEYS, DOCUMENTS, max_size=5).map(lambda document: json.dumps(document).encode())
PIECES = st.sampled_from(
    [
        b"\xff",
        b"\xed\xa0\x80",
        b"\x00",
        b"\\",
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"-",
        b"0",
        b"1e400",
        b"NaN",
    ]
) | st.sampled_from(["\u00e9", "9" * 25, "9" * 400, "9" * 5000, "\\ud800", '"a":1,', '"x":1e999,']).map(
    str.encode
)


@st.composite
def mutated(draw):
    """Valid JSON with a few bytes exchanged, put in or taken out."""
    payload = bytearray(draw(WHOLE))
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(payload)))
        payload[begin : begin + draw(st.integers(0, 3))] = draw(PIECES | st.binary(max_size=2))
    return bytes(payload)


PAYLOADS = (
    DOCUMENTS.map(lambda document: json.dumps(document).encode()) | WHOLE | mutated() | st.binary(max_size=40)
)
SHAPES = st.sampled_from(
    [
        (["a"], None),
        (["a"], "ts"),
        (["a", "b"], "ts"),
        (["deep.a", "b", "deep.c"], "ts"),
        (["a", "a.b"], None),
        (["a", "a"], "a"),
        (["deep.0", "a"], "deep.ts"),
    ]
)


def careful(paths, time_path):
    """The same format without its fast way."""
    found = JsonObjectFormat(paths, time_path=time_path)
    found._fast = None
    return found


def same(first, second):
    return (
        first.source.tolist() == second.source.tolist()
        and first.taken_at.tolist() == second.taken_at.tolist()
        and np.array_equal(first.values, second.values, equal_nan=True)
        and first.rejected == second.rejected
        and dict(first.untimed) == dict(second.untimed)
    )


@given(shape=SHAPES, payloads=st.lists(PAYLOADS, max_size=6))
def test_the_fast_way_and_the_careful_way_agree(shape, payloads):
    assert same(
        JsonObjectFormat(shape[0], time_path=shape[1]).decode(payloads), careful(*shape).decode(payloads)
    )


@given(shape=SHAPES, payloads=st.lists(PAYLOADS, max_size=6))
def test_every_payload_gives_a_reading_or_a_reason_by_itself(shape, payloads):
    fmt = JsonObjectFormat(shape[0], time_path=shape[1])
    together = fmt.decode(payloads)
    assert sorted(together.source.tolist() + [index for index, _ in together.rejected]) == list(
        range(len(payloads))
    )
    assert not np.isinf(together.values).any()
    rows = [fmt.decode([payload]) for payload in payloads]
    assert together.taken_at.tolist() == [time for row in rows for time in row.taken_at.tolist()]
    assert np.array_equal(
        together.values, np.concatenate([row.values for row in rows] or [together.values]), equal_nan=True
    )


BROKEN = st.sampled_from(
    [b'"\xff"', b"1e400", b"9" * 5000, b"-" + b"9" * 400, b'"\xed\xa0\x80"', b'{"\xff": 1}', b"[1e999]", b"1"]
)
PLAIN_OR_NOT = st.sampled_from(
    [b"1.5", b'"1.5"', b"null", b"true", b'"x"', b"1e400", b'"\xff"', b"[]", b"{}"]
)


@given(broken=BROKEN, a=PLAIN_OR_NOT, ts=PLAIN_OR_NOT, where=st.integers(0, 2), nested=st.booleans())
def test_what_is_broken_in_other_fields_makes_no_difference(broken, a, ts, where, nested):
    """Neither whether the wanted ones are plain numbers, nor where the broken one stands."""

    def payload(other):
        fields = [b'"a": ' + a, b'"ts": ' + ts]
        fields.insert(where, b'"other": ' + other)
        inner = b"{" + b", ".join(fields) + b"}"
        return b'{"deep": ' + inner + b', "more": ' + other + b"}" if nested else inner

    paths, time_path = (["deep.a"], "deep.ts") if nested else (["a"], "ts")
    found = JsonObjectFormat(paths, time_path=time_path).decode([payload(broken)])
    assert same(found, JsonObjectFormat(paths, time_path=time_path).decode([payload(b"0")]))


@pytest.mark.parametrize("key", ['a"b', "a\\b", "a\nb", "a\x7fb", "\u00e9", "", "__init__", "f0"])
def test_a_key_may_be_any_text(key):
    payload = json.dumps({key: 1.5, "f1": "x"}, ensure_ascii=False).encode()
    assert one(payload, [key]) == [1.5]


def one(payload, paths=("temperature", "humidity"), time_path=None):
    decoded = JsonObjectFormat(list(paths), time_path=time_path).decode([payload])
    return decoded.rejected[0][1] if decoded.rejected else decoded.values[0].tolist()


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"temperature":nan,"humidity":55.2}', "not_json"),
        (b'{"temperature":NaN,"humidity":55.2}', "not_json"),
        (b'{"energy":-nan}', "not_json"),
        (b'{"temperature":Infinity}', "not_json"),
        (b'{"temperature":21.5', "not_json"),
        (b"online", "not_json"),
        (b"", "not_json"),
        (b"\xff\xfe", "not_json"),
        (b"[" * 100_000 + b"]" * 100_000, "too_deep"),
        (b'{"temperature":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too_deep"),
        (b"[1, 2]", "not_an_object"),
        (b"21.5", "not_an_object"),
        (b'{"state":"online"}', "no_channel"),
        (b'{"temperature":"hot","humidity":1}', "not_a_number"),
        (b'{"temperature":{"value":1},"humidity":1}', "not_a_number"),
        (b'{"temperature":1,"pad":"' + b"x" * json_object.MAX_BYTES + b'"}', "too_large"),
    ],
)
def test_case_05_what_must_not_pass(payload, expected):
    assert one(payload) == expected


@pytest.mark.parametrize(
    ("payload", "temperature", "humidity"),
    [
        (b'{"temperature":null,"humidity":55.2}', math.nan, 55.2),
        (b'{"temperature":"nan","humidity":55.2}', math.nan, 55.2),
        (b'{"temperature":"21.5","humidity":true}', 21.5, 1.0),
        (b'{"humidity":5}', math.nan, 5.0),
        (b'{"temperature":1,"temperature":2,"humidity":0}', 2.0, 0.0),
    ],
)
def test_case_05_what_is_absent_or_written_as_text(payload, temperature, humidity):
    assert np.array_equal(one(payload), [temperature, humidity], equal_nan=True)


@pytest.mark.parametrize("payload", [b'{"temperature":1e400}', b'{"temperature":' + b"9" * 5000 + b"}"])
def test_case_05_numbers_beyond_float64_are_not_finite_readings(payload):
    found = one(payload)
    assert isinstance(found, str) or math.isnan(found[0])


def test_paths_lead_into_objects_and_lists():
    payload = b'{"m": {"t": [1.0, {"v": 2.5}]}, "x": 3}'
    assert one(payload, ["m.t.1.v", "x", "m.t.0"]) == [2.5, 3.0, 1.0]


def test_times_of_several_spellings_in_one_run():
    payloads = [
        b'{"ts": 1741944413.25, "a": 1}',
        b'{"ts": "2025-03-14T09:26:53Z", "a": 2}',
        b'{"ts": 1741944413250, "a": 3}',
        b'{"a": 4}',
    ]
    decoded = JsonObjectFormat(["a"], time_path="ts").decode(payloads)
    whole = 1_741_944_413 * 10**9
    assert decoded.taken_at.tolist() == [whole + 250_000_000, whole, whole + 250_000_000, NO_TIME]
    assert dict(decoded.untimed) == {"no_time": 1}
    assert decoded.values[:, 0].tolist() == [1, 2, 3, 4]
