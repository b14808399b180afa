"""Routing by topic, and the time of readings that have none."""

import json
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.topic import TopicFilter
from gatewayd.formats.json_object import JsonObjectFormat
from gatewayd.pipeline.decode import ColumnDecoder, Devices, Routed, Router

NOW = 1_700_000_000 * 10**9


def devices(pattern="site/{line}/{device}", *, name="s", limit=10, fits=lambda _device: True):
    return Devices(TopicFilter.parse(pattern), name=name, limit=limit, fits=fits)


def route(router, *messages):
    full = [
        (topic if isinstance(topic, bytes) else topic.encode(), payload, header, 0)
        for topic, payload, header in messages
    ]
    return router.route(full, NOW + np.arange(len(full)), NOW + np.arange(len(full)))


def test_messages_of_one_stream_keep_their_order():
    router = Router([devices()], [True])
    for _ in range(2):  # the second time every topic is known
        [routed], refused = route(router, *[(f"site/l/{d}", b"%d" % i, 0x30) for i, d in enumerate("abab")])
        assert routed.device.tolist() == [0, 1, 0, 1]
        assert list(routed.payloads) == [b"0", b"1", b"2", b"3"]
        assert (routed.arrived_at - NOW).tolist() == [0, 1, 2, 3]
        assert refused == {}


def test_a_topic_of_two_streams_goes_to_both():
    router = Router([devices(), devices("site/l/{device}"), devices("other/{device}")], [True] * 3)
    for _ in range(2):
        routed, refused = route(router, ("site/l/a", b"1", 0x30), ("site/m/a", b"2", 0x30))
        assert [None if part is None else list(part.payloads) for part in routed] == [
            [b"1", b"2"],
            [b"1"],
            None,
        ]
        assert refused == {}


@pytest.mark.parametrize(
    ("topic", "payload", "header", "reason"),
    [
        ("site/l/a", b"", 0x30, "empty"),
        ("site/l/a", b"", 0x31, "empty"),
        (b"site/l/\xff", b"1", 0x30, "bad_topic"),
        ("elsewhere", b"1", 0x30, "unexpected_topic"),
        ("site/l/", b"1", 0x30, "device_without_name"),
        ("site/l/long", b"1", 0x30, "device_name_too_long"),
        ("site/l/third", b"1", 0x30, "too_many_devices"),
    ],
)
@pytest.mark.parametrize("is_timed", [True, False])
def test_what_is_refused_has_a_reason(topic, payload, header, reason, is_timed):
    router = Router([devices(limit=2, fits=lambda device: device.name != "long")], [is_timed])
    if reason == "too_many_devices":
        route(router, ("site/l/a", b"1", 0x30), ("site/l/b", b"1", 0x30))
    _, refused = route(router, ("site/l/a", b"1", 0x30), (topic, payload, header))
    assert refused == {reason: 1}


def test_a_retained_message_counts_only_where_it_says_how_old_it_is():
    """case-04: a broker replays the last value of every topic; its arrival says nothing about its age."""
    for _ in range(2):
        assert route(Router([devices()], [False]), ("site/l/a", b"1", 0x31))[1] == {"retained": 1}
        assert route(Router([devices()], [True]), ("site/l/a", b"1", 0x31))[1] == {}


def test_a_stream_that_refuses_what_another_takes_is_counted_each_time():
    router = Router([devices(), devices("site/l/{device}", limit=1)], [True, False])
    route(router, ("site/l/a", b"1", 0x30))
    for _ in range(2):  # the second time the topic is known
        routed, refused = route(router, ("site/l/b", b"2", 0x30), ("site/l/a", b"3", 0x31))
        assert list(routed[0].payloads) == [b"2", b"3"]
        assert routed[1] is None
        assert refused == {"too_many_devices": 1, "retained": 1}
        assert router.examples == {"too_many_devices": "site/l/b", "retained": "site/l/a"}


def test_a_message_that_every_stream_refuses_has_every_reason():
    router = Router([devices(limit=0), devices(fits=lambda _device: False)], [True, True])
    for _ in range(2):
        _, refused = route(router, ("site/l/a", b"1", 0x30))
        assert refused == {"too_many_devices": 1, "device_name_too_long": 1}


@given(
    messages=st.lists(
        st.tuples(
            st.sampled_from(
                [b"site/l/a", b"site/m/a", b"site/l/", b"site/l/\xff", b"other/a", b"none", b"$x/a"]
            ),
            st.sampled_from([b"", b"1", b"2"]),
            st.sampled_from([0x30, 0x31, 0x32, 0x3B]),
        ),
        max_size=30,
    ),
    patterns=st.lists(
        st.sampled_from(["site/{line}/{device}", "site/l/{device}", "other/{device}", "#", "+/{device}"]),
        min_size=1,
        max_size=3,
    ),
    is_timed=st.lists(st.booleans(), min_size=3, max_size=3),
    cut=st.integers(0, 30),
)
def test_routing_equals_a_message_by_message_reference(messages, patterns, is_timed, cut):
    """One table lookup a message gives what MQTT's matching rules give, whatever was seen before."""
    streams = [devices(pattern, limit=2) for pattern in patterns]
    router = Router(streams, is_timed[: len(streams)])
    got = [[] for _ in streams]
    refused = Counter()
    for part in (messages[:cut], messages[cut:]):
        routed, reasons = route(router, *part)
        refused.update(reasons)
        for stream, one in enumerate(routed):
            if one is not None:
                names = [streams[stream].known[index].levels for index in one.device]
                got[stream] += list(zip(map(tuple, map(dict.values, names)), one.payloads, strict=True))
    expected, missing = reference(patterns, is_timed, messages)
    assert got == expected
    assert refused == missing


def reference(patterns, is_timed, messages):
    taken, refused = [[] for _ in patterns], Counter()
    admitted = [set() for _ in patterns]
    for topic, payload, header in messages:
        if not payload:
            refused["empty"] += 1
            continue
        try:
            text = topic.decode()
        except UnicodeDecodeError:
            refused["bad_topic"] += 1
            continue
        is_wanted = False
        for stream, pattern in enumerate(patterns):
            names = re.findall(r"{(\w+)}", pattern)
            expression = re.sub(
                r"{\w+}|\\\+", "([^/]*)", re.escape(pattern).replace("\\{", "{").replace("\\}", "}")
            )
            expression = expression.replace("\\#", ".*").replace("#", ".*")
            match = re.fullmatch(expression, text)
            if match is None or (text.startswith("$") and pattern[0] in "#+{"):
                continue
            is_wanted = True
            levels = match.groups()[-len(names) :] if names else ()
            if levels not in admitted[stream]:
                if names and not levels[-1]:
                    refused["device_without_name"] += 1
                    continue
                if len(admitted[stream]) == 2:
                    refused["too_many_devices"] += 1
                    continue
                admitted[stream].add(levels)
            if header & 1 and not is_timed[stream]:
                refused["retained"] += 1
            else:
                taken[stream].append((levels, payload))
        if not is_wanted:
            refused["unexpected_topic"] += 1
    return taken, refused


def test_a_device_is_found_by_what_it_was_admitted_by_and_by_nothing_else():
    some = devices()
    assert (some.admit(("l", "d")), some.admit(("l", "x"), "named")) == (0, 1)
    assert (some.find(("l", "d")), some.find(("l", "other"), "d"), some.find(("l", "y"), "named")) == (
        0,
        0,
        1,
    )
    assert (some.find(("m", "d")), some.find(("m", "d"), "named"), some.find(("l", "x"))) == (
        None,
        None,
        None,
    )
    assert len(some.known) == 2


def test_a_stream_without_device_level_has_one_device():
    stream = devices("plant/temperature", name="boiler")
    route(Router([stream], [True]), ("plant/temperature", b"1", 0x30))
    assert [device.name for device in stream.known] == ["boiler"]


def test_labels_are_the_other_levels():
    stream = devices()
    route(Router([stream], [True]), ("site/l7/p1", b"1", 0x30))
    assert stream.known[0].labels == {"line": "l7"}


def test_a_reading_without_usable_time_gets_that_of_its_arrival():
    payloads = [json.dumps(d).encode() for d in ({"ts": 1.6e9, "a": 1}, {"a": 2}, {"ts": "soon", "a": 3})] + [
        b"{"
    ]
    arrived_at = NOW + np.arange(4)
    routed = Routed(device=np.arange(4), payloads=payloads, arrived_at=arrived_at, steady_at=arrived_at)
    readings = ColumnDecoder(JsonObjectFormat(["a"], time_path="ts")).decode(routed)
    assert readings.batch.taken_at.tolist() == [1_600_000_000 * 10**9, NOW + 1, NOW + 2]
    assert readings.batch.device.tolist() == [0, 1, 2]
    assert dict(readings.untimed) == {"no_time": 1, "invalid_time": 1}
    assert readings.rejected == ((3, "not_json"),)


def test_no_messages_are_no_trouble():
    assert route(Router([devices()], [True])) == ([None], {})


def test_topics_that_a_peer_invents_don_t_grow_the_table():
    router = Router([devices("site/{device}/#", limit=2)], [True])
    for number in range(100):
        [routed], refused = route(router, (f"site/a/{number}", b"1", 0x30))
        assert (routed.device.tolist(), refused) == ([0], {})
    assert len(router._routes) + len(router._shared) == 8
