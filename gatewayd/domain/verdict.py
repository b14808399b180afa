"""What leaves: predictions, alerts, and the publications that carry them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["prediction", "alert"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A window's score, ready to be encoded.

    Attributes:
        device: Index into the stream's devices.
        start: When the window's first reading was taken, ns since the Unix epoch.
        end: When its last reading was taken, ns since the Unix epoch.
        samples: Readings in the window.
        score: Finite; its meaning is the model's (see ``task``).
        threshold: Where the score starts to matter.
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
    threshold: float
    is_anomalous: bool
    contributions: Mapping[str, float] | None
    label: str | None
    probabilities: Mapping[str, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alert as it is raised or cleared.

    Attributes:
        id: Stays the same from raised to cleared.
        device: Index into the stream's devices.
        state: What just happened.
        first_out_at: End of the first of the anomalous windows that raised it, ns since the Unix epoch.
        raised_at: End of the window that raised it, ns since the Unix epoch.
        cleared_at: End of the window that cleared it; None while raised.
        score: Of the window that changed the state.
        peak_score: Highest score while raised, the raising windows included.
        threshold: In force when the state changed.
        causes: Channels by contribution, largest first; empty where the task has none.
    """

    id: str
    device: int
    state: Literal["raised", "cleared"]
    first_out_at: int
    raised_at: int
    cleared_at: int | None
    score: float
    peak_score: float
    threshold: float
    causes: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """One MQTT message to be published, and where.

    ``broker`` is the name of the broker in the configuration; ``topic`` is valid for publishing.
    """

    broker: str
    kind: Kind
    topic: str
    payload: bytes
    qos: Literal[0, 1]
    retain: bool
