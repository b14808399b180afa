"""Ecosystems are known by what only they have, and claim no topics of others."""

import json

import pytest

from gatewayd.workbench.families import Families, Kind
from tests.support.discovered import overhear


def families(*said):
    heard = [(float(index), topic, payload.encode(), False) for index, (topic, payload) in enumerate(said)]
    return Families.among(overhear(heard))


def kind(topic, *said):
    return families(*said).kind_of(topic)


@pytest.mark.parametrize(
    ("topic", "giveaway", "expected"),
    [
        ("spBv1.0/G/DDATA/n/d", (), Kind(format="sparkplug_b", root="spBv1.0/G")),
        ("spBv1.0/STATE/host", (), None),
        ("homie/d/n/p", [("homie/d/$state", "ready")], Kind(format="homie", root="homie")),
        (
            "my/base/d/n/p",
            [("my/base/d/n/p/$datatype", "float")],
            Kind(format="homie", options=(("base", "my/base"),), root="my/base"),
        ),
        ("homie/d/n/p", (), Kind(format="homie", root="homie")),
        ("homie/d/p", [("other/d/$state", "ready")], None),
        ("zigbee2mqtt/d", [("zigbee2mqtt/d", "{}")], Kind(format="zigbee2mqtt", root="zigbee2mqtt")),
        (
            "v3/app/devices/d/join",
            [("v3/app/devices/d/join", '{"end_device_ids":{}}')],
            Kind(format="ttn_v3"),
        ),
        ("v3/app/devices/d/up", [("v3/app/devices/d/up", '{"temp":3}')], None),
        ("z/dev", [("z/bridge/state", "online"), ("z/dev", "{}")], Kind(format="zigbee2mqtt", root="z")),
        (
            "a/z/dev",
            [("a/z/bridge/info", "{}")],
            Kind(format="zigbee2mqtt", options=(("base", "a/z"),), root="a/z"),
        ),
        (
            "z/dev/power",
            [("z/bridge/state", "online"), ("z/dev/power", "3")],
            Kind(format="zigbee2mqtt", options=(("output", "attribute"),), root="z"),
        ),
        (
            "z/dev/power",
            [("z/bridge/state", "online"), ("z/dev/power", "3"), ("z/dev", '{"power":3}')],
            Kind(format="zigbee2mqtt", options=(("output", "attribute_and_json"),), root="z"),
        ),
        ("tele/d/SENSOR", [("tele/d/STATE", '{"Time":"2025-01-01T00:00:00"}')], Kind(format="tasmota")),
        ("d/tele/SENSOR", [("d/tele/SENSOR", '{"Time":"2025-01-01T00:00:00"}')], Kind(format="tasmota")),
        ("tele/d/SENSOR", [("tele/d/SENSOR", '{"temp":3}')], None),
        ("s/status/em:0", [("s/events/rpc", '{"method":"NotifyStatus"}')], Kind(format="shelly_gen2")),
        ("s/events/rpc", [("s/status/temperature:100", '{"id":100}')], Kind(format="shelly_gen2")),
        ("s/status/x", [("s/status/x", '{"id":1}')], None),
        ("shelly-blu/events/aa", (), Kind(format="shelly_gen2")),
        ("w/debug", [("w/sensor/t/state", "7.6")], Kind(format="esphome")),
        ("home/w/sensor/t/state", [("home/w/sensor/t/state", "7.6")], Kind(format="esphome")),
        ("w/sensor/t/state", [("w/sensor/t/state", '{"v":7.6}')], None),
        ("w/fan/a/state", [("w/fan/a/state", "ON")], Kind(format="esphome")),
        ("home/w/fan/a/state", [("home/w/fan/a/state", "ON")], None),
        ("z/dev", [("z/bridge/state", "online"), ("z/dev", "off")], Kind(format="zigbee2mqtt", root="z")),
        ("homeassistant/sensor/t/state", [("homeassistant/sensor/t/state", "7.6")], None),
    ],
)
def test_a_topic_belongs_where_something_gives_it_away(topic, giveaway, expected):
    assert kind(topic, *giveaway) == expected


def test_discovery_messages_give_units_and_are_no_readings():
    one = {"stat_t": "~/t", "~": "w", "unit_of_meas": "°C", "uniq_id": "t"}
    other = {"state_topic": "p/~", "~": "w", "unit_of_measurement": "hPa", "unique_id": "p"}
    found = families(
        ("homeassistant/sensor/a/config", json.dumps(one)),
        ("homeassistant/sensor/b/config", json.dumps(other)),
        ("homeassistant/sensor/c/config", '{"interval":3}'),
        ("homeassistant/sensor/d/config", "[1"),
    )
    assert found.units == {"w/t": "°C", "p/w": "hPa"}
    assert found.discovery == {"homeassistant/sensor/a/config", "homeassistant/sensor/b/config"}
    assert found.kind_of("homeassistant/sensor/a/config") is None


def test_with_esphome_discovery_is_its_own():
    found = families(
        ("homeassistant/sensor/a/config", '{"stat_t":"w/sensor/t/state"}'), ("w/sensor/t/state", "7.6")
    )
    assert found.kind_of("homeassistant/sensor/a/config") == Kind(format="esphome")
