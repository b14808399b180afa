"""CBOR documents of no known shape; see ``flat``.

Times by CBOR's own types (tags 0 and 1) are no readings and need no unit where the path of the time leads to one.
"""

from collections.abc import Mapping

from gatewayd.formats.cbor import EpochTime, parse_cbor
from gatewayd.formats.flat import FlatFormat, Instant, with_text_keys
from gatewayd.formats.timestamp import Unit

_FURTHEST_S = 2**40  # beyond float64's nanoseconds in any case, and far beyond what is believable


class FlatCborFormat(FlatFormat):
    """Reads CBOR maps; see ``FlatFormat``. Further errors: those of ``parse_cbor``, ``not_an_object``."""

    def __init__(
        self, *, time: str | None = None, time_unit: Unit = "auto", timezone: str | None = None
    ) -> None:
        super().__init__(_parse, time=time, time_unit=time_unit, timezone=timezone)


def _parse(payload: bytes) -> Mapping[str, object]:
    return with_text_keys(parse_cbor(payload), _instant)


def _instant(value: object) -> object:
    if not isinstance(value, EpochTime):
        return value
    seconds = min(max(value.seconds, -_FURTHEST_S), _FURTHEST_S)
    # a float of seconds is good for microseconds; see timestamp
    return Instant(taken_at=round(seconds * 10**6) * 1000)
