"""How a table in CSV or a list of samples in JSON is laid out: what its columns and keys are for."""

import re
from collections.abc import Mapping, Sequence

from gatewayd.formats.leaves import leaf_number
from gatewayd.workbench.families import Kind
from gatewayd.workbench.quantities import is_generic, last_word
from gatewayd.workbench.times import is_believable, is_zoneless, lacks_zone, time_of

_DELIMITERS = (";", "\t", ",", "|")
_DECIMAL = re.compile(r"\s*[+-]?\d*[.]?\d+(?:[eE][+-]?\d+)?\s*", re.ASCII)
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+(?:,\d+)?\s*", re.ASCII)
_LEAST_COLUMNS = 2
_CHANNEL_KEYS = (
    "channel",
    "name",
    "n",
    "id",
    "tag",
    "sensor",
    "signal",
    "metric",
    "point",
    "variable",
    "key",
    "param",
)
_DEVICE_KEYS = (
    "device",
    "device_id",
    "deviceid",
    "dev",
    "machine",
    "asset",
    "equipment",
    "node",
    "serial",
    "mac",
)
_UNIT_KEYS = ("unit", "units", "uom", "u")
_QUALITY_KEYS = ("good", "quality", "q", "valid")
_DEEPEST = 2

Objects = Sequence[Mapping[str, object]]


def csv_kind(texts: Sequence[str]) -> Kind | None:
    """Tell how a table is laid out; None: the texts are no table."""
    for delimiter in _DELIMITERS:
        tables = [[line.split(delimiter) for line in text.split("\n") if line.strip()] for text in texts]
        rows = [[cell.strip() for cell in row] for table in tables for row in table]
        if not rows or len({len(row) for row in rows}) != 1 or len(rows[0]) < _LEAST_COLUMNS:
            continue
        kind = _table_kind(delimiter, [table for table in tables if table], rows)
        if kind is not None:
            return kind
    return None


def _table_kind(delimiter: str, tables: list[list[list[str]]], rows: list[list[str]]) -> Kind | None:
    shape = (
        _DECIMAL_COMMA if delimiter != "," and any("," in cell for row in rows for cell in row) else _DECIMAL
    )
    first = [cell.strip() for cell in tables[0][0]]
    has_header = len(set(first)) == len(first) and all(
        cell and not shape.fullmatch(cell) and not is_believable(cell) for cell in first
    )
    names = first if has_header else [f"column_{number}" for number in range(1, len(first) + 1)]
    body = [row for row in rows if row != first] if has_header else rows
    columns = list(zip(*body, strict=True)) if body else []
    if not columns:
        return None
    is_number = [
        all(not cell or shape.fullmatch(cell) for cell in column) and any(column) for column in columns
    ]
    time = next(
        (
            index
            for index, column in enumerate(columns)
            if all(map(is_believable, column)) and (not has_header or time_of([{names[index]: column[0]}]))
        ),
        None,
    )
    text = [names[index] for index, number in enumerate(is_number) if not number and index != time]
    count = len(columns) - len(text)
    least = _LEAST_COLUMNS if time is not None or not has_header else 1  # "hello, 3" is no table
    if count < least or any("," in name for name in names):
        return None
    options = [] if has_header else [("columns", ",".join(names))]
    options += [("delimiter", delimiter)] if delimiter != "," else []
    options += [("decimal", ",")] if shape is _DECIMAL_COMMA else []
    options += [("text", ",".join(text))] if text else []
    if time is None:
        return Kind(format="csv", options=tuple(options))
    is_local = all(map(is_zoneless, columns[time]))
    return Kind(format="csv", options=tuple(options), time=names[time], is_local=is_local)


def list_kind(topic: str, documents: Sequence[object]) -> Kind | None:
    """Tell how a list of samples is laid out; None: the documents hold none.

    A list is one of samples if its elements have times of their own, or say which channel they are.
    """
    path = _list_path(documents)
    if path is None:
        return None
    elements: list[Mapping[str, object]] = []
    for document in documents:
        found: object = document
        for key in path.split(".") if path else ():
            found = found.get(key) if isinstance(found, dict) else None
        elements += [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    options = [("list", path)] if path else []
    long = _long_form(elements)
    time = time_of(elements)
    if not long and time is None:
        return None
    is_local = lacks_zone(elements, time)
    if time is None and (above := time_of(documents)) is not None:
        time, is_local = f"/{above}", lacks_zone(documents, above)
    options += long
    options += _key(elements, _DEVICE_KEYS, "device", str)
    options += _key(elements, _QUALITY_KEYS, "good", object)
    if not any(name == "device" for name, _ in options):
        options += _device_above(topic, documents)
    return Kind(format="json_list", options=tuple(options), time=time, is_local=is_local)


def _list_path(documents: Sequence[object]) -> str | None:
    """Return where the one list of objects stands; None: there is none, or several."""
    paths: set[str] = set()
    for document in documents:
        paths |= set(_lists(document, "", 0))
    return paths.pop() if len(paths) == 1 else None


def _lists(node: object, path: str, depth: int) -> list[str]:
    if isinstance(node, list):
        return [path] if node and all(isinstance(one, dict) for one in node) else []
    if not isinstance(node, dict) or depth > _DEEPEST:
        return []
    return [
        found
        for key, child in node.items()
        if "." not in key and key not in ("*", "@key")
        for found in _lists(child, f"{path}.{key}" if path else key, depth + 1)
    ]


def _long_form(elements: Objects) -> list[tuple[str, str]]:
    """Return the options of a list whose elements name their channel: ``{"id": "t1", "v": 21.5}``."""
    values = [
        key
        for key in _common(elements)
        if is_generic(key) and all(leaf_number(one[key]) is not None or one[key] is None for one in elements)
    ]
    channel = _key(elements, _CHANNEL_KEYS, "channel", str)
    if len(values) != 1 or not channel:
        return []
    return [*channel, ("value", values[0]), *_key(elements, _UNIT_KEYS, "unit", str)]


def _key(elements: Objects, names: Sequence[str], option: str, kind: type) -> list[tuple[str, str]]:
    found = [
        key
        for key in _common(elements)
        if last_word(key) in names
        and "." not in key
        and all(isinstance(one[key], kind) and one[key] != "" for one in elements)
    ]
    return [(option, min(found, key=lambda key: names.index(last_word(key))))] if found else []


def _device_above(topic: str, documents: Sequence[object]) -> list[tuple[str, str]]:
    """Return the option for a device that the document names beside the list, and the topic doesn't."""
    objects = [document for document in documents if isinstance(document, dict)]
    found = _key(objects, _DEVICE_KEYS, "device", str) if len(objects) == len(documents) else []
    return [
        (option, f"/{key}")
        for option, key in found
        if not all(one[key] in topic.split("/") for one in objects)
    ]


def _common(elements: Objects) -> list[str]:
    """Return the keys that all elements have, in order."""
    return [key for key in elements[0] if all(key in one for one in elements)] if elements else []
