"""All steps between decoding and windows at once: the same however the readings are cut, and whoever goes on."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.reading import Batch
from gatewayd.formats.registry import FORMATS
from gatewayd.pipeline.decode import Readings
from gatewayd.pipeline.flow import Flow
from gatewayd.pipeline.steps import Steps, Turn
from gatewayd.store.checkpoint import decode, encode
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
    "watched": {
        "lateness_s": 3.0,
        "idle_timeout_s": 14.0,
        "alert": {"silent_after_s": 6.5, "raise": "1 of 1", "clear": "1 of 1"},
        "channels": {"a": {"max": 50.0, "out_of_range": "mark", "stuck": {"readings": 3}}, "b": {}},
    },
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
    for cut in [*sorted(data.draw(st.lists(st.integers(0, len(timed)), max_size=4))), len(timed)]:
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


def test_what_was_due_first_comes_first_for_each_device():
    """A cut that another device needs draws one of this device's events forward, and so all that were due before it."""
    seconds = [(1, 8), (1, 8), (0, 15), (0, 17), (1, 31), (1, 38), (0, 39)]
    timed = [
        (
            (f"site/l/d{device}".encode(), b'{"ts": %d, "a": 60, "b": 1}' % (START // SECOND + at), 0x30, at),
            START + at * SECOND,
        )
        for device, at in seconds
    ]
    together = make("watched")
    one_by_one = make("watched")
    expected = [one for entry in timed for one in feed(one_by_one, [entry])]
    assert by_device(feed(together, timed)) == by_device(expected)


def readings_of(devices, at):
    taken_at = START + np.array(at, dtype=np.int64) * SECOND
    return Readings(
        batch=Batch(
            device=np.array(devices, dtype=np.int64),
            taken_at=taken_at + np.arange(len(devices)),
            values=np.zeros((len(devices), 2)),
        ),
        arrived_at=taken_at,
        steady_at=taken_at,
        has_own_time=np.ones(len(devices), dtype=np.bool_),
        rejected=(),
        untimed=(),
    )


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_device_that_is_back_at_once_was_gone_and_is_heard(is_cut):
    """What one poll brought has one time: that a device goes, and its next reading."""
    built = plan(alert={"silent_after_s": 60.0})
    steps = Steps(built.settings, built.spec, is_timed=True)
    turns = list(steps.take(readings_of([0], [0])))
    if is_cut:
        turns += steps.take(readings_of([], []), [(0, 0, START + SECOND)])
        turns += steps.take(readings_of([0], [1]))
    else:
        turns += steps.take(readings_of([0], [1]), [(0, 0, START + SECOND)])
    assert [(turn.condition, turn.is_begin) for turn in turns] == [("silent", True), ("silent", False)]


def test_exactly_as_long_as_allowed_is_silent_and_then_heard():
    built = plan(alert={"silent_after_s": 5.0})
    steps = Steps(built.settings, built.spec, is_timed=True)
    turns = list(steps.take(readings_of([0, 0], [0, 5])))
    assert [(turn.condition, turn.is_begin) for turn in turns] == [("silent", True), ("silent", False)]


def test_a_clock_that_goes_back_leaves_transitions_behind_their_own_reading():
    """Without times of their own, readings may lie before those that came before them."""
    times = [100, 101, 50, 51]
    built = plan(length=1, hop=1, alert={"out_of_range": True})
    document = {**built.settings.model_dump(by_alias=True), "channels": {"a": {"max": 5.0}, "b": {}}}
    settings = built.settings.model_validate(document)

    def take(cuts):
        steps, found = Steps(settings, built.spec, is_timed=False), []
        for begin, end in cuts:
            readings = readings_of([0] * (end - begin), times[begin:end])
            values = np.array([[1.0, 0.0], [9.0, 0.0], [2.0, 0.0], [3.0, 0.0]])[begin:end]
            readings = dataclasses.replace(readings, batch=dataclasses.replace(readings.batch, values=values))
            found += steps.take(readings)
        return [
            (one.condition, one.is_begin) if isinstance(one, Turn) else one.values[:, 0, 0].tolist()
            for one in found
        ]

    begins, ends = ("out_of_range", True), ("out_of_range", False)
    assert take([(0, 4)]) == [[1.0], begins, [2.0], ends, [3.0]]
    assert take([(0, 2), (2, 4)]) == [[1.0], begins, [2.0], ends, [3.0]]


CONDITIONS = {
    "alert": {
        "silent_after_s": 5.0,
        "out_of_range": True,
        "raise": "1 of 1",
        "clear": "1 of 1",
        "threshold": 1e9,
    },
    "channels": {"a": {"min": 0.0, "max": 50.0}, "b": {"stuck": {"readings": 3}}},
}


def conditions_flow(**more):
    options = {**CONDITIONS, **more}
    channels = options.pop("channels")
    built = plan(**options)
    document = {**built.settings.model_dump(by_alias=True), "channels": channels}
    return Flow("gw", [dataclasses.replace(built, settings=built.settings.model_validate(document))])


def sent(flow, device, at, a, b):
    now = np.array([START + int(at * SECOND)], dtype=np.int64)
    payload = json.dumps({"ts": START // SECOND + at, "a": a, "b": b}).encode()
    changes = flow.run([(f"site/l/{device}".encode(), payload, 0x30, 0)], now).changes
    return [(change.device, change.alert.condition, change.alert.state) for change in changes]


def in_trouble():
    flow = conditions_flow()
    for at in range(3):
        sent(flow, "below", at, 1.0 if at < 2 else -9.0, float(at))
        sent(flow, "above", at, 1.0 if at < 2 else 99.0, float(at))
        sent(flow, "stuck", at, 1.0, 7.0)
        if not at:
            sent(flow, "quiet", at, 1.0, 1.0)
    flow.advance(START + 6 * SECOND, START + 6 * SECOND)
    told = {(alert.condition, alert.channel) for alert in flow._streams[0].verdicts.decider.alarms.standing}
    assert told == {("silent", None), ("stuck", "b"), ("out_of_range", "a")}
    return flow


def crashed(old, new):
    new.restore(decode(encode(old.alerts_state())))


def reloaded(old, new):
    new.adopt(old)


@pytest.mark.parametrize("goes_on", [crashed, reloaded])
def test_what_stood_before_a_crash_or_a_reload_of_another_shape_ends_when_it_ends(goes_on):
    flow = conditions_flow(window={"hop": 1})
    goes_on(in_trouble(), flow)
    assert sent(flow, "below", 6, -9.0, 9.0) == []
    assert sent(flow, "below", 6.5, 1.0, 10.0) == [("below", "out_of_range", "cleared")]
    assert sent(flow, "above", 6.5, 1.0, 10.0) == [("above", "out_of_range", "cleared")]
    assert sent(flow, "stuck", 6, 1.0, 7.0) == []
    assert sent(flow, "stuck", 6.5, 1.0, 8.0) == [("stuck", "stuck", "cleared")]
    assert sent(flow, "quiet", 6.5, 1.0, 8.0) == [("quiet", "silent", "cleared")]


@pytest.mark.parametrize("goes_on", [crashed, reloaded])
def test_a_device_that_fell_silent_across_a_crash_or_a_reload_is_noticed(goes_on):
    old, flow = conditions_flow(), conditions_flow(window={"hop": 1})
    sent(old, "d", 0, 1.0, 1.0)
    goes_on(old, flow)
    found = []
    for at in (100, 104, 106):
        _, due = flow.deadlines()
        if due is not None and due <= START + at * SECOND:
            found += flow.advance(START + at * SECOND, START + at * SECOND).changes
    assert [(change.alert.condition, change.alert.state) for change in found] == [("silent", "raised")]


@pytest.mark.parametrize("goes_on", [crashed, reloaded])
def test_what_a_reload_no_longer_watches_ends_channel_by_channel(goes_on):
    flow = conditions_flow(channels={"a": {"stuck": {"readings": 3}}, "b": {"min": -50.0, "max": 50.0}})
    goes_on(in_trouble(), flow)
    ended = [
        (change.device, change.alert.condition, change.alert.state) for change in flow.last_words.changes
    ]
    assert sorted(ended) == [
        ("above", "out_of_range", "cleared"),
        ("below", "out_of_range", "cleared"),
        ("stuck", "stuck", "cleared"),
    ]
