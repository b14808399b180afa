"""What is published: the same for the same verdict, on topics that a broker takes."""

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.topic import TopicTemplate
from gatewayd.domain.verdict import Prediction
from gatewayd.pipeline.encode import Device, Encoder, Origin
from tests.support.verdicts import CLEARED, DEVICES, INSTANTS, P3, PREDICTIONS, RAISED, STUCK, TEXT, alerts


def encoder(topic="plant/{gateway}/{stream}/{device}", **changes):
    origin = {"gateway": "gw", "stream": "pump", "model": "m", "version": "1", "runtime": "r 1"}
    return Encoder(Origin(**{**origin, **changes}), broker="b", topic=TopicTemplate.parse(topic), qos=1)


@given(device=DEVICES, at=INSTANTS)
def test_ids_are_those_of_the_origin(device, at):
    origin = Origin(gateway="gw", stream="pump", model="m", version="1", runtime="r 1")
    assert encoder().identify("alert", device, at) == origin.identify("alert", device, at)
    about = {"condition": "stuck", "channel": "t"}
    assert encoder().identify("alert", device, at, **about) == origin.identify("alert", device, at, **about)


@given(prediction=PREDICTIONS, other=PREDICTIONS, device=DEVICES)
def test_what_a_window_scored_does_not_change_its_id(prediction, other, device):
    same_window = replace(other, end=prediction.end)
    ids = [json.loads(encoder().prediction(one, device).payload)["id"] for one in (prediction, same_window)]
    assert ids[0] == ids[1]
    assert ids[0] == json.loads(encoder(runtime="r 2").prediction(prediction, device).payload)["id"]


@given(
    names=st.lists(TEXT, min_size=2, max_size=4, unique=True),
    line=st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
)
def test_case_24_any_two_names_have_two_topics_that_a_broker_takes(names, line):
    topics = []
    for index, name in enumerate(names):
        device = Device(name=name or "d", levels={"line": line, "device": name})
        assert encoder("{line}/{device}").fits(device)
        alert = replace(RAISED, device=index)
        topics.append(encoder("{line}/{device}").alert(alert, device).topic)
    assert len(set(topics)) == len(names)
    for topic in topics:
        assert topic.count("/") == 2
        assert all(topic.split("/"))
        assert not set(topic) & set("+#\x00")
        assert not topic.startswith("$")
        assert len(topic.encode()) <= 65_535


NAMES = [
    "LightSensor#1",
    "LightSensor_1",
    "a+b",
    "x/y",
    "  ",
    "ümlaut",
    "a\x00b",
    "$SYS",
    "n" * 70_000,
    "n" * 69_999,
]


def test_case_24_names_that_are_not_legal_in_a_topic():
    template = "{device}/x"
    topics = []
    for index, name in enumerate(NAMES):
        device = Device(name=name, levels={"device": name})
        assert encoder(template).fits(device)
        prediction = Prediction(
            device=index,
            start=0,
            end=1,
            samples=1,
            score=0.0,
            threshold=1.0,
            is_anomalous=False,
            contributions=None,
            label=None,
            probabilities=None,
        )
        topics.append(encoder(template).prediction(prediction, device).topic)
    assert len(set(topics)) == len(NAMES)
    for topic in topics:
        assert not set(topic) & set("+#\x00")
        assert not topic.startswith("$")
        assert topic.count("/") == 2
        assert len(topic.encode()) <= 65_535


def test_the_kind_stands_where_the_template_wants_it():
    device = Device(name="d", levels={"device": "d"})
    assert encoder("a/{kind}/{device}").fits(device)
    assert encoder("a/{kind}/{device}").alert(RAISED, device).topic == "a/alert/d"
    assert encoder("a/{device}").alert(RAISED, device).topic == "a/d/alert"


def test_an_alerts_state_has_a_topic_for_each_thing_it_can_be_about():
    device = Device(name="d", levels={"device": "d"})
    assert encoder("a/{device}").alert_state(RAISED, device).topic == "a/d/alert/state/anomaly"
    assert encoder("a/{device}").alert_state(STUCK, device).topic == "a/d/alert/state/stuck/temperature"
    assert encoder("a/{kind}/{device}").alert_state(RAISED, device).topic == "a/alert_state/d/anomaly"
    strange = replace(STUCK, channel="a/b#")
    assert encoder("a/{device}").alert_state(strange, device).topic == "a/d/alert/state/stuck/a%2Fb%23"


@given(alert=alerts(), device=DEVICES)
def test_what_stands_is_retained_and_what_is_over_is_taken_away(alert, device):
    state, change = encoder().alert_state(alert, device), encoder().alert(alert, device)
    assert (state.retain, change.retain) == (True, False)
    assert state.payload == (b"" if alert.status == "normal" else change.payload)
    assert (state.kind, state.qos, state.broker) == ("alert_state", change.qos, change.broker)


def test_a_late_subscriber_sees_only_what_stands():
    retained = {}
    for alert in (RAISED, STUCK, CLEARED):
        state = encoder().alert_state(alert, P3)
        retained[state.topic] = state.payload
    standing = [json.loads(payload) for payload in retained.values() if payload]
    assert [document["id"] for document in standing] == [STUCK.id]
