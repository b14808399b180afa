"""What is published: valid by the schemas, the same for the same verdict, on topics that a broker takes."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.topic import TopicTemplate
from gatewayd.domain.verdict import Alert, Prediction
from gatewayd.pipeline.encode import Device, Encoder, Origin, instant, significant
from tests.support.schemas import validator

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INSTANTS = st.integers(0, 2**63 - 1)
FINITE = st.floats(-1e30, 1e30)
PARTS = st.dictionaries(
    st.sampled_from(["temperature", "vibration"]), st.floats(0, 1).map(lambda x: round(x, 4)), min_size=1
)
DEVICES = st.builds(
    lambda name, line: Device(name=name, levels={"line": line, "device": name}),
    TEXT.filter(bool),
    TEXT,
)
PREDICTIONS = st.builds(
    Prediction,
    device=st.just(0),
    start=INSTANTS,
    end=INSTANTS,
    samples=st.integers(1, 1000),
    score=FINITE,
    threshold=FINITE,
    is_anomalous=st.booleans(),
    contributions=st.none() | PARTS,
    label=st.just("calm"),
    probabilities=st.none() | st.just({"calm": 0.25, "wear": 0.75}),
)
ALERTS = st.builds(
    Alert,
    id=st.just("0" * 32),
    device=st.just(0),
    state=st.just("raised"),
    first_out_at=INSTANTS,
    raised_at=INSTANTS,
    cleared_at=st.none(),
    score=FINITE,
    peak_score=FINITE,
    threshold=FINITE,
    causes=st.just(()) | PARTS.map(lambda parts: tuple(parts.items())),
)
CLEARED = st.builds(
    lambda alert, cleared_at: replace(alert, state="cleared", cleared_at=cleared_at), ALERTS, INSTANTS
)


def encoder(topic="plant/{gateway}/{stream}/{device}", **changes):
    origin = {"gateway": "gw", "stream": "pump", "model": "m", "version": "1", "runtime": "r 1"}
    return Encoder(Origin(**{**origin, **changes}), broker="b", topic=TopicTemplate.parse(topic), qos=1)


@given(prediction=PREDICTIONS, device=DEVICES)
def test_every_prediction_obeys_its_schema(prediction, device):
    document = json.loads(encoder().prediction(prediction, device).payload)
    validator("prediction").validate(document)
    assert document["device"] == device.name
    assert document["score"] == pytest.approx(prediction.score, rel=1e-6)


@given(alert=ALERTS | CLEARED, device=DEVICES)
def test_every_alert_obeys_its_schema(alert, device):
    validator("alert").validate(json.loads(encoder().alert(alert, device).payload))


@given(first=st.tuples(DEVICES, INSTANTS), second=st.tuples(DEVICES, INSTANTS))
def test_ids_are_the_same_exactly_for_the_same_window(first, second):
    ids = [encoder().identify("prediction", *one) for one in (first, second)]
    assert (ids[0] == ids[1]) == (first == second)


@pytest.mark.parametrize("change", ["gateway", "stream", "model", "version"])
def test_ids_differ_between_streams_and_models(change):
    device = Device(name="d", levels={"device": "d"})
    assert encoder().identify("prediction", device, 1) != encoder(**{change: "x"}).identify(
        "prediction", device, 1
    )
    assert encoder().identify("prediction", device, 1) != encoder().identify("alert", device, 1)


@given(seconds=st.integers(0, 2**63 // 10**9 - 1), nanoseconds=st.integers(0, 999_999_999))
def test_instants_are_those_of_the_calendar(seconds, nanoseconds):
    whole = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    text = instant(seconds * 10**9 + nanoseconds)
    head, _, fraction = text.removesuffix("Z").partition(".")
    assert head == (whole if len(whole) == 19 else whole.zfill(19))
    assert len(fraction) in (0, 3, 6, 9)
    assert int((fraction + "000000000")[:9]) == nanoseconds


def test_february_ends_when_it_should():
    """Every year that a time stamp can name; 2100 and 2200 have no leap day."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    for year in range(1970, 2262):
        for month, day in ((1, 1), (2, 28), (3, 1), (12, 31)):
            for moment in (
                last := datetime(year, month, day, 23, 59, 59, tzinfo=UTC),
                last + timedelta(seconds=1),
            ):
                seconds = (moment - epoch) // timedelta(seconds=1)
                assert instant(seconds * 10**9) == f"{moment:%Y-%m-%dT%H:%M:%S}Z"


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


RAISED = Alert(
    id="0" * 32,
    device=0,
    state="raised",
    first_out_at=0,
    raised_at=1,
    cleared_at=None,
    score=1.0,
    peak_score=1.0,
    threshold=1.0,
    causes=(),
)
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


@given(FINITE)
def test_seven_digits_are_kept(value):
    assert significant(value) == pytest.approx(value, rel=1e-6, abs=0)
