"""Sensors of many makes, each with the messages that it really sends: topic, payload, retained."""

import json
import math
import struct
from datetime import UTC, datetime

import cbor2
import msgpack

from tests.support.sparkplug import DOUBLE, double, metric, node_birth, payload

EPOCH_S = 1_764_000_000.0  # of everybody's clock; November 2025

Said = tuple[str, bytes, bool]


def wave(second, low, high, phase=0.0):
    """A value that moves between two limits and never repeats soon."""
    return round(low + (high - low) * (0.5 + 0.5 * math.sin(0.7 * second + phase)), 3)


def as_json(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def iso(second):
    return (
        datetime.fromtimestamp(EPOCH_S + second, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def pumps(second):
    """Plain JSON with a time stamp, three pumps on two lines, beside fans of another kind."""
    for line, pump in (("line1", "pump-1"), ("line1", "pump-2"), ("line2", "pump-3")):
        yield (
            f"site/{line}/{pump}/telemetry",
            as_json(
                {
                    "ts": EPOCH_S + second,
                    "temperature": wave(second, 40, 60, len(pump)),
                    "vibration": wave(second, 0.1, 0.4, 1),
                    "motor": {"current_a": wave(second, 3, 5, 2)},
                    "running": True,
                    "cycles": 100 + int(second),
                }
            ),
            False,
        )


def numbers(second):
    """One topic per value."""
    for boiler in ("b1", "b2"):
        yield f"heat/{boiler}/flow_temperature", str(wave(second, 50, 60)).encode(), False
        yield f"heat/{boiler}/pressure_bar", str(wave(second, 1, 2)).encode(), False
        yield f"heat/{boiler}/mode", b"comfort", False


def zigbee2mqtt(second):
    if second == 0:
        yield "zigbee2mqtt/bridge/state", b'{"state":"online"}', True
        yield (
            "zigbee2mqtt/bridge/devices",
            as_json(
                [
                    {"friendly_name": "Coordinator", "type": "Coordinator", "definition": None},
                    {
                        "friendly_name": "cold store",
                        "definition": {
                            "model": "SNZB-02",
                            "exposes": [
                                {"type": "numeric", "property": "temperature", "unit": "°C"},
                                {"type": "numeric", "property": "humidity", "unit": "%"},
                            ],
                        },
                    },
                ]
            ),
            True,
        )
    for name in ("cold store", "office/climate"):
        yield (
            f"zigbee2mqtt/{name}",
            as_json(
                {
                    "battery": 87,
                    "humidity": wave(second, 40, 50),
                    "linkquality": 120,
                    "temperature": wave(second, 4, 6),
                    "voltage": 2985,
                }
            ),
            False,
        )
    yield (
        "zigbee2mqtt/pump plug",
        as_json(
            {
                "current": wave(second, 1, 2),
                "energy": 12.3 + second / 100,
                "linkquality": 90,
                "power": wave(second, 200, 400),
                "state": "ON",
                "voltage": wave(second, 228, 232),
            }
        ),
        False,
    )
    yield "zigbee2mqtt/pump plug/set", b'{"state":"ON"}', False


def tasmota(second):
    for device in ("washer", "dryer"):
        if second == 0:
            yield f"tele/{device}/LWT", b"Online", True
        yield (
            f"tele/{device}/SENSOR",
            as_json(
                {
                    "Time": iso(second)[:19],
                    "ENERGY": {
                        "TotalStartTime": "2024-11-02T08:15:00",
                        "Total": round(183.4 + second / 1000, 3),
                        "Power": wave(second, 100, 200),
                        "Voltage": wave(second, 229, 231),
                        "Current": wave(second, 0.4, 0.9),
                    },
                }
            ),
            False,
        )
        yield (
            f"tele/{device}/STATE",
            as_json(
                {
                    "Time": iso(second)[:19],
                    "UptimeSec": 100 + int(second),
                    "POWER": "ON",
                    "Wifi": {"RSSI": 74},
                }
            ),
            False,
        )


def shelly(second):
    for device in ("shellyplus1pm-a8032ab1", "shellyplus1pm-a8032ab2"):
        yield (
            f"{device}/status/switch:0",
            as_json(
                {
                    "id": 0,
                    "source": "init",
                    "output": True,
                    "apower": wave(second, 10, 20),
                    "voltage": wave(second, 229, 231),
                    "current": wave(second, 0.1, 0.2),
                    "temperature": {"tC": wave(second, 40, 45), "tF": wave(second, 104, 113)},
                }
            ),
            False,
        )
        yield f"{device}/online", b"true", True


def esphome(second):
    if second == 0:
        for name, unit in (("outside_temperature", "°C"), ("pressure", "hPa")):
            yield (
                f"homeassistant/sensor/weather/{name}/config",
                as_json(
                    {
                        "name": name,
                        "stat_t": f"weather/sensor/{name}/state",
                        "unit_of_meas": unit,
                        "uniq_id": name,
                    }
                ),
                True,
            )
        yield "weather/status", b"online", True
    yield "weather/sensor/outside_temperature/state", str(wave(second, 5, 9)).encode(), False
    yield "weather/sensor/pressure/state", str(wave(second, 990, 1010)).encode(), False
    yield "weather/binary_sensor/rain/state", b"ON" if second % 2 else b"OFF", False
    yield "weather/debug", b"[D][sensor:094]: 'Pressure': Sending state", False


def homie(second):
    if second == 0:
        yield "homie/heatpump/$homie", b"4.0.0", True
        yield "homie/heatpump/$state", b"ready", True
        for name, unit in (("flow-temp", "°C"), ("return-temp", "°C"), ("power", "W")):
            yield f"homie/heatpump/circuit/{name}/$datatype", b"float", True
            yield f"homie/heatpump/circuit/{name}/$unit", unit.encode(), True
        yield "homie/heatpump/circuit/mode/$datatype", b"enum", True
    yield "homie/heatpump/circuit/flow-temp", str(wave(second, 30, 35)).encode(), False
    yield "homie/heatpump/circuit/return-temp", str(wave(second, 25, 28)).encode(), False
    yield "homie/heatpump/circuit/power", str(wave(second, 900, 1100)).encode(), False
    yield "homie/heatpump/circuit/mode", b"heat", False


def sparkplug(second):
    """A node that is born again now and then: who comes late has to hear a birth."""
    at_ms = int((EPOCH_S + second) * 1000)
    if second % 25 == 0:
        yield "spBv1.0/PlantA/NBIRTH/EdgeNode1", node_birth(1), False
        birth = payload(
            double(180.0, name="Hydraulics/Pressure", alias=1, unit="bar"),
            double(40.0, name="Hydraulics/OilTemp", alias=2, unit="°C"),
            seq=1,
            timestamp=at_ms,
        )
        yield "spBv1.0/PlantA/DBIRTH/EdgeNode1/Press7", birth, False
        return
    yield (
        "spBv1.0/PlantA/DDATA/EdgeNode1/Press7",
        payload(
            metric(alias=1, datatype=DOUBLE, value=("double_value", wave(second, 170, 190))),
            metric(alias=2, datatype=DOUBLE, value=("double_value", wave(second, 40, 45))),
            seq=int(second) % 25 + 1,
            timestamp=at_ms,
        ),
        False,
    )


def senml(second):
    for tank in ("tank1", "tank2"):
        yield (
            f"farm/{tank}/senml",
            as_json(
                [
                    {
                        "bn": f"urn:dev:{tank}/",
                        "bt": EPOCH_S + second,
                        "n": "level",
                        "u": "m",
                        "v": wave(second, 1, 3),
                    },
                    {"n": "temp", "u": "Cel", "v": wave(second, 10, 12)},
                ]
            ),
            False,
        )


def senml_cbor(second):
    yield (
        "farm/well/cbor",
        cbor2.dumps(
            [
                {-2: "urn:dev:well:", -3: EPOCH_S + second, 0: "depth", 1: "m", 2: wave(second, 8, 9)},
                {0: "flow", 1: "l/min", 2: wave(second, 10, 20)},
            ]
        ),
        False,
    )


def influx(second):
    at = int((EPOCH_S + second) * 1e9)
    yield (
        "telegraf/press/air",
        (
            f"air,device=press7,hall=2 temperature={wave(second, 40, 45)},humidity={wave(second, 30, 40)} {at}\n"
        ).encode(),
        False,
    )


def edgex(second):
    at = int((EPOCH_S + second) * 1e9)
    yield (
        "edgex/events/device/device-modbus/chiller/chiller-2/all",
        as_json(
            {
                "apiVersion": "v3",
                "id": "c2f3",
                "deviceName": "chiller-2",
                "profileName": "chiller",
                "sourceName": "all",
                "origin": at,
                "readings": [
                    {
                        "deviceName": "chiller-2",
                        "resourceName": name,
                        "profileName": "chiller",
                        "valueType": "Float32",
                        "value": f"{value:e}",
                        "units": unit,
                        "origin": at,
                    }
                    for name, value, unit in (
                        ("SupplyTemp", wave(second, 6, 7), "Cel"),
                        ("ReturnTemp", wave(second, 11, 12), "Cel"),
                    )
                ],
            }
        ),
        False,
    )


def ttn(second):
    for device in ("soil-04", "soil-05"):
        yield (
            f"v3/app1@ttn/devices/{device}/up",
            as_json(
                {
                    "end_device_ids": {"device_id": device, "application_ids": {"application_id": "app1"}},
                    "received_at": iso(second),
                    "uplink_message": {
                        "f_cnt": int(second),
                        "decoded_payload": {
                            "soil_temp": wave(second, 8, 9),
                            "moisture": wave(second, 20, 30),
                        },
                        "received_at": iso(second),
                    },
                }
            ),
            False,
        )


def cloudevents(second):
    yield (
        "cloud/events",
        as_json(
            {
                "specversion": "1.0",
                "id": str(second),
                "source": "mqtt://fleet",
                "type": "reading",
                "subject": "fleet-a/temp-0042",
                "time": iso(second),
                "data": {"celsius": wave(second, 20, 24)},
            }
        ),
        False,
    )


def csv(second):
    yield (
        "logger/out",
        f"time;temp;rh\n{iso(second)};{wave(second, 20, 22)};{wave(second, 40, 45)}\n".encode(),
        False,
    )


def maps(second):
    """CBOR and MessagePack maps."""
    for node in ("0a1b2c3d", "0a1b2c3e"):
        values = {"t": EPOCH_S + second, "temp": wave(second, 20, 22), "vbat_mv": wave(second, 2900, 3000)}
        yield f"lora/{node}/cbor", cbor2.dumps(values), False
        yield f"node/{node}/msgpack", msgpack.packb(values), False


def lists(second):
    """A gateway of a PLC: many samples in one message, each with its own time and quality."""
    at = int((EPOCH_S + second) * 1000)
    yield (
        "kepware/press",
        as_json(
            {
                "timestamp": at,
                "values": [
                    {"id": "press.in", "v": wave(second, 3, 4), "q": True, "t": at - 20},
                    {"id": "press.out", "v": wave(second, 7, 8), "q": True, "t": at - 20},
                ],
            }
        ),
        False,
    )


def ruuvi(second):
    yield (
        "ruuvi/raw",
        struct.pack(
            ">BhHHhhhHBH6s",
            5,
            int(wave(second, 20, 22) / 0.005),
            int(wave(second, 40, 45) / 0.0025),
            int(wave(second, 101_000, 101_300)) - 50_000,
            int(wave(second, -30, 30)),
            int(wave(second, -30, 30, 1)),
            int(wave(second, 980, 1020)),
            (int(wave(second, 2900, 3000)) - 1600) << 5 | 22,
            3,
            int(second) + 100,
            bytes.fromhex("cbb8334c884f"),
        ),
        False,
    )


def own_results(_second):
    yield (
        "gatewayd/old/pump/pump-1/prediction",
        as_json(
            {"id": "a", "gateway": "old", "stream": "pump", "device": "pump-1", "model": "m", "score": 0.3}
        ),
        False,
    )
    yield "gatewayd/old/status", b"online", True


ALL = (
    pumps,
    numbers,
    zigbee2mqtt,
    tasmota,
    shelly,
    esphome,
    homie,
    sparkplug,
    senml,
    senml_cbor,
    influx,
    edgex,
    ttn,
    cloudevents,
    csv,
    maps,
    lists,
    ruuvi,
    own_results,
)


def talk_at(make, second):
    """What a make says in one second, each with the second."""
    return [(second, *said) for said in make(second)]


def talk(makes, seconds):
    """All that these makes say in so many seconds, in order, with the second."""
    return [said for second in range(seconds) for make in makes for said in talk_at(make, float(second))]
