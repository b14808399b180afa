"""Discovery has the shape that Home Assistant asks for, and its templates read what we publish."""

import json
import re
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.topic import TopicTemplate
from gatewayd.pipeline.encode import Encoder
from gatewayd.pipeline.home_assistant import HomeAssistant
from tests.support.schemas import shown
from tests.support.verdicts import (
    ANOMALOUS,
    CLEARED,
    DEVICES,
    P3,
    PUMP,
    RAISED,
    ROOM,
    ROOM_ORIGIN,
    STUCK,
    VACANT,
    alerts,
)

STATUS = "gatewayd/line1-gw/status"
ID = re.compile(r"[a-zA-Z0-9_-]+")
# Of MQTT sensors and binary sensors in common, then each one's own: what this program uses of it, and what is required.
COMMON = {
    "p",
    "name",
    "unique_id",
    "state_topic",
    "value_template",
    "json_attributes_topic",
    "json_attributes_template",
}
OWN = {"sensor": {"state_class"}, "binary_sensor": {"device_class"}}
WATCHED = (
    ("anomaly", None),
    ("silent", None),
    ("stuck", "temperature"),
    ("stuck", "a/b ü"),
    ("stuck", "a_b_"),
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


def encoder(origin=PUMP, topic="plant/{gateway}/{stream}/{line}/{device}", **options):
    return Encoder(origin, broker="home", topic=TopicTemplate.parse(topic), qos=1, **options)


def announcer(spoken=None, **options):
    spoken = encoder(retains_alerts=True) if spoken is None else spoken
    return HomeAssistant(spoken, status_topic=STATUS, version="1.2.3", **options)


def document(device=P3, **options):
    return json.loads(announcer(**options).discovery(device).payload)


@given(device=DEVICES)
def test_a_discovery_is_retained_where_home_assistant_looks_and_has_its_shape(device):
    found = announcer(watched=WATCHED).discovery(device)
    assert (found.retain, found.qos, found.kind, found.broker) == (True, 1, "discovery", "home")
    prefix, kind, object_id, end = found.topic.split("/")
    assert (prefix, kind, end) == ("homeassistant", "device", "config")
    assert ID.fullmatch(object_id)
    content = json.loads(found.payload)
    assert set(content) == {"dev", "o", "cmps", "availability", "qos"}
    assert content["dev"]["ids"] == [object_id]
    assert content["dev"]["name"]
    assert content["o"] == {"name": "gatewayd", "sw": "1.2.3"}
    assert content["availability"] == [{"topic": STATUS, "value_template": "{{ value_json.status }}"}]
    assert len(content["cmps"]) == 1 + len(WATCHED)
    for name, component in content["cmps"].items():
        assert ID.fullmatch(name)
        assert set(component) == COMMON | OWN[component["p"]]
        assert ID.fullmatch(component["unique_id"])
        assert not set(component["state_topic"]) & set("+#")
    assert len({component["unique_id"] for component in content["cmps"].values()}) == len(content["cmps"])


@given(first=DEVICES, second=DEVICES)
def test_different_devices_have_different_ids(first, second):
    topics = [announcer().discovery(device).topic for device in (first, second)]
    assert (topics[0] == topics[1]) == (first == second)


def test_another_model_is_no_other_device():
    other = announcer(encoder(replace(PUMP, model="new", version="2", runtime="x"), retains_alerts=True))
    assert other.discovery(P3) == announcer().discovery(P3)
    elsewhere = announcer(encoder(replace(PUMP, stream="fan"), retains_alerts=True))
    assert elsewhere.discovery(P3).topic != announcer().discovery(P3).topic


def test_entities_read_where_verdicts_are_published():
    spoken = encoder(retains_alerts=True)
    components = document(watched=(("anomaly", None), ("stuck", "temperature")))["cmps"]
    assert components["score"]["state_topic"] == spoken.prediction(ANOMALOUS, P3).topic
    assert components["anomaly"]["state_topic"] == spoken.alert_state(RAISED, P3).topic
    assert components["stuck_temperature"]["state_topic"] == spoken.alert_state(STUCK, P3).topic
    plain = json.loads(announcer(encoder()).discovery(P3).payload)["cmps"]
    assert plain["anomaly"]["state_topic"] == encoder().alert(RAISED, P3).topic


def test_without_predictions_there_is_no_score():
    assert set(document(has_scores=False)["cmps"]) == {"anomaly"}


def test_a_removal_empties_the_same_topic():
    removal, discovery = announcer().removal(P3), announcer().discovery(P3)
    assert (removal.topic, removal.payload, removal.retain) == (discovery.topic, b"", True)


def test_another_encoding_is_refused():
    with pytest.raises(ValueError, match="Home Assistant reads JSON only, not 'senml'"):
        announcer(encoder(encoding="senml"))


@cache
def compiled(template):
    jinja2 = pytest.importorskip("jinja2.sandbox", reason="jinja2 is not installed")
    return jinja2.ImmutableSandboxedEnvironment().from_string(template)


def render(template, payload):
    """As Home Assistant does: ``value`` is the payload, ``value_json`` what it says, undefined if it's no JSON."""
    known = {"value": payload.decode()}
    if payload:
        known["value_json"] = json.loads(payload)
    return compiled(template).render(known)


def test_a_score_is_read_with_its_attributes():
    for spoken, device, verdict in (
        (encoder(), P3, ANOMALOUS),
        (encoder(ROOM_ORIGIN, "{device}"), ROOM, VACANT),
    ):
        score = json.loads(announcer(spoken).discovery(device).payload)["cmps"]["score"]
        payload = spoken.prediction(verdict, device).payload
        assert float(render(score["value_template"], payload)) == verdict.score
        attributes = json.loads(render(score["json_attributes_template"], payload))
        assert attributes["threshold"] == verdict.threshold
        assert attributes["contributions"] == verdict.contributions
        assert attributes["label"] == verdict.label


def test_a_gateways_status_is_its_devices_availability():
    template = document()["availability"][0]["value_template"]
    for status in ("online", "offline"):  # Home Assistant's own words for it
        assert render(template, json.dumps({"status": status, "gateway": "g"}).encode()) == status


@given(alert=alerts(), device=DEVICES)
def test_a_binary_sensor_on_the_state_is_on_while_somebody_should_look(alert, device):
    spoken = encoder(retains_alerts=True)
    about = ((alert.condition, alert.channel),)
    found = json.loads(announcer(spoken, watched=about, has_scores=False).discovery(device).payload)
    (sensor,) = found["cmps"].values()
    state = spoken.alert_state(alert, device)
    assert sensor["state_topic"] == state.topic
    is_on = alert.status in (
        "unacknowledged",
        "acknowledged",
        "latched_unacknowledged",
        "latched_acknowledged",
    )
    assert render(sensor["value_template"], state.payload) == ("ON" if is_on else "OFF")
    attributes = json.loads(render(sensor["json_attributes_template"], state.payload))
    assert attributes.get("id") == (None if alert.status == "normal" else alert.id)


@given(alert=alerts(), device=DEVICES, other=TEXTS)
def test_a_binary_sensor_on_the_changes_passes_over_what_is_about_something_else(alert, device, other):
    spoken = encoder()
    payload = spoken.alert(alert, device).payload
    for watched in ((alert.condition, alert.channel), (alert.condition, other), ("silent", None)):
        found = json.loads(announcer(spoken, watched=(watched,), has_scores=False).discovery(device).payload)
        (sensor,) = found["cmps"].values()
        text = render(sensor["value_template"], payload)
        assert text in (("ON", "OFF") if watched == (alert.condition, alert.channel) else ("",))
        assert bool(render(sensor["json_attributes_template"], payload)) == bool(text)


def test_the_documentation_shows_what_is_announced():
    given_ = announcer(watched=(("anomaly", None), ("stuck", "temperature"))).discovery(P3)
    (block,) = shown("json", "home-assistant")
    assert json.loads(block) == json.loads(given_.payload)
    assert given_.topic in (shown("text", "home-assistant"))


def test_what_is_over_is_off():
    spoken = encoder(retains_alerts=True)
    (sensor,) = document(has_scores=False)["cmps"].values()
    assert render(sensor["value_template"], spoken.alert_state(RAISED, P3).payload) == "ON"
    assert render(sensor["value_template"], spoken.alert_state(CLEARED, P3).payload) == "OFF"
