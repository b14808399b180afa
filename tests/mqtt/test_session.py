import math
import os
import socket
import ssl
import subprocess
import threading
import time

import orjson
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.publish import multiple
from structlog.testing import capture_logs

from gatewayd.config.secret import Secret
from gatewayd.config.settings import BrokerSettings
from gatewayd.domain.verdict import Publication
from gatewayd.mqtt.session import Session
from gatewayd.mqtt.tap import encode_publish
from gatewayd.mqtt.wire import Wire
from tests.support.stub_broker import (
    CONNACK,
    PINGRESP,
    StubBroker,
    connack5,
    disconnect5,
    puback5,
    suback,
    suback5,
)

PATIENCE_S = 60.0  # a limit that only a hang reaches
BOTH = pytest.mark.parametrize("protocol", ["3.1.1", "5"])
ONLY_5 = pytest.mark.parametrize("protocol", ["5"])


@pytest.fixture(params=[True, False], ids=["tap", "paho"])
def tap(request):
    return request.param


@pytest.fixture
def protocol():
    """For all tests that do not ask for another."""
    return "3.1.1"


@pytest.fixture
def sessions():
    made = []
    yield made
    for session in made:
        session.close(0.5)


@pytest.fixture
def open_session(sessions, tap, protocol):
    def make(port, *, client_id="gw", subscriptions=(), options=None, **arguments):
        broker = {
            "host": "127.0.0.1",
            "port": port,
            "tap": tap,
            "protocol": protocol,
            "reconnect_min_s": 0.1,
            "reconnect_max_s": 1.0,
        }
        session = Session(
            # keep-alives of less than the least that the file allows make for a short test
            BrokerSettings(**broker).model_copy(update=options or {}),
            client_id=client_id,
            gateway="g1",
            subscriptions=subscriptions,
            **arguments,
        )
        sessions.append(session)
        return session

    return make


def until(condition, *sessions, timeout_s=PATIENCE_S):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, [session.last_error for session in sessions]
        for session in sessions:
            session.poll(0.02)


def publication(payload, *, topic="t/1", qos=1, retain=False, **fields):
    return Publication(
        broker="b", kind="prediction", topic=topic, payload=payload, qos=qos, retain=retain, **fields
    )


def send(session, items):
    """Publish all, acknowledged."""
    todo, done = list(enumerate(items)), []

    def step():
        del todo[: session.publish(todo)]
        done.extend(session.take_acknowledged())
        return len(done) == len(items)

    until(step, session)
    return done


class Collector:
    """Takes and acknowledges what a session receives."""

    def __init__(self, session):
        self.session, self.messages = session, []

    def __len__(self):
        messages = self.session.take_messages()
        self.session.acknowledge(messages)
        self.messages += messages
        return len(self.messages)


@pytest.mark.broker
@BOTH
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_arrive_in_order_at_every_qos(broker, open_session, qos):
    inward = open_session(broker.port, client_id="in", subscriptions=[("t/#", qos)])
    until(lambda: inward.is_subscribed, inward)
    got = Collector(inward)
    # by paho's own publisher, in a thread: Session publishes at QoS 0 and 1 only
    sender = threading.Thread(
        target=multiple,
        args=([("t/1", b"%d" % i, qos, False) for i in range(100)],),
        kwargs={"hostname": "127.0.0.1", "port": broker.port},
    )
    sender.start()
    until(lambda: len(got) == 100, inward)
    sender.join()
    assert [payload for _, payload, _, _ in got.messages] == [b"%d" % i for i in range(100)]
    assert {topic for topic, *_ in got.messages} == {b"t/1"}
    assert {header & 6 for _, _, header, _ in got.messages} == {qos << 1}
    assert all((receipt != 0) == (qos > 0) for *_, receipt in got.messages)


@pytest.mark.broker
@BOTH
@pytest.mark.parametrize("qos", [0, 1])
def test_five_thousand_publications_are_all_acknowledged_in_order(broker, open_session, qos):
    session = open_session(broker.port, subscriptions=[("t/#", 1)])
    until(lambda: session.is_subscribed, session)
    items = [publication(b"%d" % i, qos=qos) for i in range(5000)]
    assert send(session, items) == list(range(5000))
    got = Collector(session)
    until(lambda: len(got) == 5000, session)
    assert [payload for _, payload, _, _ in got.messages] == [item.payload for item in items]


@pytest.mark.broker
def test_no_more_than_max_inflight_is_taken(broker, open_session):
    session = open_session(broker.port, options={"max_inflight": 5})
    assert session.publish([(0, publication(b"x"))]) == 0  # not open
    until(lambda: session.is_open, session)
    assert session.publish([(i, publication(b"x")) for i in range(9)]) == 5
    assert session.publish([(9, publication(b"x"))]) == 0


@pytest.mark.broker
def test_case_01_a_restarted_broker_is_subscribed_to_once_for_each_session(broker, open_session):
    """Three restarts: nothing missing, nothing doubled but by the broker, one SUBSCRIBE each."""
    session = open_session(broker.port, subscriptions=[("plant/+/temp", 1)])
    got = Collector(session)
    for round_ in range(4):
        until(lambda wanted=round_ + 1: session.is_subscribed and session.connection == wanted, session)
        send(session, [publication(b"%d" % round_, topic="plant/line1/temp")])
        until(lambda wanted=round_ + 1: len(got) == wanted, session)
        if round_ < 3:
            broker.restart()
            until(lambda: not session.is_open, session)
    assert [payload for _, payload, _, _ in got.messages] == [b"0", b"1", b"2", b"3"]
    assert session.reconnects == 3
    assert broker.log_text().count("Received SUBSCRIBE from gw") == 4


@pytest.mark.broker
@BOTH
def test_birth_will_and_offline_share_one_retained_topic(broker, open_session):
    watcher = open_session(broker.port, client_id="watcher", subscriptions=[("gatewayd/+/status", 1)])
    until(lambda: watcher.is_subscribed, watcher)
    got = Collector(watcher)

    def said():
        len(got)
        return [orjson.loads(payload)["status"] for _, payload, _, _ in got.messages]

    first = open_session(broker.port, client_id="a", status_topic="gatewayd/{gateway}/status")
    until(lambda: said() == ["online"], watcher, first)
    first._link.close("cable cut")  # without DISCONNECT: the will
    until(lambda: said()[:2] == ["online", "offline"], watcher)
    until(lambda: said() == ["online", "offline", "online"], watcher, first)
    first.close(5)
    until(lambda: said() == ["online", "offline", "online", "offline"], watcher)
    late = open_session(broker.port, client_id="late", subscriptions=[("gatewayd/+/status", 1)])
    after = Collector(late)
    until(lambda: len(after) == 1, late)
    topic, payload, header, _ = after.messages[0]
    assert (topic, orjson.loads(payload)) == (b"gatewayd/g1/status", {"status": "offline", "gateway": "g1"})
    assert header & 1  # retained


@pytest.mark.broker
def test_a_wrong_password_is_refused_with_its_reason_logged_once_and_never_shown(
    make_broker, open_session, tmp_path
):
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, "gw", "right"], check=True)
    passwords.chmod(0o644)
    broker = make_broker(options=(f"password_file {passwords}",), anonymous=False)
    with capture_logs() as logs:
        wrong = open_session(broker.port, options={"username": "gw"}, password=Secret("wr0ng-s3cret"))
        until(lambda: wrong._failures >= 3, wrong)
    refusals = [entry for entry in logs if entry["event"] == "link_refused"]
    assert len(refusals) == 1
    assert "authori" in refusals[0]["reason"].lower()
    assert "wr0ng-s3cret" not in str(logs)
    assert not wrong.is_open
    assert wrong.last_error == refusals[0]["reason"]
    right = open_session(broker.port, client_id="r", options={"username": "gw"}, password=Secret("right"))
    until(lambda: right.is_open, right)


@pytest.mark.broker
@BOTH
def test_case_02_a_second_client_with_the_same_id_does_not_cause_a_tight_loop(broker, open_session):
    """case-02 in small: each CONNACK says success, and the delay grows all the same; one event names the id."""
    with capture_logs() as logs:
        first = open_session(broker.port, client_id="gw-7", options={"reconnect_max_s": 60.0})
        second = open_session(broker.port, client_id="gw-7")
        until(lambda: first._failures >= 4, first, second)
    assert first._retry_at > 0
    told = [entry for entry in logs if entry["event"] == "session_taken_over"]
    assert 1 <= len(told) <= 2  # each of the two says it once
    assert {entry["client_id"] for entry in told} == {"gw-7"}


@pytest.mark.broker
def test_a_frozen_broker_is_noticed_within_two_keepalives_even_while_publishing(broker, open_session):
    session = open_session(broker.port, options={"keepalive_s": 2, "max_inflight": 1000})
    until(lambda: session.is_open, session)
    send(session, [publication(b"x")])
    broker.freeze()
    began = time.monotonic()

    def is_lost():
        session.publish([(1, publication(b"y", qos=0))])  # sending is no sign of life
        return not session.is_open

    until(is_lost, session)
    took_s = time.monotonic() - began
    broker.thaw()
    assert took_s < 4 + 1.5  # 2 x keepalive, and a slow machine
    until(lambda: session.is_open, session)


@pytest.mark.broker
def test_a_quiet_link_is_kept_alive(broker, open_session):
    session = open_session(broker.port, options={"keepalive_s": 1})
    until(lambda: session.is_open, session)
    end = time.monotonic() + 4
    while time.monotonic() < end:
        session.poll(0.2)
    assert session.connection == 1
    assert session.is_open


@pytest.mark.broker
@BOTH
def test_frames_stay_whole_under_backpressure(broker, open_session):
    """Megabytes through a tiny send buffer with a broker that stops and goes, pings in between."""
    session = open_session(broker.port, options={"keepalive_s": 2}, subscriptions=[("t/#", 0)])
    until(lambda: session.is_subscribed, session)
    sock = session._link._client.socket()
    real = sock.sock if isinstance(sock, Wire) else sock
    real.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    items = [publication(bytes([i]) * 100_000, topic="u/1") for i in range(60)]
    stop = threading.Event()

    def stutter():
        while not stop.wait(0.05):
            broker.freeze()
            stop.wait(0.1)
            broker.thaw()

    thread = threading.Thread(target=stutter)
    thread.start()
    try:
        assert send(session, items) == list(range(60))
    finally:
        stop.set()
        thread.join()
    assert session.connection == 1  # a broken frame would have ended the connection


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A CA, a server certificate for 127.0.0.1, one for another name, and a CA that nobody asked for."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for ca in ("ca", "other-ca"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={ca}",
                "-keyout", f"{ca}.key", "-out", f"{ca}.pem")  # fmt: skip
    for name, alternative in (
        ("server", "IP:127.0.0.1"),
        ("stranger", "DNS:elsewhere.example"),
        ("client", "DNS:c"),
    ):
        (folder / f"{name}.ext").write_text(f"subjectAltName={alternative}\n")
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}",
                "-keyout", f"{name}.key", "-out", f"{name}.csr")  # fmt: skip
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")  # fmt: skip
    for path in folder.iterdir():
        path.chmod(0o644)
    return folder


def tls_options(authority, name, *more):
    return (
        f"cafile {authority / 'ca.pem'}",
        f"certfile {authority / name}.pem",
        f"keyfile {authority / name}.key",
        *more,
    )


def with_tls(**tls):
    return {"tls": BrokerSettings(host="x", tls={key: str(value) for key, value in tls.items()}).tls}


@pytest.mark.broker
def test_tls_with_a_client_certificate_carries_megabytes(make_broker, open_session, authority):
    broker = make_broker(options=tls_options(authority, "server", "require_certificate true"))
    session = open_session(
        broker.port,
        options=with_tls(
            ca_file=authority / "ca.pem",
            cert_file=authority / "client.pem",
            key_file=authority / "client.key",
        ),
        subscriptions=[("t/#", 1)],
    )
    until(lambda: session.is_subscribed, session)
    items = [publication(bytes([i]) * 200_000) for i in range(20)]
    assert send(session, items) == list(range(20))
    got = Collector(session)
    until(lambda: len(got) == 20, session)
    assert [payload for _, payload, _, _ in got.messages] == [item.payload for item in items]


@pytest.mark.broker
@pytest.mark.parametrize(
    ("server", "ca"), [("stranger", "ca.pem"), ("server", "other-ca.pem"), ("server", None)]
)
def test_a_certificate_of_another_name_or_authority_is_refused(
    make_broker, open_session, authority, server, ca
):
    broker = make_broker(options=tls_options(authority, server))
    session = open_session(broker.port, options=with_tls(**({"ca_file": authority / ca} if ca else {})))
    until(lambda: session._failures >= 2, session)
    assert not session.is_open
    assert "certificate verify failed" in session.last_error.lower()


@pytest.mark.broker
def test_an_authorities_file_that_becomes_empty_refuses_the_next_connection(
    make_broker, open_session, authority, tmp_path
):
    """It fails closed on every attempt, and opens again once the file is back."""
    broker = make_broker(options=tls_options(authority, "server"))
    mine = tmp_path / "mine.pem"
    good = (authority / "ca.pem").read_text()
    mine.write_text(good)
    session = open_session(broker.port, options=with_tls(ca_file=mine))
    until(lambda: session.is_open, session)
    mine.write_text("")
    broker.restart()
    until(lambda: session._failures >= 3, session)
    assert not session.is_open
    assert str(mine) in session.last_error
    mine.write_text(good)
    until(lambda: session.is_open, session)


@pytest.mark.broker
def test_skipping_verification_is_said_at_every_start(make_broker, open_session, authority):
    broker = make_broker(options=tls_options(authority, "stranger"))
    with capture_logs() as logs:
        tls = BrokerSettings(host="x", tls={"insecure_skip_verify": True}).tls
        session = open_session(broker.port, options={"tls": tls})
    assert [entry["log_level"] for entry in logs if entry["event"] == "certificate_not_verified"] == [
        "warning"
    ]
    until(lambda: session.is_open, session)


# MQTT 5.


class Reader:
    """A plain MQTT 5 subscriber by paho, served from the test's own loop."""

    def __init__(self, port, topic):
        self.messages = []
        self.is_subscribed = False
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id="reader", protocol=MQTTProtocolVersion.MQTTv5
        )
        self.client.on_connect = lambda *_: self.client.subscribe(topic, qos=1)
        self.client.on_subscribe = lambda *_: setattr(self, "is_subscribed", True)
        self.client.on_message = lambda _c, _u, message: self.messages.append(message)
        self.client.connect("127.0.0.1", port)

    def __len__(self):
        self.client.loop(0.01)
        return len(self.messages)

    def close(self):
        self.client.disconnect()
        self.client.loop(0.01)


@pytest.fixture
def reader(broker):
    found = Reader(broker.port, "t/#")
    until(lambda: len(found) or found.is_subscribed)
    yield found
    found.close()


@pytest.mark.broker
@BOTH
def test_properties_arrive_at_a_plain_subscriber(broker, reader, open_session, protocol):
    """Where the link speaks MQTT 5; by 3.1.1 the message arrives without them."""
    session = open_session(broker.port)
    until(lambda: session.is_open, session)
    item = publication(
        b"{}",
        content_type="application/senml+json",
        expires_s=3600,
        user_properties=(("gateway", "g1"), ("line", "\u00b5")),
    )
    send(session, [item, publication(b"plain")])
    until(lambda: len(reader) == 2)
    found, plain = (message.properties for message in reader.messages)
    assert [bytes(message.payload) for message in reader.messages] == [b"{}", b"plain"]
    if protocol == "5":
        assert found.ContentType == "application/senml+json"
        assert 3590 <= found.MessageExpiryInterval <= 3600
        assert found.UserProperty == [("gateway", "g1"), ("line", "\u00b5")]
    else:
        assert found.isEmpty()
    assert plain.isEmpty()


@pytest.mark.broker
@ONLY_5
def test_a_publication_refused_by_the_acl_is_reported(make_broker, open_session, tmp_path):
    """The ones beside it are acknowledged; MQTT 3.1.1 would have acknowledged this one too."""
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite t/#\n")
    acl.chmod(0o644)
    broker = make_broker(options=(f"acl_file {acl}",))
    with capture_logs() as logs:
        session = open_session(broker.port)
        until(lambda: session.is_open, session)
        assert session.publish([(1, publication(b"a")), (2, publication(b"b", topic="forbidden/x"))]) == 2
        done, refused = [], []

        def is_done():
            done.extend(session.take_acknowledged())
            refused.extend(session.take_refused())
            return len(done) + len(refused) == 2

        until(is_done, session)
        assert (done, refused) == ([1], [(2, "not_authorized")])
        # mosquitto 2.0.11 drops the link after that; whoever sends again what was in flight gets through
        sent_on = 0

        def is_through():
            nonlocal sent_on
            if sent_on != session.connection and session.publish([(3, publication(b"c"))]):
                sent_on = session.connection
            return session.take_acknowledged() == [3]

        until(is_through, session)
        assert session.take_refused() == []
    told = [entry for entry in logs if entry["event"] == "publication_refused"]
    assert [(entry["topic"], entry["reason"]) for entry in told] == [("forbidden/x", "not_authorized")]


@pytest.mark.broker
@ONLY_5
def test_what_the_broker_lets_be_in_flight_and_its_largest_packet_are_honoured(make_broker, open_session):
    broker = make_broker(options=("max_inflight_messages 5", "max_packet_size 2000", "max_keepalive 10"))
    session = open_session(broker.port)
    until(lambda: session.is_open, session)
    assert session._keepalive_s() == 10
    assert session.publish([(i, publication(b"x")) for i in range(9)]) == 5
    done = []
    until(lambda: done.extend(session.take_acknowledged()) or len(done) == 5, session)
    giant, small = publication(bytes(2000)), publication(b"y")
    assert session.publish([(10, small), (11, giant), (12, small)]) == 3
    until(lambda: done.extend(session.take_acknowledged()) or len(done) == 7, session)
    assert done[5:] == [10, 12]
    assert session.take_refused() == [(11, "packet_too_large")]
    assert session.connection == 1


@pytest.mark.broker
@BOTH
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_requests_bring_where_their_answer_belongs(broker, open_session, protocol, qos):
    """And are acknowledged by being taken, so that the broker sends the next ones."""
    session = open_session(broker.port, subscriptions=[("cmd/#", qos)], keeps_properties=True)
    until(lambda: session.is_subscribed, session)
    sender = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    sender.connect("127.0.0.1", broker.port)
    properties = Properties(PacketTypes.PUBLISH)
    properties.ResponseTopic, properties.CorrelationData = "answers/1", b"\x00\xff"
    until(lambda: sender.loop(0.01) == 0 and sender.is_connected())
    for number in range(30):
        sender.publish("cmd/ack", b"%d" % number, qos=qos, properties=None if number % 2 else properties)
    found = []

    def all_came():
        sender.loop(0.01)
        found.extend(session.take_requests())
        return len(found) == 30

    until(all_came, session)
    sender.disconnect()
    assert [(each.topic, each.payload, each.retain) for each in found] == [
        ("cmd/ack", b"%d" % number, False) for number in range(30)
    ]
    address = ("answers/1", b"\x00\xff") if protocol == "5" else (None, None)
    assert [(each.response_topic, each.correlation) for each in found] == [address, (None, None)] * 15
    assert session.take_messages() == []


@pytest.mark.broker
@ONLY_5
def test_a_request_that_the_broker_had_kept_says_so(broker, open_session):
    keeper = open_session(broker.port, client_id="keeper")
    until(lambda: keeper.is_open, keeper)
    send(keeper, [publication(b"old", topic="cmd/ack", retain=True)])
    session = open_session(broker.port, subscriptions=[("cmd/#", 1)], keeps_properties=True)
    found = []
    until(lambda: found.extend(session.take_requests()) or found, session)
    assert [(each.payload, each.retain) for each in found] == [(b"old", True)]


@pytest.mark.broker
@BOTH
def test_a_persistent_session_gets_what_was_published_meanwhile(broker, open_session):
    session = open_session(broker.port, subscriptions=[("t/#", 1)], persistent=True)
    until(lambda: session.is_subscribed, session)
    sock = session._link._client.socket()
    (sock.sock if isinstance(sock, Wire) else sock).shutdown(socket.SHUT_RDWR)
    until(lambda: not session.is_open, session)
    session._retry_at = math.inf  # away
    other = open_session(broker.port, client_id="other")
    until(lambda: other.is_open, other)
    send(other, [publication(b"meanwhile")])
    session._retry_at = 0.0
    got = Collector(session)
    until(lambda: len(got) == 1, session)
    assert got.messages[0][1] == b"meanwhile"
    assert session._link.session_present


# What no real broker does.


@pytest.fixture
def stub():
    broker = StubBroker()
    yield broker
    broker.close()


def greet(stub, session, *, code=1, connack=CONNACK):
    """Accept, answer CONNECT and SUBSCRIBE; with ``code`` None, leave SUBSCRIBE unanswered."""
    until(stub.accept, session)
    heard = []

    def heard_first(kind):
        heard.extend(stub.frames())
        return [frame for frame in heard if frame[0] >> 4 == kind]

    until(lambda: heard_first(1), session)
    stub.say(connack)
    until(lambda: heard_first(8), session)
    subscribe = heard_first(8)[0]
    if code is not None:
        answer = suback if connack is CONNACK else suback5
        stub.say(answer(int.from_bytes(subscribe[2:4], "big"), code))
    return heard


def test_case_03_a_topic_that_is_not_utf8_does_not_stop_reception(stub, open_session):
    """Part a, byte for byte: both messages come, the first with its raw topic."""
    session = open_session(stub.port, subscriptions=[("s/#", 0)])
    greet(stub, session)
    until(lambda: session.is_subscribed, session)
    stub.say(bytes.fromhex("300c0006732ffffe2f7432312e35"))
    stub.say(bytes.fromhex("300b0005732f312f7432312e36"))
    got = Collector(session)
    until(lambda: len(got) == 2, session)
    assert [(topic, payload) for topic, payload, *_ in got.messages] == [
        (b"s/\xff\xfe/t", b"21.5"),
        (b"s/1/t", b"21.6"),
    ]
    assert session.connection == 1


def test_a_refused_subscription_is_told(stub, open_session):
    with capture_logs() as logs:
        session = open_session(stub.port, subscriptions=[("s/#", 0)])
        greet(stub, session, code=0x80)
        until(lambda: session.last_error is not None, session)
    assert not session.is_subscribed
    assert session.is_open
    assert session.last_error == "subscription refused: s/#"
    assert [entry["event"] for entry in logs].count("subscription_refused") == 1


def test_a_quality_below_the_wanted_is_told_once(stub, open_session):
    """Subscribed all the same; told again only when it changes."""
    with capture_logs() as logs:
        session = open_session(stub.port, subscriptions=[("s/#", 1)])
        for round_, code in enumerate((0, 0, 1, 0)):
            greet(stub, session, code=code)
            until(lambda: session.is_subscribed, session)
            told = [entry for entry in logs if entry["event"] == "qos_granted_lower"]
            assert len(told) == (1, 1, 1, 2)[round_]
            stub.drop()
            until(lambda: not session.is_open, session)
    assert told[0]["log_level"] == "warning"
    assert told[0]["topics"] == {"s/#": {"wanted": 1, "granted": 0}}


def test_a_quality_as_wanted_is_not_told(stub, open_session):
    with capture_logs() as logs:
        session = open_session(stub.port, subscriptions=[("s/#", 0)])
        greet(stub, session, code=0)
        until(lambda: session.is_subscribed, session)
    assert [entry["event"] for entry in logs] == ["link_opened"]


def test_a_broker_that_never_answers_subscribe_is_given_up(stub, open_session):
    """It answers CONNECT and every PINGREQ, which would keep the link open for ever, and deaf."""
    with capture_logs() as logs:
        session = open_session(
            stub.port, options={"connect_timeout_s": 0.5, "keepalive_s": 1}, subscriptions=[("s/#", 1)]
        )
        for round_ in range(4):
            greet(stub, session, code=None)

            def is_given_up():
                if stub.frames():
                    stub.say(PINGRESP)
                return not session.is_open

            until(is_given_up, session)
            assert session.last_error == "no SUBACK within 0.5 s"
            assert session._failures == round_ + 1  # backs off, though every CONNECT was a success
    events = [entry["event"] for entry in logs]
    assert events == ["link_opened", "link_lost"] * 4  # nobody has taken over the client id
    greet(stub, session)
    until(lambda: session.is_subscribed, session)


def test_messages_that_come_first_push_off_the_limit_for_suback(stub, open_session):
    """A stored session's backlog may stand before it: the link is not deaf."""
    session = open_session(
        stub.port, options={"connect_timeout_s": 2.0}, subscriptions=[("s/#", 1)], persistent=True
    )
    greet(stub, session, code=None)
    until(lambda: session.is_open, session)
    end = time.monotonic() + 3.0
    while time.monotonic() < end:
        stub.say(encode_publish(b"s/1", b"x", qos=0, retain=False, packet_id=0))
        session.poll(0.1)
    assert session.connection == 1
    assert session.is_open
    until(lambda: not session.is_open, session)
    assert session.last_error == "no SUBACK within 2.0 s"


def test_without_subscriptions_no_suback_is_waited_for(stub, open_session):
    session = open_session(stub.port, options={"connect_timeout_s": 0.5})
    until(stub.accept, session)
    stub.say(CONNACK)
    until(lambda: session.is_open, session)
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        session.poll(0.1)
    assert session.is_open


def test_a_message_of_an_earlier_connection_acknowledges_nothing(stub, open_session):
    """The same packet id in both connections: only the new one's message is acknowledged."""
    session = open_session(stub.port, subscriptions=[("s/#", 1)])
    greet(stub, session)
    message = encode_publish(b"s/1", b"x", qos=1, retain=False, packet_id=5)
    until(lambda: session.is_subscribed, session)
    stub.say(message)
    old = []
    until(lambda: old.extend(session.take_messages()) or old, session)
    stub.drop()
    until(lambda: not session.is_open, session)
    greet(stub, session)
    until(lambda: session.is_subscribed, session)
    stub.say(message)
    new = []
    until(lambda: new.extend(session.take_messages()) or new, session)
    session.acknowledge(old)
    session.acknowledge(new)
    heard = []
    until(lambda: heard.extend(stub.frames()) or heard, session)
    session.poll(0.05)
    assert heard + stub.frames() == [bytes.fromhex("40020005")]


def test_publications_in_flight_are_forgotten_with_their_connection(stub, open_session):
    """Sent once, not acknowledged, link lost: the next connection carries nothing but what is published again."""
    session = open_session(stub.port, subscriptions=[("s/#", 1)])
    greet(stub, session)
    until(lambda: session.is_subscribed, session)
    assert session.publish([(1, publication(b"x"))]) == 1
    stub.drop()
    until(lambda: not session.is_open, session)
    heard = greet(stub, session)
    until(lambda: session.is_subscribed, session)
    session.poll(0.05)
    assert not [frame for frame in heard + stub.frames() if frame[0] >> 4 == 3]
    assert session.take_acknowledged() == []


def test_a_giant_message_is_refused_and_acknowledged_and_the_link_lives(stub, open_session):
    session = open_session(stub.port, subscriptions=[("s/#", 1)], options={"max_message_bytes": 20_000})
    greet(stub, session)
    until(lambda: session.is_subscribed, session)
    stub.say(encode_publish(b"s/1", bytes(30_000), qos=1, retain=False, packet_id=5))
    stub.say(encode_publish(b"s/1", b"1", qos=0, retain=False, packet_id=0))
    got = Collector(session)
    until(lambda: len(got) == 1, session)
    heard = []
    until(lambda: heard.extend(stub.frames()) or heard, session)
    assert heard == [bytes.fromhex("40020005")]
    assert session.refused == {"too_large": 1}
    assert session.connection == 1


@pytest.mark.parametrize(
    "answer", [CONNACK[:3] + b"\x01", connack5(0x84)], ids=["as MQTT 3.1.1", "as MQTT 5"]
)
@ONLY_5
def test_a_broker_without_mqtt_5_is_named_with_the_option(stub, open_session, answer):
    """One line, however often it says so."""
    with capture_logs() as logs:
        session = open_session(stub.port)
        for _ in range(3):
            until(stub.accept, session)
            before = session._failures
            stub.say(answer)
            until(lambda before=before: session._failures > before, session)
    assert session.last_error == (
        "the broker does not speak MQTT 5 (Unsupported protocol version): set `protocol: 3.1.1` for it"
    )
    assert [(entry["event"], entry["log_level"], entry["reason"]) for entry in logs] == [
        ("protocol_refused", "error", session.last_error)
    ]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (connack5(0x87, ReasonString="not from here"), "Not authorized (not from here)"),
        (connack5(0x9A), "Retain not supported"),
    ],
)
@ONLY_5
def test_a_refusal_is_told_in_the_brokers_words(stub, open_session, answer, reason):
    with capture_logs() as logs:
        session = open_session(stub.port)
        until(stub.accept, session)
        stub.say(answer)
        until(lambda: session.last_error is not None, session)
    assert session.last_error == reason
    assert [entry["event"] for entry in logs] == ["link_refused"]


@pytest.mark.parametrize(
    ("farewell", "reason"),
    [
        (disconnect5(0x8B, ReasonString="back at ten"), "Server shutting down (back at ten)"),
        (disconnect5(0x97), "Quota exceeded"),
        (b"\xe0\x00", "Normal disconnection"),
    ],
)
@ONLY_5
def test_a_farewell_is_told_in_the_brokers_words(stub, open_session, farewell, reason):
    session = open_session(stub.port, subscriptions=[("s/#", 1)])
    greet(stub, session, connack=connack5())
    until(lambda: session.is_subscribed, session)
    stub.say(farewell)
    until(lambda: not session.is_open, session)
    assert session.last_error == reason


@ONLY_5
def test_a_session_that_is_taken_over_is_told_at_once(stub, open_session):
    """Mosquitto 2.0.11 still drops the old connection without a word; later ones say it."""
    with capture_logs() as logs:
        session = open_session(stub.port, client_id="gw-7", subscriptions=[("s/#", 1)])
        greet(stub, session, connack=connack5())
        until(lambda: session.is_subscribed, session)
        stub.say(disconnect5(0x8E))
        until(lambda: not session.is_open, session)
    assert session.last_error == "Session taken over"
    told = [entry for entry in logs if entry["event"] == "session_taken_over"]
    assert [(entry["client_id"], entry["log_level"]) for entry in told] == [("gw-7", "error")]


@ONLY_5
def test_a_refused_subscription_has_its_reason(stub, open_session):
    with capture_logs() as logs:
        session = open_session(stub.port, subscriptions=[("s/#", 1)])
        greet(stub, session, code=0x87, connack=connack5())
        until(lambda: session.last_error is not None, session)
    assert not session.is_subscribed
    assert [entry["topics"] for entry in logs if entry["event"] == "subscription_refused"] == [
        {"s/#": "Not authorized"}
    ]


@ONLY_5
def test_what_the_broker_does_not_grant_is_not_used(stub, open_session):
    """QoS 1 and retained messages would cost the connection (MQTT 5.0, 3.2.2.3.4 and 3.2.2.3.5)."""
    session = open_session(stub.port, subscriptions=[("s/#", 0)], status_topic="status")
    greet(stub, session, code=0, connack=connack5(MaximumQoS=0, RetainAvailable=0))
    until(lambda: session.is_subscribed, session)
    assert send(session, [publication(b"x", retain=True)]) == [0]
    heard = []
    until(lambda: heard.extend(stub.frames()) or heard, session)
    assert {frame[0] for frame in heard} == {0x30}


@ONLY_5
def test_a_refused_birth_is_told_and_belongs_to_nobody(stub, open_session):
    with capture_logs() as logs:
        session = open_session(stub.port, subscriptions=[("s/#", 1)], status_topic="status")
        heard = greet(stub, session, connack=connack5())
        birth = next(frame for frame in heard if frame[0] >> 4 == 3)
        stub.say(puback5(int.from_bytes(birth[10:12], "big"), 0x87, ReasonString="no"))
        until(lambda: not session._link.flight, session)
    told = [entry for entry in logs if entry["event"] == "publication_refused"]
    assert [(entry["topic"], entry["words"]) for entry in told] == [("status", "no")]
    assert session.take_refused() == session.take_acknowledged() == []


@ONLY_5
def test_a_broker_without_keep_alive_is_not_given_up_for_its_silence(stub, open_session):
    session = open_session(stub.port, options={"keepalive_s": 1}, subscriptions=[("s/#", 1)])
    greet(stub, session, connack=connack5(ServerKeepAlive=0))
    until(lambda: session.is_subscribed, session)
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        session.poll(0.5)
    assert session.is_open


@ONLY_5
def test_no_topic_aliases_are_offered(stub, open_session):
    """CONNECT says how long the session lives (0x11), and nothing of aliases (0x22): none will come."""
    session = open_session(stub.port, subscriptions=[("s/#", 1)])
    connect = greet(stub, session, connack=connack5())[0]
    assert connect[2:9] == b"\x00\x04MQTT\x05"
    assert connect[9] & 2  # clean start
    assert connect[12:18] == b"\x05\x11\x00\x00\x00\x00"


@BOTH
def test_a_request_whose_topic_is_not_utf8_is_refused_and_counted(stub, open_session, protocol):
    session = open_session(stub.port, subscriptions=[("s/#", 1)], keeps_properties=True)
    greet(stub, session, connack=CONNACK if protocol == "3.1.1" else connack5())
    until(lambda: session.is_subscribed, session)
    properties = b"" if protocol == "3.1.1" else b"\x00"
    for topic in (b"s/\xff", b"s/1"):
        stub.say(encode_publish(topic, b"x", qos=0, retain=False, packet_id=0, properties=properties))
    found = []
    until(lambda: found.extend(session.take_requests()) or found, session)
    assert [each.topic for each in found] == ["s/1"]
    assert session.refused == {"topic_not_utf8": 1}


def test_a_malformed_frame_ends_the_connection(stub, open_session):
    session = open_session(stub.port, subscriptions=[("s/#", 1)])
    greet(stub, session)
    until(lambda: session.is_subscribed, session)
    stub.say(b"\x30\xff\xff\xff\xff\x01")
    until(lambda: not session.is_open, session)
    greet(stub, session)


def test_a_broker_that_accepts_and_says_nothing_is_given_up(stub, open_session):
    with capture_logs() as logs:
        session = open_session(stub.port, options={"connect_timeout_s": 0.5})
        until(lambda: session.last_error is not None, session)
    assert session.last_error == "no CONNACK within 0.5 s"
    assert [entry["event"] for entry in logs] == ["link_failed"]


@pytest.fixture
def black_hole():
    """Listeners whose backlog is full: the kernel drops further SYNs, so a connect runs into its time limit."""
    opened = []

    def make(address, port=0):
        listener = socket.create_server((address, port), backlog=0)
        opened.append(listener)
        for _ in range(4):  # more than fit
            client = socket.socket()
            opened.append(client)
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        return listener.getsockname()[1]

    yield make
    for each in opened:
        each.close()


@pytest.fixture
def resolves_to(monkeypatch):
    """Let ``broker.test`` have these addresses; all else is resolved as ever."""

    def make(*addresses):
        resolve = socket.getaddrinfo

        def fake(host, port, *more, **options):
            if host != "broker.test":
                return resolve(host, port, *more, **options)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

        monkeypatch.setattr(socket, "getaddrinfo", fake)

    return make


@pytest.fixture
def limits(monkeypatch):
    """Every time limit that is set on a socket, in order."""
    found = []

    class Recording(socket.socket):
        def settimeout(self, value):
            if value:
                found.append(value)
            super().settimeout(value)

    monkeypatch.setattr(socket, "socket", Recording)
    return found


def test_all_addresses_of_a_host_share_one_time_limit(black_hole, resolves_to, limits, open_session):
    port = black_hole("127.0.0.1")
    black_hole("127.0.0.2", port)
    resolves_to("127.0.0.1", "127.0.0.2")
    session = open_session(port, options={"host": "broker.test", "connect_timeout_s": 0.5})
    session.poll(0.0)
    assert "timed out" in session.last_error
    assert limits[0] <= 0.25  # so that the second has its turn
    assert sum(limits) <= 0.5


def test_an_address_that_swallows_everything_leaves_time_for_the_next(
    stub, black_hole, resolves_to, open_session
):
    black_hole("127.0.0.2", stub.port)
    resolves_to("127.0.0.2", "127.0.0.1")
    session = open_session(
        stub.port, options={"host": "broker.test", "connect_timeout_s": 2.0}, subscriptions=[("s/#", 0)]
    )
    greet(stub, session)
    until(lambda: session.is_subscribed, session)


def test_the_handshake_has_what_connecting_has_left(stub, black_hole, resolves_to, open_session, monkeypatch):
    """The first address swallows everything, the second accepts and then says nothing."""
    handshakes = []
    handshake = ssl.SSLSocket.do_handshake

    def recorded(self, block=False):
        handshakes.append(self.gettimeout())
        handshake(self, block)

    monkeypatch.setattr(ssl.SSLSocket, "do_handshake", recorded)
    black_hole("127.0.0.2", stub.port)
    resolves_to("127.0.0.2", "127.0.0.1")
    tls = BrokerSettings(host="x", tls={}).tls
    session = open_session(
        stub.port, options={"host": "broker.test", "connect_timeout_s": 2.0, "tls": tls, "port": stub.port}
    )
    until(lambda: handshakes, session)
    assert "timed out" in session.last_error
    assert 0 < handshakes[0] <= 1.0


def test_the_time_limit_begins_when_the_name_is_resolved(stub, resolves_to, open_session, monkeypatch):
    """A name server that is late must not eat up what connecting and CONNACK have: no attempt would ever succeed."""
    resolves_to("127.0.0.1")
    resolve, monotonic = socket.getaddrinfo, time.monotonic

    def late(*arguments, **options):
        monkeypatch.setattr(time, "monotonic", lambda: monotonic() + 90.0)
        return resolve(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", late)
    session = open_session(stub.port, options={"host": "broker.test", "connect_timeout_s": 20.0})
    session.poll(0.0)
    assert session.last_error is None  # still waiting for CONNACK
    assert stub.accept()
    stub.say(CONNACK)
    session.poll(PATIENCE_S)
    assert session.is_open


def test_poll_is_woken_and_leaves_the_descriptor_to_its_owner(open_session):
    """Nobody listens at that port; the wait still ends at once."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        session = open_session(
            unused.getsockname()[1], options={"reconnect_min_s": 60.0, "reconnect_max_s": 60.0}
        )
        session.poll(0.0)
    assert session.last_error is not None
    wake = os.eventfd(1, os.EFD_NONBLOCK)
    try:
        began = time.monotonic()
        session.poll(PATIENCE_S, wake)
        assert time.monotonic() - began < PATIENCE_S / 2
        assert os.eventfd_read(wake) == 1
    finally:
        os.close(wake)
