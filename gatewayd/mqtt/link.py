"""paho, driven from our loop: what a session needs of a connection, for either version of MQTT.

This is plain paho: ``on_message``, ``publish`` and ``on_publish``. ``tapped.py`` does the same at a tenth of the cost.

A callback writes into this object and returns: it can't raise, publish or wait.
"""

import contextlib
import select
import socket
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gatewayd.config.settings import BrokerSettings
from gatewayd.domain.reading import Message
from gatewayd.errors import TransientError
from gatewayd.mqtt.client import (
    Client,
    address_of,
    connect,
    limits_of,
    publish_properties,
    reason_string_of,
    words_of,
)
from gatewayd.mqtt.flight import Flight
from gatewayd.mqtt.outgoing import Frame, Limits
from gatewayd.mqtt.tap import LAST_ID, RECEIPT_SHIFT
from gatewayd.mqtt.wire import Wire

if TYPE_CHECKING:
    from gatewayd.mqtt.properties import Address

_QOS_BITS = 6
_QOS_1_BITS = 2
EXACTLY_ONCE = 2
_READS_AT_ONCE = 256  # packets, then others get their turn
# MQTT 5.0, 3.2.2.2; paho makes it of the 1 that a broker of MQTT 3.1.1 answers, too.
_UNSUPPORTED_PROTOCOL = 0x84
_UNSPECIFIED = 0x80
_TAKEN_OVER = 0x8E  # MQTT 5.0, 3.14.2.1


class Link:
    """One connection after the other to one broker. Owned by the session's thread.

    Attributes:
        is_open: CONNACK came and the connection stands.
        connect_by: When CONNACK has to have come, on the monotonic clock.
        session_present: What the CONNACK said.
        granted: One entry for each filter of the SUBACK: the granted QoS, or why not; None before it came.
        ended: Why the connection ended; None while it stands.
        was_refused: The CONNACK said no.
        is_other_protocol: It said so because the broker does not speak MQTT 5.
        was_taken_over: The broker said that another client has connected with this id. MQTT 3.1.1 has no words for
            it, and some brokers of MQTT 5 don't use theirs (mosquitto 2.0.11).
        is_explained: ``ended`` is what the broker said.
        limits: What the broker grants.
        messages: PUBLISHes received; the owner empties it.
        addresses: With ``keeps_properties`` where the answer to each message belongs, in their order; the owner
            empties both together.
        flight: What is sent and not yet taken, and what became of it.
        too_large: Messages refused for their size.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        client: Client,
        *,
        persistent: bool,
        max_frame_bytes: int,
        keeps_properties: bool,
    ) -> None:
        """Take over a client that is not connected yet.

        Args:
            settings: Of the broker.
            client: paho's, made for these settings.
            persistent: Ask the broker to keep the session while the link is down.
            max_frame_bytes: Larger messages are refused.
            keeps_properties: Fill ``addresses``.
        """
        self.is_open = self.session_present = self.was_refused = False
        self.is_other_protocol = self.was_taken_over = self.is_explained = False
        self.limits = Limits()
        self.connect_by = 0.0
        self.granted: list[int | str] | None = None
        self.ended: str | None = None
        self.messages: list[Message] = []
        self.addresses: list[Address] = []
        self.flight = Flight()
        self.too_large = 0
        self._settings = settings
        self._limit = max_frame_bytes
        self._connection = 0
        self._persistent = persistent
        self._keeps_properties = keeps_properties
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_socket_open = self._on_socket_open
        self._client = client

    # The connection's life.

    def open(self, connection: int) -> None:
        """Connect; TCP to all addresses tried and TLS together block at most ``connect_timeout_s``.

        Resolving a host name comes before and can't be bounded from here: the C library waits for name servers as
        resolv.conf says (``options timeout: attempts:``). So the limit begins after it, or a first name server that
        is down would let no attempt ever succeed.

        Raises:
            TransientError: No connection; the message says why.
        """
        self._connection = connection
        self.is_open = self.session_present = self.was_refused = False
        self.is_other_protocol = self.was_taken_over = self.is_explained = False
        self.limits = Limits()
        self.granted = self.ended = None
        self.messages.clear()
        self.addresses.clear()
        self.flight.forget()
        self._client.drop_out_messages()  # the caller sends again what was not acknowledged; paho must not
        host, port = self._settings.host, self._settings.effective_port
        try:
            self._client.addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            self._client.connect_by = self.connect_by = time.monotonic() + self._settings.connect_timeout_s
            connect(self._client, self._settings, persistent=self._persistent)
        except (OSError, ValueError) as error:  # ValueError: a host name that can't be encoded
            self.close()
            raise TransientError(str(error) or type(error).__name__) from error

    def close(self, reason: str | None = None) -> None:
        """Drop the connection without a word. The broker will publish the will."""
        sock = self._client.socket()
        if sock is not None:
            real = sock.sock if isinstance(sock, Wire) else sock
            with contextlib.suppress(OSError):  # already gone
                cast("socket.socket", real).shutdown(socket.SHUT_RDWR)
            self._client.drop()
        if self.ended is None:
            self.ended = reason or "closed"
        self.is_open = False

    def disconnect(self) -> None:
        """Send DISCONNECT: the broker drops the will."""
        self._client.disconnect()

    # Waiting, reading, writing.

    def fileno(self) -> int | None:
        """Return the descriptor to wait on; None without a connection."""
        sock = self._client.socket()
        return None if sock is None else cast("socket.socket", sock).fileno()

    def events(self) -> int:
        """Return what to wait for."""
        return select.POLLIN | (select.POLLOUT if self._client.want_write() else 0)

    def holds_unread(self) -> bool:
        """Whether bytes wait inside TLS, where poll() can't see them."""
        sock = self._client.socket()
        pending = getattr(sock, "pending", None)
        return bool(pending and pending())

    def read(self) -> None:
        """Take in what has arrived, up to a bound."""
        for _ in range(_READS_AT_ONCE):
            self._step(self._client.loop_read())
            if not self._has_more():
                break

    def write(self) -> None:
        """Send what waits."""
        if self._client.want_write():
            self._step(self._client.loop_write())

    def keep_alive(self) -> None:
        """Let paho send its PINGREQ when one is due."""
        self._step(self._client.loop_misc())

    # What travels.

    def subscribe(self, subscriptions: Sequence[tuple[str, int]]) -> None:
        """Ask for the subscriptions, in one SUBSCRIBE."""
        self._client.subscribe(list(subscriptions))

    def is_behind(self) -> bool:
        """Whether earlier publications still wait to be sent: then no more should be added."""
        return self._client.want_write()

    def publish(self, frames: Sequence[Frame]) -> None:
        """Send publications."""
        for token, topic, payload, qos, retain, block in frames:
            info = self._client.publish(
                topic.decode(), payload, qos=qos, retain=retain, properties=publish_properties(block)
            )
            if qos:
                self.flight.sent_as(info.mid, token, topic)
            elif info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
                self.flight.queue(token)  # paho has it in its queue, in order; it goes or the link does
        self.flight.all_is_written()

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge those that came by this connection; PUBACKs leave in one write."""
        if not self.is_open:
            return
        once = []
        for _, _, header, receipt in messages:
            if receipt >> RECEIPT_SHIFT != self._connection:
                continue
            if header & _QOS_BITS == _QOS_1_BITS:
                once.append(receipt & LAST_ID)
            elif header & _QOS_BITS:
                self._client.ack(receipt & LAST_ID, EXACTLY_ONCE)
        if once:
            self._acknowledge_once(once)

    # Inner workings.

    def _acknowledge_once(self, packet_ids: Sequence[int]) -> None:
        """Send PUBACKs."""
        for packet_id in packet_ids:
            self._client.ack(packet_id, 1)

    def _has_more(self) -> bool:
        fd = self.fileno()
        if fd is None or self.ended is not None:
            return False
        if self.holds_unread():
            return True
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        return bool(poller.poll(0))

    def _step(self, code: MQTTErrorCode) -> None:
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS and self.ended is None:
            self.ended = paho.error_string(code)
        if self.ended is not None:
            self.is_open = False

    # Called by paho, in our thread, from within the loop methods.

    def _on_socket_open(self, _client: paho.Client, _userdata: object, sock: Any) -> None:  # noqa: ANN401  # paho's
        real = sock.sock if isinstance(sock, Wire) else sock
        real.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _on_connect(
        self,
        _client: paho.Client,
        _userdata: object,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self.was_refused = True
            self.is_other_protocol = reason.value == _UNSUPPORTED_PROTOCOL
            self.ended = words_of(reason, properties)
            if self.is_other_protocol:
                self.ended = f"the broker does not speak MQTT 5 ({self.ended}): set `protocol: 3.1.1` for it"
        else:
            self.is_open = True
            self.session_present = flags.session_present
            self.limits = limits_of(properties)

    def _on_disconnect(
        self,
        _client: paho.Client,
        _userdata: object,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self.is_open = False
        if self.ended is None:
            self.is_explained = flags.is_disconnect_packet_from_server
            self.was_taken_over = self.is_explained and reason.value == _TAKEN_OVER
            self.ended = words_of(reason, properties)
            if (
                not self.is_explained and reason.value == _UNSPECIFIED
            ):  # so paho calls what it has no code for
                self.ended = "connection lost"

    def _on_subscribe(
        self,
        _client: paho.Client,
        _userdata: object,
        _mid: int,
        reasons: list[ReasonCode],
        properties: Properties | None,
    ) -> None:
        self.granted = [
            words_of(reason, properties) if reason.is_failure else reason.value for reason in reasons
        ]

    def _on_message(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        if len(message.payload) > self._limit:
            self.too_large += 1
            self._client.ack(message.mid, message.qos)  # does nothing at QoS 0
            return
        try:
            topic = message.topic.encode()
        except UnicodeDecodeError as error:
            topic = bytes(error.object)  # the raw bytes: whoever decodes the message rejects it
        header = 0x30 | message.dup << 3 | message.qos << 1 | message.retain
        receipt = self._connection << RECEIPT_SHIFT | message.mid if message.qos else 0
        self.messages.append((topic, bytes(message.payload), header, receipt))
        if self._keeps_properties:
            self.addresses.append(address_of(message.properties))

    def _on_publish(
        self,
        _client: paho.Client,
        _userdata: object,
        mid: int,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self.flight.refuse(mid, reason.value, reason_string_of(properties))
        else:
            self.flight.settle((mid,))
