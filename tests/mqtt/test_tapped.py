"""The link with the tap on a pair of sockets: what goes in and out beside paho."""

import socket

import pytest

from gatewayd.config.settings import BrokerSettings
from gatewayd.mqtt.link import Link
from gatewayd.mqtt.tap import encode_pubacks, encode_publish
from gatewayd.mqtt.tapped import TappedLink, make_link
from tests.support.stub_broker import puback5

BOTH = pytest.mark.parametrize("protocol", ["3.1.1", "5"])


def made(protocol="3.1.1", *, tap=True, **options):
    arguments = {
        "client_id": "gw",
        "password": None,
        "tls": None,
        "will": None,
        "persistent": False,
        "max_frame_bytes": 20_000,
        "keeps_properties": False,
    } | options
    return make_link(BrokerSettings(host="127.0.0.1", protocol=protocol, tap=tap), **arguments)


@pytest.fixture
def attach():
    """Give a link one end of a pair as its open connection; return the other end."""
    ends = []

    def make(link):
        near, far = socket.socketpair()
        ends.extend((near, far))
        near.setblocking(False)
        far.setblocking(False)
        link._connection = 3
        link._client._sock = link._client.tap(near)
        link.is_open = True
        return far

    yield make
    for end in ends:
        end.close()


def test_the_setting_decides_about_the_tap():
    assert type(made()) is TappedLink
    assert type(made(tap=False)) is Link


@BOTH
def test_frames_leave_in_one_write_and_end_acknowledged(attach, protocol):
    link = made(protocol)
    far = attach(link)
    properties = b"" if protocol == "3.1.1" else b"\x00"
    link.publish([(1, b"t", b"x", 1, False, properties), (2, b"t", b"y", 0, True, properties)])
    assert far.recv(1000) == encode_publish(
        b"t", b"x", qos=1, retain=False, packet_id=0x8000, properties=properties
    ) + encode_publish(b"t", b"y", qos=0, retain=True, packet_id=0, properties=properties)
    assert link.flight.acknowledged == [2]
    far.send(encode_pubacks([0x8000]))
    link.read()
    assert link.flight.acknowledged == [2, 1]


def test_a_refusal_is_the_end_of_its_publication_alone(attach):
    link = made("5")
    far = attach(link)
    link.publish([(token, b"t", b"x", 1, False, b"\x00") for token in (1, 2, 3)])
    far.send(puback5(0x8000, 0x10) + puback5(0x8001, 0x97, ReasonString="full") + encode_pubacks([0x8002]))
    link.read()
    assert link.flight.acknowledged == [1, 3]
    assert link.flight.refused == [(2, "quota_exceeded", b"t", "full")]


@BOTH
def test_messages_come_with_their_receipts_and_are_acknowledged_by_them(attach, protocol):
    link = made(protocol)
    far = attach(link)
    properties = b"" if protocol == "3.1.1" else b"\x03\x08\x00\x00"
    far.send(encode_publish(b"t", b"x", qos=1, retain=False, packet_id=7, properties=properties))
    link.read()
    assert link.messages == [(b"t", b"x", 0x32, 3 << 16 | 7)]
    assert link.addresses == []
    link.acknowledge([*link.messages, (b"t", b"old", 0x32, 2 << 16 | 8)])
    assert far.recv(1000) == encode_pubacks([7])


@BOTH
def test_addresses_are_kept_on_demand_one_for_each_message(attach, protocol):
    link = made(protocol, keeps_properties=True)
    far = attach(link)
    properties = b"" if protocol == "3.1.1" else b"\x04\x08\x00\x01a"
    for _ in range(2):
        far.send(encode_publish(b"t", b"x", qos=0, retain=False, packet_id=0, properties=properties))
        link.read()
    assert len(link.messages) == 2
    assert link.addresses == [(None, None) if protocol == "3.1.1" else ("a", None)] * 2


@BOTH
def test_what_is_too_large_is_counted_and_acknowledged(attach, protocol):
    link = made(protocol)
    far = attach(link)
    far.send(encode_publish(b"t", bytes(30_000), qos=1, retain=False, packet_id=7, properties=b"\x00"))
    link.read()
    assert (link.messages, link.too_large) == ([], 1)
    assert far.recv(1000) == encode_pubacks([7])


def test_a_peer_that_is_gone_ends_the_link(attach):
    link = made()
    far = attach(link)
    far.close()
    link.publish([(1, b"t", b"x", 1, False, b"")])
    assert link.ended is not None
    assert not link.is_open
    assert link.flight.acknowledged == []
