"""What is told of messages is what the flow does with them, and looking on changes nothing."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.pipeline.origin import Device
from gatewayd.pipeline.trace import Tracer, _named, place
from tests.support.flows import ARRIVED, make_flow, message, plan

SECOND = 10**9
GOOD = st.builds(
    message,
    st.sampled_from(["site/l1/p1", "site/l1/p2", "site/l2/p1"]),
    st.integers(0, 8),
    st.sampled_from([0.0, 1.0, 9.0, 1e6]),
)
BAD = st.sampled_from(
    [
        (b"site/l1/p1", b"no json", 0x30, 0),
        (b"elsewhere", b"{}", 0x30, 0),
        (b"site/l1/p1", b"", 0x30, 0),
        (b"site/l1/p1", b'{"ts": 1700000000, "a": "x", "b": 0}', 0x30, 0),
    ]
)
MESSAGES = st.lists(GOOD | BAD, max_size=30)


def traced(flow, messages):
    tracer = Tracer(flow)
    at = ARRIVED + np.arange(len(messages)) * 1000
    traces = [
        tracer.run(one, arrived_at=then, steady_at=then)
        for one, then in zip(messages, at.tolist(), strict=True)
    ]
    return tracer, traces


@given(MESSAGES)
def test_a_flow_that_is_looked_at_publishes_the_same(messages):
    at = ARRIVED + np.arange(len(messages)) * 1000
    plain = make_flow()
    outcome = plain.run(messages, at)
    tracer, traces = traced(make_flow(), messages)
    told = [one.payload for trace in traces for one in trace.outcome.publications]
    assert sorted(told) == sorted(one.payload for one in outcome.publications)
    assert tracer.figures == plain.figures()


@given(MESSAGES)
def test_what_is_told_adds_up_to_the_figures(messages):
    tracer, traces = traced(make_flow(), messages)
    figures = tracer.figures
    assert sum(len(trace.readings) for trace in traces) == figures.readings == tracer.heard.total()
    for name in ("refused", "rejected", "dropped"):
        told = {}
        for trace in traces:
            for reason, count in trace.counts.get(name, {}).items():
                told[reason] = told.get(reason, 0) + count
        assert told == getattr(figures, name)


@given(MESSAGES)
def test_many_at_once_are_counted_without_being_told(messages):
    at = ARRIVED + np.arange(len(messages)) * 1000
    one_by_one, _ = traced(make_flow(), messages)
    tracer = Tracer(make_flow())
    trace = tracer.run_all(messages, arrived_at=at, steady_at=at)
    assert trace.readings == ()
    assert tracer.heard == one_by_one.heard
    assert tracer.figures == one_by_one.figures


def test_a_reading_is_told_with_its_device_its_time_and_its_values():
    _, (trace,) = traced(make_flow(), [message("site/l1/p1", 5, 1.5, 2.5)])
    (reading,) = trace.readings
    assert (reading.stream, reading.taken_at) == ("pump", 1_700_000_005 * SECOND)
    assert reading.values == {"a": 1.5, "b": 2.5}
    assert place(reading.device) == "l1/p1"
    assert trace.counts == {}


def test_a_picture_is_told_by_the_means_of_its_colours():
    pixels = np.array([0.0, 10.0, 100.0, 2.0, 20.0, 100.0])
    assert _named(["red", "green", "blue"], pixels) == {"red": 1.0, "green": 15.0, "blue": 100.0}


def test_an_absent_channel_is_none():
    _, (trace,) = traced(make_flow(), [(b"site/l1/p1", b'{"ts": 1700000000, "a": 1}', 0x30, 0)])
    assert [reading.values for reading in trace.readings] == [{"a": 1.0, "b": None}]
    assert trace.counts == {"dropped": {"missing": 1}}


def test_why_a_message_was_not_taken_is_told_with_it():
    _, traces = traced(
        make_flow(),
        [
            (b"site/l1/p1", b"no json", 0x30, 0),
            (b"elsewhere", b"{}", 0x30, 0),
            message("site/l1/p1", 2, 1.0),
            message("site/l1/p1", 1, 1.0),
        ],
    )
    assert [trace.counts for trace in traces] == [
        {"rejected": {"not_json": 1}},
        {"refused": {"unexpected_topic": 1}},
        {},
        {"dropped": {"late": 1}},
    ]


def test_time_that_passes_is_told_where_something_is_due():
    flow = make_flow(plan(alert={"raise": "1 of 1", "clear": "1 of 1", "silent_after_s": 60.0}))
    tracer = Tracer(flow)
    tracer.run(message("site/l1/p1", 100, 1.0), arrived_at=ARRIVED, steady_at=ARRIVED)
    assert tracer.advance(ARRIVED + 59 * SECOND, ARRIVED + 59 * SECOND) is None
    trace = tracer.advance(ARRIVED + 61 * SECOND, ARRIVED + 61 * SECOND)
    assert [(change.alert.condition, change.alert.state) for change in trace.outcome.changes] == [
        ("silent", "raised")
    ]


def test_a_device_without_labels_is_placed_by_its_name():
    assert place(Device(name="p1", levels={"device": "p1"})) == "p1"
    assert place(Device(name="p1", levels={"line": "l1", "device": "p1", "hall": "h"})) == "l1/h/p1"
