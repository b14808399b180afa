"""Zigbee2MQTT: the state of a device as one JSON object, or as one topic per value.

``zigbee2mqtt/upstairs/bed room/climate  {"humidity":51.2,"last_seen":1741944412731,"temperature":19.04}`` gives
``upstairs/bed room/climate`` ``humidity`` 51.2 %, ``temperature`` 19.04 °C, taken at ``last_seen``.

The device is its friendly name, slashes and all. A voltage is V at a mains plug and mV at a battery: the definitions
that the bridge keeps in ``bridge/devices`` say which, for every property; before they have come, the names that
Zigbee2MQTT itself gives these units decide, and for the voltage the message: a battery beside it, or a power.
``action`` is an event, ``update…`` is not telemetry, ``…/set`` and ``…/get`` are somebody else's.

Reference:
    https://www.zigbee2mqtt.io/guide/usage/mqtt_topics_and_messages.html, .../exposes.html
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

from gatewayd.domain.state import State, Value, as_state
from gatewayd.errors import RejectedInputError
from gatewayd.formats.leaves import leaves, parse_object
from gatewayd.formats.remembered import MAX_TEXT, Remembered, as_text, as_text_or_none
from gatewayd.formats.sample import Sample, Samples
from gatewayd.formats.scalar import text_number
from gatewayd.formats.timestamp import to_ns

Output = Literal["json", "attribute", "attribute_and_json"]

_MAX_DEFINITIONS_BYTES = 16 * 1_048_576  # some kB per device
_MAX_EXPOSES = 512  # properties of one device
_NO_READINGS = ("last_seen", "update", "device.", "action")
_UNITS = {
    "ac_frequency": "Hz",
    "battery": "%",
    "co2": "ppm",
    "color_temp": "mired",
    "current": "A",
    "current_heating_setpoint": "°C",
    "device_temperature": "°C",
    "energy": "kWh",
    "humidity": "%",
    "illuminance": "lx",
    "illuminance_lux": "lx",
    "linkquality": "lqi",
    "local_temperature": "°C",
    "occupied_heating_setpoint": "°C",
    "pm25": "µg/m³",
    "position": "%",
    "power": "W",
    "power_apparent": "VA",
    "power_reactive": "VAR",
    "pressure": "hPa",
    "soil_moisture": "%",
    "temperature": "°C",
}
_SWITCH = {b"ON": 1.0, b"OFF": 0.0, b"true": 1.0, b"false": 0.0}

_COMMAND = re.compile(r"/[sg]et(?:/[^/]*)?\Z")

Units = Mapping[str, str | None]


class _Expose(msgspec.Struct, gc=False):
    property: str | None = None
    unit: str | None = None
    features: list["_Expose"] = []


class _Definition(msgspec.Struct, gc=False):
    exposes: list[_Expose] = []


class _Device(msgspec.Struct, gc=False):
    friendly_name: str
    definition: _Definition | None = None


_parse_devices = msgspec.json.Decoder(list[_Device]).decode


class Zigbee2MqttFormat:
    """Reads Zigbee2MQTT's messages. Keeps the units of each device's properties, of at most 4,096 devices.

    Args:
        base: Zigbee2MQTT's base topic; None: the first level, whatever it is.
        output: As in Zigbee2MQTT's configuration. With both, the objects are read.
    """

    def __init__(self, *, base: str | None = None, output: Output = "json") -> None:
        self._base = base
        self._output = output
        self._units: Remembered[Units] = Remembered()

    def decode(self, topic: str, payload: bytes, *, arrived_at: int) -> Samples:  # noqa: ARG002  # the Protocol's
        """Decode one message; see ``SampleFormat``.

        Errors: those of ``leaves``, ``unknown_topic`` (not below the base), ``not_definitions``.
        """
        try:
            return self._decode(topic, payload)
        except RejectedInputError as error:
            return Samples(errors=(error.reason,))

    def state(self) -> State:
        """Copy out the units; see ``RememberingFormat``."""
        return {"units": self._units.state(dict)}

    def restore(self, state: State) -> None:
        """Know these units; see ``RememberingFormat``."""
        self._units.restore(state.get("units"), _unpacked)

    def _decode(self, topic: str, payload: bytes) -> Samples:
        base = topic.partition("/")[0] if self._base is None else self._base
        name = topic.removeprefix(f"{base}/")
        if not name or len(name) == len(topic):
            raise RejectedInputError("unknown_topic")
        if name.startswith("bridge/"):
            if name == "bridge/devices" and payload:
                self._learn(payload)
            return Samples()
        device, _, last = name.rpartition("/")
        if last == "availability" and device:
            return Samples(offline=(device,)) if _is_offline(payload) else Samples()
        if not payload or _is_command(name):
            return Samples()  # not payload: a cleared topic
        if self._output == "attribute":
            return self._attribute(device, last, payload)
        if self._output == "attribute_and_json" and not payload.lstrip().startswith(b"{"):
            return Samples()  # the same value comes in the object
        return self._object(name, parse_object(payload))

    def _learn(self, payload: bytes) -> None:
        """Take note of the units in the bridge's list of devices."""
        if len(payload) > _MAX_DEFINITIONS_BYTES:
            raise RejectedInputError("too_large")
        try:
            for device in _parse_devices(payload):
                exposes = device.definition.exposes if device.definition else []
                self._units.store(device.friendly_name, _units(exposes))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise RejectedInputError("not_definitions") from error

    def _attribute(self, device: str, attribute: str, payload: bytes) -> Samples:
        if not device or attribute.startswith(_NO_READINGS):
            return Samples()
        value = _SWITCH.get(payload)
        if value is None:
            value = _plain_number(payload)
        if value is None:
            return Samples()  # a mode, an effect, an absent value: this output has no other way to say them
        unit = self._unit(device, attribute, {})
        return Samples(
            samples=(Sample(device=device, channel=attribute, value=value, unit=unit, taken_at=None),)
        )

    def _object(self, device: str, document: Mapping[str, object]) -> Samples:
        taken_at = _last_seen(document)
        found = ((".".join(path), value) for path, value in leaves(document, switches=True))
        return Samples(
            samples=tuple(
                Sample(
                    device=device,
                    channel=channel,
                    value=value,
                    unit=self._unit(device, channel, document),
                    taken_at=taken_at,
                )
                for channel, value in found
                if not channel.startswith(_NO_READINGS)
            )
        )

    def _unit(self, device: str, channel: str, document: Mapping[str, object]) -> str | None:
        known = self._units.get(device)
        if known is not None and channel in known:
            return known[channel]
        if channel != "voltage":
            return _UNITS.get(channel)
        if "battery" in document or "battery_low" in document:
            return "mV"
        return "V" if document.keys() & {"power", "current", "energy"} else None


def _last_seen(document: Mapping[str, object]) -> int | None:
    try:
        return to_ns(document.get("last_seen"), "auto")
    except RejectedInputError:
        return None


def _is_offline(payload: bytes) -> bool:
    if payload == b"offline":
        return True
    try:
        return parse_object(payload).get("state") == "offline"
    except RejectedInputError:
        return False


def _is_command(name: str) -> bool:
    """Tell ``device/set``, ``device/set/state``, ``device/get``; no friendly name may end so."""
    return _COMMAND.search(name) is not None


def _plain_number(payload: bytes) -> float | None:
    try:
        value = text_number(payload.decode())
    except (UnicodeDecodeError, RejectedInputError):
        return None
    return None if math.isnan(value) else value


def _units(exposes: list[_Expose]) -> Units:
    units: dict[str, str | None] = {}
    for expose in _flat(exposes):
        if expose.property and len(units) < _MAX_EXPOSES and _is_sane(expose):
            units[expose.property] = expose.unit
    return units


def _is_sane(expose: _Expose) -> bool:
    return all(len(text) <= MAX_TEXT for text in (expose.property, expose.unit) if text is not None)


def _unpacked(value: Value) -> Units:
    units = {as_text(name): as_text_or_none(unit) for name, unit in as_state(value).items()}
    if len(units) > _MAX_EXPOSES:
        raise ValueError(f"expected at most {_MAX_EXPOSES} properties of a device, not {len(units)}")
    return units


def _flat(exposes: list[_Expose]) -> Iterator[_Expose]:
    for expose in exposes:
        yield expose
        yield from _flat(expose.features)
