"""Publications as frames, cut to what one broker takes, and to what may be sent to it at once. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from gatewayd.domain.verdict import Publication
from gatewayd.errors import RejectedInputError
from gatewayd.mqtt.properties import encode_properties
from gatewayd.mqtt.tap import publish_bytes

# Token or None, topic, payload, QoS, retain, property block (MQTT 3.1.1: empty).
Frame = tuple[int | None, bytes, bytes, int, bool, bytes]
# Token or None, reason, topic, what else there is to say.
Refusal = tuple[int | None, str, bytes, str | None]

# Payloads in one write; more would hold up PINGREQ behind it on a slow uplink until the link seems dead.
_BATCH_BYTES = 256 * 1024
_MOST_UNACKNOWLEDGED = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a broker grants, from its CONNACK (MQTT 5.0, 3.2.2.3); brokers of MQTT 3.1.1 say none of it.

    Attributes:
        receive_maximum: Publications at QoS 1 that may wait for their PUBACK.
        max_packet_bytes: The largest packet that it takes; None: any.
        max_qos: The highest QoS that it takes, 0 or 1 (we never use 2).
        retain_available: Whether it keeps retained messages.
        keepalive_s: The keep-alive interval it wants instead of ours; None: ours.
    """

    receive_maximum: int = _MOST_UNACKNOWLEDGED
    max_packet_bytes: int | None = None
    max_qos: int = 1
    retain_available: bool = True
    keepalive_s: int | None = None


@dataclass(slots=True, kw_only=True)
class Outgoing:
    """What goes out in one write.

    Attributes:
        frames: In order.
        refused: What this broker will never take.
        taken: How many publications, from the front, are in one of the two.
    """

    frames: list[Frame] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    taken: int = 0


def cut_batch(
    items: Sequence[tuple[int, Publication]], *, is_v5: bool, limits: Limits, room: int
) -> Outgoing:
    """Cut the next batch from the front.

    Args:
        items: (token, publication), in order.
        is_v5: Whether the link speaks MQTT 5, so that properties can be said.
        limits: What the broker grants; a QoS or a retain flag beyond it is lowered.
        room: How many publications at QoS 1 may be sent.
    """
    batch = Outgoing()
    append = batch.frames.append
    may_refuse = is_v5 or limits.max_packet_bytes is not None
    is_at_most_once, keeps_retained = limits.max_qos == 0, limits.retain_available
    size = 0
    for token, publication in items:
        payload = publication.payload
        size += len(payload)
        if size > _BATCH_BYTES and batch.frames:
            break
        qos = 0 if is_at_most_once else publication.qos
        if qos and room <= 0:
            break
        topic, properties = publication.topic.encode(), b""
        retain = publication.retain and keeps_retained
        batch.taken += 1
        if may_refuse:
            try:
                if is_v5:
                    properties = _properties(publication)
                _check_size(topic, payload, qos=qos, properties=properties, limits=limits)
            except RejectedInputError as error:
                batch.refused.append((token, error.reason, topic, str(error)))
                size -= len(payload)
                continue
        room -= qos
        append((token, topic, payload, qos, retain, properties))
    return batch


def _properties(publication: Publication) -> bytes:
    return encode_properties(
        content_type=publication.content_type,
        expires_s=publication.expires_s,
        user_properties=publication.user_properties,
        correlation=publication.correlation,
    )


def _check_size(topic: bytes, payload: bytes, *, qos: int, properties: bytes, limits: Limits) -> None:
    most = limits.max_packet_bytes
    if most is not None:
        size = publish_bytes(topic, payload, qos=qos, properties=properties)
        if size > most:
            raise RejectedInputError("packet_too_large", f"{size} bytes, the broker takes {most}")
