"""ESPHome: one topic per value, as text; units in Home Assistant's discovery messages.

``weather/sensor/outside_temperature/state  7.62`` gives ``weather`` ``sensor.outside_temperature`` 7.62, in the unit
that ``homeassistant/sensor/weather/outside_temperature/config`` names for this topic. The device is the topic prefix:
all that stands before the kind of component. Values of a component with several (``climate``, ``fan``, ``cover``) have
one level more: ``…/climate/hall/current_temperature/state`` gives ``climate.hall.current_temperature``. Lights are
JSON.

``text_sensor`` is text even where it looks like a number; log lines (``…/debug``) may hold numbers and are no readings.

Reference:
    https://esphome.io/components/mqtt.html, https://www.home-assistant.io/integrations/mqtt/#discovery-payload
"""

import math
from collections.abc import Collection, Mapping

from gatewayd.domain.state import State
from gatewayd.errors import RejectedInputError
from gatewayd.formats.leaves import Path, leaves, parse_object
from gatewayd.formats.remembered import MAX_TEXT, Remembered, as_text
from gatewayd.formats.sample import Sample, Samples
from gatewayd.formats.scalar import text_number

KINDS = ("sensor", "binary_sensor", "switch", "number", "light", "fan", "cover", "climate")
_NUMBERS = frozenset({"sensor", "number"})  # any other text is an error
_SWITCHES = frozenset({"binary_sensor", "switch"})
_ON_OFF = {"ON": 1.0, "OFF": 0.0}


class EspHomeFormat:
    """Reads ESPHome's messages. Keeps the units of at most 4,096 topics.

    Args:
        only: Kinds of components that are read.
        discovery: Home Assistant's discovery prefix.

    Raises:
        ValueError: A kind in ``only`` can't be read.
    """

    def __init__(self, *, only: Collection[str] = KINDS, discovery: str = "homeassistant") -> None:
        unknown = sorted(set(only) - set(KINDS))
        if unknown:
            raise ValueError(
                f"no readings in components of kind {unknown[0]!r}; expected some of {', '.join(KINDS)}"
            )
        self._only = frozenset(only)
        self._discovery = f"{discovery}/"
        self._units: Remembered[str] = Remembered()

    def decode(self, topic: str, payload: bytes, *, arrived_at: int) -> Samples:  # noqa: ARG002  # the Protocol's
        """Decode one message; see ``SampleFormat``.

        Errors: those of ``leaves`` (lights, discovery), ``not_text``, ``not_a_number``, ``not_on_or_off``.
        """
        levels = topic.split("/")
        try:
            if topic.startswith(self._discovery):
                if levels[-1] == "config" and payload:
                    self._discover(parse_object(payload))
                return Samples()
            if levels[-1] == "status" and len(levels) > 1:
                return Samples(offline=("/".join(levels[:-1]),)) if payload == b"offline" else Samples()
            place = _place(levels)
            if place is None or place[1] not in self._only or not payload:
                return Samples()  # commands, logs, other kinds; a cleared topic
            device, kind, channel = place
            return Samples(samples=self._samples(topic, device, kind, channel, payload))
        except RejectedInputError as error:
            return Samples(errors=(error.reason,))

    def state(self) -> State:
        """Copy out the units; see ``RememberingFormat``."""
        return {"units": self._units.state(str)}

    def restore(self, state: State) -> None:
        """Know these units; see ``RememberingFormat``."""
        self._units.restore(state.get("units"), as_text)

    def _discover(self, document: Mapping[str, object]) -> None:
        topic = document.get("stat_t", document.get("state_topic"))
        unit = document.get("unit_of_meas", document.get("unit_of_measurement"))
        base = document.get("~")
        if not isinstance(topic, str) or not isinstance(unit, str) or not 0 < len(unit) <= MAX_TEXT:
            return
        if isinstance(base, str):
            topic = base + topic[1:] if topic.startswith("~") else topic
            topic = topic[:-1] + base if topic.endswith("~") else topic
        self._units.store(topic, unit)

    def _samples(
        self, topic: str, device: str, kind: str, channel: str, payload: bytes
    ) -> tuple[Sample, ...]:
        unit = self._units.get(topic)
        return tuple(
            Sample(device=device, channel=".".join((channel, *path)), value=value, unit=unit, taken_at=None)
            for path, value in _values(kind, payload)
        )


def _place(levels: list[str]) -> tuple[str, str, str] | None:
    """Split ``prefix…/kind/object_id[/field]/state`` into device, kind and channel."""
    if levels[-1] != "state":
        return None
    for index in (len(levels) - 3, len(levels) - 4):
        if index > 0 and levels[index] in KINDS:
            return "/".join(levels[:index]), levels[index], ".".join(levels[index:-1])
    return None


def _values(kind: str, payload: bytes) -> list[tuple[Path, float]]:
    if kind == "light":
        return leaves(parse_object(payload), switches=True)
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        raise RejectedInputError("not_text") from error
    value = _value(kind, text)
    return [] if math.isnan(value) else [((), value)]


def _value(kind: str, text: str) -> float:
    """Read a text; NaN where it says that there's no value, or names a mode."""
    if kind in _NUMBERS:
        return text_number(text)
    if text in _ON_OFF:
        return _ON_OFF[text]
    if kind in _SWITCHES:
        raise RejectedInputError("not_on_or_off", text[:40])
    try:
        return text_number(text)
    except RejectedInputError:
        return math.nan
