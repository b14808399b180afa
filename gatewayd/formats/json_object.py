"""JSON objects, one reading each, with the channels at paths: ``{"ts": 1700000000.5, "motor": {"temp": 21.5}}``.

Two ways through one payload, which never disagree. Where the configured fields are plain numbers, a decoder made
for just these fields (msgspec) reads them in 0.2 µs and skips the rest. Whatever that one refuses (a number as text,
a null, a list on the path) is read again by the general way, which decides. So the fast way only ever answers where
the general way would give the same.
"""

import math
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from gatewayd.errors import RejectedInputError
from gatewayd.formats.decoded import NO_TIME, Decoded
from gatewayd.formats.scalar import number
from gatewayd.formats.timestamp import Unit, column_ns, float_column_ns

MAX_BYTES = (
    1_048_576  # a reading is small: a larger object is somebody's mistake, and costs the line its latency
)

_ABSENT = object()


class JsonObjectFormat:
    """Reads one reading from each payload.

    Args:
        paths: One per channel: keys (and list indices) joined by dots.
        time_path: Where the time stamp stands; None: nowhere.
        time_unit: See ``timestamp.to_ns``.
    """

    def __init__(self, paths: Sequence[str], *, time_path: str | None, time_unit: Unit = "auto") -> None:
        self._paths = tuple(tuple(path.split(".")) for path in paths)
        self._time_path = tuple(time_path.split(".")) if time_path is not None else None
        self._time_unit: Unit = time_unit
        self._parse = msgspec.json.Decoder().decode
        self._fast = _fast_row(self._paths, self._time_path)

    def decode(self, payloads: Sequence[bytes]) -> Decoded:
        """Decode payloads; see ``Format``.

        Rejected: ``not_json``, ``not_an_object``, ``not_a_number``, ``no_channel`` (none of the channels is there),
        ``too_large``, ``too_deep``.
        """
        rows, rejected = self._rows(payloads)
        if rejected:
            bad = {index for index, _ in rejected}
            source = np.array([i for i in range(len(payloads)) if i not in bad], dtype=np.int64)
        else:
            source = np.arange(len(payloads), dtype=np.int64)
        shape, first = (len(rows), len(self._paths)), 0 if self._time_path is None else 1
        untimed: dict[str, int] = {}
        if first and not all(type(row[0]) is float for row in rows):
            # numpy would read a time stamp that is a text as a number: keep it away from the table
            taken_at, untimed = column_ns([row[0] for row in rows], self._time_unit)
            values = np.array([row[1:] for row in rows], dtype=np.float64).reshape(shape)
        else:
            table = np.array(rows, dtype=np.float64).reshape(shape[0], first + shape[1])
            values = np.ascontiguousarray(table[:, first:])
            if first:
                taken_at, untimed = float_column_ns(table[:, 0], self._time_unit)
            else:
                taken_at = np.full(len(rows), NO_TIME, dtype=np.int64)
        return Decoded(
            source=source,
            taken_at=taken_at,
            values=values,
            rejected=tuple(rejected),
            untimed=tuple(untimed.items()),
        )

    def _rows(self, payloads: Sequence[bytes]) -> tuple[list[tuple[Any, ...]], list[tuple[int, str]]]:
        """Return one tuple per usable payload, the time stamp first where there is one, and the rejected."""
        fast = self._fast
        if fast is not None and max(map(len, payloads), default=0) <= MAX_BYTES:
            try:  # all at once: the loop runs in C
                return list(map(fast, payloads)), []
            except (msgspec.MsgspecError, RecursionError, _NeedsCareError):
                pass
        rows: list[tuple[Any, ...]] = []
        rejected: list[tuple[int, str]] = []
        for index, payload in enumerate(payloads):
            if fast is not None and len(payload) <= MAX_BYTES:
                try:
                    rows.append(fast(payload))
                    continue
                except (msgspec.MsgspecError, RecursionError, _NeedsCareError):
                    pass
            try:
                rows.append(self._careful_row(payload))
            except RejectedInputError as error:
                rejected.append((index, error.reason))
        return rows, rejected

    def _careful_row(self, payload: bytes) -> tuple[Any, ...]:
        if len(payload) > MAX_BYTES:
            raise RejectedInputError("too_large")
        try:
            document = self._parse(payload)
        except RecursionError as error:
            raise RejectedInputError("too_deep") from error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise RejectedInputError("not_json", str(error)[:80]) from error
        if not isinstance(document, dict):
            raise RejectedInputError("not_an_object")
        found = [_walk(document, path) for path in self._paths]
        if all(value is _ABSENT for value in found):
            raise RejectedInputError("no_channel")
        values = [math.nan if value is _ABSENT else number(value) for value in found]
        if self._time_path is None:
            return tuple(values)
        stamp = _walk(document, self._time_path)
        return (None if stamp is _ABSENT else stamp, *values)


class _NeedsCareError(Exception):
    """The fast way cannot tell; the general way decides."""


def _walk(document: object, path: tuple[str, ...]) -> object:
    for key in path:
        if isinstance(document, dict):
            document = document.get(key, _ABSENT)
        elif isinstance(document, list) and key.isascii() and key.isdigit() and int(key) < len(document):
            document = document[int(key)]
        else:
            return _ABSENT
    return document


def _fast_row(
    paths: tuple[tuple[str, ...], ...], time_path: tuple[str, ...] | None
) -> Callable[[bytes], tuple[Any, ...]] | None:
    """Make the decoder for just these fields; None where the paths need the general way.

    Struct fields are numbered, since a key may be any text; nested objects become nested Structs.
    """
    wanted = ([time_path] if time_path is not None else []) + list(paths)
    tree: dict[str, Any] = {}
    for index, path in enumerate(wanted):
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                return None  # one path ends where another goes on
        if path[-1] in node or any(key.isdigit() for key in path):
            return None  # the same field twice, or a list index
        node[path[-1]] = index
    first_channel = 0 if time_path is None else 1
    getters: dict[int, str] = {}
    decode = msgspec.json.Decoder(_struct(tree, "", getters, is_time=lambda i: i < first_channel)).decode
    row = attrgetter(*(getters[index] for index in range(len(wanted))))
    channels = range(first_channel, len(wanted))

    if len(wanted) == 1:

        def single(payload: bytes) -> tuple[Any, ...]:
            value = row(decode(payload))
            if value != value:  # noqa: PLR0124  # NaN: absent
                raise _NeedsCareError
            return (value,)

        return single

    def several(payload: bytes) -> tuple[Any, ...]:
        values: tuple[Any, ...] = row(decode(payload))
        last = values[-1]
        # Perhaps no channel is there at all: one look at the last one rules that out for nearly every payload.
        if last != last and all(values[i] != values[i] for i in channels):  # noqa: PLR0124
            raise _NeedsCareError
        return values

    return several


def _struct(
    tree: dict[str, Any], prefix: str, getters: dict[int, str], *, is_time: Callable[[int], bool]
) -> type[msgspec.Struct]:
    fields: list[Any] = []
    for number_, (key, node) in enumerate(tree.items()):
        name = f"f{number_}"
        if isinstance(node, dict):
            kind = _struct(node, f"{prefix}{name}.", getters, is_time=is_time)
            fields.append((name, kind, msgspec.field(name=key, default_factory=kind)))
            continue
        getters[node] = prefix + name
        if is_time(node):
            fields.append((name, float | int | str | None, msgspec.field(name=key, default=None)))
        else:
            fields.append((name, float, msgspec.field(name=key, default=math.nan)))
    return msgspec.defstruct("Fields", fields, gc=False)
