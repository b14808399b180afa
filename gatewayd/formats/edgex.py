"""EdgeX Foundry events, API v2 to v4: one device, a reading for each of its resources.

``{"apiVersion":"v3","deviceName":"chiller-2","sourceName":"all","origin":1741944413590000000,"readings":[
{"resourceName":"SupplyTemp","valueType":"Float32","value":"6.84e+00","units":"Cel"}]}`` gives ``chiller-2``
``SupplyTemp`` 6.84 Cel. Values are texts, cast by their type; arrays are one text, ``[1.5, 2.25]``, and give
``Phases.0``, ``Phases.1``; objects give the paths of their numbers. Text and binary readings say nothing.

An event comes by itself, in an AddEvent request (``event``), in a message envelope (``payload``: base64, or since v4
the object itself), or in both; each as JSON or CBOR. Where ``EDGEX_OPTIMIZE_EVENT_PAYLOAD`` is set, readings lack what
the event says too: device and origin, and the resource of a single reading, which is the event's ``sourceName``.

Reference:
    https://docs.edgexfoundry.org, "Core Data", "Events and Readings"; go-mod-core-contracts, ``dtos.BaseReading``;
    go-mod-messaging, ``types.MessageEnvelope``; EdgeX ADR "Reducing Payload Size for Device Events".
"""

import base64
import binascii
import math
import re
from collections.abc import Mapping, Sequence

from gatewayd.errors import RejectedInputError
from gatewayd.formats.cbor import parse_cbor
from gatewayd.formats.leaves import MAX_LEAVES, leaves, parse_object
from gatewayd.formats.sample import Sample, Samples
from gatewayd.formats.scalar import number, text_number
from gatewayd.formats.timestamp import to_ns

_MAX_WRAPPINGS = 3  # an envelope, a request, the event
_INTEGERS = {f"{sign}{bits}": (sign == "Int", bits) for sign in ("Int", "Uint") for bits in (8, 16, 32, 64)}
_FLOATS = ("Float32", "Float64")
_BOOLEANS = {"true": 1.0, "false": 0.0}
_NO_READINGS = frozenset({"String", "StringArray", "Binary"})
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_NOT_FINITE = frozenset({"NaN", "+Inf", "-Inf", "Inf"})  # as Go prints them

Document = Mapping[str, object]


class EdgeXFormat:
    """Reads EdgeX events. Keeps nothing between them."""

    def decode(self, topic: str, payload: bytes, *, arrived_at: int) -> Samples:  # noqa: ARG002  # the Protocol's
        """Decode one message; see ``SampleFormat``.

        Errors: of a message ``too_large``, ``not_json``, ``not_an_object``, ``not_cbor``, ``not_base64``,
        ``error_envelope``, ``no_event``; of a reading ``not_a_reading``, ``no_resource``, ``unknown_value_type``,
        ``not_a_number``, ``not_an_integer``, ``not_a_boolean``, ``not_an_array``, ``out_of_range``, ``too_deep``,
        ``too_many_values``.
        """
        if not payload:
            return Samples()  # a cleared topic
        try:
            event = _unwrap(_parse(payload))
        except RejectedInputError as error:
            return Samples(errors=(error.reason,))
        return _samples(event)


def _parse(data: bytes) -> Document:
    """Parse JSON or CBOR: no CBOR map begins like a JSON object."""
    if data[0] < 0x80:  # noqa: PLR2004  # ASCII
        return parse_object(data)
    document = parse_cbor(data)
    if not isinstance(document, dict):
        raise RejectedInputError("not_an_object")
    return document


def _unwrap(document: Document) -> Document:
    """Return the event in it."""
    for _ in range(_MAX_WRAPPINGS):
        if isinstance(document.get("readings"), list):
            return document
        # v2 writes its envelope's keys with a capital
        inner = document.get("event", document.get("payload", document.get("Payload")))
        if document.get("errorCode"):
            raise RejectedInputError("error_envelope", str(inner)[:80])
        document = _inner(inner)
    raise RejectedInputError("no_event")


def _inner(wrapped: object) -> Document:
    if isinstance(wrapped, dict):
        return wrapped
    if isinstance(wrapped, str):
        try:
            wrapped = base64.b64decode(wrapped, validate=True)
        except (binascii.Error, ValueError) as error:
            raise RejectedInputError("not_base64", str(error)) from error
    if isinstance(wrapped, bytes) and wrapped:
        return _parse(wrapped)
    raise RejectedInputError("no_event")


def _samples(event: Document) -> Samples:
    readings = event["readings"]
    assert isinstance(readings, list)
    lone_resource = event.get("sourceName") if len(readings) == 1 else None
    samples: list[Sample] = []
    errors: list[str] = []
    for reading in readings:
        if len(samples) + len(errors) >= MAX_LEAVES:
            errors.append("too_many_values")
            break
        try:
            if not isinstance(reading, dict):
                raise RejectedInputError("not_a_reading")  # noqa: TRY301  # counted like the reading's others
            samples.extend(_reading(reading, event, lone_resource))
        except RejectedInputError as error:
            errors.append(error.reason)
    return Samples(samples=tuple(samples), errors=tuple(errors))


def _reading(reading: Document, event: Document, lone_resource: object) -> list[Sample]:
    resource = _text(reading.get("resourceName")) or _text(lone_resource)
    if resource is None:
        raise RejectedInputError("no_resource")
    device = _text(reading.get("deviceName")) or _text(event.get("deviceName"))
    unit, taken_at = _text(reading.get("units")), _origin(reading, event)
    return [
        Sample(device=device, channel=channel, value=value, unit=unit, taken_at=taken_at)
        for channel, value in _values(resource, reading)
        if not math.isnan(value)
    ]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _origin(reading: Document, event: Document) -> int | None:
    for origin in (reading.get("origin"), event.get("origin")):
        try:
            return to_ns(origin, "ns")
        except RejectedInputError:
            continue
    return None


def _values(resource: str, reading: Document) -> list[tuple[str, float]]:
    """Read a reading's values by channel; NaN where one is absent."""
    kind, value = reading.get("valueType"), reading.get("value")
    if not isinstance(kind, str):
        raise RejectedInputError("unknown_value_type")
    if kind in ("Object", "ObjectArray"):
        found = leaves({resource: reading.get("objectValue", value)})
        return [(".".join(map(str, path)), leaf) for path, leaf in found]
    if kind in _NO_READINGS:
        return []
    if not kind.endswith("Array"):
        return [(resource, _cast(value, kind))]
    element = kind.removesuffix("Array")
    return [(f"{resource}.{index}", _cast(one, element)) for index, one in enumerate(_elements(value))]


def _elements(value: object) -> Sequence[object]:
    if isinstance(value, str):
        text = value.strip()
        if not (text.startswith("[") and text.endswith("]") and len(text) > 1):
            raise RejectedInputError("not_an_array")
        inner = text[1:-1].strip()
        value = inner.split(",") if inner else []
    if value is None:
        return []
    if not isinstance(value, list):
        raise RejectedInputError("not_an_array")
    if len(value) > MAX_LEAVES:
        raise RejectedInputError("too_many_values")
    return value


def _cast(value: object, kind: str) -> float:
    """Read one value by its type; NaN where it is absent."""
    text = value.strip() if isinstance(value, str) else value
    if kind not in _INTEGERS and kind not in _FLOATS and kind != "Bool":
        raise RejectedInputError("unknown_value_type", kind[:40])
    if text is None or text == "":  # null, which an optimised event leaves out
        return math.nan
    if kind == "Bool":
        return _boolean(text)
    if isinstance(text, bool):
        raise RejectedInputError("not_a_number")
    return _float(text) if kind in _FLOATS else _integer(text, kind)


def _boolean(value: object) -> float:
    if isinstance(value, bool):
        return float(value)
    if not isinstance(value, str) or value not in _BOOLEANS:
        raise RejectedInputError("not_a_boolean")
    return _BOOLEANS[value]


def _float(value: object) -> float:
    if not isinstance(value, str):
        return number(value)
    if value in _NOT_FINITE:
        return math.nan
    if value[0].isalpha():  # "on", "none": words that other firmware uses
        raise RejectedInputError("not_a_number", value[:40])
    return text_number(value)


def _integer(value: object, kind: str) -> float:
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    if not isinstance(value, int):
        raise RejectedInputError("not_an_integer", str(value)[:40])
    is_signed, bits = _INTEGERS[kind]
    low, high = (-(1 << (bits - 1)), 1 << (bits - 1)) if is_signed else (0, 1 << bits)
    if not low <= value < high:
        raise RejectedInputError("out_of_range", str(value)[:40])
    return float(value)
