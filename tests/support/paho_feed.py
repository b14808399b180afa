"""paho's own parser as the reference for what is cut out of a byte stream."""

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion


class _Everything(dict):
    """Makes paho take every packet id for one of its own, so that it tells of each PUBACK."""

    def __contains__(self, _packet_id):
        return True

    def pop(self, packet_id):
        message = paho.MQTTMessage(packet_id, b"t")
        message.qos = 1
        return message


class PahoFeed:
    """paho's own parser on bytes that it is given.

    ``messages`` are as the cutter would return them. MQTT 5: ``properties`` are paho's of each message, ``acks`` the
    (packet id, reason code, reason string) of each PUBACK.
    """

    def __init__(self, protocol=MQTTProtocolVersion.MQTTv311):
        self.messages = []
        self.properties = []
        self.acks = []
        self.incoming = bytearray()
        self.is_lost = False
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2, manual_ack=True, client_id="x", protocol=protocol
        )
        self.client.on_message = self._on_message
        self.client.on_publish = lambda _c, _u, mid, reason, properties: self.acks.append(
            (mid, reason.value, getattr(properties, "ReasonString", None))
        )
        self.client._out_messages = _Everything()
        self.client._sock = self

    def _on_message(self, _client, _userdata, message):
        header = 0x30 | message.dup << 3 | message.qos << 1 | message.retain
        self.messages.append((message._topic, message.payload, header, message.mid))
        self.properties.append(message.properties)

    def recv(self, size):
        if not self.incoming:
            raise BlockingIOError
        data = bytes(self.incoming[:size])
        del self.incoming[:size]
        return data

    def send(self, data):
        return len(data)

    def close(self):
        self.is_lost = True

    def feed(self, data):
        self.incoming += data
        while self.incoming and not self.is_lost:
            self.client.loop_read()
