"""What real sensors and brokers do, through a real mosquitto: cases by their id."""

import json
import time

import pytest

from tests.support.daemon import Client, Daemon, until

pytestmark = pytest.mark.broker

CONFIG = """
gateway: {{id: gw-1, state_dir: state, figures_interval_s: 1}}
brokers:
  local: {{host: 127.0.0.1, port: {port}}}
streams:
  home:
    from: local
    topic: zigbee2mqtt/#
    format: zigbee2mqtt
    max_age_s: 600
    channels: {{temperature: {{unit: °C, max: 60, out_of_range: mark}}}}
    alert: {{out_of_range: on}}
    publish: {{to: local, topic: "plant/{{stream}}/{{device}}"}}
  attic:
    from: local
    topic: esp/#
    format: esphome
    channels: {{temperature: {{field: sensor.temp, max: 60, out_of_range: mark}}}}
    alert: {{out_of_range: on}}
    publish: {{to: local, topic: "plant/{{stream}}/{{device}}"}}
"""


def test_case_04_retained_leftovers_at_start_up_are_not_fresh_data(tmp_path, make_broker):
    broker = make_broker()
    now_ms = int(time.time() * 1000)
    with Client(broker.port, "plant/#") as upstream, Client(broker.port) as sensors:
        for topic, payload in (
            ("zigbee2mqtt/boiler", {"temperature": 80.2, "last_seen": now_ms - 13 * 86_400_000}),
            ("esp/attic/sensor/temp/state", "71.0"),
            ("zigbee2mqtt/gone", {"temperature": 99.0, "last_seen": now_ms}),
        ):
            sensors.publish(topic, payload, retain=True).wait_for_publish(30)
        sensors.publish("zigbee2mqtt/gone", b"", retain=True).wait_for_publish(30)  # the topic was cleared
        with Daemon(tmp_path, CONFIG.format(port=broker.port)) as daemon:
            daemon.ready()
            sensors.publish(
                "zigbee2mqtt/boiler", {"temperature": 55.0, "last_seen": now_ms - 1000}
            ).wait_for_publish(30)
            until(
                lambda: daemon.events("figures") and daemon.last_figures()["scored"] == 1,
                60,
                daemon.log_path.read_text,
            )
            assert daemon.stop() == 0
            figures = daemon.last_figures()
    assert figures["dropped"] == {"stale": 1}
    assert figures["unread"] == {"retained": 1}
    assert figures["rejected"] == {}
    assert figures["readings"] == 2
    assert upstream.documents("/alert") == []
    assert "alert_raised" not in [event["event"] for event in daemon.events()]


TWICE = """
gateway: {{id: gw-1, state_dir: state, figures_interval_s: 1}}
brokers:
  local: {{host: 127.0.0.1, port: {port}, reconnect_min_s: 0.1, reconnect_max_s: 1}}
streams:
  line:
    from: local
    topic: "plant/{{line}}/temp"
    device: probe
    format: number
    channels: {{temperature: {{}}}}
    publish: {{to: local, topic: "out/{{stream}}/{{line}}"}}
  all:
    from: local
    topic: "plant/line1/#"
    device: probe
    format: number
    channels: {{temperature: {{}}}}
    publish: {{to: local, topic: "out/{{stream}}"}}
"""


def test_case_01_overlapping_filters_double_nothing_through_restarts_of_the_broker(tmp_path, make_broker):
    broker = make_broker()
    with Daemon(tmp_path, TWICE.format(port=broker.port)) as daemon:
        daemon.ready()
        for number, value in enumerate((20.1, 20.2, 20.3, 20.4)):
            if number:
                broker.stop()
                broker.start()
                daemon.wait_for("link_opened", count=2 * (number + 1))
            told = len(daemon.events("figures"))  # those that come now know of the new link
            until(
                lambda told=told: any(
                    event["is_subscribed"] for event in daemon.events("figures")[told + 1 :]
                ),
                60,
                daemon.log_path.read_text,
            )
            with Client(broker.port) as sensors:
                sensors.publish("plant/line1/temp", json.dumps(value)).wait_for_publish(30)
                until(
                    lambda number=number: daemon.last_figures()["messages"] == number + 1,
                    60,
                    daemon.log_path.read_text,
                )
        assert daemon.stop() == 0
        figures = daemon.last_figures()
    # each of the four messages is one reading of either stream, never two
    assert (figures["messages"], figures["copies"], figures["readings"]) == (4, 4, 8)
