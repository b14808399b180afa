"""Which topics belong to an ecosystem that has its own order of topics: known by topics that nothing else has.

A Zigbee2MQTT is known by its ``bridge/…``, a Homie by its ``$…`` attributes, an ESPHome by ``…/sensor/…/state``; then
all that stands below belongs to it, and its format knows what of that is no reading.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from gatewayd.errors import RejectedInputError
from gatewayd.formats.esphome import KINDS
from gatewayd.formats.leaves import parse_object
from gatewayd.workbench.overheard import Topic

_TASMOTA_PREFIXES = ("tele", "stat", "cmnd")
_TASMOTA_KIND = re.compile(r"SENSOR|STATE|ENERGY|INFO[0-9]|LWT|UPTIME|MARGINS")
_SHELLY_COMPONENT = re.compile(r"[a-z][a-z0-9_]*:[0-9]+")
_SPARKPLUG = re.compile(r"spBv1\.0/([^/]+)/[ND](?:BIRTH|DATA|DEATH|CMD)/.+", re.DOTALL)
_HOMIE_DEVICE = ("$homie", "$state", "$description", "$nodes")
_HOMIE_PROPERTY = ("$datatype", "$unit", "$format")
_HOMIE_SLASHES = 3  # of a value below the base topic that the convention recommends
_HOMIE_PROPERTY_LEVELS = 4  # device, node, property, attribute
_ZIGBEE_BRIDGE = ("devices", "info", "state", "groups", "definitions", "extensions")
_ZIGBEE_BASE = "zigbee2mqtt"
_TTN = re.compile(r"v3/[^/]+/devices/[^/]+/(?:up|join|down/[a-z]+|location/[a-z-]+|service/data)", re.DOTALL)
_ESPHOME_SURE = frozenset({"sensor", "binary_sensor"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How messages are to be read.

    Attributes:
        format: As in the configuration.
        options: Of the format, as in the configuration.
        time: Path of the time stamp, where the configuration has to say it; None: there is none, or no need.
        is_local: The time stamps are texts without an offset from UTC, so may be in local time.
        root: All topics below it belong to this kind; None: only those that were recognised do.
    """

    format: str
    options: tuple[tuple[str, str], ...] = ()
    time: str | None = None
    is_local: bool = False
    root: str | None = None


@dataclass(slots=True)
class Families:
    """What ecosystems there are.

    Attributes:
        units: By topic of a value, as Home Assistant's discovery messages say them.
        discovery: Topics of these messages.
    """

    units: dict[str, str] = field(default_factory=dict)
    discovery: set[str] = field(default_factory=set)
    _homie: set[str] = field(default_factory=set)
    _zigbee: dict[str, set[str]] = field(default_factory=dict)
    _tasmota: set[str] = field(default_factory=set)
    _shelly: set[str] = field(default_factory=set)
    _esphome: set[str] = field(default_factory=set)
    _ttn: set[str] = field(default_factory=set)

    @classmethod
    def among(cls, topics: Iterable[Topic]) -> "Families":
        """Look through all topics for those that give an ecosystem away."""
        found = cls()
        waiting = [topic for topic in topics if topic.kept]
        for topic in waiting:
            found._look_at(topic)
        for topic in waiting:
            found._note_output(topic)
        return found

    def kind_of(self, topic: str) -> Kind | None:
        """Return how a topic is read if it belongs to an ecosystem, else None."""
        if match := _SPARKPLUG.fullmatch(topic):
            return Kind(format="sparkplug_b", root=f"spBv1.0/{match[1]}")
        above = _above(topic)
        for base in above:
            if base in self._homie or (base == "homie" and topic.count("/") == _HOMIE_SLASHES):
                return Kind(format="homie", options=() if base == "homie" else (("base", base),), root=base)
            if base in self._zigbee:
                options = _zigbee_options(base, self._zigbee[base])
                return Kind(format="zigbee2mqtt", options=options, root=base)
        name = self._flat_family(topic, above)
        return None if name is None else Kind(format=name)

    def _flat_family(self, topic: str, above: list[str]) -> str | None:
        """Return the format of an ecosystem whose devices stand side by side, without a root."""
        place = _tasmota_place(topic)
        if place is not None and place[1] in self._tasmota:
            return "tasmota"
        if topic in self._ttn:
            return "ttn_v3"
        if not self._shelly.isdisjoint(above) or topic.startswith("shelly-blu/events/"):
            return "shelly_gen2"
        if topic in self.discovery:
            return "esphome" if self._esphome else None
        return None if self._esphome.isdisjoint(above) else "esphome"

    def _look_at(self, topic: Topic) -> None:
        levels = topic.name.split("/")
        last = levels[-1]
        if last == "config" and self._discover(topic):
            return
        if last in _HOMIE_DEVICE and len(levels) > 2:  # noqa: PLR2004  # base, device, attribute
            self._homie.add("/".join(levels[:-2]))
        elif last in _HOMIE_PROPERTY and len(levels) > _HOMIE_PROPERTY_LEVELS:
            self._homie.add("/".join(levels[:-_HOMIE_PROPERTY_LEVELS]))
        elif len(levels) > 2 and levels[-2] == "bridge" and last in _ZIGBEE_BRIDGE:  # noqa: PLR2004
            self._zigbee.setdefault("/".join(levels[:-2]), set())
        elif levels[0] == _ZIGBEE_BASE and len(levels) > 1:
            self._zigbee.setdefault(_ZIGBEE_BASE, set())  # nobody else uses it, bridge or not
        else:
            self._look_at_device(topic, levels)

    def _look_at_device(self, topic: Topic, levels: list[str]) -> None:
        """Look for a device that stands for itself."""
        place, last = _tasmota_place(topic.name), levels[-1]
        if (
            place is not None
            and _TASMOTA_KIND.fullmatch(place[2])
            and _object(topic).keys() & {"Time", "Epoch"}
        ):
            self._tasmota.add(place[1])
        elif _TTN.fullmatch(topic.name) and "end_device_ids" in _object(topic):
            self._ttn.add(topic.name)
        elif topic.name.endswith("/events/rpc") and "method" in _object(topic):
            self._shelly.add(topic.name.removesuffix("/events/rpc"))
        elif levels[-2:-1] == ["status"] and _SHELLY_COMPONENT.fullmatch(last) and "id" in _object(topic):
            self._shelly.add("/".join(levels[:-2]))
        elif (prefix := _esphome_prefix(levels)) is not None and ("light" in levels or not _object(topic)):
            self._esphome.add(prefix)

    def _discover(self, topic: Topic) -> bool:
        """Take note of Home Assistant's discovery message, if that's what it is."""
        found = _object(topic)
        if not found.keys() & {"stat_t", "state_topic", "uniq_id", "unique_id", "cmps", "components"}:
            return False
        self.discovery.add(topic.name)
        state, unit = (
            found.get("stat_t", found.get("state_topic")),
            found.get("unit_of_meas", found.get("unit_of_measurement")),
        )
        base = found.get("~")
        if isinstance(state, str) and isinstance(unit, str):
            if isinstance(base, str):
                state = base + state[1:] if state.startswith("~") else state
                state = state[:-1] + base if state.endswith("~") else state
            self.units[state] = unit
        return True

    def _note_output(self, topic: Topic) -> None:
        """Tell whether a Zigbee2MQTT sends objects, single values or both."""
        for base, outputs in self._zigbee.items():
            name = topic.name.removeprefix(f"{base}/")
            if name != topic.name and not name.startswith("bridge/") and not name.endswith("/availability"):
                is_object = topic.kept[0].payload.lstrip().startswith(b"{")
                if is_object or "/" in name:  # set and get are far rarer than values
                    outputs.add("json" if is_object else "attribute")


def _zigbee_options(base: str, outputs: set[str]) -> tuple[tuple[str, str], ...]:
    options = (("base", base),) if "/" in base else ()
    if outputs == {"attribute"}:
        return (*options, ("output", "attribute"))
    return (*options, ("output", "attribute_and_json")) if len(outputs) > 1 else options


def _tasmota_place(topic: str) -> tuple[str, str, str] | None:
    """Split into prefix, device and kind, as ``formats/tasmota.py`` does."""
    *levels, kind = topic.split("/")
    for index in (0, len(levels) - 1):
        if len(levels) > 1 and levels[index] in _TASMOTA_PREFIXES:
            prefix = levels.pop(index)
            return prefix, "/".join(levels), kind
    return None


def _esphome_prefix(levels: list[str]) -> str | None:
    if levels[-1] != "state" or levels[0] == "homeassistant":  # there it is Home Assistant's own state stream
        return None
    for index in (len(levels) - 3, len(levels) - 4):
        if index > 0 and levels[index] in KINDS and (levels[index] in _ESPHOME_SURE or index == 1):
            return "/".join(levels[:index])
    return None


def _above(topic: str) -> list[str]:
    levels = topic.split("/")
    return ["/".join(levels[:count]) for count in range(1, len(levels))]


def _object(topic: Topic) -> dict[str, object]:
    """Return the topic's first message as an object; empty if it is none."""
    try:
        return parse_object(topic.kept[0].payload)
    except RejectedInputError:
        return {}
