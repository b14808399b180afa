"""The tap for MQTT 5: each PUBLISH has a property block before its payload, each PUBACK may have a reason. Pure.

The frames are cut as those of MQTT 3.1.1, by the same loop. What remains to be done is to take the block off, which
for an empty one is one byte. A block is measured, not read, unless somebody wants what is in it: the broker has read it
before us. Topic aliases do not come, since we offer none (MQTT 5.0, 3.1.2.11.5).
"""

from typing import TYPE_CHECKING

from gatewayd.errors import RejectedInputError
from gatewayd.mqtt.properties import NO_PROPERTIES, block_end, reason_string, reply_address
from gatewayd.mqtt.tap import FIRST_OWN_ID, LAST_ID, Cutter, encode_frame

if TYPE_CHECKING:
    from gatewayd.domain.reading import Message
    from gatewayd.mqtt.properties import Address

_PUBACK = 0x40
_FIRST_FAILURE = 0x80


class Cutter5(Cutter):
    """Cuts one connection's byte stream into frames.

    Attributes:
        refusals: (packet id, reason code, the broker's words) of each publication of ours that the broker refused,
            until the owner clears it.
        addresses: With ``keeps_properties`` the response topic and the correlation data of each message, in their
            order, until the owner clears it; else empty.
    """

    no_properties = NO_PROPERTIES

    def __init__(
        self,
        *,
        connection: int = 0,
        max_frame_bytes: int = 1024 * 1024,
        keeps_properties: bool = False,
    ) -> None:
        super().__init__(connection=connection, max_frame_bytes=max_frame_bytes)
        self.refusals: list[tuple[int, int, str | None]] = []
        self.addresses: list[Address] = []
        self._keeps_properties = keeps_properties

    def feed(self, data: bytes, messages: list["Message"], acks: list[int], rest: bytearray) -> None:
        """Take in the next bytes of the stream; as ``Cutter.feed``, with the payloads freed of their blocks."""
        first = len(messages)
        super().feed(data, messages, acks, rest)
        if len(messages) > first:
            self._unwrap(messages, first, rest)

    def _unwrap(self, messages: list["Message"], first: int, rest: bytearray) -> None:
        """Take the block off each message from ``first`` on; what is malformed goes to paho as it came."""
        wrapped = messages[first:]
        del messages[first:]
        keeps, append = self._keeps_properties, messages.append
        for topic, body, header, receipt in wrapped:
            if body and body[0] < 128:  # noqa: PLR2004  # the continuation bit: nearly all blocks are this short
                begin: int | None = body[0] + 1
            else:
                begin = block_end(body)
            if begin is None or begin > len(body) or (keeps and not self._keep(body[:begin])):
                identity = (receipt & LAST_ID).to_bytes(2, "big") if receipt else b""
                rest += encode_frame(header, topic, identity, body)
            else:
                append((topic, body[begin:], header, receipt))

    def _keep(self, block: bytes) -> bool:
        """Note where an answer belongs; False for a block that is malformed."""
        try:
            self.addresses.append(reply_address(block))
        except RejectedInputError:
            return False
        return True

    def _pass_on(self, frame: bytes, acks: list[int], rest: bytearray) -> None:
        """Take out PUBACKs of ours that carry a reason; leave the rest to paho."""
        if frame[0] != _PUBACK:
            rest += frame
            return
        body = next(place for place in range(1, len(frame)) if frame[place] < 128) + 1  # noqa: PLR2004
        packet_id = int.from_bytes(frame[body : body + 2], "big")
        details = frame[body + 2 :]
        try:
            words = reason_string(details[1:]) if len(details) > 1 else None
        except RejectedInputError:
            packet_id = 0
        if packet_id < FIRST_OWN_ID or not details:
            rest += frame
        elif details[0] < _FIRST_FAILURE:
            acks.append(packet_id)  # also 0x10: taken, and nobody subscribes
        else:
            self.refusals.append((packet_id, details[0], words))
