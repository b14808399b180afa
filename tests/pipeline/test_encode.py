"""What is published: the same for the same verdict, on topics that a broker takes."""

import json
import sys
from dataclasses import replace

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.topic import TopicTemplate
from gatewayd.domain.verdict import Prediction
from gatewayd.pipeline.encode import Device, Encoder, Origin, make_edge_node
from tests.support.schemas import documented, shown
from tests.support.verdicts import (
    ANOMALOUS,
    CLEARED,
    DEVICES,
    INSTANTS,
    P3,
    PREDICTIONS,
    PUMP,
    RAISED,
    ROOM,
    ROOM_ORIGIN,
    STUCK,
    TEXT,
    VACANT,
    alerts,
)


def encoder(topic="plant/{gateway}/{stream}/{device}", **changes):
    origin = {"gateway": "gw", "stream": "pump", "model": "m", "version": "1", "runtime": "r 1"}
    return Encoder(Origin(**{**origin, **changes}), broker="b", topic=TopicTemplate.parse(topic), qos=1)


def encoder_of(encoding, origin=PUMP, **options):
    if encoding == "sparkplug_b":
        options["edge_node"] = make_edge_node(group="plant", gateway=origin.gateway, broker="b", qos=1)
    topic = TopicTemplate.parse("{stream}/{device}")
    return Encoder(origin, broker="b", topic=topic, qos=1, encoding=encoding, **options)


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


@given(verdict=PREDICTIONS | alerts(), device=DEVICES)
def test_cbor_holds_the_document_that_json_holds(verdict, device):
    in_json, in_cbor = (
        encoder_of(encoding).publications(verdict, device)[0] for encoding in ("json", "cbor")
    )
    assert cbor2.loads(in_cbor.payload) == json.loads(in_json.payload)
    assert in_cbor == replace(in_json, payload=in_cbor.payload, content_type="application/cbor")


def test_the_documentation_shows_a_document_in_cbor():
    (block,) = shown("text", "cbor")
    payload = encoder_of("cbor", ROOM_ORIGIN).prediction(VACANT, ROOM).payload
    assert bytes.fromhex(block) == payload
    assert cbor2.loads(payload) == documented()[1]


@pytest.mark.parametrize(
    ("encoding", "content_type"),
    [
        ("json", "application/json"),
        ("cbor", "application/cbor"),
        ("senml", "application/senml+json"),
        ("sparkplug_b", "application/x-protobuf"),
    ],
)
def test_every_encoding_says_what_it_is(encoding, content_type):
    for verdict in (ANOMALOUS, RAISED):
        for publication in encoder_of(encoding).publications(verdict, P3):
            assert publication.content_type == content_type


@pytest.mark.parametrize("encoding", ["json", "cbor", "senml"])
def test_one_verdict_is_one_publication_but_for_what_is_retained(encoding):
    spoken = encoder_of(encoding)
    assert spoken.publications(ANOMALOUS, P3) == [spoken.prediction(ANOMALOUS, P3)]
    assert spoken.publications(RAISED, P3) == [spoken.alert(RAISED, P3)]
    spoken = encoder_of(encoding, retains_alerts=True)
    assert spoken.publications(ANOMALOUS, P3) == [spoken.prediction(ANOMALOUS, P3)]
    for alert in (RAISED, CLEARED):
        assert spoken.publications(alert, P3) == [spoken.alert(alert, P3), spoken.alert_state(alert, P3)]


def test_streams_share_an_edge_nodes_numbers():
    """What a host sees of them is told in tests/pipeline/test_sparkplug_node.py."""
    node = make_edge_node(group="plant", gateway="line1-gw", broker="b", qos=0)
    topic = TopicTemplate.parse("{stream}/{device}")
    pumps, rooms = (
        Encoder(origin, broker="b", topic=topic, qos=0, encoding="sparkplug_b", edge_node=node)
        for origin in (PUMP, ROOM_ORIGIN)
    )
    sent = [
        *pumps.publications(ANOMALOUS, P3),
        *rooms.publications(VACANT, ROOM),
        *pumps.publications(ANOMALOUS, P3),
        *rooms.publications(replace(RAISED, id="r"), ROOM),
    ]
    assert [one.topic.split("/", 2)[2] for one in sent] == [
        "NBIRTH/line1-gw",
        "DBIRTH/line1-gw/pump:l1:p3",
        "DBIRTH/line1-gw/room:room",
        "DDATA/line1-gw/pump:l1:p3",
        "DBIRTH/line1-gw/room:room",
    ]


def test_only_predictions_expire():
    spoken = encoder_of("json", expires_s=60, retains_alerts=True)
    found = spoken.publications(ANOMALOUS, P3) + spoken.publications(RAISED, P3)
    assert [(one.kind, one.expires_s) for one in found] == [
        ("prediction", 60),
        ("alert", None),
        ("alert_state", None),
    ]


def test_what_is_taken_away_is_of_no_type():
    assert encoder_of("json").alert_state(CLEARED, P3).content_type is None
    assert encoder_of("json").alert_state(RAISED, P3).content_type == "application/json"


def test_an_edge_node_and_sparkplug_go_together():
    node = make_edge_node(group="plant", gateway="g", broker="b", qos=0)
    topic = TopicTemplate.parse("{device}")
    for wrong in ({"encoding": "sparkplug_b"}, {"encoding": "json", "edge_node": node}):
        with pytest.raises(ValueError, match="go together"):
            Encoder(PUMP, broker="b", topic=topic, qos=0, **wrong)
    with pytest.raises(ValueError, match="retains no alerts"):
        encoder_of("sparkplug_b", retains_alerts=True)


def test_a_missing_extra_is_named_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "cbor2", None)
    with pytest.raises(
        ValueError, match=r"^encoding 'cbor' needs the package 'cbor2'; pip install '\.\[formats\]'"
    ):
        encoder_of("cbor")
    encoder_of("json")
    monkeypatch.delitem(sys.modules, "gatewayd.pipeline.sparkplug_node", raising=False)
    monkeypatch.delitem(sys.modules, "gatewayd.formats.sparkplug_schema", raising=False)
    monkeypatch.setitem(sys.modules, "google.protobuf", None)
    with pytest.raises(ValueError, match=r"encoding 'sparkplug_b' needs the package 'google\.protobuf'"):
        make_edge_node(group="plant", gateway="g", broker="b", qos=0)


def test_a_module_of_ours_that_is_gone_is_no_missing_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gatewayd.pipeline.sparkplug_node", None)
    with pytest.raises(ModuleNotFoundError):
        make_edge_node(group="plant", gateway="g", broker="b", qos=0)
