"""All steps between decoding and windows at once: the same however the readings are cut, and whoever goes on."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.formats.registry import FORMATS
from gatewayd.pipeline.flow import Flow
from tests.support.flows import assert_sums, plan

START = 1_700_000_000 * 10**9
SECOND = 10**9

# What each kind of stream asks for beyond a plain one.
KINDS = {
    "plain": {},
    "late": {"lateness_s": 3.0, "idle_timeout_s": 20.0},
    "rules": {
        "channels": {
            "a": {
                "min": -50.0,
                "max": 50.0,
                "out_of_range": "mark",
                "sentinels": (49.0,),
                "spike": {"window": 3, "action": "clip"},
                "stuck": {"readings": 3, "action": "mark"},
            },
            "b": {"rate": {"per_s": 4.0}, "denoise": {"median": 3}},
        }
    },
    "grid": {
        "align": {"every_s": 2.0, "method": "linear", "max_gap_s": 8.0},
        "lateness_s": 2.0,
        "idle_timeout_s": 15.0,
        "window": {"max_gap_s": 9.0},
        "channels": {"a": {"max": 40.0}, "b": {"denoise": {"ema": 0.5}}},
    },
    "span": {
        "window": {"duration_s": 6.0, "hop_s": 3.0, "partial": "hold"},
        "lateness_s": 1.0,
        "idle_timeout_s": 10.0,
    },
    "silent": {"alert": {"silent_after_s": 12.0, "raise": "1 of 2", "clear": "1 of 1", "hold_off_s": 4.0}},
    "careful": {
        "alert": {
            "raise": "2 of 3",
            "clear": "2 of 2",
            "latch": True,
            "acknowledge": "required",
            "severities": {"low": 1.0, "high": 3.0},
        },
        "publish": {"to": "cloud", "topic": "out/{stream}/{device}", "alert_state": True},
    },
}
ROWS = st.lists(
    st.tuples(
        st.integers(0, 2),  # device
        st.sampled_from([0, 0, 1, 1, 1, 2, 13, 30]),  # seconds since the message before
        st.sampled_from([0, 0, 0, -1, -2, -6]),  # how much older its time is
        st.sampled_from([0.0, 0.5, 1.0, 3.0, 9.0, 49.0, 77.0]) | st.none(),
        st.sampled_from([0.0, 0.5, 2.0, 20.0]) | st.none(),
    ),
    max_size=25,
)
# None of the JSON objects that a stream of one message per reading would refuse: those come one by one.


def messages_of(rows):
    now, found = START, []
    for number, (device, step, older, a, b) in enumerate(rows):
        now += step * SECOND + 1000
        document = {"ts": (now + older * SECOND) / SECOND}
        document |= {name: value for name, value in (("a", a), ("b", b)) if value is not None}
        found.append(((f"site/l/d{device}".encode(), json.dumps(document).encode(), 0x30, number), now))
    return found


def make(kind):
    options = dict(KINDS[kind])
    channels = options.pop("channels", None)
    built = plan(length=3, hop=2, format="flat_json", **options)
    if channels is not None:
        document = {**built.settings.model_dump(by_alias=True), "channels": channels}
        built = dataclasses.replace(built, settings=built.settings.model_validate(document))
    return Flow("gw", [dataclasses.replace(built, free_format=FORMATS["flat_json"](time="ts"))])


def by_device(publications):
    story = {}
    for publication in publications:
        story.setdefault(publication.topic.split("/")[2], []).append(publication)
    return story


def feed(flow, timed):
    if not timed:
        return []
    at = np.array([now for _, now in timed], dtype=np.int64)
    return flow.run([message for message, _ in timed], at, at).publications


@pytest.mark.parametrize("kind", sorted(KINDS))
@given(rows=ROWS, data=st.data())
def test_any_cut_any_tick_and_any_stop_give_the_same_to_the_byte(kind, rows, data):
    timed = messages_of(rows)
    whole = make(kind)
    end = (timed[-1][1] if timed else START) + 100 * SECOND
    expected = feed(whole, timed) + whole.advance(end, end).publications
    flow, found, begin = make(kind), [], 0
    for cut in sorted(data.draw(st.lists(st.integers(0, len(timed)), max_size=4))) + [len(timed)]:
        found += feed(flow, timed[begin:cut])
        begin = max(begin, cut)
        if data.draw(st.booleans()):
            now = timed[cut - 1][1] if cut else START
            found += flow.advance(now, now).publications
        if data.draw(st.booleans()):
            following = make(kind)
            assert following.restore(flow.state()) == []
            flow = following
    found += flow.advance(end, end).publications
    assert by_device(found) == by_device(expected)
    assert_sums(flow.figures())
    assert dataclasses.replace(flow.figures(), examples={}) == dataclasses.replace(
        whole.figures(), examples={}
    )


@pytest.mark.parametrize("kind", sorted(KINDS))
@given(rows=ROWS)
def test_other_devices_change_nothing(kind, rows):
    timed = messages_of(rows)
    together = by_device(feed(make(kind), timed))
    for device in range(3):
        alone = by_device(
            feed(make(kind), [entry for entry in timed if entry[0][0].endswith(b"%d" % device)])
        )
        assert alone.get(f"d{device}", []) == together.get(f"d{device}", [])
