"""Sensors as the example configurations expect them: healthy by the same noise every time, and what happens to them.

Each gives its messages as (topic, payload); ``at`` is seconds since the Unix epoch, some time ago, so that hours pass
in a moment.
"""

import base64
import math
import random
from datetime import UTC, datetime

import cbor2

from tests.support import sparkplug
from tests.support.plant import as_json

START_S = 1_740_787_200  # 2025-03-01T00:00:00Z


def iso(at):
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class ZigbeeHome:
    """Zigbee2MQTT with climate sensors and metering plugs, as its documentation shows their messages."""

    def __init__(self, *, climate, plugs, unit="°C"):
        self._noise = random.Random(7)
        self._climate, self._plugs, self._unit = climate, plugs, unit

    def retained(self):
        """What its broker keeps: the bridge's own state, the definitions, who is there."""
        yield "zigbee2mqtt/bridge/state", b'{"state":"online"}'
        yield "zigbee2mqtt/bridge/devices", as_json(self._definitions())
        for name in (*self._climate, *self._plugs):
            yield f"zigbee2mqtt/{name}/availability", b'{"state":"online"}'

    def _definitions(self):
        def numeric(**units):
            return [
                {"type": "numeric", "name": name, "property": name, "access": 1, "unit": unit}
                for name, unit in units.items()
            ]

        yield_of = {
            **{
                name: numeric(temperature=self._unit, humidity="%", battery="%", voltage="mV")
                for name in self._climate
            },
            **{
                name: [
                    *numeric(power="W", voltage="V", current="A", energy="kWh"),
                    {"type": "switch", "features": [{"type": "binary", "property": "state"}]},
                ]
                for name in self._plugs
            },
        }
        return [
            {"ieee_address": "0x00124b0024c1", "friendly_name": "Coordinator", "type": "Coordinator"},
            *(
                {
                    "ieee_address": f"0xa4c138{index:06x}",
                    "friendly_name": name,
                    "type": "EndDevice",
                    "definition": {"model": "SNZB-02", "vendor": "SONOFF", "exposes": exposes},
                }
                for index, (name, exposes) in enumerate(yield_of.items())
            ),
        ]

    def climate(self, name, at, *, temperature=None, humidity=None):
        noise = self._noise
        return f"zigbee2mqtt/{name}", as_json(
            {
                "battery": 87,
                "humidity": round(45 + noise.uniform(-4, 4) if humidity is None else humidity, 2),
                "last_seen": iso(at),
                "linkquality": noise.randint(80, 140),
                "temperature": round(5 + noise.uniform(-1.5, 1.5) if temperature is None else temperature, 2),
                "voltage": 2900,
            }
        )

    def plug(self, name, at, *, power=None):
        noise = self._noise
        drawn = noise.choice([0.0, 3.2, noise.uniform(80, 120), 1900.0]) if power is None else power
        return f"zigbee2mqtt/{name}", as_json(
            {
                "current": round(drawn / 230, 2),
                "energy": 12.34,
                "last_seen": iso(at),
                "linkquality": 110,
                "power": round(drawn, 1),
                "state": "ON",
                "update": {"state": "idle"},
                "voltage": noise.randint(228, 232),
            }
        )


class SparkplugNode:
    """An edge node with presses: births with names and units, then aliases only, by exception."""

    PRESSURE, OIL = 1, 2

    def __init__(self, group, node, presses):
        self._group, self._node, self.presses = group, node, presses
        self._noise = random.Random(11)
        self._seq = 0
        self.session = 0

    def topic(self, kind, device=""):
        return "/".join(part for part in ("spBv1.0", self._group, kind, self._node, device) if part)

    def _next(self):
        self._seq = (self._seq + 1) % 256
        return self._seq

    def born(self, at):
        """Birth of the node, and of its presses."""
        self._seq = 0
        ms = int(at * 1000)
        yield self.topic("NBIRTH"), sparkplug.node_birth(self.session)
        for press in self.presses:
            yield (
                self.topic("DBIRTH", press),
                sparkplug.payload(
                    sparkplug.double(
                        180.0, name="Hydraulics/Pressure", alias=self._alias(press, 1), unit="bar"
                    ),
                    sparkplug.double(
                        45.0, name="Hydraulics/OilTemp", alias=self._alias(press, 2), unit="degC"
                    ),
                    sparkplug.metric(
                        "Operator", datatype=sparkplug.STRING, value=("string_value", "early shift")
                    ),
                    seq=self._next(),
                    timestamp=ms,
                ),
            )

    def _alias(self, press, number):
        return 10 * (1 + self.presses.index(press)) + number

    def data(self, press, at, *, pressure=None):
        """What changed in this second: the pressure always, the oil's temperature now and then."""
        return self.topic("DDATA", press), sparkplug.payload(
            *self._metrics(press, at, pressure), seq=self._next(), timestamp=int(at * 1000)
        )

    def history(self, press, instants, *, sent_at):
        """What was stored meanwhile, in one message, each with its own time."""
        metrics = [
            {**metric, "timestamp": int(at * 1000), "is_historical": True}
            for at in instants
            for metric in self._metrics(press, at, None)
        ]
        return self.topic("DDATA", press), sparkplug.payload(
            *metrics, seq=self._next(), timestamp=int(sent_at * 1000)
        )

    def _metrics(self, press, at, pressure):
        value = 180 + self._noise.uniform(-2, 2) if pressure is None else pressure
        yield sparkplug.double(round(value, 2), alias=self._alias(press, self.PRESSURE))
        if at % 10 == 0:
            yield sparkplug.double(
                round(45 + self._noise.uniform(-1, 1), 1), alias=self._alias(press, self.OIL)
            )

    def device_death(self, press, at):
        return self.topic("DDEATH", press), sparkplug.payload(seq=self._next(), timestamp=int(at * 1000))

    def death(self):
        """The node's will, as its broker sends it: no sequence number, the session that it ends."""
        return self.topic("NDEATH"), sparkplug.node_birth(self.session, seq=None)


class EdgeXChillers:
    """Two device services: one speaks JSON in base64 envelopes, as EdgeX does by default, the other CBOR."""

    TOPIC = "edgex/events/device/device-modbus/Chiller/{}/Status"

    def __init__(self):
        self._noise = random.Random(13)

    def json_event(self, device, at, **given):
        event = as_json({"apiVersion": "v3", "requestId": "c0ffee", "event": self._event(device, at, given)})
        envelope = {
            "apiVersion": "v3",
            "receivedTopic": "",
            "correlationID": "a5",
            "requestID": "",
            "errorCode": 0,
            "payload": base64.b64encode(event).decode(),
            "contentType": "application/json",
        }
        return self.TOPIC.format(device), as_json(envelope)

    def cbor_event(self, device, at, **given):
        return self.TOPIC.format(device), cbor2.dumps(
            {"apiVersion": "v3", "event": self._event(device, at, given)}
        )

    def _event(self, device, at, given):
        noise = self._noise
        values = {
            "SupplyTemp": (7 + noise.uniform(-0.4, 0.4), "Float32", "Cel"),
            "ReturnTemp": (12 + noise.uniform(-0.6, 0.6), "Float32", "degC"),
            "CompressorCurrent": (120 + noise.uniform(-8, 8), "Float64", "A"),
        }
        origin = int(at * 1000) * 10**6
        common = {"deviceName": device, "profileName": "Chiller", "origin": origin}
        readings = [
            {
                **common,
                "id": "7e",
                "resourceName": name,
                "valueType": kind,
                "value": f"{given.get(name, value):e}",
                "units": unit,
            }
            for name, (value, kind, unit) in values.items()
        ]
        mode = {**common, "resourceName": "Mode", "valueType": "String", "value": "auto"}
        return {
            **common,
            "apiVersion": "v3",
            "id": "f1",
            "sourceName": "Status",
            "readings": [*readings, mode],
        }


class Wearables:
    """Straps with a heart rate and motion, each a second apart, on two topics; a battery now and then."""

    def __init__(self):
        self._noise = random.Random(17)

    def second(self, device, at, *, bpm=None, rms=None):
        """What a strap says in one second."""
        noise = self._noise
        rate = round(64 + 3 * math.sin(at / 9) + noise.uniform(-2, 2)) if bpm is None else bpm
        motion = abs(noise.gauss(0.3, 0.1)) if rms is None else rms
        yield f"wearable/{device}/heart_rate", as_json({"time": int(at * 1000) + 250, "bpm": rate})
        yield f"wearable/{device}/motion", as_json({"time": int(at * 1000) + 700, "rms": round(motion, 3)})
        if at % 60 == 0:
            yield f"wearable/{device}/battery", as_json({"time": int(at * 1000) + 800, "percent": 81})


class RoadSite:
    """Loop detectors of a road's lanes, once a minute; traffic comes and goes with the day."""

    def __init__(self, site, lanes):
        self._site, self._lanes = site, lanes
        self._noise = random.Random(19)

    def minute(self, at, *, blocked=(), empty=(), status="ok"):
        return f"traffic/{self._site}/detectors", as_json(
            {
                "time": iso(at),
                "interval_s": 60,
                "detectors": [
                    {"id": lane, **self._lane(at, lane in blocked, lane in empty), "status": status}
                    for lane in self._lanes
                ],
            }
        )

    def _lane(self, at, is_blocked, is_empty):
        noise = self._noise
        if is_empty:
            return {"flow": 0, "occupancy": 0.0, "speed": None}
        if is_blocked:
            return {
                "flow": 60 * noise.randint(0, 2),
                "occupancy": 88.5,
                "speed": round(noise.uniform(2, 6), 1),
            }
        busy = 0.5 - 0.5 * math.cos(2 * math.pi * at / 86400)  # from midnight to midnight
        flow = max(60 * round((300 + 900 * busy) / 60 + noise.gauss(0, 3)), 60)
        speed = 118 - 14 * busy + noise.gauss(0, 3)
        return {"flow": flow, "occupancy": round(flow / speed * 0.6, 1), "speed": round(speed, 1)}
