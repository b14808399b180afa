"""paho, driven from our loop: the only import of it.

paho owns connect, TLS, will, SUBSCRIBE, keep-alive and QoS 2. With the tap on, its socket is a ``Wire``: PUBLISH at
QoS 0/1 and the PUBACKs of our own never reach its parser, and our PUBLISH frames are written beside it. With the tap
off the same interface is served by ``on_message``, ``publish`` and ``on_publish``. Two private methods of paho are
touched, ``_create_socket`` and ``_sock_close``; ``tests/mqtt/test_link.py`` fails when they change.

A callback writes into this object and returns: it can't raise, publish or wait.
"""

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any, cast

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from gatewayd.config.secret import Secret
from gatewayd.config.settings import BrokerSettings
from gatewayd.domain.reading import Message
from gatewayd.errors import TransientError
from gatewayd.mqtt.tap import FIRST_OWN_ID, LAST_ID, RECEIPT_SHIFT, Cutter, encode_pubacks, encode_publish
from gatewayd.mqtt.tls import RenewingContext, TlsFiles
from gatewayd.mqtt.wire import Wire

_QOS_BITS = 6
_QOS_1_BITS = 2
_EXACTLY_ONCE = 2
Frame = tuple[int | None, bytes, bytes, int, bool]  # token or None, topic, payload, QoS, retain


_Addresses = Sequence[tuple[int, int, int, str, tuple[Any, ...]]]  # as getaddrinfo gives them


class _Client(paho.Client):
    """paho with a place to put the tap, and with one deadline for all that connecting blocks in.

    By itself paho would grant every address of a host the whole time limit, and TLS the same once more.
    """

    tap: "Link | None" = None
    addresses: _Addresses = ()
    connect_by: float = 0.0  # monotonic

    def _create_socket_connection(self) -> socket.socket:
        """Connect to the first address that answers.

        Each has an equal share of what time is left, so that one that swallows everything (IPv6 on a site that
        routes IPv4 alone) doesn't starve the next.
        """
        failure: OSError = TimeoutError("timed out")
        for index, (family, kind, protocol, _, address) in enumerate(self.addresses):
            limit_s = (self.connect_by - time.monotonic()) / (len(self.addresses) - index)
            if limit_s <= 0:
                break
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError as error:  # a family that this kernel lacks
                failure = error
                continue
            try:
                sock.settimeout(limit_s)
                sock.connect(address)
            except OSError as error:
                sock.close()
                failure = error
            else:
                return sock
        raise failure

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        """Shake hands in the time that is left; the ssl module counts it from start to end."""
        left_s = self.connect_by - time.monotonic()
        if left_s <= 0:
            tcp_sock.close()
            raise TimeoutError("no time left for TLS")
        self._connect_timeout = left_s  # the public property can't be set while connecting
        return super()._ssl_wrap_socket(tcp_sock)

    def _create_socket(self) -> Any:  # noqa: ANN401  # paho's own type is private to it
        sock = super()._create_socket()
        return sock if self.tap is None else self.tap.wrap(cast("socket.socket", sock))


class Link:
    """One connection after the other to one broker. Owned by the session's thread.

    Attributes:
        is_open: CONNACK came and the connection stands.
        connect_by: When CONNACK has to have come, on the monotonic clock.
        session_present: What the CONNACK said.
        granted: One entry for each filter of the SUBACK: the granted QoS, or why not; None before it came.
        ended: Why the connection ended; None while it stands.
        was_refused: The CONNACK said no.
        messages: PUBLISHes received; the owner empties it.
        acknowledged: Tokens whose PUBACK came (QoS 0: written); the owner empties it.
        too_large: Messages refused for their size.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        client_id: str,
        password: Secret | None,
        tls: TlsFiles | None,
        will: tuple[str, bytes] | None,
        persistent: bool,
        max_frame_bytes: int,
    ) -> None:
        self.is_open = self.session_present = self.was_refused = False
        self.connect_by = 0.0
        self.granted: list[int | str] | None = None
        self.ended: str | None = None
        self.messages: list[Message] = []
        self.acknowledged: list[int] = []
        self.too_large = 0
        self._settings = settings
        self._limit = max_frame_bytes
        self._connection = 0
        self._wire: Wire | None = None
        self._in_flight: dict[int, int | None] = {}  # packet id → token
        self._behind: list[int] = []  # tokens of QoS 0 whose bytes wait in the wire
        self._skipped_exactly_once: set[int] = set()  # ids of QoS 2 messages that were too large
        self._last_id = LAST_ID
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=not persistent,
            reconnect_on_failure=False,  # or paho would answer a refusal by trying MQTT 3.1 on its own
            manual_ack=True,
        )
        client.max_inflight_messages_set(0)  # the session limits what is in flight
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_socket_open = self._on_socket_open
        if settings.username is not None:
            client.username_pw_set(settings.username, None if password is None else password.reveal())
        if tls is not None:
            client.tls_set_context(RenewingContext.of(tls))
        if will is not None:
            client.will_set(will[0], will[1], qos=1, retain=True)
        if settings.tap:
            client.tap = self
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
        self.granted = self.ended = None
        self.messages.clear()
        self._in_flight.clear()
        self._behind.clear()
        self._skipped_exactly_once.clear()
        self._client.drop_out_messages()  # the caller sends again what was not acknowledged; paho must not
        host, port = self._settings.host, self._settings.effective_port
        try:
            self._client.addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            self._client.connect_by = self.connect_by = time.monotonic() + self._settings.connect_timeout_s
            self._client.connect(host, port, self._settings.keepalive_s)
        except (OSError, ValueError) as error:  # ValueError: a host name that can't be encoded
            self.close()
            raise TransientError(str(error) or type(error).__name__) from error

    def wrap(self, sock: socket.socket) -> Wire:
        """Put the tap around a fresh socket of paho's."""
        self._wire = Wire(sock, Cutter(connection=self._connection, max_frame_bytes=self._limit))
        return self._wire

    def close(self, reason: str | None = None) -> None:
        """Drop the connection without a word. The broker will publish the will."""
        sock = self._client.socket()
        if sock is not None:
            real = sock.sock if isinstance(sock, Wire) else sock
            with contextlib.suppress(OSError):  # already gone
                cast("socket.socket", real).shutdown(socket.SHUT_RDWR)
            self._client._sock_close()  # noqa: SLF001  # paho has no public way to drop a link at once
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
        wants = self._client.want_write() or (self._wire is not None and self._wire.is_behind())
        return select.POLLIN | (select.POLLOUT if wants else 0)

    def holds_unread(self) -> bool:
        """Whether bytes wait inside TLS, where poll() can't see them."""
        if self._wire is not None:
            return self._wire.holds_unread()
        sock = self._client.socket()
        pending = getattr(sock, "pending", None)
        return bool(pending and pending())

    def read(self) -> None:
        """Take in what has arrived, up to a bound."""
        if self._wire is None:
            for _ in range(256):
                self._step(self._client.loop_read())
                if not self._has_more():
                    break
            return
        wire = self._wire
        try:
            for_paho = wire.read()
        except OSError as error:
            self.close(str(error))
            for_paho = False
        self.messages += wire.messages
        wire.messages.clear()
        self._settle(wire.acks)
        wire.acks.clear()
        if wire.cutter.refused:
            self._refuse(wire)
        while for_paho and self.ended is None:
            before = wire.pending()
            self._step(self._client.loop_read())
            for_paho = 0 < wire.pending() < before

    def write(self) -> None:
        """Send what waits: whoever has a packet half written goes first."""
        wire = self._wire
        if wire is not None and not wire.is_cut_off():
            self._flush(wire)
        if self._client.want_write():
            self._step(self._client.loop_write())
        if wire is not None:
            self._flush(wire)

    def keep_alive(self) -> None:
        """Let paho send its PINGREQ when one is due."""
        self._step(self._client.loop_misc())

    # What travels.

    def subscribe(self, subscriptions: Sequence[tuple[str, int]]) -> None:
        """Ask for the subscriptions, in one SUBSCRIBE."""
        self._client.subscribe(list(subscriptions))

    def in_flight(self) -> int:
        """Return how many publications at QoS 1 wait for their PUBACK."""
        return len(self._in_flight)

    def is_behind(self) -> bool:
        """Whether earlier publications still wait to be sent: then no more should be added."""
        return self._wire.is_behind() if self._wire is not None else self._client.want_write()

    def publish(self, frames: Sequence[Frame]) -> None:
        """Send publications in one write."""
        if self._wire is None:
            self._publish_by_paho(frames)
            return
        encoded = []
        for token, topic, payload, qos, retain in frames:
            packet_id = 0
            if qos:
                packet_id = self._next_id()
                self._in_flight[packet_id] = token
            elif token is not None:
                self._behind.append(token)
            encoded.append(encode_publish(topic, payload, qos=qos, retain=retain, packet_id=packet_id))
        self._write(self._wire, b"".join(encoded))

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
                self._client.ack(receipt & LAST_ID, _EXACTLY_ONCE)
        if not once:
            return
        if self._wire is not None:
            self._write(self._wire, encode_pubacks(once))
        else:
            for packet_id in once:
                self._client.ack(packet_id, 1)

    # Inner workings.

    def _has_more(self) -> bool:
        fd = self.fileno()
        if fd is None or self.ended is not None:
            return False
        if self.holds_unread():
            return True
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        return bool(poller.poll(0))

    def _next_id(self) -> int:
        while True:
            self._last_id = self._last_id + 1 if self._last_id < LAST_ID else FIRST_OWN_ID
            if self._last_id not in self._in_flight:
                return self._last_id

    def _publish_by_paho(self, frames: Sequence[Frame]) -> None:
        for token, topic, payload, qos, retain in frames:
            info = self._client.publish(topic.decode(), payload, qos=qos, retain=retain)
            if qos:
                self._in_flight[info.mid] = token
            elif token is not None and info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
                self.acknowledged.append(
                    token
                )  # paho has it in its queue, in order; it goes or the link does

    def _settle(self, packet_ids: Sequence[int]) -> None:
        for packet_id in packet_ids:
            token = self._in_flight.pop(packet_id, None)
            if token is not None:
                self.acknowledged.append(token)

    def _refuse(self, wire: Wire) -> None:
        refused = wire.cutter.refused
        self.too_large += len(refused)
        self._skipped_exactly_once.update(packet_id for qos, packet_id in refused if qos == _EXACTLY_ONCE)
        once = [packet_id for qos, packet_id in refused if qos == 1]
        refused.clear()
        if once:
            self._write(wire, encode_pubacks(once))

    def _write(self, wire: Wire, frames: bytes) -> None:
        try:
            wire.write(frames)
        except OSError as error:
            self.close(str(error))
        else:
            self._release(wire)

    def _flush(self, wire: Wire) -> None:
        try:
            wire.flush()
        except OSError as error:
            self.close(str(error))
        else:
            self._release(wire)

    def _release(self, wire: Wire) -> None:
        if self._behind and not wire.is_behind():
            self.acknowledged += self._behind
            self._behind.clear()

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
        _properties: object,
    ) -> None:
        if reason.is_failure:
            self.was_refused = True
            self.ended = str(reason)
        else:
            self.is_open = True
            self.session_present = flags.session_present

    def _on_disconnect(
        self, _client: paho.Client, _userdata: object, _flags: object, reason: object, _properties: object
    ) -> None:
        self.is_open = False
        if self.ended is None:
            self.ended = str(reason)

    def _on_subscribe(
        self,
        _client: paho.Client,
        _userdata: object,
        _mid: int,
        reasons: list[ReasonCode],
        _properties: object,
    ) -> None:
        self.granted = [str(reason) if reason.is_failure else reason.value for reason in reasons]

    def _on_message(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        if message.mid in self._skipped_exactly_once and message.qos == _EXACTLY_ONCE:
            self._skipped_exactly_once.discard(message.mid)
            self._client.ack(message.mid, message.qos)
            return
        if self._wire is None and len(message.payload) > self._limit:
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

    def _on_publish(
        self, _client: paho.Client, _userdata: object, mid: int, _reason: object, _properties: object
    ) -> None:
        self._settle((mid,))
