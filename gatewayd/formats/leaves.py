"""The numbers in a JSON object, each with the path that leads to it.

What the recipes of free shape have in common: an object in, ``("ENERGY", "Power", "0"), 412.0`` out. Numbers and
booleans are readings; null, text, NaN and what is beyond float64 are not, and say nothing. Bounded in bytes, in depth
and in number, so that no message can hold up the line.
"""

import math
from collections.abc import Iterable, Mapping

import msgspec

from gatewayd.errors import RejectedInputError

MAX_BYTES = 1_048_576  # as json_object: a larger message is somebody's mistake
MAX_DEPTH = 16  # keys on one path; the deepest known sensor (Tasmota, OpenTherm) has 3
MAX_LEAVES = 10_000  # of one message

ABSENT = object()  # what ``follow`` returns where a path leads nowhere: null is something

_INDEX_DIGITS = 10  # MAX_BYTES hold fewer elements, and int() refuses thousands of digits
_SWITCH = {"ON": 1.0, "OFF": 0.0}  # just this spelling: "on" is also a mode's or an effect's name
_NUMBERS = (int, float)  # a bool is an int; not int | float, which would be made anew at every leaf
_parse = msgspec.json.Decoder().decode

Path = tuple[str, ...]


def parse_json(payload: bytes) -> object:
    """Parse a payload that should be JSON, within the limits of size and depth.

    Raises:
        RejectedInputError: ``too_large``, ``too_deep`` or ``not_json``.
    """
    if len(payload) > MAX_BYTES:
        raise RejectedInputError("too_large")
    try:
        document: object = _parse(payload)
    except RecursionError as error:
        raise RejectedInputError("too_deep") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RejectedInputError("not_json", str(error)[:80]) from error
    return document


def parse_object(payload: bytes) -> dict[str, object]:
    """Parse a payload that should be a JSON object.

    Raises:
        RejectedInputError: As ``parse_json``, or ``not_an_object``.
    """
    document = parse_json(payload)
    if not isinstance(document, dict):
        raise RejectedInputError("not_an_object")
    return document


def leaves(document: Mapping[str, object], *, switches: bool = False) -> list[tuple[Path, float]]:
    """Collect the numbers and booleans, in message order.

    Args:
        document: As ``parse_object`` gives it.
        switches: Whether the texts ``ON`` and ``OFF`` are 1 and 0.

    Returns:
        Path and finite value; the elements of a list are called ``0``, ``1``, ...

    Raises:
        RejectedInputError: ``too_deep`` or ``too_many_values``.
    """
    found: list[tuple[Path, float]] = []
    _collect(document.items(), (), found, switches=switches)
    return found


def follow(document: object, path: Iterable[str]) -> object:
    """Return what stands at a path, whose elements are keys of objects and indices of lists; ``ABSENT``: nothing."""
    for key in path:
        if isinstance(document, dict):
            document = document.get(key, ABSENT)
        elif (
            isinstance(document, list)
            and key.isascii()
            and key.isdigit()
            and len(key) < _INDEX_DIGITS
            and int(key) < len(document)
        ):
            document = document[int(key)]
        else:
            return ABSENT
    return document


def leaf_number(value: object, *, switches: bool = False) -> float | None:
    """Read one leaf; None where it is no reading."""
    if isinstance(value, str):
        return _SWITCH.get(value) if switches else None
    if not isinstance(value, _NUMBERS):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None


def _collect(
    children: Iterable[tuple[str, object]], path: Path, found: list[tuple[Path, float]], *, switches: bool
) -> None:
    if len(path) == MAX_DEPTH:
        raise RejectedInputError("too_deep")
    for key, child in children:
        if isinstance(child, dict):
            _collect(child.items(), (*path, key), found, switches=switches)
        elif isinstance(child, list):
            elements = ((str(index), element) for index, element in enumerate(child))
            _collect(elements, (*path, key), found, switches=switches)
        elif (value := leaf_number(child, switches=switches)) is not None:
            if len(found) == MAX_LEAVES:
                raise RejectedInputError("too_many_values")
            found.append(((*path, key), value))
