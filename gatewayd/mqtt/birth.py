"""Birth and will: one retained topic that says whether this gateway is there. Pure.

``online`` is published when a connection opens, ``offline`` when it is closed in order, or by the broker when it is
lost (the will).
"""

from typing import Literal

import orjson

from gatewayd.domain.topic import TopicTemplate
from gatewayd.mqtt.outgoing import Frame, Limits
from gatewayd.mqtt.properties import JSON_TYPE, encode_properties

Status = Literal["online", "offline"]


class Birth:
    """What a gateway says of itself at one broker."""

    def __init__(self, template: str, *, gateway: str, is_v5: bool) -> None:
        """Render the topic.

        Args:
            template: Of the topic; ``{gateway}`` is known.
            gateway: The gateway's id.
            is_v5: Whether the link speaks MQTT 5.
        """
        self._topic = TopicTemplate.parse(template).render({"gateway": gateway})
        self._gateway = gateway
        self._properties = encode_properties(content_type=JSON_TYPE) if is_v5 else b""

    def will(self) -> tuple[str, bytes]:
        """Return topic and payload of what the broker shall say if the link is lost."""
        return self._topic, self._payload("offline")

    def frame(self, status: Status, *, limits: Limits, in_flight: int) -> Frame:
        """Build the publication.

        Args:
            status: What to say.
            limits: What the broker grants.
            in_flight: Publications at QoS 1 that wait; if no more may, this one goes at QoS 0.
        """
        qos = limits.max_qos if in_flight < limits.receive_maximum else 0
        payload = self._payload(status)
        return None, self._topic.encode(), payload, qos, limits.retain_available, self._properties

    def _payload(self, status: Status) -> bytes:
        return orjson.dumps({"status": status, "gateway": self._gateway})
