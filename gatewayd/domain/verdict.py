"""What leaves: predictions, alerts, and the publications that carry them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["prediction", "alert", "alert_state", "discovery", "request", "response"]

# What an alert is about. "anomaly" is the model's; the others stand beside it.
Condition = Literal["anomaly", "silent", "stuck", "out_of_range", "input_drift", "score_drift"]

# What just happened to an alert.
Change = Literal[
    "raised",
    "escalated",
    "acknowledged",
    "cleared",
    "latched",
    "reset",
    "shelved",
    "unshelved",
    "out_of_service",
    "in_service",
]

# Where an alert stands after it: the states of ANSI/ISA-18.2-2016, 5.2.3 (IEC 62682), in words.
Status = Literal[
    "normal",
    "unacknowledged",
    "acknowledged",
    "returned_unacknowledged",
    "latched_unacknowledged",
    "latched_acknowledged",
    "shelved",
    "suppressed",
    "out_of_service",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A window's score, ready to be encoded.

    Attributes:
        device: Index into the stream's devices.
        start: When the window's first reading was taken, ns since the Unix epoch.
        end: When its last reading was taken, ns since the Unix epoch.
        samples: Readings in the window.
        score: Finite; its meaning is the model's (see ``task``).
        threshold: Where the score starts to matter; None while that is still found out.
        is_anomalous: ``score >= threshold``.
        contributions: Per channel, fractions that add up to 1, rounded to 4 digits; None where the task has none.
        label: The most probable class; None but for classification.
        probabilities: Per label; None but for classification.
    """

    device: int
    start: int
    end: int
    samples: int
    score: float
    threshold: float | None
    is_anomalous: bool
    contributions: Mapping[str, float] | None
    label: str | None
    probabilities: Mapping[str, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alert as it changes.

    Attributes:
        id: Stays the same from raised to cleared.
        device: Index into the stream's devices.
        condition: What it is about.
        channel: The channel that it is about; None: the device as a whole.
        severity: Name of the severity it has reached.
        state: What just happened.
        status: Where it stands after that.
        changed_at: When that happened: the end of the window or the reading that did it, or when the command came; ns
            since the Unix epoch.
        first_out_at: End of the first of the anomalous windows that raised it, ns since the Unix epoch.
        raised_at: End of the window that raised it, ns since the Unix epoch.
        cleared_at: End of the window that cleared it; None while raised.
        acknowledged_at: When somebody acknowledged it, gateway clock; None: nobody has.
        acknowledged_by: Who, as the command said; None: nobody, or without a name.
        shelved_until: Until when it is shelved, gateway clock; None: it isn't.
        score: Of the window that changed the state; for other conditions the number that ``threshold`` limits: seconds
            of silence, seconds without change, the reading out of range, the drift.
        peak_score: Highest score while raised, the raising windows included.
        threshold: In force when the state changed.
        causes: Channels by contribution, largest first; empty where the task has none.
    """

    id: str
    device: int
    condition: Condition = "anomaly"
    channel: str | None = None
    severity: str = "medium"
    state: Change
    status: Status = "unacknowledged"
    changed_at: int = 0
    first_out_at: int
    raised_at: int
    cleared_at: int | None
    acknowledged_at: int | None = None
    acknowledged_by: str | None = None
    shelved_until: int | None = None
    score: float
    peak_score: float
    threshold: float
    causes: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """One MQTT message to be published, and where.

    Attributes:
        broker: Name of the broker in the configuration.
        kind: What it is, which is also what it is worth when room is short.
        topic: Valid for publishing.
        payload: May be empty: with ``retain`` that takes a retained message away.
        qos: As in MQTT.
        retain: As in MQTT.
        content_type: What the payload is, as a media type; None: unsaid. MQTT 5.0, 3.3.2.3.9; older ones can't say it.
        expires_s: Seconds after which a broker shall no longer hand it on; None: never. MQTT 5.0, 3.3.2.3.3.
        user_properties: Names and values, in order. MQTT 5.0, 3.3.2.3.7.
        correlation: Of the request that this answers. MQTT 5.0, 3.3.2.3.6. Answers are never stored.
    """

    broker: str
    kind: Kind
    topic: str
    payload: bytes
    qos: Literal[0, 1]
    retain: bool
    content_type: str | None = None
    expires_s: int | None = None
    user_properties: tuple[tuple[str, str], ...] = ()
    correlation: bytes | None = None
