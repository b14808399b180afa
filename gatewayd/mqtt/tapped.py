"""The link with the tap: PUBLISH frames travel beside paho, both ways.

paho's socket is a ``Wire``: PUBLISH at QoS 0/1 and the PUBACKs of our own never reach paho's parser, and our PUBLISH
frames are written beside paho's packets. All else is plain paho. ``docs/decisions/0001-tap.md`` says why.
"""

import select
import socket
from collections.abc import Sequence

from paho.mqtt import client as paho

from gatewayd.config.secret import Secret
from gatewayd.config.settings import BrokerSettings
from gatewayd.mqtt.client import Client, make_client
from gatewayd.mqtt.link import EXACTLY_ONCE, Link
from gatewayd.mqtt.outgoing import Frame
from gatewayd.mqtt.tap import Cutter, encode_pubacks, encode_publish
from gatewayd.mqtt.tap5 import Cutter5
from gatewayd.mqtt.tls import TlsFiles
from gatewayd.mqtt.wire import Wire


def make_link(
    settings: BrokerSettings,
    *,
    client_id: str,
    password: Secret | None,
    tls: TlsFiles | None,
    will: tuple[str, bytes] | None,
    persistent: bool,
    max_frame_bytes: int,
    keeps_properties: bool,
) -> Link:
    """Make a link that is not connected yet, with the tap unless the settings turn it off."""
    client = make_client(
        settings, client_id=client_id, password=password, tls=tls, will=will, persistent=persistent
    )
    kind = TappedLink if settings.tap else Link
    return kind(
        settings,
        client,
        persistent=persistent,
        max_frame_bytes=max_frame_bytes,
        keeps_properties=keeps_properties,
    )


class TappedLink(Link):
    """One connection after the other to one broker. Owned by the session's thread."""

    _wire: Wire  # there from the first connection on; nothing is read or written before

    def __init__(
        self,
        settings: BrokerSettings,
        client: Client,
        *,
        persistent: bool,
        max_frame_bytes: int,
        keeps_properties: bool,
    ) -> None:
        super().__init__(
            settings,
            client,
            persistent=persistent,
            max_frame_bytes=max_frame_bytes,
            keeps_properties=keeps_properties,
        )
        self._skipped_exactly_once: set[int] = set()  # ids of QoS 2 messages that were too large
        client.tap = self._wrap

    def events(self) -> int:
        """Return what to wait for."""
        wants = self._client.want_write() or self._wire.is_behind()
        return select.POLLIN | (select.POLLOUT if wants else 0)

    def holds_unread(self) -> bool:
        """Whether bytes wait inside TLS, where poll() can't see them."""
        return self._wire.holds_unread()

    def read(self) -> None:
        """Take in what has arrived, up to a bound."""
        wire = self._wire
        try:
            for_paho = wire.read()
        except OSError as error:
            self.close(str(error))
            for_paho = False
        if self._keeps_properties:
            self._keep_addresses(wire)
        self.messages += wire.messages
        wire.messages.clear()
        self.flight.settle(wire.acks)
        wire.acks.clear()
        if isinstance(wire.cutter, Cutter5) and wire.cutter.refusals:
            for packet_id, code, words in wire.cutter.refusals:
                self.flight.refuse(packet_id, code, words)
            wire.cutter.refusals.clear()
        if wire.cutter.refused:
            self._refuse(wire)
        while for_paho and self.ended is None:
            before = wire.pending()
            self._step(self._client.loop_read())
            for_paho = 0 < wire.pending() < before

    def write(self) -> None:
        """Send what waits: whoever has a packet half written goes first."""
        if not self._wire.is_cut_off():
            self._send(b"")
        super().write()
        self._send(b"")

    def is_behind(self) -> bool:
        """Whether earlier publications still wait to be sent: then no more should be added."""
        return self._wire.is_behind()

    def publish(self, frames: Sequence[Frame]) -> None:
        """Send publications in one write."""
        encoded = []
        for token, topic, payload, qos, retain, properties in frames:
            packet_id = 0
            if qos:
                packet_id = self.flight.send(token, topic)
            else:
                self.flight.queue(token)
            encoded.append(
                encode_publish(
                    topic, payload, qos=qos, retain=retain, packet_id=packet_id, properties=properties
                )
            )
        self._send(b"".join(encoded))

    def _wrap(self, sock: socket.socket) -> Wire:
        """Put the tap around a fresh socket of paho's."""
        self._skipped_exactly_once.clear()
        if self._settings.protocol == "5":
            cutter: Cutter = Cutter5(
                connection=self._connection,
                max_frame_bytes=self._limit,
                keeps_properties=self._keeps_properties,
            )
        else:
            cutter = Cutter(connection=self._connection, max_frame_bytes=self._limit)
        self._wire = Wire(sock, cutter)
        return self._wire

    def _keep_addresses(self, wire: Wire) -> None:
        if isinstance(wire.cutter, Cutter5):
            self.addresses += wire.cutter.addresses
            wire.cutter.addresses.clear()
        else:
            self.addresses += [(None, None)] * len(wire.messages)

    def _refuse(self, wire: Wire) -> None:
        """Count frames that were too large, and acknowledge them, or the broker would send them for ever."""
        refused = wire.cutter.refused
        self.too_large += len(refused)
        self._skipped_exactly_once.update(packet_id for qos, packet_id in refused if qos == EXACTLY_ONCE)
        once = [packet_id for qos, packet_id in refused if qos == 1]
        refused.clear()
        if once:
            self._acknowledge_once(once)

    def _acknowledge_once(self, packet_ids: Sequence[int]) -> None:
        """Send PUBACKs in one write."""
        self._send(encode_pubacks(packet_ids))

    def _send(self, frames: bytes) -> None:
        """Send what is left of earlier frames, then these, or as much as goes."""
        try:
            self._wire.write(frames)
        except OSError as error:
            self.close(str(error))
        else:
            if not self._wire.is_behind():
                self.flight.all_is_written()

    def _on_message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        """Take a message at QoS 2, unless it is what was left of one that was too large."""
        if message.qos == EXACTLY_ONCE and message.mid in self._skipped_exactly_once:
            self._skipped_exactly_once.discard(message.mid)
            self._client.ack(message.mid, message.qos)
            return
        super()._on_message(client, userdata, message)
