"""JSON objects, one reading each, with the channels at paths: ``{"ts": 1700000000.5, "motor": {"temp": 21.5}}``.

Two ways through one payload, which never disagree. Where the configured fields are plain numbers, a decoder made
for just these fields (msgspec) reads them in 0.2 µs and skips the rest. Whatever that one refuses (a number as text,
a null, a list on the path) is read again by the general way, which decides. So the fast way only ever answers where
the general way would give the same.

What it skips, it hardly looks at: a name in Latin-1 or a number beyond float64 in a field that nobody asked for does no
harm there. Nor does it in the general way, which then reads the wanted fields by themselves.
"""

import math
import re
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from gatewayd.domain.arrays import Int64
from gatewayd.errors import RejectedInputError
from gatewayd.formats.decoded import NO_TIME, Decoded
from gatewayd.formats.leaves import ABSENT, follow
from gatewayd.formats.local_time import Stamps
from gatewayd.formats.scalar import number
from gatewayd.formats.timestamp import Unit, float_column_ns

MAX_BYTES = (
    1_048_576  # a reading is small: a larger object is somebody's mistake, and costs the line its latency
)

_REFUSED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_UNNAMEABLE = re.compile(r'[\x00-\x1f"\\]')  # no key of a msgspec.Struct may hold these

# what a field is read as, and what stands where it is absent
_Field = tuple[Any, object]
_TIME: _Field = (float | int | str | None, None)
_ANYTHING: _Field = (Any, ABSENT)


class JsonObjectFormat:
    """Reads one reading from each payload.

    Args:
        paths: One per channel: keys (and list indices) joined by dots.
        time_path: Where the time stamp stands; None: nowhere.
        time_unit: See ``timestamp.to_ns``.
        timezone: Of time stamps that are texts without an offset; None: UTC.

    Raises:
        ValueError: There is no such zone.
    """

    def __init__(
        self,
        paths: Sequence[str],
        *,
        time_path: str | None,
        time_unit: Unit = "auto",
        timezone: str | None = None,
    ) -> None:
        self._paths = tuple(tuple(path.split(".")) for path in paths)
        self._time_path = tuple(time_path.split(".")) if time_path is not None else None
        self._time_unit: Unit = time_unit
        self._stamps = Stamps(time_unit, timezone)
        self._parse = msgspec.json.Decoder().decode
        self._fast = _fast_rows(self._paths, self._time_path, channel=(float, math.nan), time=_TIME)
        self._alone = _fast_rows(self._paths, self._time_path, channel=_ANYTHING, time=_ANYTHING)

    def decode(self, payloads: Sequence[bytes], arrived_at: Int64 | None = None) -> Decoded:
        """Decode payloads; see ``Format``.

        ``arrived_at`` decides which of two instants a local time means.

        Rejected: ``not_json``, ``not_an_object``, ``not_a_number``, ``no_channel`` (none of the channels is there),
        ``too_large``, ``too_deep``.
        """
        if self._fast is not None and max(map(len, payloads), default=0) <= MAX_BYTES:
            try:
                decoded = self._columns(
                    self._fast.rows(payloads), np.arange(len(payloads), dtype=np.int64), arrived_at
                )
            except _REFUSED:
                pass  # one of them needs care
            else:
                if not np.isnan(decoded.values).all(axis=1).any():
                    return decoded
        rows: list[tuple[Any, ...]] = []
        source: list[int] = []
        rejected: list[tuple[int, str]] = []
        for index, payload in enumerate(payloads):
            try:
                rows.append(self._row(payload))
            except RejectedInputError as error:
                rejected.append((index, error.reason))
            else:
                source.append(index)
        return self._columns(rows, np.array(source, dtype=np.int64), arrived_at, tuple(rejected))

    def _columns(
        self,
        rows: list[tuple[Any, ...]],
        source: Int64,
        arrived_at: Int64 | None,
        rejected: tuple[tuple[int, str], ...] = (),
    ) -> Decoded:
        """Turn rows, the time stamp first where there is one, into columns."""
        shape, first = (len(rows), len(self._paths)), 0 if self._time_path is None else 1
        untimed: dict[str, int] = {}
        if first and not all(type(row[0]) is float for row in rows):
            # numpy would read a time stamp that is a text as a number: keep it away from the table
            arrived_at = None if arrived_at is None else arrived_at[source]
            taken_at, untimed = self._stamps.column([row[0] for row in rows], arrived_at)
            values = np.array([row[1:] for row in rows], dtype=np.float64).reshape(shape)
        else:
            table = np.array(rows, dtype=np.float64).reshape(shape[0], first + shape[1])
            values = np.ascontiguousarray(table[:, first:])
            if first:
                taken_at, untimed = float_column_ns(table[:, 0], self._time_unit)
            else:
                taken_at = np.full(len(rows), NO_TIME, dtype=np.int64)
        return Decoded(
            source=source, taken_at=taken_at, values=values, rejected=rejected, untimed=tuple(untimed.items())
        )

    def _row(self, payload: bytes) -> tuple[Any, ...]:
        """Read one payload by the fast way if it can tell, else by the careful one."""
        if self._fast is not None and len(payload) <= MAX_BYTES:
            try:
                row = self._fast.row(payload)
            except _REFUSED:
                return self._careful_row(payload)
            if not all(math.isnan(value) for value in row[self._time_path is not None :]):
                return row
        return self._careful_row(payload)

    def _careful_row(self, payload: bytes) -> tuple[Any, ...]:
        if len(payload) > MAX_BYTES:
            raise RejectedInputError("too_large")
        stamp, found = self._find(payload)
        if all(value is ABSENT for value in found):
            raise RejectedInputError("no_channel")
        values = [math.nan if value is ABSENT else number(value) for value in found]
        if self._time_path is None:
            return tuple(values)
        return (None if stamp is ABSENT else stamp, *values)

    def _find(self, payload: bytes) -> tuple[object, Sequence[object]]:
        """Return the time stamp and the channels' values, ``ABSENT`` where there's none."""
        try:
            document = self._parse(payload)
        except RecursionError as error:
            raise RejectedInputError("too_deep") from error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            row = self._find_alone(payload)
            if row is None:
                raise RejectedInputError("not_json", str(error)[:80]) from error
            return (ABSENT, row) if self._time_path is None else (row[0], row[1:])
        if not isinstance(document, dict):
            raise RejectedInputError("not_an_object")
        stamp = ABSENT if self._time_path is None else follow(document, self._time_path)
        return stamp, [follow(document, path) for path in self._paths]

    def _find_alone(self, payload: bytes) -> tuple[object, ...] | None:
        """Return what stands at the wanted paths in a payload whose other fields may be broken."""
        if self._alone is None:
            return None
        try:
            return self._alone.row(payload)
        except _REFUSED:
            return None


def _fast_rows(
    paths: tuple[tuple[str, ...], ...], time_path: tuple[str, ...] | None, *, channel: _Field, time: _Field
) -> "_FastRows | None":
    """Make the decoder for just these fields; None where the paths need the general way.

    With ``channel=(float, nan)`` it gives NaN for one that isn't there. If that is so of all, the general way has to
    say why.

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
        if path[-1] in node or any(key.isdigit() or _UNNAMEABLE.search(key) for key in path):
            return None  # the same field twice, a list index, or no key for a Struct
        node[path[-1]] = index
    first_channel = 0 if time_path is None else 1
    getters: dict[int, str] = {}
    kind = _struct(tree, "", getters, lambda index: time if index < first_channel else channel)
    if all(len(path) == 1 for path in wanted):
        return _FastRows(kind, msgspec.structs.astuple)  # fields stand in the order of ``wanted``
    get = attrgetter(*(getters[index] for index in range(len(wanted))))
    return _FastRows(kind, get if len(wanted) > 1 else lambda fields: (get(fields),))


class _FastRows:
    """Decodes just the wanted fields. Raises ``_REFUSED`` where a payload needs care."""

    def __init__(self, kind: type[msgspec.Struct], get: Callable[[Any], tuple[Any, ...]]) -> None:
        self._decode = msgspec.json.Decoder(kind).decode
        self._get = get

    def rows(self, payloads: Sequence[bytes]) -> list[tuple[Any, ...]]:
        """Decode them all; the loop runs in C."""
        return list(map(self._get, map(self._decode, payloads)))

    def row(self, payload: bytes) -> tuple[Any, ...]:
        """Decode one."""
        return self._get(self._decode(payload))


def _struct(
    tree: dict[str, Any], prefix: str, getters: dict[int, str], field_of: Callable[[int], _Field]
) -> type[msgspec.Struct]:
    fields: list[Any] = []
    for number_, (key, node) in enumerate(tree.items()):
        name = f"f{number_}"
        if isinstance(node, dict):
            kind = _struct(node, f"{prefix}{name}.", getters, field_of)
            fields.append((name, kind, msgspec.field(name=key, default_factory=kind)))
            continue
        getters[node] = prefix + name
        kind, absent = field_of(node)
        fields.append((name, kind, msgspec.field(name=key, default=absent)))
    return msgspec.defstruct("Fields", fields, gc=False)
