"""Verdict → topic and payload. docs/payloads.md describes every encoding.

What a payload says is written by ``verdict_json.py`` (JSON and CBOR); this module gives it its topic, and says how it
travels.
"""

from dataclasses import replace
from typing import Literal

import orjson

from gatewayd.domain.topic import MAX_TOPIC_BYTES, TopicTemplate, safe_level
from gatewayd.domain.verdict import Alert, Condition, Kind, Prediction, Publication
from gatewayd.pipeline.origin import Device, Origin
from gatewayd.pipeline.verdict_json import Documents, instant, significant

__all__ = ["Device", "Encoder", "Origin", "instant", "significant"]


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
        self._has_kind = "kind" in topic.names
        self._template = topic if self._has_kind else TopicTemplate.parse(topic.template + "/{kind}")
        self._verdicts = Documents(origin, orjson.dumps)
        self._topics: dict[tuple[int, Kind], str] = {}

    def fits(self, device: Device) -> bool:
        """Tell whether the topics of a device are short enough to be published on (MQTT 3.1.1, 1.5.3)."""
        return len(self._render(device, "prediction").encode()) <= MAX_TOPIC_BYTES

    def prediction(self, prediction: Prediction, device: Device) -> Publication:
        """Encode a prediction. Its id depends on stream, device, window and model alone."""
        payload = self._verdicts.prediction(prediction, device)
        return self._publication("prediction", prediction.device, device, payload)

    def alert(self, alert: Alert, device: Device) -> Publication:
        """Encode an alert as it changes."""
        return self._publication("alert", alert.device, device, self._verdicts.alert(alert, device))

    def alert_state(self, alert: Alert, device: Device) -> Publication:
        """Encode where an alert stands, to be retained: what stands as ``alert`` has it, what is over as nothing.

        An empty payload takes a retained message away (MQTT 3.1.1, 3.3.1.3), so that whoever subscribes later is told
        of what stands and of nothing else.
        """
        return self._state_of(alert, device, self.alert(alert, device))

    def alert_state_topic(self, device: Device, condition: Condition, channel: str | None) -> str:
        """Return where ``alert_state`` stands: one topic for each thing that an alert can be about."""
        first = (
            self._render(device, "alert_state")
            if self._has_kind
            else self._render(device, "alert") + "/state"
        )
        return "/".join([first, condition] + ([] if channel is None else [safe_level(channel)]))

    def identify(
        self,
        kind: Kind,
        device: Device,
        instant_ns: int,
        *,
        condition: Condition = "anomaly",
        channel: str | None = None,
    ) -> str:
        """Return 32 hex digits: see ``Origin.identify``."""
        return self._origin.identify(kind, device, instant_ns, condition=condition, channel=channel)

    def _state_of(self, alert: Alert, device: Device, change: Publication) -> Publication:
        return replace(
            change,
            kind="alert_state",
            topic=self.alert_state_topic(device, alert.condition, alert.channel),
            payload=b"" if alert.status == "normal" else change.payload,
            retain=True,
        )

    def _publication(self, kind: Kind, index: int, device: Device, payload: bytes) -> Publication:
        topic = self._topics.get((index, kind))
        if topic is None:
            topic = self._topics[index, kind] = self._render(device, kind)
        return Publication(
            broker=self._broker,
            kind=kind,
            topic=topic,
            payload=payload,
            qos=self._qos,
            retain=False,
        )

    def _render(self, device: Device, kind: Kind) -> str:
        values = {"gateway": self._origin.gateway, "stream": self._origin.stream, "kind": kind}
        return self._template.render({**values, "device": device.name, **device.levels})
