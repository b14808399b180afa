"""Birth and will."""

import orjson
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gatewayd.mqtt.birth import Birth
from gatewayd.mqtt.outgoing import Limits


@pytest.mark.parametrize("is_v5", [False, True])
def test_birth_and_will_share_one_retained_topic(is_v5):
    birth = Birth("x/{gateway}/status", gateway="g1", is_v5=is_v5)
    topic, payload = birth.will()
    token, frame_topic, frame_payload, qos, retain, properties = birth.frame(
        "online", limits=Limits(), in_flight=0
    )
    assert (token, frame_topic, qos, retain) == (None, topic.encode(), 1, True)
    assert topic == "x/g1/status"
    assert orjson.loads(payload) == {"status": "offline", "gateway": "g1"}
    assert orjson.loads(frame_payload) == {"status": "online", "gateway": "g1"}
    if is_v5:
        found, _ = Properties(PacketTypes.PUBLISH).unpack(properties)
        assert found.ContentType == "application/json"
    else:
        assert properties == b""


@pytest.mark.parametrize(
    ("limits", "in_flight", "qos", "retain"),
    [
        (Limits(receive_maximum=3), 2, 1, True),
        (Limits(receive_maximum=3), 3, 0, True),  # one more would cost the connection (MQTT 5.0, 4.9)
        (Limits(max_qos=0), 0, 0, True),
        (Limits(retain_available=False), 0, 1, False),
    ],
)
def test_it_stays_within_what_the_broker_grants(limits, in_flight, qos, retain):
    frame = Birth("s", gateway="g1", is_v5=True).frame("offline", limits=limits, in_flight=in_flight)
    assert frame[3:5] == (qos, retain)
