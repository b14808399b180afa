"""Shelly, second generation and later: JSON-RPC notifications and status topics.

``pump/events/rpc  {"src":…,"method":"NotifyStatus","params":{"ts":1741944413.59,"switch:0":{"id":0,"apower":0.0}}}``
and ``pump/status/switch:0  {"id":0,"apower":0.0}`` both give ``pump`` ``switch:0.apower`` 0.0 W.

The device is what stands before ``/events/rpc`` or ``/status/`` (its topic prefix, which may hold slashes). A
notification carries only what changed, with the time in ``ts``; a status topic carries no time of its readings.
Events of buttons and answers to requests are not telemetry. Sensors that a Shelly hears over Bluetooth are commonly
passed on by a script, ``blu-publisher.js``: ``shelly-blu/events/{MAC address}  {"temperature":17,"rssi":-92}``. There
the device is the address.

Reference:
    https://shelly-api-docs.shelly.cloud/gen2/General/Notifications, .../ComponentsAndServices/Mqtt
"""

import re
from collections.abc import Mapping

from gatewayd.errors import RejectedInputError
from gatewayd.formats.leaves import Path, leaves, parse_object
from gatewayd.formats.sample import Sample, Samples
from gatewayd.formats.timestamp import to_ns

_NOTIFICATIONS = ("NotifyStatus", "NotifyFullStatus")
_ADDRESS = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}", re.IGNORECASE)
_NO_READINGS = frozenset({"id", "ts", "minute_ts", "last_sync_ts", "unixtime", "pid", "BTHome_version"})
_UNITS = {
    "apower": "W",
    "act_power": "W",
    "aprt_power": "VA",
    "voltage": "V",
    "current": "A",
    "freq": "Hz",
    "tC": "°C",
    "tF": "°F",
    "rh": "%",
    "percent": "%",
    "V": "V",
    "rssi": "dBm",
    "lux": "lx",
    "illuminance": "lx",
    "battery": "%",
    "humidity": "%",
    "temperature": "°C",
    "uptime": "s",
    "total_act": "Wh",
    "total_act_ret": "Wh",
}
_PHASE = re.compile(r"(?:[abcn]|total)_(.+)")


class ShellyFormat:
    """Reads Shelly's messages. Keeps nothing between them."""

    def decode(self, topic: str, payload: bytes, *, arrived_at: int) -> Samples:  # noqa: ARG002  # the Protocol's
        """Decode one message; see ``SampleFormat``. Errors: those of ``leaves``, ``no_params``."""
        try:
            return _decode(topic, payload)
        except RejectedInputError as error:
            return Samples(errors=(error.reason,))


def _decode(topic: str, payload: bytes) -> Samples:
    above, _, last = topic.rpartition("/")
    if last == "online":
        return Samples(offline=(above,)) if payload == b"false" else Samples()
    if not payload:
        return Samples()  # a cleared topic
    if topic.endswith("/events/rpc"):
        return _notification(topic.removesuffix("/events/rpc"), parse_object(payload))
    if above.endswith("/status"):
        return _samples(above.removesuffix("/status"), parse_object(payload), taken_at=None, prefix=(last,))
    if above.endswith("/events") and _ADDRESS.fullmatch(last):
        return _samples(last, parse_object(payload), taken_at=None)
    return Samples()  # answers, commands, announcements


def _notification(device: str, document: Mapping[str, object]) -> Samples:
    if document.get("method") not in _NOTIFICATIONS:
        return Samples()
    params = document.get("params")
    if not isinstance(params, dict):
        return Samples(errors=("no_params",))
    return _samples(device, params, taken_at=_time(params.get("ts")))


def _time(stamp: object) -> int | None:
    try:
        return to_ns(stamp, "s")
    except RejectedInputError:
        return None  # its clock was never set


def _samples(
    device: str, document: Mapping[str, object], *, taken_at: int | None, prefix: Path = ()
) -> Samples:
    return Samples(
        samples=tuple(
            Sample(device=device, channel=".".join(path), value=value, unit=_unit(path), taken_at=taken_at)
            for path, value in ((prefix + path, value) for path, value in leaves(document))
            if path[-1] not in _NO_READINGS
        )
    )


def _unit(path: Path) -> str | None:
    names = [part for part in path if not part.isdecimal()]
    name = names[-1] if names else ""
    parent = names[-2] if len(names) > 1 else ""
    if parent.endswith("aenergy"):
        return {"total": "Wh", "by_minute": "mWh"}.get(name)
    phase = _PHASE.fullmatch(name)
    return _UNITS.get(name) or (_UNITS.get(phase.group(1)) if phase else None)
