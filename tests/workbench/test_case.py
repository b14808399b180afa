"""Messages of a case: their times, and the words that change with them."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.workbench.case import BEGIN_NS, Case, Expected, JsonPayload, Said

SECOND = 10**9
NOTHING = Expected(readings=None, predictions=None, alerts=None, counts={})


def said(payload, *, topic="a/b", at=BEGIN_NS, interval_ns=SECOND, repeat=1, is_retained=False):
    return Said(
        topic=topic, payload=payload, at=at, interval_ns=interval_ns, repeat=repeat, is_retained=is_retained
    )


def case(*messages):
    return Case(name="n", path=Path("f.yaml"), line=1, said=messages, wait_ns=0, expected=NOTHING)


def test_words_stand_for_what_changes():
    text = "{at} {at_ms} {at_ns} {at_iso} {n} {at_s} {} { at }"
    payloads = [
        message[1].decode() for message, _ in said(text, interval_ns=SECOND // 4, repeat=2).messages()
    ]
    assert payloads == [
        "1700000000 1700000000000 1700000000000000000 2023-11-14T22:13:20Z 0 {at_s} {} { at }",
        "1700000000.25 1700000000250 1700000000250000000 2023-11-14T22:13:20.250Z 1 {at_s} {} { at }",
    ]


def test_a_word_alone_is_a_number_in_json_and_a_text_within_a_text():
    value = {"ts": "{at}", "iso": "{at_iso}", "of": ["pump {n}", "{n}"], "{n}": None, "flat": [True, 1.5, {}]}
    ((message, _),) = said(JsonPayload(value)).messages()
    assert json.loads(message[1]) == {
        "ts": 1_700_000_000,
        "iso": "2023-11-14T22:13:20Z",
        "of": ["pump 0", 0],
        "0": None,
        "flat": [True, 1.5, {}],
    }


def test_json_is_written_in_utf8():
    ((message, _),) = said(JsonPayload("°C")).messages()
    assert message[1] == '"°C"'.encode()


def test_bytes_stay_as_they_are():
    ((message, _),) = said(b"{at}\xff").messages()
    assert message == (b"a/b", b"{at}\xff", 0x30, 0)


def test_topics_may_change_and_messages_may_be_retained():
    found = [message for message, _ in said("", topic="site/p{n}", repeat=2, is_retained=True).messages()]
    assert found == [(b"site/p0", b"", 0x31, 0), (b"site/p1", b"", 0x31, 0)]


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 2 * SECOND), st.integers(1, 4)), min_size=1, max_size=6
    )
)
def test_arrivals_rise_whatever_the_intervals(parts):
    messages, at = [], BEGIN_NS
    for later, interval_ns, repeat in parts:
        at += later
        messages.append(said("", at=at, interval_ns=interval_ns, repeat=repeat))
        at = messages[-1].last_at
    arrivals = [at for _, at in case(*messages).messages()]
    assert len(arrivals) == sum(repeat for _, _, repeat in parts)
    assert all(after - before >= 1000 for before, after in pairwise(arrivals))
    assert arrivals[-1] - messages[-1].last_at <= 1000 * len(arrivals)


@pytest.mark.parametrize(("repeat", "last_s"), [(1, 0), (3, 4)])
def test_the_last_of_several_comes_after_all_intervals(repeat, last_s):
    assert said("", interval_ns=2 * SECOND, repeat=repeat).last_at == BEGIN_NS + last_s * SECOND
