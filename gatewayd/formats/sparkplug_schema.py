"""Sparkplug B payloads as protobuf messages; the schema stands here, as a table, and nothing is generated.

What counts on the wire are a field's number and type. Parts that nobody here looks into (metadata, data sets,
templates, property sets within property sets) are declared as the bytes that they are on the wire: whatever they hold,
they cost neither parsing nor depth, and are passed over.

Reference:
    Sparkplug 3.0.0, 6.4 "Sparkplug B", its protobuf schema (proto2); docs/decisions/0007-sparkplug-protobuf.md.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, cast

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from gatewayd.errors import RejectedInputError
from gatewayd.formats.leaves import MAX_BYTES

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "gatewayd.sparkplug_b"

_SCALARS = {
    "bool": _Field.TYPE_BOOL,
    "bytes": _Field.TYPE_BYTES,
    "double": _Field.TYPE_DOUBLE,
    "float": _Field.TYPE_FLOAT,
    "string": _Field.TYPE_STRING,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
}
# message: field: number, type; "*" before the type stands for repeated. The fields named ..._value form the oneof that
# is named "value".
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "Payload": {
        "timestamp": (1, "uint64"),  # ms since the Unix epoch
        "metrics": (2, "*Metric"),
        "seq": (3, "uint64"),
        "uuid": (4, "string"),
        "body": (5, "bytes"),
    },
    "Metric": {
        "name": (1, "string"),
        "alias": (2, "uint64"),
        "timestamp": (3, "uint64"),
        "datatype": (4, "uint32"),
        "is_historical": (5, "bool"),
        "is_transient": (6, "bool"),
        "is_null": (7, "bool"),
        "metadata": (8, "bytes"),
        "properties": (9, "PropertySet"),
        "int_value": (10, "uint32"),
        "long_value": (11, "uint64"),
        "float_value": (12, "float"),
        "double_value": (13, "double"),
        "boolean_value": (14, "bool"),
        "string_value": (15, "string"),
        "bytes_value": (16, "bytes"),
        "dataset_value": (17, "bytes"),
        "template_value": (18, "bytes"),
        "extension_value": (19, "bytes"),
    },
    "PropertySet": {
        "keys": (1, "*string"),
        "values": (2, "*PropertyValue"),  # one for each key
    },
    "PropertyValue": {
        "type": (1, "uint32"),
        "is_null": (2, "bool"),
        "int_value": (3, "uint32"),
        "long_value": (4, "uint64"),
        "float_value": (5, "float"),
        "double_value": (6, "double"),
        "boolean_value": (7, "bool"),
        "string_value": (8, "string"),
        "propertyset_value": (9, "bytes"),
        "propertysets_value": (10, "bytes"),
        "extension_value": (11, "bytes"),
    },
}


class PropertyValue(Protocol):
    """One property of a metric."""

    string_value: str | bytes


class PropertySet(Protocol):
    """A metric's properties; ``keys`` and ``values`` may differ in length, which no peer should send."""

    @property
    def keys(self) -> Sequence[str | bytes]:
        """Names; bytes where they aren't UTF-8."""

    @property
    def values(self) -> Sequence[PropertyValue]:
        """One for each name."""


class Metric(Protocol):
    """One metric. A field that isn't set has its type's zero; proto2 gives text that isn't UTF-8 as bytes."""

    name: str | bytes
    alias: int
    timestamp: int
    datatype: int
    is_historical: bool
    is_transient: bool
    is_null: bool
    int_value: int
    long_value: int
    float_value: float
    double_value: float
    boolean_value: bool
    string_value: str | bytes

    @property
    def properties(self) -> PropertySet:
        """Empty where there are none."""

    def HasField(self, field_name: str) -> bool:  # noqa: N802  # protobuf's name
        """Tell whether a field is set."""
        ...

    def WhichOneof(self, oneof_group: str) -> str | None:  # noqa: N802  # protobuf's name
        """Return which of the fields of ``value`` is set."""
        ...


class Metrics(Protocol):
    """A payload's metrics, in order."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Metric]: ...
    def __getitem__(self, index: int) -> Metric: ...
    def add(self) -> Metric:
        """Append an empty metric."""
        ...


class Payload(Protocol):
    """One message's content."""

    timestamp: int
    seq: int
    uuid: str | bytes
    body: bytes

    @property
    def metrics(self) -> Metrics:
        """In message order."""

    def HasField(self, field_name: str) -> bool:  # noqa: N802  # protobuf's name
        """Tell whether a field is set."""
        ...

    def ParseFromString(self, serialized: bytes) -> int:  # noqa: N802  # protobuf's name
        """Read a message. Raises DecodeError."""
        ...

    def SerializeToString(self) -> bytes:  # noqa: N802  # protobuf's name
        """Write the message."""
        ...


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug_b.proto", package=_PACKAGE, syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        if any(field.endswith("_value") for field in fields):
            message.oneof_decl.add(name="value")
        for field, (number, kind) in fields.items():
            added = message.field.add(name=field, number=number)
            added.label = _Field.LABEL_REPEATED if kind.startswith("*") else _Field.LABEL_OPTIONAL
            type_name = kind.removeprefix("*")
            if type_name in _SCALARS:
                added.type = _SCALARS[type_name]
            else:
                added.type, added.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{type_name}"
            if field.endswith("_value"):
                added.oneof_index = 0
    return file


# A pool of our own: another library's Sparkplug schema in this process can't clash with it.
_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())
new_payload = cast(
    "Callable[[], Payload]",
    message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.Payload")),
)


def parse_payload(data: bytes) -> Payload:
    """Parse a payload.

    Raises:
        RejectedInputError: ``too_large`` or ``not_protobuf``.
    """
    if len(data) > MAX_BYTES:
        raise RejectedInputError("too_large")
    payload = new_payload()
    try:
        payload.ParseFromString(data)
    except (DecodeError, UnicodeDecodeError) as error:
        raise RejectedInputError("not_protobuf", str(error)[:80]) from error
    return payload
