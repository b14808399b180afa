"""Verdict → Sparkplug B metrics: their names, types and times; ``sparkplug_node.py`` makes messages of them.

``Prediction/Score`` and the like hold a device's latest window; ``Alert/<condition>/...``, or
``Alert/<condition>/<channel>/...``, where an alert stands. A host shows them as folders. Names, types and meanings are
listed in docs/payloads.md.

Reference:
    Sparkplug 3.0.0, 6.4 "Sparkplug B": data types.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from gatewayd.domain.topic import safe_level
from gatewayd.domain.verdict import Alert, Prediction
from gatewayd.pipeline.origin import Device, Origin
from gatewayd.pipeline.verdict_json import significant, threshold_digits

CONTENT_TYPE = "application/x-protobuf"

Type = Literal["Int32", "Int64", "Double", "Boolean", "String", "DateTime"]
Value = int | float | bool | str | None

_MILLISECOND = 10**6


class Metric(NamedTuple):
    """One metric's value.

    Attributes:
        name: Parts joined by ``/``.
        type: By its name in Sparkplug.
        value: None: null.
        at_ms: When, ms since the Unix epoch.
    """

    name: str
    type: Type
    value: Value
    at_ms: int


def device_id(stream: str, device: Device) -> str:
    """Return a device's id within its edge node: ``stream:device``, with the topic's other levels between them.

    Sparkplug forbids ``+``, ``/`` and ``#``; these and ``:`` are percent-encoded. Different devices have different ids.
    """
    parts = (stream, *device.labels.values(), device.name)
    return ":".join(safe_level(part).replace(":", "%3A") for part in parts)


def stream_of(identity: str) -> str:
    """Return the stream that a device's id belongs to; the names of streams stand there as they are."""
    return identity.partition(":")[0]


def prediction_metrics(prediction: Prediction, device: Device, origin: Origin) -> list[Metric]:
    """Return a prediction's metrics, as of its window's end."""
    values: list[tuple[str, Type, Value]] = [
        ("Score", "Double", significant(prediction.score)),
        ("Threshold", "Double", threshold_digits(prediction.threshold)),
        ("Anomalous", "Boolean", prediction.is_anomalous),
        ("WindowStart", "DateTime", prediction.start // _MILLISECOND),
        ("Samples", "Int32", prediction.samples),
        ("Id", "String", origin.identify("prediction", device, prediction.end)),
    ]
    if prediction.contributions is not None:
        values += _fractions("Contribution", prediction.contributions.items())
    if prediction.probabilities is not None:
        values.append(("Label", "String", prediction.label))
        values += _fractions("Probability", prediction.probabilities.items())
    return _metrics("Prediction", values, prediction.end)


def alert_metrics(alert: Alert) -> list[Metric]:
    """Return an alert's metrics, as of its change; ``Active`` is true while its condition lasts."""
    cleared_at = None if alert.cleared_at is None else alert.cleared_at // _MILLISECOND
    values: list[tuple[str, Type, Value]] = [
        ("State", "String", alert.state),
        ("Status", "String", alert.status),
        ("Active", "Boolean", alert.cleared_at is None),
        ("Severity", "String", alert.severity),
        ("Score", "Double", significant(alert.score)),
        ("PeakScore", "Double", significant(alert.peak_score)),
        ("Threshold", "Double", significant(alert.threshold)),
        ("RaisedAt", "DateTime", alert.raised_at // _MILLISECOND),
        ("ClearedAt", "DateTime", cleared_at),
        ("AcknowledgedBy", "String", alert.acknowledged_by),
        ("Id", "String", alert.id),
    ]
    about = [alert.condition] + ([] if alert.channel is None else [alert.channel])
    return _metrics("/".join(["Alert", *about]), values, alert.changed_at)


def _fractions(name: str, parts: Iterable[tuple[str, float]]) -> list[tuple[str, Type, Value]]:
    return [(f"{name}/{part}", "Double", round(value, 6)) for part, value in parts]


def _metrics(folder: str, values: Iterable[tuple[str, Type, Value]], at: int) -> list[Metric]:
    at_ms = at // _MILLISECOND
    return [Metric(f"{folder}/{name}", type_, value, at_ms) for name, type_, value in values]
