"""Verdict → topic and payload. docs/payloads.md describes every encoding.

What a payload says is written by ``verdict_json.py`` (JSON and CBOR), ``verdict_senml.py`` or ``verdict_sparkplug.py``;
this module chooses among them, gives a payload its topic and says how it travels.
"""

import importlib
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Literal, cast

import orjson

from gatewayd.domain.topic import MAX_TOPIC_BYTES, TopicTemplate, safe_level
from gatewayd.domain.verdict import Alert, Condition, Kind, Prediction, Publication
from gatewayd.pipeline import verdict_senml, verdict_sparkplug
from gatewayd.pipeline.origin import Device, Origin
from gatewayd.pipeline.verdict_json import Documents, instant, significant

if TYPE_CHECKING:
    from gatewayd.pipeline.sparkplug_node import EdgeNode

__all__ = ["Device", "Encoder", "Encoding", "Origin", "instant", "make_edge_node", "significant"]

Encoding = Literal["json", "cbor", "senml", "sparkplug_b"]

_CONTENT_TYPES: dict[Encoding, str] = {
    "json": "application/json",
    "cbor": "application/cbor",
    "senml": verdict_senml.CONTENT_TYPE,
    "sparkplug_b": verdict_sparkplug.CONTENT_TYPE,
}


class Encoder:
    """Encodes one stream's verdicts. Owned by the line; remembers each device's topics.

    Args:
        origin: Who speaks.
        broker: Name of the upstream broker.
        topic: Template; ``/{kind}`` is added where it has no ``{kind}``. Sparkplug has topics of its own.
        qos: Of every publication.
        encoding: How payloads are written.
        edge_node: What Sparkplug needs to know of this gateway's other messages; shared by all streams of a broker.
        retains_alerts: Whether ``publications`` also tells where an alert stands, retained.
        expires_s: Seconds after which a broker shall no longer hand a prediction on; None: never. Sparkplug has none.

    Raises:
        ValueError: The extra isn't installed, or the arguments don't go together; one line.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        broker: str,
        topic: TopicTemplate,
        qos: Literal[0, 1],
        encoding: Encoding = "json",
        edge_node: "EdgeNode | None" = None,
        retains_alerts: bool = False,
        expires_s: int | None = None,
    ) -> None:
        if (encoding == "sparkplug_b") != (edge_node is not None):
            raise ValueError("an edge node and the encoding 'sparkplug_b' go together")
        if encoding == "sparkplug_b" and retains_alerts:
            raise ValueError("Sparkplug retains no alerts: its births say where they stand")
        self.origin, self.broker, self._qos = origin, broker, qos
        self._has_kind = "kind" in topic.names
        self._template = topic if self._has_kind else TopicTemplate.parse(topic.template + "/{kind}")
        self._edge_node, self.retains_alerts, self._expires_s = edge_node, retains_alerts, expires_s
        self.encoding, self._content_type = encoding, _CONTENT_TYPES[encoding]
        self._verdicts: Documents | verdict_senml.SenmlPacks
        if encoding == "senml":
            self._verdicts = verdict_senml.SenmlPacks(origin)
        else:
            self._verdicts = Documents(origin, _cbor() if encoding == "cbor" else orjson.dumps)
        self._topics: dict[tuple[int, Kind], str] = {}
        self._device_ids: dict[int, str] = {}  # Sparkplug's

    def fits(self, device: Device) -> bool:
        """Tell whether the topics of a device are short enough to be published on (MQTT 3.1.1, 1.5.3)."""
        return len(self.topic(device, "prediction").encode()) <= MAX_TOPIC_BYTES

    def publications(self, verdict: Prediction | Alert, device: Device) -> list[Publication]:
        """Encode a verdict in whatever encoding: one publication, or more where more is needed, in their order."""
        if self._edge_node is not None:
            return self._sparkplug(self._edge_node, verdict, device)
        if isinstance(verdict, Prediction):
            return [self.prediction(verdict, device)]
        change = self.alert(verdict, device)
        return [change, self._state_of(verdict, device, change)] if self.retains_alerts else [change]

    def prediction(self, prediction: Prediction, device: Device) -> Publication:
        """Encode a prediction; not in Sparkplug, see ``publications``. Its id depends on its window and model alone."""
        payload = self._verdicts.prediction(prediction, device)
        return self._publication("prediction", prediction.device, device, payload)

    def alert(self, alert: Alert, device: Device) -> Publication:
        """Encode an alert as it changes; not in Sparkplug, see ``publications``."""
        return self._publication("alert", alert.device, device, self._verdicts.alert(alert, device))

    def alert_state(self, alert: Alert, device: Device) -> Publication:
        """Encode where an alert stands, to be retained: what stands as ``alert`` has it, what is over as nothing.

        An empty payload takes a retained message away (MQTT 3.1.1, 3.3.1.3), so that whoever subscribes later is told
        of what stands and of nothing else.
        """
        return self._state_of(alert, device, self.alert(alert, device))

    def topic(self, device: Device, kind: Kind) -> str:
        """Return where a device's publications of one kind stand; not in Sparkplug."""
        values = {"gateway": self.origin.gateway, "stream": self.origin.stream, "kind": kind}
        return self._template.render({**values, "device": device.name, **device.levels})

    def alert_state_topic(self, device: Device, condition: Condition, channel: str | None) -> str:
        """Return where ``alert_state`` stands: one topic for each thing that an alert can be about."""
        first = (
            self.topic(device, "alert_state") if self._has_kind else self.topic(device, "alert") + "/state"
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
        return self.origin.identify(kind, device, instant_ns, condition=condition, channel=channel)

    def _state_of(self, alert: Alert, device: Device, change: Publication) -> Publication:
        return replace(
            change,
            kind="alert_state",
            topic=self.alert_state_topic(device, alert.condition, alert.channel),
            payload=b"" if alert.status == "normal" else change.payload,
            retain=True,
            content_type=None if alert.status == "normal" else change.content_type,
        )

    def _sparkplug(self, node: "EdgeNode", verdict: Prediction | Alert, device: Device) -> list[Publication]:
        name = self._device_ids.get(verdict.device)
        if name is None:
            name = self._device_ids[verdict.device] = verdict_sparkplug.device_id(self.origin.stream, device)
        if isinstance(verdict, Prediction):
            metrics = verdict_sparkplug.prediction_metrics(verdict, device, self.origin)
            return node.publish(name, metrics, kind="prediction", at=verdict.end)
        return node.publish(
            name, verdict_sparkplug.alert_metrics(verdict), kind="alert", at=verdict.changed_at
        )

    def _publication(self, kind: Kind, index: int, device: Device, payload: bytes) -> Publication:
        assert self._edge_node is None
        topic = self._topics.get((index, kind))
        if topic is None:
            topic = self._topics[index, kind] = self.topic(device, kind)
        return Publication(
            broker=self.broker,
            kind=kind,
            topic=topic,
            payload=payload,
            qos=self._qos,
            retain=False,
            content_type=self._content_type,
            expires_s=self._expires_s if kind == "prediction" else None,
        )


def make_edge_node(*, group: str, gateway: str, broker: str, qos: Literal[0, 1]) -> "EdgeNode":
    """Make the Sparkplug edge node of a gateway: one for each upstream broker and group, see ``EdgeNode``.

    Raises:
        ValueError: The extra isn't installed; one line.
    """
    module = _imported("gatewayd.pipeline.sparkplug_node", "sparkplug_b")
    return cast("EdgeNode", module.EdgeNode(group=group, gateway=gateway, broker=broker, qos=qos))


def _cbor() -> Callable[[object], bytes]:
    return cast("Callable[[object], bytes]", _imported("cbor2", "cbor").dumps)


def _imported(module: str, encoding: Encoding) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("gatewayd"):
            raise  # a bug of ours
        raise ValueError(
            f"encoding '{encoding}' needs the package '{error.name}'; pip install '.[formats]' brings it"
        ) from error
