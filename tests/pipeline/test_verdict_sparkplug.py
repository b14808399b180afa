"""Metrics are named once, typed as they are, and stamped with the time of what they tell of."""

import re

from hypothesis import given
from hypothesis import strategies as st

from gatewayd.pipeline.origin import Device
from gatewayd.pipeline.verdict_json import significant
from gatewayd.pipeline.verdict_sparkplug import alert_metrics, device_id, prediction_metrics
from tests.support.verdicts import DEVICES, PREDICTIONS, PUMP, TEXT, alerts

PYTHON = {"Int32": int, "Int64": int, "DateTime": int, "Double": float, "Boolean": bool, "String": str}


def check(metrics, at):
    names = [metric.name for metric in metrics]
    assert len(set(names)) == len(names)
    for metric in metrics:
        assert metric.value is None or type(metric.value) is PYTHON[metric.type]
        assert metric.at_ms == at // 10**6
    return {metric.name: metric.value for metric in metrics}


@given(prediction=PREDICTIONS, device=DEVICES)
def test_a_predictions_metrics_say_what_it_says(prediction, device):
    values = check(prediction_metrics(prediction, device, PUMP), prediction.end)
    assert values["Prediction/Score"] == significant(prediction.score)
    assert values["Prediction/Anomalous"] is prediction.is_anomalous
    assert values["Prediction/Id"] == PUMP.identify("prediction", device, prediction.end)
    assert values["Prediction/WindowStart"] == prediction.start // 10**6
    assert (values["Prediction/Threshold"] is None) == (prediction.threshold is None)
    for name, part in (prediction.contributions or {}).items():
        assert values[f"Prediction/Contribution/{name}"] == part
    for name, part in (prediction.probabilities or {}).items():
        assert values[f"Prediction/Probability/{name}"] == part
    assert ("Prediction/Label" in values) == (prediction.probabilities is not None)


@given(alert=alerts())
def test_an_alerts_metrics_say_what_it_says(alert):
    values = check(alert_metrics(alert), alert.changed_at)
    folder = f"Alert/{alert.condition}" + ("" if alert.channel is None else f"/{alert.channel}")
    assert all(name.startswith(f"{folder}/") for name in values)
    assert values[f"{folder}/State"] == alert.state
    assert values[f"{folder}/Status"] == alert.status
    assert values[f"{folder}/Active"] is (alert.cleared_at is None)
    assert values[f"{folder}/ClearedAt"] == (None if alert.cleared_at is None else alert.cleared_at // 10**6)


@given(first=st.tuples(TEXT, DEVICES), second=st.tuples(TEXT, DEVICES))
def test_different_devices_have_different_ids_that_sparkplug_allows(first, second):
    ids = [device_id(*one) for one in (first, second)]
    assert (ids[0] == ids[1]) == (first == second)
    assert all(re.fullmatch(r"[^+#/\x00]+", id_) for id_ in ids)


def test_an_id_is_stream_and_device():
    assert device_id("pump", Device(name="p3", levels={"device": "p3"})) == "pump:p3"
    assert (
        device_id("pump", Device(name="p:3", levels={"line": "l/1", "device": "p:3"})) == "pump:l%2F1:p%3A3"
    )
    assert device_id("room", Device(name="room", levels={})) == "room:room"
