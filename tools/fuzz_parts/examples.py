"""What is fuzzed: every format, with the options that change how it reads, its topics, and some good messages."""

import io
import json
from collections.abc import Iterator

from tools.fuzz_parts.png import mended
from tools.fuzz_parts.target import ARRIVAL_NS, Messages, Target


def _json(*documents: object, topic: int = 0) -> Messages:
    return tuple((topic, json.dumps(document).encode()) for document in documents)


def _text(*texts: str) -> Messages:
    return tuple((0, text.encode()) for text in texts)


_T = ARRIVAL_NS // 10**9
_ISO = "2025-03-14T09:26:53.250Z"
_TREE = {"motor": {"temp": 21.5, "on": True, "name": "x", "none": None}, "amps": [1.2, -3e-4], "ts": _T}
_SENML: list[dict[str, object]] = [
    {"bn": "dev7/", "bt": _T, "bu": "Cel", "bver": 10, "n": "t1", "t": -2, "v": 21.5},
    {"n": "on", "vb": True, "s": 3},
    {"n": "name", "vs": "x"},
]
_READING = {"resourceName": "Temp", "valueType": "Float32", "value": "6.84e+00", "units": "Cel"}
_EVENT = {
    "apiVersion": "v3",
    "deviceName": "chiller-2",
    "sourceName": "all",
    "origin": _T * 10**9,
    "readings": [
        _READING,
        {"resourceName": "P", "valueType": "Int16Array", "value": "[1, -2]"},
        {"resourceName": "On", "valueType": "Bool", "value": "true"},
        {"resourceName": "O", "valueType": "Object", "objectValue": {"a": 1}},
    ],
}
_LIST = {
    "timestamp": _T * 1000,
    "values": [
        {"id": "in", "v": 4.21, "q": True, "t": _T * 1000, "u": "bar"},
        {"id": "out", "v": "3.98", "q": "Good", "t": _ISO},
    ],
}
_UPLINK = {
    "end_device_ids": {"device_id": "soil-04"},
    "received_at": _ISO,
    "uplink_message": {
        "decoded_payload": {"temp": 8.9, "ok": True},
        "received_at": _ISO,
        "settings": {"time": _ISO},
    },
}
_TASMOTA = {
    "Time": "2025-03-30T02:30:00",
    "AM2301": {"Temperature": 21.4, "Humidity": 48.7},
    "ENERGY": {"Power": [1, 2], "Total": 1.5},
    "Switch1": "ON",
    "TempUnit": "C",
}
_SHELLY = {
    "src": "x",
    "method": "NotifyStatus",
    "params": {"ts": _T + 0.5, "switch:0": {"id": 0, "apower": 1.5}},
}
_CLOUD_EVENT = {
    "specversion": "1.0",
    "id": "1",
    "source": "s",
    "subject": "p1",
    "time": _ISO,
    "data": {"c": 22.4},
}
_BRIDGE = [
    {
        "friendly_name": "hall",
        "definition": {
            "exposes": [{"property": "voltage", "unit": "mV"}, {"features": [{"property": "state"}]}]
        },
    }
]
_DISCOVERY = {"state_topic": "node/sensor/t/state", "unit_of_measurement": "°C", "unique_id": "1"}
_ESPHOME_TOPICS = (
    "node/sensor/t/state",
    "node/binary_sensor/door/state",
    "node/switch/pump/state",
    "node/light/lamp/state",
    "homeassistant/sensor/node/t/config",
    "node/status",
    "x",
)
_HOMIE_TOPICS = (
    "homie/pump/motor/temp",
    "homie/pump/motor/temp/$datatype",
    "homie/pump/motor/temp/$unit",
    "homie/pump/motor/temp/$format",
    "homie/pump/$state",
    "homie/$broadcast/x",
    "x",
)
_ZIGBEE_TOPICS = (
    "zigbee2mqtt/hall",
    "zigbee2mqtt/hall/temperature",
    "zigbee2mqtt/bridge/devices",
    "zigbee2mqtt/hall/availability",
    "zigbee2mqtt/hall/set",
    "x",
)
_SPARKPLUG_TOPICS = (
    "spBv1.0/g/NBIRTH/n",
    "spBv1.0/g/DBIRTH/n/d",
    "spBv1.0/g/NDATA/n",
    "spBv1.0/g/DDATA/n/d",
    "spBv1.0/g/NDEATH/n",
    "spBv1.0/g/DDEATH/n/d",
    "spBv1.0/STATE/host",
    "x",
)
_RUUVI_5 = bytes.fromhex("0512fc5394c37c0004fffc040cac364200cdcbb8334c884f")
_RUUVI_3 = bytes.fromhex("03291a1ece1efc18f94202ca0b53")


def _cbor(document: object) -> bytes:
    import cbor2  # noqa: PLC0415  # an extra's package, as with the formats

    return cbor2.dumps(document)


def _cbor_at(value: float) -> bytes:
    import cbor2  # noqa: PLC0415  # as above

    return cbor2.dumps({"ts": cbor2.CBORTag(1, _T), "a": value})


def _messagepack(document: object) -> bytes:
    import msgpack  # noqa: PLC0415  # as above

    packed: bytes = msgpack.packb(document)
    return packed


def _pictures() -> Iterator[Messages]:
    from PIL import Image  # noqa: PLC0415  # as above

    for mode, kind in (
        ("RGB", "JPEG"),
        ("L", "JPEG"),
        ("RGBA", "PNG"),
        ("P", "PNG"),
        ("I;16", "PNG"),
        ("1", "PNG"),
    ):
        file = io.BytesIO()
        Image.new(mode, (5, 3)).save(
            file, kind, exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"
        )
        yield ((0, file.getvalue()),)


def _sparkplug() -> Messages:
    from gatewayd.formats.sparkplug_schema import new_payload  # noqa: PLC0415  # as above

    messages = []
    for sequence, topic in enumerate((0, 1, 3, 2)):
        payload = new_payload()
        payload.timestamp, payload.seq = _T * 1000, sequence
        for name, datatype, value in (("bdSeq", 4, 7), ("temp", 10, 21.5), ("on", 11, True)):
            metric = payload.metrics.add()
            metric.name, metric.datatype, metric.alias = name, datatype, datatype
            setattr(metric, {4: "long_value", 10: "double_value", 11: "boolean_value"}[datatype], value)
        messages.append((topic, payload.SerializeToString()))
    return tuple(messages)


def _plain() -> Iterator[Target]:
    yield Target(
        name="json",
        kind="columns",
        options={"paths": ["motor.temp", "amps.0"], "time_path": "ts"},
        seeds=(_json(_TREE),),
    )
    yield Target(name="number", kind="columns", seeds=(_text("21.5", " ON ", "1e3"),))
    yield Target(name="cloudevents", seeds=(_json(_CLOUD_EVENT),))
    yield Target(name="csv", seeds=(_text('a,b\n1,2\n"3",4\n'),))
    yield Target(
        name="csv",
        options={"columns": ["at", "d", "v"], "delimiter": ";", "decimal": ",", "time": "at", "device": "d"},
        seeds=(_text(f"{_ISO};p1;2,5\r\n{_T};p2;-1"),),
    )
    yield Target(name="flat_json", options={"time": "ts"}, seeds=(_json(_TREE),))
    yield Target(
        name="influx_line",
        seeds=(_text(f'air,device=p1,x\\ y=z t=41.5,n=38i,on=T,s="a\\"b" {_T}000000000\n# c\nair t=1'),),
    )
    yield Target(
        name="json_list",
        options={"list": "values", "channel": "id", "value": "v", "time": "t", "good": "q", "unit": "u"},
        seeds=(_json(_LIST),),
    )
    yield Target(
        name="json_list",
        options={"list": "*.*.s", "device": "/*.*.id", "time": "/*.*.at"},
        seeds=(_json({"devices": [{"id": "p1", "at": _T, "s": [{"a": 1}, {"a": {"b": 2}}]}]}),),
    )
    yield Target(name="ruuvi_raw", seeds=(((0, _RUUVI_5),), ((0, _RUUVI_3),)))
    yield Target(name="senml_json", seeds=(_json(_SENML),))
    yield Target(name="ttn_v3", topics=("v3/app@ttn/devices/soil-04/up", "x"), seeds=(_json(_UPLINK),))


def _homes() -> Iterator[Target]:
    yield Target(
        name="esphome",
        topics=_ESPHOME_TOPICS,
        seeds=(
            (*_json(_DISCOVERY, topic=4), (0, b"21.5")),
            ((1, b"ON"),),
            ((2, b"OFF"),),
            _json({"state": "ON", "brightness": 128}, topic=3),
        ),
    )
    yield Target(
        name="homie",
        topics=_HOMIE_TOPICS,
        seeds=(((1, b"float"), (2, "°C".encode()), (3, b"-20:60"), (0, b"21.5")), ((0, b"true"),)),
    )
    yield Target(
        name="shelly_gen2",
        topics=(
            "pump/events/rpc",
            "pump/status/switch:0",
            "shelly-blu/events/0c:ae:5f:5a:00:01",
            "pump/online",
        ),
        seeds=(_json(_SHELLY), _json({"id": 0, "apower": 2.5}, topic=1), _json({"rssi": -92}, topic=2)),
    )
    yield Target(
        name="tasmota",
        options={"timezone": "Europe/Berlin"},
        topics=("tele/kitchen/SENSOR", "stat/kitchen/POWER1", "kitchen/tele/STATE", "tele/kitchen/LWT", "x"),
        seeds=(_json(_TASMOTA), ((1, b"ON"),), _json(_TASMOTA, topic=2)),
    )
    seeds = (
        (
            *_json(_BRIDGE, topic=2),
            *_json({"voltage": 3000, "battery": 80, "last_seen": _ISO, "state": "ON"}),
        ),
        ((1, b"21.5"),),
    )
    for output in ("json", "attribute", "attribute_and_json"):
        yield Target(
            name="zigbee2mqtt",
            options={"base": "zigbee2mqtt", "output": output},
            topics=_ZIGBEE_TOPICS,
            seeds=seeds[1:] if output == "attribute" else seeds[:1],
        )


def _binary() -> Iterator[Target]:
    """Formats that need a package of the extra ``formats``."""
    tree: dict[object, object] = {**_TREE, "big": 2**63, 7: {"a": 1}}
    labels = {"bver": -1, "bn": -2, "bt": -3, "bu": -4, "n": 0, "v": 2, "vs": 3, "vb": 4, "s": 5, "t": 6}
    senml = [{labels[key]: value for key, value in record.items()} for record in _SENML]
    yield Target(
        name="edgex",
        seeds=(_json(_EVENT), _json({"event": _EVENT}), ((0, _cbor({"payload": _cbor({"event": _EVENT})})),)),
    )
    yield Target(
        name="flat_cbor",
        options={"time": "ts"},
        seeds=(((0, _cbor(tree)),), ((0, _cbor_at(1.5)),)),
    )
    yield Target(name="flat_messagepack", options={"time": "ts"}, seeds=(((0, _messagepack(_TREE)),),))
    yield Target(name="senml_cbor", seeds=(((0, _cbor(senml)),),))
    yield Target(name="sparkplug_b", topics=_SPARKPLUG_TOPICS, seeds=(_sparkplug(),))
    for colours, fit in ((3, "crop"), (1, "letterbox")):
        yield Target(
            name="image",
            kind="columns",
            mend=mended,
            options={"width": 7, "height": 4, "colours": colours, "fit": fit},
            seeds=tuple(_pictures()),
        )


TARGETS: tuple[Target, ...] = (*_plain(), *_homes(), *_binary())
NAMES: tuple[str, ...] = tuple(sorted({target.name for target in TARGETS}))
