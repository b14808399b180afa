"""The property block of MQTT 5 packets: what a publication says about itself beside topic and payload. Pure.

A block is ``length · (identifier · value)*`` (MQTT 5.0, 2.2.2); the length is a variable byte integer. What a value
looks like depends on its identifier alone, so a block can be taken apart without knowing what each one means.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from gatewayd.domain.reading import Message
from gatewayd.errors import RejectedInputError

NO_PROPERTIES = b"\x00"
JSON_TYPE = "application/json"
Address = tuple[str | None, bytes | None]  # where an answer belongs: response topic, correlation data
LONGEST_TEXT_BYTES = (
    65_535  # of a text and of binary data: two bytes hold the length (MQTT 5.0, 1.5.4, 1.5.6)
)
_EXPIRY, _CONTENT_TYPE, _RESPONSE_TOPIC, _CORRELATION, _REASON, _USER = 0x02, 0x03, 0x08, 0x09, 0x1F, 0x26
_LONGEST_EXPIRY_S = 0xFFFF_FFFF
_NOT_PUBLISHABLE = frozenset("+#\x00")  # MQTT 5.0, 3.3.2.3.5 and 4.7.3
_LENGTH_BYTES = 2
_MOST_LENGTH_BYTES = 4  # of a variable byte integer

# How many bytes a value has (MQTT 5.0, table 2-4); those that are not here begin with their length.
_FIXED = {
    **dict.fromkeys((0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A), 1),
    **dict.fromkeys((0x13, 0x21, 0x22, 0x23), 2),
    **dict.fromkeys((0x02, 0x11, 0x18, 0x27), 4),
}
_PREFIXED = frozenset((0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1A, 0x1C, 0x1F, _USER))
_SUBSCRIPTION_ID = 0x0B  # the only value that is a variable byte integer


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A message that may ask for an answer.

    Attributes:
        topic: Where it was published.
        payload: As it came.
        response_topic: Where the answer belongs; None: the sender did not say, or the link speaks MQTT 3.1.1.
        correlation: What the answer has to carry along, so that the sender knows it again; None as above.
        retain: The broker had kept it: nobody has asked just now.
    """

    topic: str
    payload: bytes
    response_topic: str | None
    correlation: bytes | None
    retain: bool

    @classmethod
    def of(cls, message: Message, address: Address) -> Self:
        """Take over a message.

        Raises:
            RejectedInputError: Its topic is not UTF-8 (``topic_not_utf8``); nobody can publish to its response topic
                (``bad_response_topic``): a broker would drop the link for the answer.
        """
        topic, payload, header, _ = message
        try:
            text = topic.decode()
        except UnicodeDecodeError as error:
            raise RejectedInputError("topic_not_utf8", repr(topic)) from error
        response_topic, correlation = address
        if response_topic is not None and (not response_topic or set(response_topic) & _NOT_PUBLISHABLE):
            raise RejectedInputError("bad_response_topic", repr(response_topic))
        return cls(
            topic=text,
            payload=payload,
            response_topic=response_topic,
            correlation=correlation,
            retain=bool(header & 1),
        )


def encode_properties(
    *,
    content_type: str | None = None,
    expires_s: int | None = None,
    user_properties: Sequence[tuple[str, str]] = (),
    correlation: bytes | None = None,
) -> bytes:
    """Build the block of a PUBLISH (MQTT 5.0, 3.3.2.3).

    Args:
        content_type: MIME type of the payload, or what the receivers agreed on.
        expires_s: Seconds from now after which no subscriber that has not got it yet should; clipped to 32 bits.
        user_properties: Names and values, in order; a name may come again.
        correlation: Of the request that this answers.

    Raises:
        RejectedInputError: A text or the correlation is longer than 65,535 bytes (``property_too_long``).
    """
    parts: list[bytes] = []
    if expires_s is not None:
        parts.append(bytes((_EXPIRY,)) + min(max(expires_s, 0), _LONGEST_EXPIRY_S).to_bytes(4, "big"))
    if content_type is not None:
        parts.append(bytes((_CONTENT_TYPE,)) + _prefixed(content_type.encode()))
    if correlation is not None:
        parts.append(bytes((_CORRELATION,)) + _prefixed(correlation))
    for name, value in user_properties:
        parts.append(bytes((_USER,)) + _prefixed(name.encode()) + _prefixed(value.encode()))
    if not parts:
        return NO_PROPERTIES
    block = b"".join(parts)
    return variable_integer(len(block)) + block


def variable_integer(number: int) -> bytes:
    """Encode a variable byte integer: 7 bits each, low first (MQTT 5.0, 1.5.5; MQTT 3.1.1, 2.2.3).

    Args:
        number: In 0..268,435,455.
    """
    if number < 128:  # noqa: PLR2004
        return bytes((number,))
    if number < 16_384:  # noqa: PLR2004  # nearly all frames are in this short form, and it's four times as fast
        return bytes((number & 127 | 128, number >> 7))
    encoded = bytearray()
    while number > 127:  # noqa: PLR2004
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def block_end(data: bytes) -> int | None:
    """Return where the payload begins, for data that begin with a block; None if the block is not all there."""
    length = 0
    for place, byte in enumerate(data[:_MOST_LENGTH_BYTES]):
        length |= (byte & 127) << 7 * place
        if byte < 128:  # noqa: PLR2004  # the continuation bit
            end = place + 1 + length
            return end if end <= len(data) else None
    return None


def reply_address(block: bytes) -> Address:
    """Return the response topic and the correlation data of a PUBLISH's block.

    Raises:
        RejectedInputError: The block is malformed (``malformed_properties``).
    """
    values = dict(_split(block))
    topic = values.get(_RESPONSE_TOPIC)
    return None if topic is None else _text(topic), values.get(_CORRELATION)


def reason_string(block: bytes) -> str | None:
    """Return what the broker has to say for a person to read, in the block of an acknowledgement; None: nothing.

    Raises:
        RejectedInputError: The block is malformed (``malformed_properties``).
    """
    text = dict(_split(block)).get(_REASON)
    return None if text is None else _text(text)


def _prefixed(data: bytes) -> bytes:
    if len(data) > LONGEST_TEXT_BYTES:
        raise RejectedInputError("property_too_long", f"{len(data)} bytes, {LONGEST_TEXT_BYTES} fit")
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise RejectedInputError("malformed_properties", f"no UTF-8: {error}") from error


def _split(block: bytes) -> list[tuple[int, bytes]]:
    """Take a block apart: identifier and value, the latter without its length; of a pair the name alone."""
    end = block_end(block)
    if end is None:
        raise RejectedInputError("malformed_properties", "the block claims more bytes than there are")
    at = next(place for place, byte in enumerate(block) if byte < 128) + 1  # noqa: PLR2004
    found: list[tuple[int, bytes]] = []
    while at < end:
        identifier = block[at]
        value, at = _value(identifier, block[:end], at + 1)
        found.append((identifier, value))
        if identifier == _USER:
            _, at = _value(identifier, block[:end], at)
    return found


def _value(identifier: int, block: bytes, at: int) -> tuple[bytes, int]:
    """Return the value that begins at ``at``, and where the next property does."""
    if identifier in _PREFIXED:
        begin = at + _LENGTH_BYTES
        end = begin + int.from_bytes(block[at:begin], "big")
    elif identifier == _SUBSCRIPTION_ID:
        begin, end = at, at + 1
        while end <= len(block) and block[end - 1] > 127:  # noqa: PLR2004
            end += 1
    elif identifier in _FIXED:
        begin, end = at, at + _FIXED[identifier]
    else:
        raise RejectedInputError("malformed_properties", f"unknown property 0x{identifier:02x}")
    if begin > len(block) or end > len(block):
        raise RejectedInputError("malformed_properties", f"property 0x{identifier:02x} is cut off")
    return block[begin:end], end
