"""When a reading was taken, in every spelling that sensors use, as ns since the Unix epoch.

A unit that is not stated is told by its magnitude: between 2001 and 5138 the four units don't overlap. Earlier
instants are not believable: a clock that was never set gives 1970, 2000 or the uptime.
"""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from gatewayd.domain.arrays import Float64, Int64
from gatewayd.errors import RejectedInputError
from gatewayd.formats.decoded import NO_TIME

Unit = Literal["auto", "s", "ms", "us", "ns", "iso"]

_PER_UNIT = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_EARLIEST_NS = 10**9 * 10**9  # 2001-09-09T01:46:40Z
_LATEST_NS = 2**63 - 1
_ISO = re.compile(
    r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}(?::\d{2})?)(?:[.,](\d{1,12}))?\s*(Z|z|[+-]\d{2}:?\d{2}|[+-]\d{2})?",
    re.ASCII,  # other scripts' digits, which int() and datetime would take, are nobody's time stamp
)
_NUMBER = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,12})?")


def to_ns(value: object, unit: Unit) -> int:
    """Read one time stamp.

    Args:
        value: A number or a text, as a parser made it. A text is ISO 8601 (without zone: UTC) or a number.
        unit: Of numbers; ``auto`` tells by magnitude.

    Returns:
        Nanoseconds since the Unix epoch, 2001..2262. Fractions beyond what the value carries are zero.

    Raises:
        RejectedInputError: ``no_time``, ``invalid_time`` or ``unbelievable_time``.
    """
    if value is None:
        raise RejectedInputError("no_time")
    if isinstance(value, str):
        text = value.strip()
        match = _ISO.fullmatch(text)
        if match:
            return _believable(_iso_ns(match))
        if unit == "iso" or not _NUMBER.fullmatch(text):
            raise RejectedInputError("invalid_time", text[:40])
        return _believable(_decimal_ns(text, unit))
    if isinstance(value, bool) or not isinstance(value, int | float) or unit == "iso":
        raise RejectedInputError("invalid_time", type(value).__name__)
    if isinstance(value, float) and not math.isfinite(value):
        raise RejectedInputError("invalid_time")
    factor = _PER_UNIT[_magnitude(value) if unit == "auto" else unit]
    if isinstance(value, int):
        return _believable(value * factor)
    return _believable(_float_ns(value, factor))


def column_ns(values: Sequence[object], unit: Unit) -> tuple[Int64, dict[str, int]]:
    """Read one time stamp per reading.

    Args:
        values: As a parser made them.
        unit: See ``to_ns``.

    Returns:
        Shape ``(n,)`` with ``NO_TIME`` where there's none to use, and how often that was so, by reason.
    """
    taken_at = np.empty(len(values), dtype=np.int64)
    reasons: dict[str, int] = {}
    for index, value in enumerate(values):
        try:
            taken_at[index] = to_ns(value, unit)
        except RejectedInputError as error:
            taken_at[index] = NO_TIME
            reasons[error.reason] = reasons.get(error.reason, 0) + 1
    return taken_at, reasons


def float_column_ns(values: Float64, unit: Unit) -> tuple[Int64, dict[str, int]]:
    """Do ``column_ns`` for values that all came as floats: in one numpy pass where none needs a closer look."""
    fast = _floats_ns(values, unit)
    return (fast, {}) if fast is not None else column_ns(values.tolist(), unit)


def _magnitude(value: float) -> str:
    for unit, limit in (("s", 1e11), ("ms", 1e14), ("us", 1e17)):
        if value < limit:
            return unit
    return "ns"


def _decimal_ns(text: str, unit: Unit) -> int:
    """Read a number from its digits, all of them: a float would keep 16."""
    whole, _, fraction = text.partition(".")
    factor = _PER_UNIT[_magnitude(int(whole)) if unit == "auto" else unit]
    return int(whole) * factor + int(f"{fraction:0<12}") * factor // 10**12


def _float_ns(value: float, factor: int) -> int:
    # A float of seconds has 0.24 µs between neighbours today: rounding to µs gives back what the sender wrote,
    # where rounding to ns would give digits that nobody wrote.
    if abs(value) > _LATEST_NS / factor:
        raise RejectedInputError("unbelievable_time", str(value))
    if factor >= 10**6:
        return round(value * (factor // 1000)) * 1000
    return round(value * factor)


def _floats_ns(values: Float64, unit: Unit) -> Int64 | None:
    """Do ``to_ns`` for many floats of one unit; None where some need a closer look."""
    if not len(values):
        return np.empty(0, dtype=np.int64)
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)) or unit == "iso":
        return None
    if unit == "auto":
        unit = "s" if high < 1e11 else "ms" if low >= 1e11 and high < 1e14 else "auto"  # noqa: PLR2004
        if unit == "auto":
            return None
    factor = _PER_UNIT[unit]
    if not (low * factor >= _EARLIEST_NS and high * factor < 9e18) or factor < 10**6:  # noqa: PLR2004
        return None
    result: Int64 = np.rint(values * (factor // 1000)).astype(np.int64) * 1000
    return result


def _iso_ns(match: re.Match[str]) -> int:
    date, clock, fraction, zone = match.groups()
    if len(clock) == 5:  # noqa: PLR2004  # hh:mm
        clock += ":00"
    offset = "+00:00" if zone in (None, "Z", "z") else zone
    if len(offset) == 3:  # noqa: PLR2004  # +hh
        offset += ":00"
    try:
        whole = datetime.fromisoformat(f"{date}T{clock}{offset}").astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise RejectedInputError("invalid_time", match.group()[:40]) from error
    days = whole.toordinal() - 719_163  # 1970-01-01
    seconds = days * 86_400 + whole.hour * 3600 + whole.minute * 60 + whole.second
    return seconds * 10**9 + int(((fraction or "") + "000000000")[:9])


def _believable(nanoseconds: int) -> int:
    if not _EARLIEST_NS <= nanoseconds <= _LATEST_NS:
        raise RejectedInputError(
            "unbelievable_time"
        )  # not shown: Python refuses to print an int of 5,000 digits
    return nanoseconds
