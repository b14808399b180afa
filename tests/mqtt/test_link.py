"""What paho says, as facts that a session can act on."""

import socket

import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gatewayd.config.settings import BrokerSettings
from gatewayd.errors import TransientError
from gatewayd.mqtt.outgoing import Limits
from gatewayd.mqtt.tapped import make_link


def link_of(**options):
    return make_link(
        BrokerSettings(host="127.0.0.1", tap=False, **options),
        client_id="gw",
        password=None,
        tls=None,
        will=None,
        persistent=False,
        max_frame_bytes=20_000,
        keeps_properties=False,
    )


def connack(code, **properties):
    found = Properties(PacketTypes.CONNACK)
    for name, value in properties.items():
        setattr(found, name, value)
    return ReasonCode(PacketTypes.CONNACK, identifier=code), found


def accept(link, **properties):
    link._on_connect(None, None, paho.ConnectFlags(session_present=True), *connack(0, **properties))


@pytest.fixture
def closed_port():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


def test_what_a_broker_grants_is_read_from_its_connack_and_forgotten_with_the_connection(closed_port):
    link = link_of(protocol="5", port=closed_port)
    accept(
        link,
        ReceiveMaximum=7,
        MaximumPacketSize=5000,
        MaximumQoS=0,
        RetainAvailable=0,
        ServerKeepAlive=11,
    )
    assert (link.is_open, link.session_present) == (True, True)
    assert link.limits == Limits(
        receive_maximum=7, max_packet_bytes=5000, max_qos=0, retain_available=False, keepalive_s=11
    )
    with pytest.raises(TransientError):
        link.open(2)
    assert (link.is_open, link.session_present, link.limits) == (False, False, Limits())


def test_a_broker_that_says_nothing_of_limits_has_none():
    link = link_of()
    accept(link)
    assert link.limits == Limits()


@pytest.mark.parametrize("host", ["127.0.0.1", "\udcff"])
def test_a_connection_that_fails_says_why(closed_port, host):
    link = link_of(port=closed_port)
    link._settings = link._settings.model_copy(update={"host": host})
    with pytest.raises(TransientError, match=r"."):
        link.open(1)
    assert link.fileno() is None


def test_what_a_broker_says_is_told_apart_from_what_paho_makes_of_a_lost_link():
    for is_told, ended in ((True, "Unspecified error"), (False, "connection lost")):
        link = link_of(protocol="5")
        accept(link)
        reason = ReasonCode(PacketTypes.DISCONNECT, identifier=0x80)
        link._on_disconnect(None, None, paho.DisconnectFlags(is_told), reason, None)
        assert (link.is_open, link.ended, link.is_explained) == (False, ended, is_told)


def test_the_first_reason_stays():
    link = link_of(protocol="5")
    link.close("ours")
    reason = ReasonCode(PacketTypes.DISCONNECT, identifier=0x8E)
    link._on_disconnect(None, None, paho.DisconnectFlags(is_disconnect_packet_from_server=True), reason, None)
    assert (link.ended, link.was_taken_over, link.is_explained) == ("ours", False, False)
