"""YAML text to nodes that know their line and column; the only import of yaml.

Nothing is resolved here: a scalar is its text as written, and whether it was quoted. YAML 1.1 would make
``no`` a boolean, ``0777`` 511 and ``22:30`` 1350; what a scalar means is decided later, by the option that it
stands for (``scalars.py``). Rules on top of YAML:

- a key is always text, and stands once in its mapping (merged keys, ``<<``, may be overridden);
- no tags; no aliases that contain themselves; size, depth and number of nodes (aliases expanded) are bounded;
- one document, UTF-8, with or without a byte order mark.

Messages never repeat text that may be a secret: an unquoted password may begin with ``!``, ``*`` or ``&``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

from gatewayd.config.secret import looks_secret

MAX_FILE_BYTES = 1_048_576
MAX_DEPTH = 24
MAX_NODES = 50_000
_EMPTY = "the file is empty; expected at least gateway, brokers and streams"
_PLAIN = "plain"
_MERGE = "<<"
_TAGS = {_PLAIN, "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}
_TAG = "'!' begins a tag, and tags are not taken here; quote the text if it is one"
# What PyYAML says, and what we say instead: for people, and without the text that it quotes.
_WORDING = {
    "found undefined alias": "'*' begins an alias, but no such anchor stands above; quote a text",
    "found duplicate anchor": "an anchor ('&') of this name stands above already",
    "found undefined tag handle": _TAG,
    "found character '\\t'": "a tab cannot stand here; indent with spaces",
    "mapping values are not allowed": "not valid YAML: no ': ' is expected here; quote a text that holds one",
    "but found another document": "expected one document; remove what begins with this '---'",
    "expected ',' or '}', but got '{'": "not valid YAML: inside { } a text that holds a brace must be quoted",
    "could not find expected ':'": "not valid YAML: a key must be followed by ': '",
}


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line and a column, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """A text; ``is_plain`` if it was not quoted."""

    text: str = field(repr=False)
    is_plain: bool
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """A list."""

    items: tuple["Node", ...]
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A mapping; keys are text."""

    entries: Mapping[str, "Entry"]
    place: Place


@dataclass(frozen=True, slots=True)
class Entry:
    """A value, and where its key stands."""

    key_place: Place
    value: "Node"


Node = Scalar | Items | Table


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, with its place."""

    place: Place
    message: str


@dataclass(frozen=True, slots=True)
class Document:
    """What the text holds: ``root`` is None if nothing can be made of it; every fault in ``faults``."""

    root: Table | None
    faults: tuple[Fault, ...]


class _StopError(Exception):
    """Nothing can be made of the rest."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.fault = Fault(place, message)


class _Loader(yaml.SafeLoader):
    """Composes nodes without resolving them, to a bounded depth."""

    _depth = 0

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: object) -> str:  # noqa: ARG002  # PyYAML's signature
        """Tell plain scalars from quoted ones, and nothing else."""
        if kind is yaml.ScalarNode and isinstance(implicit, tuple) and implicit[0]:
            return _PLAIN
        return {yaml.ScalarNode: "tag:yaml.org,2002:str", yaml.MappingNode: "tag:yaml.org,2002:map"}.get(
            kind, "tag:yaml.org,2002:seq"
        )

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose one node; PyYAML recurses, so the depth is bounded before Python's stack is."""
        if self._depth > MAX_DEPTH:
            raise _StopError(_place(self.get_mark()), f"nested more than {MAX_DEPTH} levels deep")
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


def read_document(data: bytes) -> Document:
    """Read a configuration file's bytes. Never raises: whatever is wrong is a fault of the document."""
    root, faults = read_node(data, empty=_EMPTY)
    if root is None or isinstance(root, Table):
        return Document(root, faults)
    is_empty = isinstance(root, Scalar) and root.is_plain and not root.text
    message = _EMPTY if is_empty else "expected options as 'key: value' at the top level"
    return Document(None, (*faults, Fault(root.place, message)))


def read_node(data: bytes, *, empty: str) -> tuple[Node | None, tuple[Fault, ...]]:
    """Read any YAML file's bytes, whatever stands at its top level. Never raises.

    Args:
        data: The file's bytes.
        empty: What is said of a file that holds nothing.

    Returns:
        What it holds, None if nothing can be made of it; and every fault.
    """
    try:
        node = _compose(_decode(data), empty)
        reader = _Reader()
        root = reader.read(node, ())
    except _StopError as stop:
        return None, (stop.fault,)
    return root, tuple(dict.fromkeys(reader.faults))  # an anchor's fault shows once for each of its aliases


def _decode(data: bytes) -> str:
    if len(data) > MAX_FILE_BYTES:
        raise _StopError(Place(1, 1), f"the file is too long; at most {MAX_FILE_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        place = Place(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
        raise _StopError(place, f"not UTF-8 text: byte 0x{data[error.start]:02x}") from None
    return text


def _compose(text: str, empty: str) -> yaml.Node:
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        before = text[: int(error.position)]
        place = Place(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
        raise _StopError(place, "a control character cannot stand here") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _StopError(_place(mark), _worded(str(error.problem or error.context))) from None
    except (ValueError, OverflowError):  # PyYAML lets these through: "\UFFFFFFFF", an endless %YAML version
        place = _place(loader.get_mark()) if loader else Place(1, 1)
        raise _StopError(place, "not valid YAML: a number here is out of range") from None
    if node is None:
        raise _StopError(Place(1, 1), empty)
    return node


def _worded(problem: str) -> str:
    for begin, message in _WORDING.items():
        if problem.startswith(begin):
            return message
    return f"not valid YAML: {problem}"


def _place(mark: yaml.Mark | None) -> Place:
    return Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)


class _Reader:
    """Turns yaml's nodes into ours, collecting faults."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self._count = 0
        self._open: set[int] = set()

    def read(self, node: yaml.Node, path: tuple[str, ...]) -> Node:
        """Read one node; an alias is read anew wherever it stands."""
        place = _place(node.start_mark)
        self._count += 1
        if self._count > MAX_NODES:
            raise _StopError(place, f"more than {MAX_NODES} values, aliases expanded")
        if id(node) in self._open:
            raise _StopError(place, "an anchor must not contain its own alias")
        if node.tag not in _TAGS:
            self.faults.append(Fault(place, _TAG))
        if isinstance(node, yaml.ScalarNode):
            if any("\ud800" <= character <= "\udfff" for character in node.value):
                self.faults.append(Fault(place, "half of a surrogate pair is no character"))
                return Scalar(text="", is_plain=False, place=place)
            return Scalar(text=node.value, is_plain=node.tag == _PLAIN, place=place)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._table(node, path)
            assert isinstance(node, yaml.SequenceNode)
            return Items(items=tuple(self.read(item, path) for item in node.value), place=place)
        finally:
            self._open.discard(id(node))

    def _table(self, node: yaml.MappingNode, path: tuple[str, ...]) -> Table:
        merged: dict[str, Entry] = {}
        own: dict[str, Entry] = {}
        first: dict[str, Place] = {}
        for key_node, value_node in node.value:
            key = self.read(key_node, path)
            if not isinstance(key, Scalar):
                self.faults.append(Fault(key.place, "a key must be a text"))
                continue
            if key.text in first:
                self._twice((*path, key.text), first[key.text], key.place)
                continue
            first[key.text] = key.place
            if key.text == _MERGE and key.is_plain:
                merged = self._merge(self.read(value_node, path))
            else:
                own[key.text] = Entry(key.place, self.read(value_node, (*path, key.text)))
        return Table(entries=merged | own, place=_place(node.start_mark))

    def _merge(self, value: Node) -> dict[str, Entry]:
        merged: dict[str, Entry] = {}
        for table in value.items if isinstance(value, Items) else (value,):
            if isinstance(table, Table):
                merged = {**table.entries, **merged}  # the earlier one wins (yaml.org/type/merge.html)
            else:
                self.faults.append(
                    Fault(table.place, "'<<' merges mappings: expected an alias such as *name")
                )
        return merged

    def _twice(self, path: tuple[str, ...], first: Place, again: Place) -> None:
        # below a key that looks like a secret, keys may be pieces of it
        hidden = any(looks_secret(key) for key in path[:-1])
        name = "a key" if hidden else ".".join(path)
        message = f"{name}: given twice, in lines {first.line} and {again.line}; keep one"
        self.faults.append(Fault(again, message))
