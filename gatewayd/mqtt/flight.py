"""What one connection has sent and the broker has not taken yet. Pure.

The three ends of a publication: acknowledged, refused (MQTT 5 alone says so), or forgotten with its connection.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gatewayd.mqtt.tap import FIRST_OWN_ID, LAST_ID

if TYPE_CHECKING:
    from gatewayd.mqtt.outgoing import Refusal

# MQTT 5.0, 3.4.2.1: the reasons that a PUBACK may give from 0x80 on.
_REASONS = {
    0x80: "unspecified_error",
    0x83: "implementation_specific_error",
    0x87: "not_authorized",
    0x90: "topic_name_invalid",
    0x91: "packet_identifier_in_use",
    0x97: "quota_exceeded",
    0x99: "payload_format_invalid",
}


def reason_of(code: int) -> str:
    """Name a reason code in snake_case."""
    return _REASONS.get(code, f"reason_0x{code:02x}")


class Flight:
    """Packet ids in flight, and what became of their publications. Owned by the session's thread.

    Attributes:
        acknowledged: Tokens whose PUBACK came (QoS 0: written); the owner empties it.
        refused: (token or None, reason, topic, the broker's words) of what the broker will not take; the owner empties
            it.
    """

    def __init__(self) -> None:
        self.acknowledged: list[int] = []
        self.refused: list[Refusal] = []
        self._sent: dict[int, tuple[int | None, bytes]] = {}  # packet id → token, topic
        self._unwritten: list[int] = []  # tokens of QoS 0 whose bytes wait in the wire
        self._last_id = LAST_ID

    def __len__(self) -> int:
        """Return how many publications at QoS 1 wait for their PUBACK."""
        return len(self._sent)

    def forget(self) -> None:
        """Begin a new connection."""
        self._sent.clear()
        self._unwritten.clear()

    def send(self, token: int | None, topic: bytes) -> int:
        """Give a publication at QoS 1 a packet id of ours."""
        packet_id = self._last_id
        while True:
            packet_id = packet_id + 1 if packet_id < LAST_ID else FIRST_OWN_ID
            if packet_id not in self._sent:
                break
        self._last_id = packet_id
        self._sent[packet_id] = (token, topic)
        return packet_id

    def sent_as(self, packet_id: int, token: int | None, topic: bytes) -> None:
        """Note a publication at QoS 1 that has a packet id already."""
        self._sent[packet_id] = (token, topic)

    def queue(self, token: int | None) -> None:
        """Note a publication at QoS 0 that is done once it is written."""
        if token is not None:
            self._unwritten.append(token)

    def all_is_written(self) -> None:
        """What was queued is done."""
        if self._unwritten:
            self.acknowledged += self._unwritten
            self._unwritten.clear()

    def settle(self, packet_ids: Iterable[int]) -> None:
        """Note PUBACKs; ids that are not in flight are passed over."""
        for packet_id in packet_ids:
            sent = self._sent.pop(packet_id, None)
            if sent is not None and sent[0] is not None:
                self.acknowledged.append(sent[0])

    def refuse(self, packet_id: int, code: int, words: str | None) -> None:
        """Note a PUBACK that says no."""
        sent = self._sent.pop(packet_id, None)
        if sent is not None:
            token, topic = sent
            self.refused.append((token, reason_of(code), topic, words))
