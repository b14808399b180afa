"""Homie 3 and 4: one topic per property, its type, unit and range in attribute topics beside it.

``homie/heatpump/circuit/flow-temp  34.6``, with ``…/flow-temp/$datatype  float`` and ``…/flow-temp/$unit  °C``, gives
``heatpump`` ``circuit.flow-temp`` 34.6 °C. Attributes are retained and may come after the value: a value whose type
is not known yet is read if it is plainly a number or a boolean, without unit. Once the type is known, just its own
spelling counts. Enumerations, texts and colours are no readings, nor is a device's or node's attribute.

Reference:
    Homie convention 4.0.0, "Topology", "Payload", "Properties" (https://homieiot.github.io).
"""

import math
import re
from dataclasses import dataclass, replace

from gatewayd.domain.state import State, Value
from gatewayd.errors import RejectedInputError
from gatewayd.formats.remembered import MAX_TEXT, Remembered, as_list, as_text_or_none
from gatewayd.formats.sample import Sample, Samples
from gatewayd.formats.scalar import text_number

_BOOLEAN = {"true": 1.0, "false": 0.0}
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_GONE = (b"lost", b"disconnected")
_READABLE = frozenset({"integer", "float", "percent", "boolean"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Property:
    """What the attribute topics have said so far."""

    datatype: str | None = None
    unit: str | None = None
    format: str | None = None


_NOTHING_KNOWN = _Property()


class HomieFormat:
    """Reads Homie's messages. Keeps the attributes of at most 4,096 properties.

    Args:
        base: The base topic; it may have several levels.
    """

    def __init__(self, *, base: str = "homie") -> None:
        self._base = f"{base}/"
        self._properties: Remembered[_Property] = Remembered()

    def decode(self, topic: str, payload: bytes, *, arrived_at: int) -> Samples:  # noqa: ARG002  # the Protocol's
        """Decode one message; see ``SampleFormat``.

        Errors: ``unknown_topic`` (not below the base), ``not_text``, ``not_a_number``, ``not_a_boolean``,
        ``not_an_integer``, ``out_of_range`` (of the announced ``$format``; such a value is refused).
        """
        if not topic.startswith(self._base):
            return Samples(errors=("unknown_topic",))
        device, *levels = topic.removeprefix(self._base).split("/")
        if device.startswith("$"):
            return Samples()  # a broadcast
        if levels == ["$state"]:
            return Samples(offline=(device,)) if payload in _GONE else Samples()
        try:
            match levels:
                case [node, name, attribute] if attribute.startswith("$"):
                    self._learn(f"{device}/{node}/{name}", attribute, payload)
                case [node, name] if payload and not node.startswith("$") and not name.startswith("$"):
                    return self._value(device, node, name, payload)
        except RejectedInputError as error:
            return Samples(errors=(error.reason,))
        return Samples()  # attributes of devices and nodes, commands (…/set), a cleared topic

    def state(self) -> State:
        """Copy out the attributes; see ``RememberingFormat``."""
        return {"properties": self._properties.state(_packed)}

    def restore(self, state: State) -> None:
        """Know these attributes; see ``RememberingFormat``."""
        self._properties.restore(state.get("properties"), _unpacked)

    def _learn(self, name: str, attribute: str, payload: bytes) -> None:
        """Take note of an attribute; an empty payload removes it."""
        if attribute not in ("$datatype", "$unit", "$format"):
            return
        text = _text(payload[:MAX_TEXT]) or None
        known = self._properties.get(name) or _NOTHING_KNOWN
        self._properties.store(name, replace(known, **{attribute[1:]: text}))

    def _value(self, device: str, node: str, name: str, payload: bytes) -> Samples:
        known = self._properties.get(f"{device}/{node}/{name}") or _NOTHING_KNOWN
        value = _number(_text(payload), known)
        if value is None:
            return Samples()
        return Samples(
            samples=(
                Sample(device=device, channel=f"{node}.{name}", value=value, unit=known.unit, taken_at=None),
            )
        )


def _packed(known: _Property) -> Value:
    return [known.datatype, known.unit, known.format]


def _unpacked(value: Value) -> _Property:
    datatype, unit, allowed = (as_text_or_none(part) for part in as_list(value, 3))
    return _Property(datatype=datatype, unit=unit, format=allowed)


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise RejectedInputError("not_text") from error


def _number(text: str, known: _Property) -> float | None:
    """Read a value by its type; None where it's absent or no number by its nature."""
    if known.datatype is None:
        return _guess(text)
    if known.datatype not in _READABLE:
        return None
    if known.datatype == "boolean":
        if text not in _BOOLEAN:
            raise RejectedInputError("not_a_boolean", text[:40])
        return _BOOLEAN[text]
    if known.datatype == "integer" and not _INTEGER.fullmatch(text):
        raise RejectedInputError("not_an_integer", text[:40])
    value = text_number(text)
    if math.isnan(value):
        return None
    low, high = _range(known.format)
    if not low <= value <= high:
        raise RejectedInputError("out_of_range", text[:40])
    return value


def _guess(text: str) -> float | None:
    try:
        value = _BOOLEAN[text] if text in _BOOLEAN else text_number(text)
    except RejectedInputError:
        return None
    return None if math.isnan(value) else value


def _range(announced: str | None) -> tuple[float, float]:
    """Read ``$format``, ``0:6000``; what isn't stated, or not to be read, doesn't limit."""
    low, _, high = (announced or "").partition(":")
    return _bound(low, -math.inf), _bound(high, math.inf)


def _bound(text: str, otherwise: float) -> float:
    try:
        value = text_number(text)
    except RejectedInputError:
        return otherwise
    return otherwise if math.isnan(value) else value
