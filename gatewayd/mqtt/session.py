"""One broker link: TLS, will, birth, reconnect. The only import of paho.

paho owns the session (CONNECT, SUBSCRIBE, keepalive, QoS 2); PUBLISH and PUBACK, which are nearly all there is, go past
it through the wire (``wire.py``). With ``tap: false`` everything goes through paho, for whoever doubts the tap.

A session never raises because of its surroundings: it loses the link, says why, waits, and tries again. The wait grows
until a session has lasted (``backoff.py``).
"""

import contextlib
import json
import random
import select
import socket
import ssl
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gatewayd.config.secret import Secret
from gatewayd.config.settings import BrokerSettings
from gatewayd.domain.reading import Message
from gatewayd.domain.topic import TopicTemplate
from gatewayd.domain.verdict import Publication
from gatewayd.errors import TransientError
from gatewayd.mqtt.backoff import delay_s, failures_after
from gatewayd.mqtt.tap import FIRST_OWN_ID, LAST_ID, RECEIPT_SHIFT, Cutter, encode_pubacks, encode_publish
from gatewayd.mqtt.tls import RenewingContext, TlsFiles
from gatewayd.mqtt.wire import Wire

_ID_MASK = (1 << RECEIPT_SHIFT) - 1
_REPEAT_S = 60.0  # the same reason for a lost link is logged once in so long
_FAILED = 0x80  # reason codes from here on are failures


class _Client(mqtt.Client):
    """paho's client, with a wire in place of its socket. Overrides one private method; a test watches over it."""

    session: "Session"

    def _create_socket(self) -> Any:  # noqa: ANN401  # paho's own type is private
        sock = super()._create_socket()  # type: ignore[no-untyped-call, unused-ignore]
        return self.session._tap(sock)  # noqa: SLF001  # the two are one


class Session:
    """A link that heals itself. Owned by one thread.

    Args:
        settings: The broker; paths of its TLS files are resolved.
        client_id: MQTT client id.
        password: Of ``settings.username``.
        subscriptions: ``(filter, QoS)`` to subscribe to in every new session.
        status_topic: Template of the retained topic that says ``online`` and ``offline``; None: say nothing.
        gateway: The gateway's id, for the status.
        persistent: Ask the broker to keep the session while the link is down.

    Attributes:
        is_open: The broker has accepted the session.
        is_subscribed: It has granted every subscription.
        connection: Grows with every attempt to connect; what was in flight on an older one is forgotten.
        reconnects: Sessions opened after the first.
        last_error: Why the link is down or a subscription was refused; None when all is well.
        refused: Frames that were not taken in, by reason.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        client_id: str,
        gateway: str,
        password: Secret | None = None,
        subscriptions: Sequence[tuple[str, int]] = (),
        status_topic: str | None = None,
        persistent: bool = False,
    ) -> None:
        self._settings, self._gateway = settings, gateway
        self._subscriptions = list(subscriptions)
        self._log = structlog.get_logger().bind(
            component="mqtt", broker=f"{settings.host}:{settings.effective_port}"
        )
        self._log = self._log.bind(client_id=client_id)
        self._client = self._make_client(client_id, password, is_clean=not persistent)
        self._status_topic = (
            TopicTemplate.parse(status_topic).render({"gateway": gateway})
            if status_topic is not None
            else None
        )
        if self._status_topic is not None:
            self._client.will_set(self._status_topic, self._status("offline"), qos=1, retain=True)
        self._wire: Wire | None = None
        self._messages: list[Message] = []  # that paho has handed over: QoS 2, or all without the tap
        self._in_flight: dict[int, int | None] = {}  # packet id → token; None for our own status
        self._acknowledged: list[int] = []
        self._next_id = FIRST_OWN_ID
        self._granted: set[int] = set()  # packet ids of SUBSCRIBEs that were not answered yet
        self._failures = 0
        self._retry_at = 0.0
        self._opened_at = 0.0
        self._connect_by = 0.0
        self._told: tuple[str, float] = ("", -_REPEAT_S)
        self._is_closing = False
        self.is_open = False
        self.is_subscribed = False
        self.connection = 0
        self.reconnects = -1
        self.last_error: str | None = None
        self.refused: dict[str, int] = Counter()
        if settings.tls is not None and settings.tls.insecure_skip_verify:
            self._log.warning("certificate_not_verified", option="insecure_skip_verify")

    def poll(self, timeout_s: float, wake_fd: int | None = None) -> None:
        """Advance the link: connect when due, wait at most ``timeout_s`` for the socket or ``wake_fd``, read, write.

        Connecting may take up to ``connect_timeout_s`` instead. Whoever gave ``wake_fd`` empties it.
        """
        sock = self._client.socket()
        if sock is None:
            now = time.monotonic()
            if now < self._retry_at or self._is_closing:
                _wait(None, min(timeout_s, max(0.0, self._retry_at - now)), wake_fd, is_behind=False)
                return
            self._connect()
            sock = self._client.socket()
            if sock is None:
                return
        if self._wire is not None and self._wire.holds_unread():
            timeout_s = 0.0
        try:
            _wait(sock.fileno(), timeout_s, wake_fd, is_behind=self._is_behind())
            self._advance()
        except (OSError, ValueError) as error:  # ValueError: poll on a socket that was closed under us
            self._lose(_reason(error))

    def take_messages(self) -> list[Message]:
        """Return what was received since the last call, in order of arrival."""
        messages, self._messages = self._messages, []
        if self._wire is not None and self._wire.messages:
            messages += self._wire.messages
            self._wire.messages = []
        return messages

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Tell the broker that messages were taken. Those of an earlier connection are passed over: it sends again."""
        receipts = [
            (message[3] & _ID_MASK, message[2] & 6)
            for message in messages
            if message[3] and message[3] >> RECEIPT_SHIFT == self.connection
        ]
        if not receipts or self._client.socket() is None:
            return
        if self._wire is None:
            for packet_id, qos in receipts:
                self._client.ack(packet_id, qos >> 1)
            return
        frames = encode_pubacks(packet_id for packet_id, qos in receipts if qos == 2)  # noqa: PLR2004  # QoS 1
        for packet_id, qos in receipts:
            if qos == 4:  # noqa: PLR2004  # QoS 2: paho's handshake
                self._client.ack(packet_id, 2)
        self._write(frames)

    def publish(self, items: Sequence[tuple[int, Publication]]) -> int:
        """Send publications in one write.

        Args:
            items: ``(token, publication)``; the token comes back from ``take_acknowledged``.

        Returns:
            How many were taken: as many as ``max_inflight`` allows, 0 while the link is down.
        """
        if not self.is_open:
            return 0
        room = self._settings.max_inflight - len(self._in_flight)
        taken = items[: max(0, room)]
        frames: list[bytes] = []
        for token, publication in taken:
            if self._wire is None:
                self._publish_by_paho(token, publication)
                continue
            packet_id = 0
            if publication.qos:
                packet_id = self._own_id()
                self._in_flight[packet_id] = token
            else:
                self._acknowledged.append(token)
            frames.append(
                encode_publish(
                    publication.topic.encode(),
                    publication.payload,
                    qos=publication.qos,
                    retain=publication.retain,
                    packet_id=packet_id,
                )
            )
        if frames:
            self._write(b"".join(frames))
        return len(taken)

    def take_acknowledged(self) -> list[int]:
        """Return the tokens of publications that the broker has taken (QoS 0: that were handed to the socket)."""
        tokens, self._acknowledged = self._acknowledged, []
        return tokens

    def close(self, timeout_s: float) -> None:
        """Say ``offline``, disconnect, close; takes at most ``timeout_s``."""
        self._is_closing = True
        until = time.monotonic() + timeout_s
        if self.is_open:
            self._publish_status("offline")
        while self.is_open and (self._in_flight or self._is_behind()) and time.monotonic() < until:
            self.poll(min(0.05, timeout_s))
        if self.is_open:
            self._client.disconnect()
            while self._client.socket() is not None and self._is_behind() and time.monotonic() < until:
                self.poll(0.01)
            self._log.info("link_closed")
        self._drop_socket()

    # The link's life.

    def _connect(self) -> None:
        self.connection += 1
        self._connect_by = time.monotonic() + self._settings.connect_timeout_s
        try:
            self._client.reconnect()
        except (OSError, ValueError, TransientError) as error:
            self._lose(_reason(error))

    def _tap(self, sock: Any) -> Wire:  # noqa: ANN401  # paho's own type is private
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        self._wire = Wire(sock, Cutter(connection=self.connection))
        return self._wire

    def _advance(self) -> None:
        client, wire = self._client, self._wire
        if wire is None:
            client.loop_read()
        else:
            if wire.read():
                while client.socket() is not None and (wire.pending() or wire.has_ended):
                    client.loop_read()
            if wire.acks:
                self._settle(wire.acks)
                wire.acks = []
            if wire.cutter.refused:
                self._refuse(wire)
        if client.socket() is None:
            return
        if client.want_write():
            client.loop_write()
        if wire is not None and wire.is_behind():
            wire.flush()
        client.loop_misc()
        if not self.is_open and client.socket() is not None and time.monotonic() > self._connect_by:
            self._lose("the broker does not answer")

    def _refuse(self, wire: Wire) -> None:
        refused, wire.cutter.refused = wire.cutter.refused, []
        self.refused["too_large"] = self.refused.get("too_large", 0) + len(refused)
        self._write(encode_pubacks(packet_id for qos, packet_id in refused if qos == 1))

    def _settle(self, packet_ids: Sequence[int]) -> None:
        for packet_id in packet_ids:
            token = self._in_flight.pop(packet_id, None)
            if token is not None:
                self._acknowledged.append(token)

    def _lose(self, reason: str) -> None:
        """Give the connection up and say when to try again."""
        now = time.monotonic()
        lasted_s = now - self._opened_at if self.is_open else 0.0
        self._failures = failures_after(self._failures, lasted_s=lasted_s)
        wait_s = delay_s(
            max(0, self._failures - 1),
            least_s=self._settings.reconnect_min_s,
            most_s=self._settings.reconnect_max_s,
            draw=random.random(),  # noqa: S311  # jitter
        )
        self._retry_at = now + wait_s
        event = "link_lost" if self.is_open else "link_refused"
        self._drop_socket()
        self.last_error = reason
        told, told_at = self._told
        if f"{event} {reason}" != told or now - told_at >= _REPEAT_S:
            self._told = (f"{event} {reason}", now)
            self._log.warning(event, reason=reason, attempt=self._failures, retry_in_s=round(wait_s, 1))

    def _drop_socket(self) -> None:
        if self._wire is not None:
            # What was cut out is kept: it was received. Its receipts say that it belongs to the old connection.
            self._messages += self._wire.messages
            self._wire.messages = []
            self._wire.close()
        self._wire = None
        self.is_open = self.is_subscribed = False
        self._in_flight.clear()
        self._granted.clear()
        if self._client.socket() is not None:
            with contextlib.suppress(
                OSError, ValueError
            ):  # whatever it raises: the next line ends the socket
                self._client.disconnect()
            self._client._sock_close()  # noqa: SLF001  # paho has no public way to drop a socket at once

    def _is_behind(self) -> bool:
        return self._client.want_write() or (self._wire is not None and self._wire.is_behind())

    def _write(self, frames: bytes) -> None:
        if self._wire is None or not frames:
            return
        try:
            self._wire.write(frames)
        except OSError as error:
            self._lose(_reason(error))

    def _own_id(self) -> int:
        while self._next_id in self._in_flight:
            self._next_id = self._next_id + 1 if self._next_id < LAST_ID else FIRST_OWN_ID
        packet_id = self._next_id
        self._next_id = packet_id + 1 if packet_id < LAST_ID else FIRST_OWN_ID
        return packet_id

    # Status.

    def _status(self, status: str) -> str:
        return json.dumps({"status": status, "gateway": self._gateway})

    def _publish_status(self, status: str) -> None:
        if self._status_topic is None:
            return
        payload = self._status(status).encode()
        if self._wire is None:
            info = self._client.publish(self._status_topic, payload, qos=1, retain=True)
            self._in_flight[info.mid] = None
            return
        packet_id = self._own_id()
        self._in_flight[packet_id] = None
        self._write(
            encode_publish(self._status_topic.encode(), payload, qos=1, retain=True, packet_id=packet_id)
        )

    # paho's side.

    def _make_client(self, client_id: str, password: Secret | None, *, is_clean: bool) -> mqtt.Client:
        settings = self._settings
        kind = _Client if settings.tap else mqtt.Client
        client = kind(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=is_clean,
            protocol=mqtt.MQTTv311,
            manual_ack=True,
        )
        if isinstance(client, _Client):
            client.session = self
        else:
            client.on_socket_open = self._on_socket_open
            client.max_inflight_messages_set(settings.max_inflight)
        if settings.username is not None:
            client.username_pw_set(settings.username, None if password is None else password.reveal())
        if settings.tls is not None:
            client.tls_set_context(RenewingContext.of(TlsFiles.of(settings.tls)))
            client.tls_insecure_set(settings.tls.insecure_skip_verify)
        client.connect_timeout = settings.connect_timeout_s
        client.connect_async(settings.host, settings.effective_port, keepalive=settings.keepalive_s)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        return client

    def _publish_by_paho(self, token: int, publication: Publication) -> None:
        info = self._client.publish(
            publication.topic, publication.payload, publication.qos, publication.retain
        )
        if publication.qos:
            self._in_flight[info.mid] = token
        else:
            self._acknowledged.append(token)

    @staticmethod
    def _on_socket_open(_client: mqtt.Client, _userdata: object, sock: Any) -> None:  # noqa: ANN401  # paho's
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _on_connect(
        self,
        _client: mqtt.Client,
        _userdata: object,
        _flags: object,
        code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if code.is_failure:
            self.last_error = f"connection refused: {code}"
            return
        self.is_open = True
        self._opened_at = time.monotonic()
        self.reconnects += 1
        self.last_error = None
        self._log.info(
            "link_opened", reconnects=self.reconnects, at=datetime.now(UTC).isoformat(timespec="seconds")
        )
        if self._subscriptions:
            _, packet_id = self._client.subscribe(self._subscriptions)
            if packet_id is not None:
                self._granted.add(packet_id)
        self._publish_status("online")

    def _on_disconnect(
        self,
        _client: mqtt.Client,
        _userdata: object,
        _flags: object,
        code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if self._is_closing:
            self._drop_socket()
            return
        if (
            not self.is_open
            and self.last_error is not None
            and self.last_error.startswith("connection refused")
        ):
            self._lose(self.last_error)
            return
        self._lose(f"connection lost: {code}" if self.is_open else f"no session: {code}")

    def _on_subscribe(
        self,
        _client: mqtt.Client,
        _userdata: object,
        packet_id: int,
        codes: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        if packet_id not in self._granted:
            return
        self._granted.discard(packet_id)
        denied = [
            name for (name, _), code in zip(self._subscriptions, codes, strict=False) if code.value >= _FAILED
        ]
        if denied:
            self.last_error = f"subscription refused: {', '.join(denied)}"
            self._log.error("subscription_refused", filters=denied)
            return
        self.is_subscribed = True

    def _on_message(self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        try:
            topic = message.topic.encode()
        except UnicodeDecodeError:
            topic = b"\xff"  # no topic is that: the flow refuses it with its reason
        receipt = self.connection << RECEIPT_SHIFT | message.mid if message.qos else 0
        header = 0x30 | message.dup << 3 | message.qos << 1 | message.retain
        self._messages.append((topic, bytes(message.payload), header, receipt))

    def _on_publish(
        self,
        _client: mqtt.Client,
        _userdata: object,
        packet_id: int,
        _code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._settle([packet_id])


def _wait(fd: int | None, timeout_s: float, wake_fd: int | None, *, is_behind: bool) -> None:
    """Wait for the socket, for the wake-up, or for so long."""
    poller = select.poll()
    if fd is not None:
        poller.register(fd, select.POLLIN | select.POLLOUT if is_behind else select.POLLIN)
    if wake_fd is not None and wake_fd >= 0:
        poller.register(wake_fd, select.POLLIN)
    poller.poll(max(0.0, timeout_s) * 1000)


def _reason(error: Exception) -> str:
    """Say in a few words why a connection failed; never anything that was configured as a secret."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
