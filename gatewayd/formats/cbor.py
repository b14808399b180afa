"""CBOR as untrusted bytes: plain values out, or a reason, in bounded time and memory.

What cbor2 makes of a message by default is not bounded: a decimal fraction of 0.5 MiB digits costs it seconds, tags
compile patterns and parse mail, shared references make a document contain itself. So no tag is interpreted but those
that numbers and times are made of, and these within the range of what they can say. Integers as keys, which somebody
can choose to collide, are taken in small messages only: a map of n such keys costs n² steps.

Reference:
    RFC 8949, 3.4 "Tagging of Items", 3.4.3 "Bignums", 3.4.4 "Decimal Fractions and Bigfloats"; 10 "Security".
"""

import io
import math
from dataclasses import dataclass
from decimal import Decimal

import cbor2

from gatewayd.errors import RejectedInputError
from gatewayd.formats.leaves import MAX_BYTES

MAX_DEPTH = 64  # containers and tags within each other; ``leaves`` is stricter, and says so by name
MAX_FREE_KEYS_BYTES = 65_536  # a message in which keys may be other than text: 0.2 s of collisions at worst

_BIGNUM_BYTES = 128  # 2**1024 is beyond float64
_MANTISSA_LIMIT = 2**64  # float64 has 53 bits; decimals of sensors have far fewer digits
_EXPONENT_LIMIT = 1100  # 2**1100 and 10**-1100 times any mantissa are beyond float64


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochTime:
    """A point in time by CBOR's own type (tag 1): no reading, but may be one's time stamp.

    Attributes:
        seconds: Since the Unix epoch; finite.
    """

    seconds: int | float


def parse_cbor(payload: bytes) -> object:
    """Parse a payload that should be one CBOR item.

    Returns:
        Dicts (of any keys), lists, text, bytes, numbers, booleans, None and ``EpochTime``; an opaque object for simple
        values and None for tags that say neither number nor time. Of equal keys the last one counts.

    Raises:
        RejectedInputError: ``too_large`` or ``not_cbor`` (also: cut off, followed by more bytes, too deep, keys other
            than text in a large message).
    """
    if len(payload) > MAX_BYTES:
        raise RejectedInputError("too_large")
    stream = io.BytesIO(payload)
    try:
        document: object = cbor2.CBORDecoder(
            stream,
            max_depth=MAX_DEPTH,
            semantic_decoders=_TAGS,
            strict_hashable_types=len(payload) > MAX_FREE_KEYS_BYTES,
        ).decode()
    except cbor2.CBORError as error:
        raise RejectedInputError("not_cbor", str(error)[:80]) from error
    if stream.tell() != len(payload):
        raise RejectedInputError("not_cbor", "more bytes after the item")
    return document


def _ignored(_value: object, _immutable: bool) -> None:  # noqa: FBT001  # cbor2 calls it
    return None


def _content(value: object, _immutable: bool) -> object:  # noqa: FBT001  # cbor2 calls it
    return value


def _text(value: object, _immutable: bool) -> str | None:  # noqa: FBT001  # cbor2 calls it
    return value if isinstance(value, str) else None


def _epoch_time(value: object, _immutable: bool) -> EpochTime | None:  # noqa: FBT001  # cbor2 calls it
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return EpochTime(seconds=value) if math.isfinite(value) else None


def _bignum(value: object, _immutable: bool) -> int | float | None:  # noqa: FBT001  # cbor2 calls it
    if not isinstance(value, bytes):
        return None
    return int.from_bytes(value, "big") if len(value) <= _BIGNUM_BYTES else math.inf


def _negative_bignum(value: object, immutable: bool) -> int | float | None:  # noqa: FBT001  # cbor2 calls it
    number = _bignum(value, immutable)
    return None if number is None else -1 - number


def _decimal(value: object, _immutable: bool) -> float | None:  # noqa: FBT001  # cbor2 calls it
    parts = _parts(value)
    return None if parts is None else float(Decimal(parts[1]).scaleb(parts[0]))


def _bigfloat(value: object, _immutable: bool) -> float | None:  # noqa: FBT001  # cbor2 calls it
    parts = _parts(value)
    if parts is None:
        return None
    try:
        return math.ldexp(parts[1], parts[0])
    except OverflowError:
        return math.inf


def _parts(value: object) -> tuple[int, int] | None:
    """Return exponent and mantissa; None where they aren't, or say more than a float64 can."""
    match value:
        case [int(exponent), int(mantissa)] if (
            abs(exponent) <= _EXPONENT_LIMIT and abs(mantissa) <= _MANTISSA_LIMIT
        ):
            return exponent, mantissa
        case _:
            return None


class _Tags(dict[int, cbor2.SemanticDecoderCallback]):
    """Readers by tag; every other tag is ``_ignored``, also those that cbor2 would know."""

    def __missing__(self, tag: int) -> cbor2.SemanticDecoderCallback:
        return _ignored


_TAGS = _Tags(
    {
        0: _text,  # date and time in ISO 8601
        1: _epoch_time,
        2: _bignum,
        3: _negative_bignum,
        4: _decimal,
        5: _bigfloat,
        55799: _content,  # "this is CBOR"
    }
)
