"""PUBLISH frames cut out of a byte stream, and the few frames that we build ourselves. Pure.

A frame is ``first byte · remaining length (1-4 bytes, 7 bits each, low first) · body`` (MQTT 3.1.1, 2.2). What the
cutter takes out is PUBLISH at QoS 0 and 1 and the PUBACKs of our own publications; every other frame, and everything
that is malformed, goes on to paho as it came, so that paho decides exactly as it would without us. A frame beyond the
size limit is counted and skipped without being kept. ``docs/decisions/0001-tap.md`` says why this exists; ``tap5.py``
does the same for MQTT 5.
"""

from collections.abc import Iterable

from gatewayd.domain.reading import Message
from gatewayd.mqtt.properties import variable_integer

# Our publications use the upper half of the packet ids, paho's own packets (SUBSCRIBE) count up from 1. Should paho's
# counter ever reach our half (after 32,767 subscriptions by one process), the two still can't be confused: a SUBACK
# answers a SUBSCRIBE and a PUBACK a PUBLISH, and the one SUBSCRIBE of a connection is among its first packets.
FIRST_OWN_ID = 0x8000
LAST_ID = 0xFFFF
RECEIPT_SHIFT = 16
# Below this a frame's remaining length fits two bytes: the hot path need not look at the limit.
LEAST_LIMIT = 16_384
_QOS_SHIFT = 1
_TOPIC_LENGTH_BYTES = 2
_ID_BYTES = 2
_LONGEST_PREFIX = 4  # bytes of a remaining length


class Cutter:
    """Cuts one connection's byte stream into frames.

    A message's last item is a *receipt*: the packet id, with ``connection`` above its 16 bits; 0 at QoS 0. A receipt
    of an earlier connection can thus never acknowledge a message of this one.

    Attributes:
        refused: (QoS, packet id) of each frame that was too large, until the owner clears it. A QoS 1 one still has to
            be acknowledged; a QoS 2 one travels on to paho without its payload, so that the handshake is done.
    """

    no_properties = b""  # what stands before an empty payload

    def __init__(self, *, connection: int = 0, max_frame_bytes: int = 1024 * 1024) -> None:
        assert max_frame_bytes >= LEAST_LIMIT
        self.refused: list[tuple[int, int]] = []
        self._base = connection << RECEIPT_SHIFT
        self._limit = max_frame_bytes
        self._parts: list[bytes] = []  # of an incomplete frame; joined once, when _need bytes are there
        self._held = 0
        self._need = 0
        self._skip = 0  # bytes of a refused frame still to come
        self._is_lost = (
            False  # frame boundaries can no longer be told: all bytes go to paho, which ends the link
        )

    def feed(self, data: bytes, messages: list[Message], acks: list[int], rest: bytearray) -> None:
        """Take in the next bytes of the stream.

        Args:
            data: As read from the socket, cut anywhere.
            messages: Gets each PUBLISH at QoS 0 and 1.
            acks: Gets the packet id of each PUBACK of ours.
            rest: Gets all other frames, whole and in order.
        """
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        if self._held:
            self._parts.append(data)
            self._held += len(data)
            if self._held < self._need:
                return
            data = b"".join(self._parts)
            self._parts.clear()
            self._held = 0
        if self._is_lost:
            rest += data
            return
        begin = self._cut(data, messages, acks, rest)
        if begin < len(data):
            self._parts.append(data[begin:])
            self._held = len(data) - begin

    def _cut(  # noqa: C901, PLR0912  # one loop without calls: a call for each frame would cost a tenth of the whole
        self, data: bytes, messages: list[Message], acks: list[int], rest: bytearray
    ) -> int:
        """Cut all complete frames; return where the incomplete one begins. The hottest loop of the program."""
        begin, size, base = 0, len(data), self._base
        append = messages.append
        self._need = 0
        try:
            while True:
                first = data[begin]
                length = data[begin + 1]
                body = begin + 2
                if length > 127:  # noqa: PLR2004  # the continuation bit
                    following = data[body]
                    body += 1
                    length += (following << 7) - 128
                    if following > 127:  # noqa: PLR2004
                        body, length = self._measure(data, begin)
                        if self._is_lost:
                            rest += data[begin:]
                            return size
                        if length > self._limit:
                            begin = self._refuse(data, begin, body, body + length, rest)
                            if self._need:
                                return begin
                            continue
                end = body + length
                if end > size:
                    self._need = end - begin
                    return begin
                if first & 0xF4 == 0x30 and length > 2:  # noqa: PLR2004  # PUBLISH at QoS 0 or 1 with a topic
                    topic = body + 2
                    split = topic + (data[body] << 8 | data[body + 1])
                    if first & 2:
                        if topic < split <= end - 2:
                            receipt = base | data[split] << 8 | data[split + 1]
                            append((data[topic:split], data[split + 2 : end], first, receipt))
                            begin = end
                            continue
                    elif topic < split <= end:
                        append((data[topic:split], data[split:end], first, 0))
                        begin = end
                        continue
                elif first == 0x40 and length == 2 and data[body] >= 0x80:  # noqa: PLR2004  # PUBACK of ours
                    acks.append(data[body] << 8 | data[body + 1])
                    begin = end
                    continue
                self._pass_on(data[begin:end], acks, rest)
                begin = end
        except IndexError:  # the frame's first bytes are not all there
            return begin

    def _pass_on(self, frame: bytes, acks: list[int], rest: bytearray) -> None:  # noqa: ARG002  # MQTT 5 uses it
        """Leave a whole frame to paho."""
        rest += frame

    def _measure(self, data: bytes, begin: int) -> tuple[int, int]:
        """Return where the body of a frame begins and how long it is, for a remaining length of any size.

        Raises:
            IndexError: The remaining length itself is not complete.
        """
        length = 0
        for place in range(_LONGEST_PREFIX):
            byte = data[begin + 1 + place]
            length |= (byte & 127) << 7 * place
            if byte < 128:  # noqa: PLR2004  # the continuation bit
                return begin + 2 + place, length
        self._is_lost = True  # a fifth byte is malformed (MQTT 3.1.1, 2.2.3)
        return begin, 0

    def _refuse(self, data: bytes, begin: int, body: int, end: int, rest: bytearray) -> int:
        """Skip a frame that is too large; return where the next begins. ``_need`` says if its id has to come first."""
        first, size = data[begin], len(data)
        qos = (first & 6) >> _QOS_SHIFT if first >> 4 == 3 else 0  # noqa: PLR2004  # PUBLISH
        packet_id = 0
        if qos:
            topic = body + _TOPIC_LENGTH_BYTES
            split = topic + int.from_bytes(data[body:topic], "big") if topic <= size else topic
            after = split + _ID_BYTES
            if topic > size or size < after <= end:
                self._need = (after if topic <= size else topic) - begin
                return begin
            if after <= end:
                packet_id = int.from_bytes(data[split:after], "big")
                if qos == 2:  # noqa: PLR2004
                    rest += encode_frame(first, data[topic:split], data[split:after], self.no_properties)
            else:
                qos = 0  # no id to acknowledge: the topic claims more than the frame has
        self.refused.append((qos, packet_id))
        self._skip = max(0, end - size)
        return min(end, size)


def encode_frame(header: int, topic: bytes, identity: bytes, body: bytes) -> bytes:
    """Build a PUBLISH frame from its first byte, its packet id (none at QoS 0), and what comes after that."""
    length = _TOPIC_LENGTH_BYTES + len(topic) + len(identity) + len(body)
    head = bytes((header,)) + variable_integer(length)
    return b"".join((head, len(topic).to_bytes(2, "big"), topic, identity, body))


def encode_publish(
    topic: bytes, payload: bytes, *, qos: int, retain: bool, packet_id: int, properties: bytes = b""
) -> bytes:
    """Build a PUBLISH frame (MQTT 3.1.1, 3.3; MQTT 5.0, 3.3).

    Args:
        topic: UTF-8, without wildcards.
        payload: Any bytes.
        qos: 0 or 1.
        retain: Whether the broker shall keep it.
        packet_id: In 1..65,535; left out at QoS 0.
        properties: The property block; MQTT 3.1.1 has none, not even an empty one.
    """
    identity = packet_id.to_bytes(2, "big") if qos else b""
    length = _TOPIC_LENGTH_BYTES + len(topic) + len(identity) + len(properties) + len(payload)
    head = bytes((0x30 | qos << _QOS_SHIFT | retain,)) + variable_integer(length)
    return b"".join((head, len(topic).to_bytes(2, "big"), topic, identity, properties, payload))


def publish_bytes(topic: bytes, payload: bytes, *, qos: int, properties: bytes) -> int:
    """Return how long ``encode_publish`` makes the frame."""
    length = _TOPIC_LENGTH_BYTES + len(topic) + (_ID_BYTES if qos else 0) + len(properties) + len(payload)
    return 1 + len(variable_integer(length)) + length


def encode_pubacks(packet_ids: Iterable[int]) -> bytes:
    """Build one PUBACK frame for each packet id (MQTT 3.1.1, 3.4)."""
    return b"".join([b"\x40\x02" + packet_id.to_bytes(2, "big") for packet_id in packet_ids])
