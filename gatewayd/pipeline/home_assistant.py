"""Home Assistant finds our devices by itself: one retained message for each tells what there is and how to read it.

A device appears with a sensor, its score, and one binary sensor for each thing that an alert can be about. Home
Assistant reads the JSON documents that are published anyway, through the templates below; nothing is published twice.

``on`` means that somebody should look: the condition lasts or is latched, and nobody has shelved it or taken it out of
service. An alert that is over but unacknowledged is ``off``; its attributes say so.

Reference:
    https://www.home-assistant.io/integrations/mqtt/, "Device discovery payload", "Discovery topic";
    .../sensor.mqtt/ and .../binary_sensor.mqtt/, "Configuration".
"""

import re
from collections.abc import Sequence
from hashlib import blake2b

import orjson

from gatewayd.domain.verdict import Condition, Publication
from gatewayd.pipeline.encode import Encoder
from gatewayd.pipeline.origin import Device

Watched = tuple[Condition, str | None]  # condition and channel; None: the device as a whole

_ILLEGAL = re.compile(r"[^a-zA-Z0-9_-]+")
_READABLE = 40  # characters of a name that are kept in an id
_Component = dict[str, str]

_SCORE_ATTRIBUTES = (
    "{{ {'verdict': value_json.verdict, 'threshold': value_json.threshold, 'window_end': value_json.window.end,"
    " 'contributions': value_json.get('contributions'), 'label': value_json.get('label')} | tojson }}"
)
_IS_ON = (
    "{{ 'ON' if value_json.status in ['unacknowledged', 'acknowledged', 'latched_unacknowledged',"
    " 'latched_acknowledged'] else 'OFF' }}"
)
_ALERT_ATTRIBUTES = (
    "{{ {'state': value_json.state, 'status': value_json.status, 'severity': value_json.severity,"
    " 'score': value_json.score, 'threshold': value_json.threshold, 'raised_at': value_json.raised_at,"
    " 'causes': value_json.causes, 'id': value_json.id} | tojson }}"
)


class HomeAssistant:
    """Tells Home Assistant of one stream's devices.

    Args:
        encoder: Of the stream's verdicts; in JSON.
        status_topic: Where the gateway says ``online`` and ``offline``.
        version: Of this program.
        prefix: Of all discovery topics, as Home Assistant has it configured.
        watched: What alerts can be about.
        has_scores: Whether predictions are published.

    Raises:
        ValueError: The encoding is none that Home Assistant can read; one line.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        status_topic: str,
        version: str,
        prefix: str = "homeassistant",
        watched: Sequence[Watched] = (("anomaly", None),),
        has_scores: bool = True,
    ) -> None:
        if encoder.encoding != "json":
            raise ValueError(f"Home Assistant reads JSON only, not '{encoder.encoding}'")
        self._encoder, self._prefix = encoder, prefix
        self._watched, self._has_scores = tuple(watched), has_scores
        self._shared = {
            "o": {"name": "gatewayd", "sw": version},
            "availability": [{"topic": status_topic, "value_template": "{{ value_json.status }}"}],
            "qos": 1,
        }

    def discovery(self, device: Device) -> Publication:
        """Return what Home Assistant has to know of a device; the same for the same device, whatever its model."""
        object_id = self._object_id(device)
        components: dict[str, _Component] = {"score": self._score(device)} if self._has_scores else {}
        for condition, channel in self._watched:
            name = condition if channel is None else f"{condition}_{_legal(channel)}"
            components[name] = self._alert(device, condition, channel)
        for name, component in components.items():
            component["unique_id"] = f"{object_id}_{name}"
        document = {
            "dev": {
                "ids": [object_id],
                "name": " ".join(filter(None, [*device.labels.values(), device.name])),
            },
            **self._shared,
            "cmps": components,
        }
        return self._publication(object_id, orjson.dumps(document))

    def removal(self, device: Device) -> Publication:
        """Return what lets Home Assistant forget a device."""
        return self._publication(self._object_id(device), b"")

    def _score(self, device: Device) -> _Component:
        topic = self._encoder.topic(device, "prediction")
        return {
            "p": "sensor",
            "name": "Score",
            "state_class": "measurement",
            "state_topic": topic,
            "value_template": "{{ value_json.score }}",
            "json_attributes_topic": topic,
            "json_attributes_template": _SCORE_ATTRIBUTES,
        }

    def _alert(self, device: Device, condition: Condition, channel: str | None) -> _Component:
        """Describe a binary sensor: on the retained state, which is empty where nothing stands, or on the changes."""
        if self._encoder.retains_alerts:
            topic = self._encoder.alert_state_topic(device, condition, channel)
            before, between, after = "{% if value %}", "{% else %}", "{% endif %}"
            otherwise = ("OFF", "{}")
        else:
            topic = self._encoder.topic(device, "alert")
            # One topic for all: what is about something else gives no text, which Home Assistant passes over.
            about = f"value_json.condition == '{condition}' and value_json.channel == {_literal(channel)}"
            before, between, after = f"{{% if {about} %}}", "", "{% endif %}"
            otherwise = ("", "")
        return {
            "p": "binary_sensor",
            "name": (condition if channel is None else f"{condition} {channel}")
            .replace("_", " ")
            .capitalize(),
            "device_class": "problem",
            "state_topic": topic,
            "value_template": f"{before}{_IS_ON}{between}{otherwise[0]}{after}",
            "json_attributes_topic": topic,
            "json_attributes_template": f"{before}{_ALERT_ATTRIBUTES}{between}{otherwise[1]}{after}",
        }

    def _object_id(self, device: Device) -> str:
        """Return an id of the letters that Home Assistant allows; different devices have different ones."""
        origin = self._encoder.origin
        key = orjson.dumps([origin.gateway, origin.stream]) + device.key
        readable = _ILLEGAL.sub("_", device.name)[:_READABLE]
        return f"gatewayd_{readable}_{blake2b(key, digest_size=8).hexdigest()}"

    def _publication(self, object_id: str, payload: bytes) -> Publication:
        return Publication(
            broker=self._encoder.broker,
            kind="discovery",
            topic=f"{self._prefix}/device/{object_id}/config",
            payload=payload,
            qos=1,
            retain=True,
            content_type="application/json" if payload else None,
        )


def _legal(channel: str) -> str:
    """Return a channel's name in the letters that are allowed; different names give different ones."""
    legal = _ILLEGAL.sub("_", channel)[:_READABLE]
    return legal if legal == channel else f"{legal}_{blake2b(channel.encode(), digest_size=4).hexdigest()}"


def _literal(channel: str | None) -> str:
    """Write a channel as a template has it; JSON's texts are Jinja's too."""
    return "none" if channel is None else orjson.dumps(channel).decode()
