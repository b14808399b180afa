"""MessagePack documents of no known shape; see ``flat``.

Times by MessagePack's own type (extension -1) are no readings and need no unit where the path of the time leads to
one; other extensions are nothing.

Reference:
    https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from collections.abc import Mapping

import msgpack  # type: ignore[import-untyped]  # has no stubs and no py.typed

from gatewayd.errors import RejectedInputError
from gatewayd.formats.flat import FlatFormat, Instant, with_text_keys
from gatewayd.formats.leaves import MAX_BYTES
from gatewayd.formats.timestamp import Unit

MAX_FREE_KEYS_BYTES = (
    65_536  # a message in which keys may be integers: such can be made to collide, at n² steps
)


class FlatMessagePackFormat(FlatFormat):
    """Reads MessagePack maps; see ``FlatFormat``.

    Further errors: ``too_large``, ``not_messagepack`` (also: cut off, followed by more bytes, too deep, keys other
    than text in a large message), ``not_an_object``.
    """

    def __init__(
        self, *, time: str | None = None, time_unit: Unit = "auto", timezone: str | None = None
    ) -> None:
        super().__init__(_parse, time=time, time_unit=time_unit, timezone=timezone)


def _parse(payload: bytes) -> Mapping[str, object]:
    if len(payload) > MAX_BYTES:
        raise RejectedInputError("too_large")
    try:
        document: object = msgpack.unpackb(payload, strict_map_key=len(payload) > MAX_FREE_KEYS_BYTES)
    except (ValueError, TypeError, OverflowError) as error:
        # TypeError: a list as a key; each of msgpack's own errors is a ValueError
        raise RejectedInputError("not_messagepack", str(error)[:80]) from error
    return with_text_keys(document, _instant)


def _instant(value: object) -> object:
    return Instant(taken_at=value.to_unix_nano()) if isinstance(value, msgpack.Timestamp) else value
