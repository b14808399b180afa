"""paho's client as we need it, for either version of MQTT. With ``link.py`` the only imports of paho.

Two private methods of paho are overridden and one is called; ``tests/mqtt/test_client.py`` fails when they change.
"""

import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gatewayd.config.secret import Secret
from gatewayd.config.settings import BrokerSettings
from gatewayd.mqtt.outgoing import Limits
from gatewayd.mqtt.properties import JSON_TYPE
from gatewayd.mqtt.tls import RenewingContext, TlsFiles
from gatewayd.mqtt.wire import Wire

_Addresses = Sequence[tuple[int, int, int, str, tuple[Any, ...]]]  # as getaddrinfo gives them
_NEVER_EXPIRES_S = 0xFFFF_FFFF  # MQTT 5.0, 3.1.2.11.2: what MQTT 3.1.1 means by a session that is not clean


class Client(paho.Client):
    """paho with a place to put the tap, and with one deadline for all that connecting blocks in.

    By itself paho would grant every address of a host the whole time limit, and TLS the same once more.

    Attributes:
        tap: Wraps each fresh socket; None: paho reads it directly.
        addresses: To connect to, in order.
        connect_by: When TCP and TLS have to stand, on the monotonic clock.
    """

    tap: Callable[[socket.socket], Wire] | None = None
    addresses: _Addresses = ()
    connect_by: float = 0.0

    def drop(self) -> None:
        """Close the connection at once, without a word."""
        self._sock_close()  # paho has no public way

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
        return sock if self.tap is None else self.tap(cast("socket.socket", sock))


def make_client(
    settings: BrokerSettings,
    *,
    client_id: str,
    password: Secret | None,
    tls: TlsFiles | None,
    will: tuple[str, bytes] | None,
    persistent: bool,
) -> Client:
    """Make a client that is not connected yet; its callbacks are the caller's."""
    is_v5 = settings.protocol == "5"
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=None if is_v5 else not persistent,  # MQTT 5: said at each connect
        protocol=MQTTProtocolVersion.MQTTv5 if is_v5 else MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,  # or paho would answer a refusal by trying MQTT 3.1 on its own
        manual_ack=True,
    )
    client.max_inflight_messages_set(0)  # the session limits what is in flight
    if settings.username is not None:
        client.username_pw_set(settings.username, None if password is None else password.reveal())
    if tls is not None:
        client.tls_set_context(RenewingContext.of(tls))
    if will is not None:
        properties = _made(PacketTypes.WILLMESSAGE, ContentType=JSON_TYPE) if is_v5 else None
        client.will_set(will[0], will[1], qos=1, retain=True, properties=properties)
    return client


def connect(client: Client, settings: BrokerSettings, *, persistent: bool) -> None:
    """Connect, and queue CONNECT.

    MQTT 5: no topic aliases are offered, so none come. Nor is a maximum packet size: the broker would discard what is
    larger without a word, and we count it.

    Raises:
        OSError: No connection; TLS failed.
        ValueError: A host name that can't be encoded.
    """
    host, port = settings.host, settings.effective_port
    if settings.protocol != "5":
        client.connect(host, port, settings.keepalive_s)
        return
    properties = _made(PacketTypes.CONNECT, SessionExpiryInterval=_NEVER_EXPIRES_S if persistent else 0)
    client.connect(host, port, settings.keepalive_s, clean_start=not persistent, properties=properties)


def limits_of(properties: Properties | None) -> Limits:
    """Read the limits in a CONNACK."""
    none = Limits()
    granted = {
        name: _property(properties, name)
        for name in (
            "ReceiveMaximum",
            "MaximumPacketSize",
            "MaximumQoS",
            "RetainAvailable",
            "ServerKeepAlive",
        )
    }
    max_qos, receive_maximum = granted["MaximumQoS"], granted["ReceiveMaximum"]
    return Limits(
        receive_maximum=none.receive_maximum if receive_maximum is None else receive_maximum,
        max_packet_bytes=granted["MaximumPacketSize"],
        max_qos=none.max_qos if max_qos is None else min(max_qos, none.max_qos),
        retain_available=granted["RetainAvailable"] != 0,
        keepalive_s=granted["ServerKeepAlive"],
    )


def words_of(reason: ReasonCode, properties: Properties | None = None) -> str:
    """Say why, in the standard's words and the broker's own."""
    words = str(reason)  # paho has refused codes that MQTT 5 does not know, as malformed
    own = reason_string_of(properties)
    return words if own is None else f"{words} ({own})"


def reason_string_of(properties: Properties | None) -> str | None:
    """Return what the broker says for a person to read; None: nothing."""
    text = _property(properties, "ReasonString")
    return None if text is None else str(text)


def address_of(properties: Properties | None) -> tuple[str | None, bytes | None]:
    """Return the response topic and the correlation data of a message."""
    return _property(properties, "ResponseTopic"), _property(properties, "CorrelationData")


def publish_properties(block: bytes) -> Properties | None:
    """Turn an encoded block into what paho publishes; None for none at all."""
    if not block:
        return None
    properties = _made(PacketTypes.PUBLISH)
    properties.unpack(block)
    return cast("Properties", properties)


def _made(packet_type: int, **values: object) -> Any:  # noqa: ANN401  # paho's attributes come and go
    properties = Properties(packet_type)  # type: ignore[no-untyped-call]  # not typed by paho
    for name, value in values.items():
        setattr(properties, name, value)
    return properties


def _property(properties: Properties | None, name: str) -> Any:  # noqa: ANN401  # see above
    return getattr(properties, name, None)
