"""What one Sparkplug B metric says: its value by its data type, its unit, its time.

Integers travel as unsigned two's complement: an Int16 -7 as 4294967289, and from some senders as 65529 or as 64 bits.
All three are -7; a number that is none of these is out of range and no reading, for masking it would invent one.

Strings, dates, arrays, data sets, files and templates are no readings. NaN and infinities are absent values.

Reference:
    Sparkplug 3.0.0, 6.4 "Sparkplug B": data types, metric.
"""

import math

from gatewayd.errors import RejectedInputError
from gatewayd.formats.remembered import MAX_TEXT
from gatewayd.formats.sparkplug_schema import Metric, Payload
from gatewayd.formats.timestamp import to_ns

UNKNOWN = 0
_SIGNED = {1: 8, 2: 16, 3: 32, 4: 64}  # Int8..Int64: bits
_UNSIGNED = {5: 8, 6: 16, 7: 32, 8: 64}  # UInt8..UInt64: bits
_FLOATS = (9, 10)  # Float, Double
BOOLEAN = 11
_LAST = 34  # String..DateTimeArray are no readings
_UNIT_KEYS = frozenset({"engunit", "engunits", "engineeringunit", "engineeringunits", "unit", "units"})


def text(value: str | bytes) -> str | None:
    """Return a text of sane length; None where it's empty, too long, or not UTF-8."""
    return value if isinstance(value, str) and 0 < len(value) <= MAX_TEXT else None


def metric_value(metric: Metric, datatype: int) -> float | None:
    """Read a metric's value.

    Args:
        metric: Whose own ``datatype`` goes first.
        datatype: As announced in its birth; ``UNKNOWN`` where it wasn't.

    Returns:
        Finite; 1.0 and 0.0 for a Boolean; None where it's null, not finite, or of a type that is no reading.

    Raises:
        RejectedInputError: ``unknown_datatype``, ``type_mismatch`` (the value isn't of its type) or ``out_of_range``.
    """
    if metric.is_null:
        return None
    datatype = metric.datatype or datatype
    kind = metric.WhichOneof("value")
    if not UNKNOWN < datatype <= _LAST:
        raise RejectedInputError("unknown_datatype", str(datatype))
    if datatype > BOOLEAN:
        return None
    if datatype == BOOLEAN and kind == "boolean_value":
        return float(metric.boolean_value)
    if datatype in _FLOATS and kind in ("float_value", "double_value"):
        return _finite(metric.float_value if kind == "float_value" else metric.double_value)
    if datatype < _FLOATS[0] and kind in ("int_value", "long_value"):
        return float(_integer(metric.int_value if kind == "int_value" else metric.long_value, datatype))
    raise RejectedInputError("type_mismatch", f"{datatype} as {kind}")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _integer(raw: int, datatype: int) -> int:
    if datatype in _UNSIGNED:
        if raw >= 1 << _UNSIGNED[datatype]:
            raise RejectedInputError("out_of_range", str(raw))
        return raw
    bits = _SIGNED[datatype]
    for carried in (bits, 32, 64):
        if carried >= bits and raw < 1 << carried:
            value = raw - (1 << carried) if raw >> (carried - 1) else raw
            if -(1 << (bits - 1)) <= value < 1 << (bits - 1):
                return value
    raise RejectedInputError("out_of_range", str(raw))


def metric_unit(metric: Metric) -> str | None:
    """Return the engineering unit that a metric's properties name (``engUnit``); None where there is none."""
    if not metric.HasField("properties"):
        return None
    properties = metric.properties
    for key, value in zip(properties.keys, properties.values, strict=False):
        if isinstance(key, str) and key.replace(" ", "").replace("_", "").lower() in _UNIT_KEYS:
            return text(value.string_value)
    return None


def metric_time(metric: Metric, payload: Payload) -> int | None:
    """Return when the metric was taken, ns since the Unix epoch, else the payload's time; None: neither is usable.

    Raises:
        RejectedInputError: ``no_historical_time``: a value of old doesn't say itself when it was taken; that isn't the
            payload's time, nor now.
    """
    try:
        return to_ns(metric.timestamp, "ms")
    except RejectedInputError as error:
        if metric.is_historical:
            raise RejectedInputError("no_historical_time") from error
    try:
        return to_ns(payload.timestamp, "ms")
    except RejectedInputError:
        return None
