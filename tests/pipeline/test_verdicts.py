"""From windows to predictions and alerts: running statistics, adaptive thresholds, drift, floods, what is published."""

import json
import math

import numpy as np
import pytest

from gatewayd.config.settings import StreamSettings
from gatewayd.pipeline.deviation import Deviation, deviation_spec
from gatewayd.pipeline.encode import make_edge_node
from gatewayd.pipeline.flow import Flow
from gatewayd.pipeline.stream import StreamPlan
from tests.support.flows import assert_sums, message, plan, run

START = 1_700_000_000
SECOND = 10**9


def without_model(**options):
    settings = StreamSettings.model_validate(
        {
            "from": "local",
            "topic": "site/{device}",
            "time": {"field": "ts"},
            "channels": {"v": {}},
            "publish": {"to": "cloud", "topic": "out/{device}"},
            **options,
        }
    )
    spec = deviation_spec(settings)
    return Flow("gw", [StreamPlan(name="s", settings=settings, spec=spec, model=Deviation(spec))])


def feed(flow, values, *, first=0, device="d"):
    """One reading a second; returns the documents, in order."""
    messages = [
        (f"site/{device}".encode(), json.dumps({"ts": START + first + index, "v": value}).encode(), 0x30, 0)
        for index, value in enumerate(values)
    ]
    at = (START + first + np.arange(len(messages))) * SECOND
    return [json.loads(p.payload) for p in flow.run(messages, at, at).publications]


def predictions(documents):
    return [document for document in documents if document["kind"] == "prediction"]


def alerts(documents):
    return [
        (document["condition"], document["state"]) for document in documents if document["kind"] == "alert"
    ]


ONCE = {"threshold": 4.0, "raise": "1 of 1", "clear": "1 of 1"}


def test_case_19_an_anomaly_does_not_teach_the_detector_to_ignore_the_next_one():
    flow = without_model(baseline={"warm_up": 12, "readings": 12, "relearn_s": 60.0}, alert=ONCE)
    found = feed(flow, [20.0, 20.2] * 6 + [30.0, 20.0, 20.2, 30.0, 20.0, 20.2])
    scores = [document["score"] for document in predictions(found)]
    assert flow.figures().unscored == {"warming_up": 12}
    assert len(scores) == 6
    assert scores[0] == pytest.approx(99.0)
    assert scores[3] > 90
    assert max(scores[1], scores[2], scores[4], scores[5]) < 4
    lasting = feed(flow, [30.0] * 100 + [30.2], first=18)
    assert flow.figures().alerts_standing == 0 or predictions(lasting)[-1]["verdict"] == "normal"
    assert predictions(lasting)[0]["verdict"] == "anomalous"
    assert predictions(lasting)[-1]["score"] < 4
    assert_sums(flow.figures())


def test_case_20_a_wild_warm_up_has_no_lasting_effect_and_a_stuck_sensor_rings_once():
    flow = without_model(
        channels={"v": {"stuck": {"readings": 60}, "resolution": 0.05}},
        baseline={"warm_up": 30},
        alert={**ONCE, "clear_below": 0.75},
    )
    usual = [50 + 0.5 * math.sin(1.7 * index) for index in range(6, 201)]
    part_a = feed(flow, [0, 100, 3, 97, 50, *usual])
    assert alerts(part_a) == []
    assert len(predictions(part_a)) == 200 - 30
    part_b = feed(flow, [50.25] * 120, first=200)
    assert alerts(part_b) == [("stuck", "raised")]
    [stuck] = [document for document in part_b if document["kind"] == "alert"]
    assert stuck["channel"] == "v"
    assert stuck["raised_at"] == "2023-11-14T22:17:39Z"  # the 60th equal value
    again = feed(flow, [50 + 0.5 * math.sin(1.7 * index) for index in range(40)], first=320)
    assert alerts(again) == [("stuck", "cleared")]


def test_case_12_a_constant_sensor_is_no_anomaly_and_its_first_change_neither():
    flow = without_model(baseline={"warm_up": 100}, alert=ONCE)
    found = predictions(feed(flow, [14.62] * 1000 + [14.63]))
    assert len(found) == 901
    assert all(abs(document["score"]) < 1e-6 for document in found[:-1])
    assert math.isfinite(found[-1]["score"])
    assert alerts(feed(flow, [14.62], first=1001)) == []
    assert flow.figures().alerts_raised == 0
    assert flow.figures().marked == {"low_variance": 1}


def test_an_adaptive_threshold_is_told_once_it_is_known():
    rng = np.random.default_rng(3)
    flow = without_model(
        baseline={"warm_up": 50},
        alert={"adaptive": {"risk": 1e-4, "calibrate": 200}, "raise": "1 of 1", "clear": "1 of 1"},
    )
    found = predictions(feed(flow, [*rng.normal(20, 1, 800).tolist(), 60.0]))
    assert [document["threshold"] for document in found[:200]] == [None] * 200
    assert 2.5 < found[250]["threshold"] < 8
    assert found[-1]["verdict"] == "anomalous"
    assert sum(document["verdict"] == "anomalous" for document in found) <= 3


def test_slow_drift_of_inputs_and_scores_is_an_alert_of_its_own():
    flow = Flow(
        "gw",
        [
            plan(
                topic="site/{device}",
                length=1,
                hop=1,
                alert={**ONCE, "threshold": 1e9, "drift": {"horizon": 20, "limit": 1.0}},
            )
        ],
    )
    calm = [message("site/d", index, 0.1 * (-1) ** index) for index in range(100)]
    moved = [message("site/d", 100 + index, 3.0) for index in range(100)]
    assert alerts([json.loads(p.payload) for p in run(flow, calm).publications]) == []
    found = [json.loads(p.payload) for p in run(flow, moved).publications]
    kinds = {
        (document["condition"], document["channel"]) for document in found if document["kind"] == "alert"
    }
    assert kinds == {("input_drift", "a"), ("score_drift", None)}


def test_more_alerts_than_a_person_reads_are_held_back_and_told_later():
    flow = without_model(baseline={"warm_up": 10}, alert={**ONCE, "flood": {"most": 2, "within_s": 60.0}})
    devices = [f"d{number}" for number in range(6)]
    for device in devices:
        feed(flow, [20.0, 20.2] * 6, device=device)
    raised = [document for device in devices for document in feed(flow, [90.0], first=20, device=device)]
    assert alerts(raised) == [("anomaly", "raised")] * 2
    for device in devices[2:4]:
        feed(flow, [20.0], first=21, device=device)  # came and went
    later = (START + 200) * SECOND
    outcome = flow.advance(later, later)
    told = [json.loads(p.payload)["device"] for p in outcome.publications]
    assert told == devices[4:]
    assert [change.is_on for _, change in outcome.floods] == [False]
    assert flow.figures().alerts_withheld == {"flood": 2}


@pytest.mark.parametrize("lag_s", [-30, 0, 3600])
def test_floods_go_by_the_gateways_clock_whatever_the_sensors_show(lag_s):
    flow = without_model(baseline={"warm_up": 10}, alert={**ONCE, "flood": {"most": 2, "within_s": 60.0}})
    devices = [f"d{number}" for number in range(6)]
    for device in devices:
        feed(flow, [20.0, 20.2] * 6, device=device)
    told = []
    for index, device in enumerate(devices):
        now = (START + 20 + lag_s + index) * SECOND
        payload = json.dumps({"ts": START + 20, "v": 90.0}).encode()
        sent = [(f"site/{device}".encode(), payload, 0x30, 0)]
        told += [len(flow.run(sent, np.array([now])).changes), len(flow.advance(now, now).changes)]
    assert told == [1, 0, 1, 0] + [0] * 8
    end = (START + 20 + lag_s + 5 + 60) * SECOND
    assert len(flow.advance(end - 1, end - 1).changes) == 0
    assert len(flow.advance(end, end).changes) == 4


@pytest.mark.parametrize(("wanted", "count"), [("all", 31), ("anomalous", 1), ("none", 0)])
def test_predictions_are_published_as_wanted(wanted, count):
    flow = without_model(
        baseline={"warm_up": 10},
        alert=ONCE,
        publish={"to": "cloud", "topic": "out/{device}", "predictions": wanted},
    )
    found = feed(flow, [20.0, 20.2] * 20 + [90.0])
    assert len(predictions(found)) == count
    assert alerts(found) == [("anomaly", "raised")]
    assert flow.figures().predictions == 31


@pytest.mark.parametrize("encoding", ["cbor", "senml", "sparkplug_b"])
def test_every_encoding_can_be_chosen(encoding):
    settings = without_model()._streams[0].plan.settings
    chosen = settings.model_copy(
        update={"publish": settings.publish.model_copy(update={"encoding": encoding})}
    )
    spec = deviation_spec(chosen)
    node = (
        make_edge_node(group="g", gateway="gw", broker="cloud", qos=1) if encoding == "sparkplug_b" else None
    )
    flow = Flow(
        "gw", [StreamPlan(name="s", settings=chosen, spec=spec, model=Deviation(spec), edge_node=node)]
    )
    messages = [
        (b"site/d", json.dumps({"ts": START + index, "v": index % 2}).encode(), 0x30, 0)
        for index in range(105)
    ]
    outcome = flow.run(messages, (START + np.arange(105)) * SECOND)
    assert len(outcome.publications) >= 5
    assert {p.content_type for p in outcome.publications} == {
        {"cbor": "application/cbor", "senml": "application/senml+json"}.get(
            encoding, outcome.publications[0].content_type
        )
    }


def test_a_shelving_that_is_over_ends_before_the_next_reading_whether_or_not_anybody_asked():
    def told(*, ticks):
        flow = without_model(baseline={"warm_up": 10}, alert=ONCE)
        flow._commands = ("cloud", "say")
        found = feed(flow, [20.0, 20.2] * 6 + [90.0])
        alert = next(document for document in found if document["kind"] == "alert")
        command = {"command": "shelve", "alert": alert["id"], "for_s": 5}
        shelved = flow.hear("cloud", "say", json.dumps(command).encode(), (START + 13) * SECOND)
        assert json.loads(shelved.answer)["result"] == "done"
        later = []
        if ticks:
            outcome = flow.advance((START + 19) * SECOND, (START + 19) * SECOND)
            later = [json.loads(p.payload) for p in outcome.publications]
        return alerts(later + feed(flow, [20.0], first=20))

    assert told(ticks=True) == told(ticks=False) == [("anomaly", "unshelved"), ("anomaly", "cleared")]
