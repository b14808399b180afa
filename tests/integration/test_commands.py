"""People speak to alerts by MQTT; Home Assistant finds the devices: through a real mosquitto."""

import json

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.support.daemon import Client, Daemon, until

pytestmark = pytest.mark.broker

START = 1_700_000_000.0
CONFIG = """
gateway: {{id: gw-1, state_dir: state}}
brokers:
  local: {{host: 127.0.0.1, port: {port}, protocol: "{protocol}"}}
commands: {{from: local}}
streams:
  boiler:
    from: local
    topic: site/{{device}}/telemetry
    time: {{field: ts}}
    channels: {{temperature: {{unit: °C}}}}
    baseline: {{warm_up: 10}}
    alert: {{raise: 1 of 1, clear: 1 of 1, acknowledge: required}}
    publish: {{to: local, topic: "plant/{{gateway}}/{{stream}}/{{device}}", home_assistant: {{}}}}
"""


def feed(client, values, *, first=0):
    for index, value in enumerate(values, start=first):
        client.publish(
            "site/b1/telemetry", json.dumps({"ts": START + index, "temperature": value})
        ).wait_for_publish(30)


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_an_alert_is_acknowledged_and_then_clears(tmp_path, make_broker, protocol):
    broker = make_broker()
    with (
        Client(broker.port, "plant/#", "gatewayd/gw-1/command/response") as people,
        Client(broker.port) as sensors,
        Daemon(tmp_path, CONFIG.format(port=broker.port, protocol=protocol)) as daemon,
    ):
        daemon.ready()
        feed(sensors, [20.0, 20.2] * 10 + [90.0])
        raised = people.wait_for("/alert", 1)[0]
        assert (raised["state"], raised["status"]) == ("raised", "unacknowledged")
        people.publish(
            "gatewayd/gw-1/command", {"command": "acknowledge", "alert": raised["id"], "by": "night shift"}
        )
        answer = people.wait_for("/response", 1)[0]
        assert (answer["result"], answer["changed"], answer["by"]) == ("done", 1, "night shift")
        acknowledged = people.wait_for("/alert", 2)[1]
        assert (acknowledged["state"], acknowledged["acknowledged_by"]) == ("acknowledged", "night shift")
        feed(sensors, [20.0], first=21)
        cleared = people.wait_for("/alert", 3)[2]
        assert (cleared["state"], cleared["status"], cleared["id"]) == ("cleared", "normal", raised["id"])
        for payload, reason in (
            ({"command": "acknowledge", "alert": raised["id"]}, "unknown_alert"),
            ({"command": "explode", "alert": "x"}, "unknown_command"),
            ("not json", "not_json"),
        ):
            people.publish("gatewayd/gw-1/command", payload)
            until(
                lambda reason=reason: people.documents("/response")[-1].get("reason") == reason,
                60,
                lambda: str(people.documents("/response")),
            )
        assert daemon.stop() == 0
        assert daemon.last_figures()["commands"] == {
            "done": 1,
            "unknown_alert": 1,
            "unknown_command": 1,
            "not_json": 1,
        }


def test_mqtt_5_answers_go_where_the_request_says(tmp_path, make_broker):
    broker = make_broker()
    answers = []
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_message = lambda *arrived: answers.append(arrived[2])
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    with Daemon(tmp_path, CONFIG.format(port=broker.port, protocol="5")) as daemon:
        daemon.ready()
        client.subscribe("answers/here", 1)
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic, properties.CorrelationData = "answers/here", b"\x01\x02"
        until(
            lambda: (
                client.publish(
                    "gatewayd/gw-1/command", '{"command": "reset", "alert": "x"}', 1, properties=properties
                )
                and answers
            ),
            60,
            daemon.log_path.read_text,
        )
    client.disconnect()
    client.loop_stop()
    assert json.loads(answers[0].payload)["reason"] == "unknown_alert"
    assert answers[0].properties.CorrelationData == b"\x01\x02"
    assert answers[0].properties.ContentType == "application/json"


def test_home_assistant_is_told_of_each_device_and_again_when_it_begins_to_listen(tmp_path, make_broker):
    broker = make_broker()
    with (
        Client(broker.port, "homeassistant/device/#") as home,
        Client(broker.port) as sensors,
        Daemon(tmp_path, CONFIG.format(port=broker.port, protocol="3.1.1")) as daemon,
    ):
        daemon.ready()
        feed(sensors, [20.0, 20.2] * 6)
        found = home.wait_for("/config", 1)[0]
        assert found["dev"]["name"] == "b1"
        assert "score" in found["cmps"]
        home.publish("homeassistant/status", "online")
        assert home.wait_for("/config", 2)[1] == found
