"""Verdict → topic and payload, in JSON. docs/payloads.md describes every field; docs/schema/ holds the JSON Schemas."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Literal

import orjson

from gatewayd.domain.topic import MAX_TOPIC_BYTES, TopicTemplate
from gatewayd.domain.verdict import Alert, Kind, Prediction, Publication

_SECOND = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What a stream knows of a device.

    Attributes:
        name: As published.
        levels: The named levels of its topic, ``device`` included where there is one.
        labels: The named levels other than the device's own.
    """

    name: str
    levels: Mapping[str, str]
    labels: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        """Sort the labels out once, not for every prediction."""
        labels = {name: level for name, level in self.levels.items() if name != "device"}
        object.__setattr__(self, "labels", labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a stream's verdicts come from: the part of every payload that doesn't change.

    ``runtime`` names the kernels that gave the scores: two kernel sets may differ in the last steps.
    """

    gateway: str
    stream: str
    model: str
    version: str
    runtime: str


class Encoder:
    """Encodes one stream's verdicts. Owned by the line; remembers each device's topics.

    Args:
        origin: Who speaks.
        broker: Name of the upstream broker.
        topic: Template; ``/{kind}`` is added where it has no ``{kind}``.
        qos: Of every publication.
    """

    def __init__(self, origin: Origin, *, broker: str, topic: TopicTemplate, qos: Literal[0, 1]) -> None:
        self._origin, self._broker, self._qos = origin, broker, qos
        self._template = topic if "kind" in topic.names else TopicTemplate.parse(topic.template + "/{kind}")
        self._model = {"name": origin.model, "version": origin.version, "runtime": origin.runtime}
        self._topics: dict[tuple[int, Kind], str] = {}

    def fits(self, device: Device) -> bool:
        """Tell whether the topics of a device are short enough to be published on (MQTT 3.1.1, 1.5.3)."""
        return len(self._render(device, "prediction").encode()) <= MAX_TOPIC_BYTES

    def prediction(self, prediction: Prediction, device: Device) -> Publication:
        """Encode a prediction. Its id depends on stream, device, window and model alone."""
        document = {
            "id": self.identify("prediction", device, prediction.end),
            "kind": "prediction",
            "gateway": self._origin.gateway,
            "stream": self._origin.stream,
            "device": device.name,
            "labels": device.labels,
            "window": {
                "start": instant(prediction.start),
                "end": instant(prediction.end),
                "samples": prediction.samples,
            },
            "score": significant(prediction.score),
            "threshold": _significant_threshold(prediction.threshold),
            "verdict": "anomalous" if prediction.is_anomalous else "normal",
            "model": self._model,
        }
        if prediction.contributions is not None:
            document["contributions"] = prediction.contributions
        if prediction.probabilities is not None:
            document["label"] = prediction.label
            document["probabilities"] = {name: round(p, 6) for name, p in prediction.probabilities.items()}
        return self._publication("prediction", prediction.device, device, document)

    def alert(self, alert: Alert, device: Device) -> Publication:
        """Encode an alert as it is raised or cleared."""
        document = {
            "id": alert.id,
            "kind": "alert",
            "gateway": self._origin.gateway,
            "stream": self._origin.stream,
            "device": device.name,
            "labels": device.labels,
            "state": alert.state,
            "first_out_at": instant(alert.first_out_at),
            "raised_at": instant(alert.raised_at),
            "cleared_at": None if alert.cleared_at is None else instant(alert.cleared_at),
            "score": significant(alert.score),
            "peak_score": significant(alert.peak_score),
            "threshold": significant(alert.threshold),
            "causes": [{"channel": name, "contribution": part} for name, part in alert.causes],
            "model": self._model,
        }
        return self._publication("alert", alert.device, device, document)

    def identify(self, kind: Kind, device: Device, instant_ns: int) -> str:
        """Return 32 hex digits that are the same for the same stream, device, instant and model."""
        origin = self._origin
        # JSON keeps the parts apart: no two lists of texts look the same.
        key = orjson.dumps(
            [
                *(kind, origin.gateway, origin.stream, *device.levels.values(), device.name),
                *(str(instant_ns), origin.model, origin.version),
            ]
        )
        return blake2b(key, digest_size=16).hexdigest()

    def _publication(
        self, kind: Kind, index: int, device: Device, document: Mapping[str, object]
    ) -> Publication:
        topic = self._topics.get((index, kind))
        if topic is None:
            topic = self._topics[index, kind] = self._render(device, kind)
        return Publication(
            broker=self._broker,
            kind=kind,
            topic=topic,
            payload=orjson.dumps(document),
            qos=self._qos,
            retain=False,
        )

    def _render(self, device: Device, kind: Kind) -> str:
        values = {"gateway": self._origin.gateway, "stream": self._origin.stream, "kind": kind}
        return self._template.render({**values, "device": device.name, **device.levels})


def instant(nanoseconds: int) -> str:
    """Write an instant as RFC 3339 in UTC, with as many fraction digits (0, 3, 6 or 9) as it needs.

    Args:
        nanoseconds: Since the Unix epoch, 1970..2262.
    """
    seconds, fraction = divmod(nanoseconds, _SECOND)
    text = _whole_seconds(seconds)
    if fraction == 0:
        return f"{text}Z"
    digits = f"{fraction:09d}"
    if digits.endswith("000000"):
        return f"{text}.{digits[:3]}Z"
    return f"{text}.{digits[:6]}Z" if digits.endswith("000") else f"{text}.{digits}Z"


@lru_cache(maxsize=4096)  # many windows end within the same second
def _whole_seconds(seconds: int) -> str:
    # Civil date from days since the epoch: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    # datetime would do it too, at three times the cost, and this runs for every prediction.
    days, rest = divmod(seconds, 86_400)
    shifted = days + 719_468
    era, day_of_era = divmod(shifted, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_index = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_index + 2) // 5 + 1
    month = month_index + 3 if month_index < 10 else month_index - 9  # noqa: PLR2004
    year = year_of_era + era * 400 + (month <= 2)  # noqa: PLR2004
    hour, rest = divmod(rest, 3600)
    minute, second = divmod(rest, 60)
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}"


def significant(value: float) -> float:
    """Round to 7 significant digits, all that a float32 model has to say."""
    return float(f"{value:.7g}")


_significant_threshold = lru_cache(maxsize=256)(
    significant
)  # a threshold is the same for window after window
