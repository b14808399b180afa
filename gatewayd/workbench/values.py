"""The values of one message, by whatever format it is read: device, channel, number, unit, time, and whether a switch.

What the registry's formats don't say is added: which values were written as booleans, and, for plain JSON, the unit
that stands beside a value.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gatewayd.errors import RejectedInputError
from gatewayd.formats.leaves import MAX_DEPTH, parse_json
from gatewayd.formats.registry import FORMATS
from gatewayd.formats.sample import Sample
from gatewayd.formats.scalar import text_number
from gatewayd.formats.timestamp import to_ns
from gatewayd.workbench.families import Kind
from gatewayd.workbench.overheard import Heard
from gatewayd.workbench.quantities import is_generic

LONGEST_LIST: Final = 16  # a longer one is a waveform, not channels
NUMBER: Final = "value"  # what the one channel of a plain number is called

_LONGEST_NUMBER = 256  # characters
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_SWITCHES = frozenset({"on", "off", "true", "false"})
_UNIT_KEYS = ("unit", "units", "uom", "unit_of_measurement")


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a message, however it was read."""

    device: str | None
    channel: str
    value: float
    unit: str
    taken_at: int | None
    is_switch: bool


class Reader:
    """Reads messages of one kind."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        given = {} if kind.time is None else {"time": kind.time}
        factory = FORMATS.get(kind.format)
        self._format = None if factory is None else factory.from_text(dict(kind.options), **given)

    def __call__(self, topic: str, heard: Heard) -> tuple[list[Value], str | None]:
        """Read one message; return its values, and an error."""
        if self._format is not None:
            found = self._format.decode(topic, heard.payload, arrived_at=heard.arrived_at)
            switches = _switches(heard.payload)
            values = [_of_sample(sample, switches) for sample in found.samples]
            return values, found.errors[0] if found.errors else None
        try:
            return list(self._own(heard.payload)), None
        except RejectedInputError as error:
            return [], error.reason

    def _own(self, payload: bytes) -> Iterator[Value]:
        if self._kind.format == "number":
            try:
                text = payload.decode()
            except UnicodeDecodeError as error:
                raise RejectedInputError("not_text") from error
            value = text_number(text)
            if not math.isnan(value):
                yield Value(None, NUMBER, value, "", None, text.strip().lower() in _SWITCHES)
            return
        document = parse_json(payload)
        if not isinstance(document, dict):
            raise RejectedInputError("not_an_object")
        taken_at = _taken_at(document, self._kind.time)
        for path, value, unit, is_switch in _leaves(document, "", 0):
            if path != self._kind.time:
                yield Value(None, path, value, unit, taken_at, is_switch)


def _of_sample(sample: Sample, switches: frozenset[str]) -> Value:
    last = sample.channel.rpartition(".")[2]
    is_switch = sample.value in (0.0, 1.0) and (last in switches or "" in switches)
    return Value(
        sample.device or None, sample.channel, sample.value, sample.unit or "", sample.taken_at, is_switch
    )


def _switches(payload: bytes) -> frozenset[str]:
    """Return the keys of a JSON document that hold booleans, or on and off; the empty one: the payload itself does."""
    if payload[:8].strip().lower().decode(errors="replace") in _SWITCHES:
        return frozenset({""})
    if payload.lstrip()[:1] not in (b"{", b"["):
        return frozenset()
    try:
        document = parse_json(payload)
    except RejectedInputError:
        return frozenset()
    found: set[str] = set()
    _find_switches(document, found)
    return frozenset(found)


def _find_switches(node: object, found: set[str]) -> None:
    # as deep as the parser went, which has a limit of its own
    for key, child in (
        node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    ):
        if isinstance(child, bool) or (isinstance(child, str) and child.lower() in _SWITCHES):
            found.add(str(key))
        elif isinstance(child, dict | list):
            _find_switches(child, found)


def _taken_at(document: Mapping[str, object], path: str | None) -> int | None:
    found: object = document
    for key in path.split(".") if path is not None else ():
        found = found.get(key) if isinstance(found, dict) else None
    try:
        return None if path is None else to_ns(found, "auto")
    except (RejectedInputError, OverflowError):
        return None


def _leaves(
    document: Mapping[str, object], prefix: str, depth: int, above: str = ""
) -> Iterator[tuple[str, float, str, bool]]:
    """Go through what the format ``json`` could read: path, value, unit stated beside it, whether it is a switch."""
    stated = _stated_unit(document) or above
    is_lone = sum(_plain(child) is not None for child in document.values()) == 1
    for key, child in document.items():
        path = f"{prefix}{key}"
        unit = stated if above or is_lone or is_generic(key) else ""
        if isinstance(child, list):
            elements = {str(i): one for i, one in enumerate(child)} if len(child) <= LONGEST_LIST else {}
            if depth < MAX_DEPTH - 1:
                yield from _leaves(elements, f"{path}.", depth + 1, unit)
        elif isinstance(child, dict):
            if depth < MAX_DEPTH - 1:
                yield from _leaves(child, f"{path}.", depth + 1)
        elif isinstance(child, bool):
            yield path, float(child), "", True
        elif isinstance(child, str) and child.strip().lower() in _SWITCHES:
            yield path, text_number(child), "", True
        elif (value := _plain(child)) is not None:
            yield path, value, unit, False


def _stated_unit(document: Mapping[str, object]) -> str:
    for key in _UNIT_KEYS:
        unit = document.get(key)
        if isinstance(unit, str):
            return unit
    return ""


def _plain(value: object) -> float | None:
    """Return a number, also one that stands as text; None: it is none (as no boolean is), or beyond float64."""
    if isinstance(value, str):
        value = value.strip()
        if not _DECIMAL.fullmatch(value) or len(value) > _LONGEST_NUMBER:
            return None
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None
