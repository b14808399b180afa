"""SenML in JSON: packs of records that lean on base fields of earlier ones.

``[{"bn":"dev7/","bt":1741944413,"bu":"Cel","n":"t1","t":-2,"v":21.5},{"n":"t1","v":21.6}]`` gives ``dev7`` ``t1`` 21.5
two seconds before 21.6, in ``Cel``. A base field holds until another record sets it anew, within its message.

Names: a record's name is base name and name joined. Where they meet at a ``/`` or ``:``, what's before is the device
and what's after is the channel; elsewhere the name is cut at its last ``/`` or ``:``; a name without either is a
channel of the topic's device. The sum (the value's integral over time) is a channel beside, ``energy.sum``. A value or
sum is given where a record states one; a base value alone is none. Text and data are no readings. A message is taken as
a whole or, where a base or the version can't be understood, not at all: later records would be wrong silently.

Reference:
    RFC 8428, 4.1 "Base Fields", 4.2 "Regular Fields", 4.5.3 "Time", 4.4 (version and must-understand); RFC 9100, 3
    (version 26: secondary units).
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from gatewayd.errors import RejectedInputError
from gatewayd.formats.leaves import MAX_LEAVES, parse_json
from gatewayd.formats.sample import Sample, Samples
from gatewayd.formats.timestamp import to_ns

Record = Mapping[str, object]

_VERSION = 10  # RFC 8428's; drafts before it had lower ones
_SECONDARY_UNITS = 16  # a feature that adds this to the version
_RELATIVE_BELOW_S = 2**28  # earlier is relative to now (RFC 8428, 4.5.3)
_SEPARATORS = "/:"
_BASES = ("bn", "bt", "bu", "bv", "bs", "bver")
_VALUES = ("v", "vb", "vs", "vd")


class SenmlJsonFormat:
    """Reads SenML packs in JSON. Keeps nothing between messages."""

    def decode(self, topic: str, payload: bytes, *, arrived_at: int) -> Samples:  # noqa: ARG002  # the Protocol's
        """Decode one message; see ``SampleFormat``.

        Errors: ``not_json``, ``too_large``, ``too_deep`` and those of ``resolve``.
        """
        if not payload:
            return Samples()  # a cleared topic
        try:
            return resolve(parse_json(payload), arrived_at=arrived_at)
        except RejectedInputError as error:
            return Samples(errors=(error.reason,))


class _Bases(NamedTuple):
    """What holds for the records that follow."""

    name: str = ""
    time_s: float = 0
    unit: str | None = None
    value: float = 0.0
    total: float = 0.0


def resolve(pack: object, *, arrived_at: int) -> Samples:
    """Turn a pack into samples.

    Args:
        pack: A list of records with RFC 8428's JSON labels, as a parser made it.
        arrived_at: Gateway clock, ns since the Unix epoch: what relative times are relative to.

    Returns:
        Samples in message order. Errors, one per record: ``not_an_object``, ``no_name``, ``no_value``,
        ``several_values``, ``not_a_number``; per time stamp, with a sample that has none: ``invalid_time``,
        ``unbelievable_time``.

    Raises:
        RejectedInputError: ``not_an_array``, ``unknown_version``, ``unknown_field`` (one that must be understood),
            ``invalid_base``, ``too_many_values``.
    """
    if not isinstance(pack, list):
        raise RejectedInputError("not_an_array")
    if len(pack) > MAX_LEAVES:
        raise RejectedInputError("too_many_values")
    samples: list[Sample] = []
    errors: list[str] = []
    bases = _Bases()
    for record in pack:
        if not isinstance(record, dict):
            errors.append("not_an_object")
            continue
        _check_understood(record)
        bases = _rebased(bases, record)
        try:
            _read(record, bases, arrived_at, samples, errors)
        except RejectedInputError as error:
            errors.append(error.reason)
    return Samples(samples=tuple(samples), errors=tuple(errors))


def _check_understood(record: Record) -> None:
    version = record.get("bver", _VERSION)
    if isinstance(version, bool) or not isinstance(version, int):
        raise RejectedInputError("unknown_version")
    if not 0 < version <= _VERSION and version != _VERSION + _SECONDARY_UNITS:
        raise RejectedInputError("unknown_version", str(version)[:20])
    for label in record:
        if label.endswith("_"):
            raise RejectedInputError("unknown_field", label[:40])


def _rebased(bases: _Bases, record: Record) -> _Bases:
    name, unit = record.get("bn", bases.name), record.get("bu", bases.unit)
    if not isinstance(name, str) or not (unit is None or isinstance(unit, str)):
        raise RejectedInputError("invalid_base")
    return _Bases(
        name=name,
        time_s=_base_number(record, "bt", bases.time_s),
        unit=unit,
        value=_base_number(record, "bv", bases.value),
        total=_base_number(record, "bs", bases.total),
    )


def _base_number(record: Record, label: str, default: float) -> float:
    value = _number(record.get(label, default), "invalid_base")
    if not math.isfinite(value):
        raise RejectedInputError("invalid_base", label)
    return value


def _read(record: Record, bases: _Bases, arrived_at: int, samples: list[Sample], errors: list[str]) -> None:
    """Append a record's value and its sum."""
    stated = sum(label in record for label in _VALUES)
    if stated + ("s" in record) == 0:
        if "n" not in record and any(label in record for label in _BASES):
            return  # just sets the stage for those that follow
        raise RejectedInputError("no_value")
    if stated > 1:
        raise RejectedInputError("several_values")
    device, channel = _names(bases.name, record.get("n", ""))
    found: list[tuple[str, float]] = []
    if "v" in record:
        found.append((channel, bases.value + _number(record["v"], "not_a_number")))
    elif "vb" in record:
        found.append((channel, _truth(record["vb"])))
    if "s" in record:
        found.append((f"{channel}.sum", bases.total + _number(record["s"], "not_a_number")))
    found = [(name, value) for name, value in found if math.isfinite(value)]  # NaN says: missing
    if not found:
        return
    try:
        taken_at = _taken_at(bases.time_s, record.get("t", 0), arrived_at)
    except RejectedInputError as error:
        taken_at = None
        errors.append(error.reason)
    own = record.get("u", bases.unit)
    unit = own if isinstance(own, str) and own else None
    samples.extend(
        Sample(device=device, channel=name, value=value, unit=unit, taken_at=taken_at)
        for name, value in found
    )


def _number(value: object, reason: str) -> float:
    """Return a number, finite or not; NaN for null."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RejectedInputError(reason, type(value).__name__)
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _truth(value: object) -> float:
    if not isinstance(value, bool):
        raise RejectedInputError("not_a_number", type(value).__name__)
    return float(value)


def _names(base: str, name: object) -> tuple[str | None, str]:
    """Return device and channel."""
    if not isinstance(name, str):
        raise RejectedInputError("no_name", type(name).__name__)
    if name and base and (base[-1] in _SEPARATORS or name[0] in _SEPARATORS):
        device, channel = base.rstrip(_SEPARATORS), name.strip(_SEPARATORS)
    else:
        full = (base + name).strip(_SEPARATORS)
        cut = max(full.rfind(separator) for separator in _SEPARATORS)
        device, channel = full[: max(cut, 0)].rstrip(_SEPARATORS), full[cut + 1 :]
    if not channel:
        raise RejectedInputError("no_name")
    return device or None, channel


def _taken_at(base_s: float, offset: object, arrived_at: int) -> int:
    """Return when, in ns since the Unix epoch.

    Raises:
        RejectedInputError: ``invalid_time`` or ``unbelievable_time``.
    """
    seconds = base_s + _number(offset, "invalid_time")
    if not math.isfinite(seconds):
        raise RejectedInputError("invalid_time")
    if seconds < _RELATIVE_BELOW_S:
        return to_ns(arrived_at + round(seconds * 10**9), "ns")
    return to_ns(seconds, "s")
