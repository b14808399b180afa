"""Tasmota: telemetry as JSON under ``tele/``, switches as text under ``stat/``.

``tele/kitchen/SENSOR  {"Time":"2025-03-14T10:26:50","AM2301":{"Temperature":21.4,"Humidity":48.7},"TempUnit":"C"}``
gives ``kitchen`` ``AM2301.Temperature`` 21.4 °C and ``AM2301.Humidity`` 48.7 %.

``Time`` is the device's local time, mostly without offset; ``Epoch``, where the device sends it, needs no time zone.
Units of temperature, pressure and wind stand in the message and are never assumed: ``°F`` and ``inHg`` are common.
Answers to commands (``stat/…/RESULT``) repeat or aren't telemetry, and the texts under ``cmnd/`` are somebody else's.

Reference:
    https://tasmota.github.io/docs/MQTT/ and its pages of the drivers.
"""

import re
from collections.abc import Mapping

from gatewayd.errors import RejectedInputError
from gatewayd.formats.leaves import Path, leaves, parse_object
from gatewayd.formats.local_time import find_zone, local_ns
from gatewayd.formats.sample import Sample, Samples
from gatewayd.formats.timestamp import to_ns

_PREFIXES = ("tele", "stat", "cmnd")
_POWER = re.compile(r"POWER[0-9]{0,2}")
_ON_OFF = {b"ON": 1.0, b"OFF": 0.0}

# By the last name of the path that is no index.
_UNITS = {
    "Humidity": "%",
    "Battery": "%",
    "Moisture": "%",
    "Illuminance": "lx",
    "CarbonDioxide": "ppm",
    "eCO2": "ppm",
    "TVOC": "ppb",
    "Distance": "cm",
    "Frequency": "Hz",
    "Vcc": "V",
    "Signal": "dBm",
    "UptimeSec": "s",
}
_ENERGY_UNITS = {
    "Total": "kWh",
    "Yesterday": "kWh",
    "Today": "kWh",
    "ExportActive": "kWh",
    "ImportActive": "kWh",
    "ExportReactive": "kvarh",
    "ImportReactive": "kvarh",
    "Period": "Wh",
    "Power": "W",
    "ApparentPower": "VA",
    "ReactivePower": "var",
    "Voltage": "V",
    "Current": "A",
}
_TEMPERATURES = frozenset({"Temperature", "DewPoint", "HeatIndex", "OBJTMP", "AMBTMP"})
_PRESSURES = frozenset({"Pressure", "SeaPressure"})
_TEMP_UNITS = {"C": "°C", "F": "°F"}


class TasmotaFormat:
    """Reads Tasmota's messages. Keeps nothing between them.

    Args:
        timezone: Of the devices' clocks, such as ``Europe/Berlin``. UTC is Tasmota's own default.

    Raises:
        ValueError: There is no such time zone.
    """

    def __init__(self, *, timezone: str = "UTC") -> None:
        self._zone = find_zone(timezone)

    def decode(self, topic: str, payload: bytes, *, arrived_at: int) -> Samples:
        """Decode one message; see ``SampleFormat``.

        Errors: those of ``leaves``, ``not_on_or_off``, and ``unknown_topic`` (neither ``tele`` nor ``stat`` nor
        ``cmnd`` where Tasmota's full topic has them).
        """
        place = _place(topic)
        if place is None:
            return Samples(errors=("unknown_topic",))
        prefix, device, kind = place
        if not payload or prefix == "cmnd" or kind.startswith("INFO"):
            return (
                Samples()
            )  # a cleared topic; somebody's command; versions and addresses, once after a start
        if kind == "LWT":
            return Samples(offline=(device,)) if payload == b"Offline" else Samples()
        if prefix == "stat":
            return _power(device, kind, payload)
        try:
            return self._telemetry(device, kind, parse_object(payload), arrived_at)
        except RejectedInputError as error:
            return Samples(errors=(error.reason,))

    def _telemetry(self, device: str, kind: str, document: Mapping[str, object], arrived_at: int) -> Samples:
        taken_at = self._taken_at(document, arrived_at)
        return Samples(
            samples=tuple(
                Sample(
                    device=device,
                    channel=".".join(path),
                    value=value,
                    unit=_unit(path, kind, document),
                    taken_at=taken_at,
                )
                for path, value in leaves(document, switches=True)
                if path != ("Time",)
            )
        )

    def _taken_at(self, document: Mapping[str, object], arrived_at: int) -> int | None:
        """Return when; None where the device doesn't say, or can't know yet (1970)."""
        stamp = document.get("Epoch", document.get("Time"))
        try:
            if isinstance(stamp, str):
                return local_ns(stamp, self._zone, arrived_at=arrived_at).taken_at
            return to_ns(stamp, "s")  # the command Time 3 makes it so
        except RejectedInputError:
            return None


def _place(topic: str) -> tuple[str, str, str] | None:
    """Split a topic into prefix, device and kind; the prefix leads, or stands before the kind (full topic)."""
    *levels, kind = topic.split("/")
    for index in (0, len(levels) - 1):
        if len(levels) > 1 and levels[index] in _PREFIXES:
            prefix = levels.pop(index)
            return prefix, "/".join(levels), kind
    return None


def _power(device: str, kind: str, payload: bytes) -> Samples:
    if not _POWER.fullmatch(kind):
        return Samples()  # answers to commands
    value = _ON_OFF.get(payload)
    if value is None:
        return Samples(errors=("not_on_or_off",))
    return Samples(samples=(Sample(device=device, channel=kind, value=value, unit=None, taken_at=None),))


def _unit(path: Path, kind: str, document: Mapping[str, object]) -> str | None:
    names = [part for part in path if not part.isdecimal()]
    name = names[-1] if names else ""
    if name in _TEMPERATURES:
        temperature = document.get("TempUnit")
        return _TEMP_UNITS.get(temperature) if isinstance(temperature, str) else None
    if name in _PRESSURES:
        return _stated(document.get("PressureUnit"))
    if names[:1] == ["Wifi"] and name == "RSSI":
        return "%"  # here it is a quality; Signal has the dBm
    if name == "RSSI":
        return "dBm"
    if ("ENERGY" in names or kind == "ENERGY") and name in _ENERGY_UNITS:
        return _ENERGY_UNITS[name]
    return _UNITS.get(name)


def _stated(unit: object) -> str | None:
    return unit if isinstance(unit, str) and unit else None
