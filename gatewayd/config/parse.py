"""A document's nodes to Settings, or every problem at once, each with its place.

Three passes over the file, each going on where the one before stopped: the nodes are read as the types that
the options want (``scalars.py``); pydantic holds each value to its limits; ``consistency.py`` compares
options with each other. Where a value is wrong, a harmless one stands in for it so that the later passes
see the rest, and what they find because of it is left out.
"""

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Generic, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo  # noqa: TC002  # as the other imports

from gatewayd.config.consistency import Loc, find_problems
from gatewayd.config.document import (
    MAX_FILE_BYTES,
    Document,
    Fault,
    Items,
    Node,
    Place,
    Scalar,
    Table,
    read_document,
)
from gatewayd.config.scalars import UnreadableError, is_nothing, read_scalar, shown
from gatewayd.config.secret import looks_secret
from gatewayd.config.settings import Settings
from gatewayd.config.wording import option_name, pydantic_message, section_of, unknown_option
from gatewayd.errors import ConfigError, Problem

M = TypeVar("M", bound=BaseModel)
_EXTENSION = "x-"
_ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Settings, and the document that they were read from.

    Attributes:
        settings: Valid in themselves and with each other.
        path: The configuration file.
        base: Its folder; relative paths in it begin here.
        root: The document.
    """

    settings: Settings
    path: Path
    base: Path
    root: Table = field(repr=False)

    def place(self, loc: Loc) -> tuple[int, int]:
        """Return line and column of an option's value, or of the nearest section around it."""
        place = place_of(self.root, loc)
        return place.line, place.column

    def problem(self, loc: Loc, message: str) -> Problem:
        """Make a problem of an option: its place, its path, and the message."""
        line, column = self.place(loc)
        return Problem(path=str(self.path), line=line, column=column, message=f"{'.'.join(loc)}: {message}")

    def resolve(self, path: str) -> Path:
        """Return a path of the file as seen from the file's folder."""
        return self.base / path


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What a file is, right or wrong.

    Attributes:
        loaded: With harmless stand-ins for wrong values; None where nothing can be made of the file.
        problems: In file order; empty if the file is right.
        wrong: Paths of the options whose values are stand-ins.
    """

    loaded: Loaded | None
    problems: tuple[Problem, ...]
    wrong: frozenset[Loc]

    def is_wrong(self, loc: Loc) -> bool:
        """Tell whether an option's value is a stand-in, wholly or in part."""
        return any(loc[: len(wrong)] == wrong[: len(loc)] for wrong in self.wrong)


def load_config(path: Path) -> Loaded:
    """Read a configuration file.

    Raises:
        ConfigError: With every problem that the file alone can show, in file order.
    """
    examined = examine(path)
    if examined.problems or examined.loaded is None:
        raise ConfigError(list(examined.problems))
    return examined.loaded


def examine(path: Path) -> Examined:
    """Read a configuration file as far as it can be read, for those who look for further problems.

    Raises:
        ConfigError: The file itself cannot be read.
    """
    document = read_document(_read(path))
    settings, faults = read_settings(document, Settings)
    loaded = None
    if settings is not None and document.root is not None:
        loaded = Loaded(settings=settings, path=path, base=path.absolute().parent, root=document.root)
        faults.found += [
            Fault(place_of(document.root, finding.loc), f"{_path(finding.loc)}: {finding.message}")
            for finding in find_problems(settings)
            if not any(read[: len(loc)] == loc for read in finding.reads for loc in faults.wrong)
        ]
    problems = tuple(
        Problem(path=str(path), line=fault.place.line, column=fault.place.column, message=fault.message)
        for fault in sorted(dict.fromkeys(faults.found), key=lambda fault: fault.place)
    )
    return Examined(loaded=loaded, problems=problems, wrong=frozenset(faults.wrong))


def _read(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            reason = "is not a file"  # a pipe would keep us waiting
        else:
            with path.open("rb") as file:
                return file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = f"cannot be read: {getattr(error, 'strerror', None) or 'not a path'}"
    raise ConfigError([Problem(path=str(path), line=0, column=0, message=reason)])


def place_of(root: Table, loc: Loc) -> Place:
    """Return the place of an option's value (a section's key), or of the nearest section around it."""
    place, node = root.place, root
    for key in loc:
        entry = node.entries.get(key) if isinstance(node, Table) else None
        if entry is None:
            break
        is_value = isinstance(entry.value, Scalar) and not is_nothing(entry.value)
        place = entry.value.place if is_value else entry.key_place
        node = entry.value  # type: ignore[assignment]  # a scalar ends the walk above
    return place


@dataclass(slots=True)
class Faults:
    """What is wrong so far, and the paths whose values are stand-ins."""

    found: list[Fault] = field(default_factory=list)
    wrong: set[Loc] = field(default_factory=set)


def read_settings(document: Document, model: type[M]) -> tuple[M | None, Faults]:
    """Read a document as a model.

    Returns:
        The model, with stand-ins for what is wrong, and what is wrong. None where nothing can be made of it.
    """
    faults = Faults(found=list(document.faults))
    if document.root is None:
        return None, faults
    walk = _Walk(document.root, model, faults)
    return walk.settle(), faults


class _Walk(Generic[M]):
    """Reads one document as one model."""

    def __init__(self, root: Table, model: type[M], faults: Faults) -> None:
        self._root, self._model, self._faults = root, model, faults
        self._fields: dict[Loc, FieldInfo] = {}
        visible = {key: entry for key, entry in root.entries.items() if not key.startswith(_EXTENSION)}
        self._raw = self._section(Table(entries=visible, place=root.place), model, ())

    def settle(self) -> M | None:
        """Hold the values to their limits; drop and report what fails, until the rest is accepted."""
        for _ in range(_ROUNDS):
            _fill(self._raw, self._model)
            try:
                return self._model.model_validate(self._raw)
            except ValidationError as error:
                for detail in error.errors(include_url=False):
                    self._reject(detail)
        return None  # a value that cannot be stood in for; what was found so far says why

    def _reject(self, detail: Mapping[str, object]) -> None:
        path = detail["loc"]
        assert isinstance(path, tuple)
        loc: Loc = tuple(str(part) for part in path if part != "[key]")
        is_emptied = detail["type"] == "too_short" and any(w[: len(loc)] == loc for w in self._faults.wrong)
        if not is_emptied and not any(loc[: len(wrong)] == wrong for wrong in self._faults.wrong):
            message = pydantic_message(detail, self._fields.get(loc), self._shown(loc))
            place = self._key_place(loc) if "[key]" in path else place_of(self._root, loc)
            self._fault(place, loc, message)
        self._faults.wrong.add(loc)
        _drop(self._raw, loc)

    def _shown(self, loc: Loc) -> str:
        node: Node | None = self._root
        for key in loc:
            entry = node.entries.get(key) if isinstance(node, Table) else None
            node = entry.value if entry else None
        return _found(node, loc) if node else "this"

    def _key_place(self, loc: Loc) -> Place:
        node: Node = self._root
        place = node.place
        for key in loc:
            if isinstance(node, Table) and key in node.entries:
                place, node = node.entries[key].key_place, node.entries[key].value
        return place

    def _fault(self, place: Place, loc: Loc, message: str) -> None:
        self._faults.found.append(Fault(place, f"{_path(loc)}: {message}" if loc else message))

    def _wrong(self, node: Node, loc: Loc, expected: str) -> None:
        self._fault(node.place, loc, f"{expected}, not {_found(node, loc)}")
        self._faults.wrong.add(loc)

    def _section(self, table: Table, model: type[BaseModel], loc: Loc) -> dict[str, object]:
        known = {option_name(name, info): info for name, info in model.model_fields.items()}
        raw: dict[str, object] = {}
        meant: set[str] = set()
        for key, entry in table.entries.items():
            here = (*loc, key)
            if key not in known:
                message, near = unknown_option(key, at=loc, known=list(known), root=self._model)
                self._fault(entry.key_place, here, message)
                meant |= {near} if near else set()
                continue
            self._fields[here] = known[key]
            self._option(raw, entry.value, known[key].annotation, here)
        for key, info in known.items():
            if info.is_required() and key not in table.entries:
                self._faults.wrong.add((*loc, key))
                if key not in meant:  # a misspelt one was reported already
                    description = f" ({info.description.rstrip('.')})" if info.description else ""
                    place = place_of(self._root, loc)
                    self._fault(place, loc, f"the option '{key}' is missing{description}")
        for key in meant:
            self._faults.wrong.add((*loc, key))
        return raw

    def _option(self, raw: dict[str, object], node: Node, annotation: object, loc: Loc) -> None:
        """Read one option into its section; what is wrong is reported and left out."""
        wanted, is_optional = _unwrapped(annotation)
        section = section_of(wanted)
        if isinstance(node, Scalar) and is_nothing(node):
            if is_optional and (node.text or section is None):
                raw[loc[-1]] = None
                return
            if section is not None and is_optional:
                self._wrong(node, loc, "expected options below it, or {} for the defaults")
                return
            if section is not None or get_origin(wanted) is dict:
                node = Table(entries={}, place=node.place)  # all of its options are commented out
        self._value(raw, node, wanted, loc)

    def _value(self, raw: dict[str, object], node: Node, wanted: object, loc: Loc) -> None:
        section = section_of(wanted)
        if section is not None or get_origin(wanted) is dict:
            if not isinstance(node, Table):
                self._wrong(node, loc, "expected options as 'key: value' below it")
            elif section is not None:
                raw[loc[-1]] = self._section(node, section, loc)
            else:
                raw[loc[-1]] = self._names(node, get_args(wanted)[1], loc)
        elif get_origin(wanted) in (list, tuple):
            if not isinstance(node, Items):
                self._wrong(node, loc, "expected a list, such as [a, b]")
            else:
                raw[loc[-1]] = self._items(node, get_args(wanted)[0], loc, get_origin(wanted))
        elif not isinstance(node, Scalar):
            self._wrong(node, loc, "expected a single value")
        else:
            try:
                raw[loc[-1]] = read_scalar(node, wanted)
            except UnreadableError as error:
                self._wrong(node, loc, str(error))

    def _names(self, table: Table, annotation: object, loc: Loc) -> dict[str, object]:
        raw: dict[str, object] = {}
        for key, entry in table.entries.items():
            self._option(raw, entry.value, annotation, (*loc, key))
        return raw

    def _items(self, items: Items, annotation: object, loc: Loc, kind: object) -> Sequence[object]:
        raw: list[object] = []
        for item in items.items:
            one: dict[str, object] = {}
            self._option(one, item, annotation, loc)
            raw += one.values()
        return tuple(raw) if kind is tuple else raw


def _unwrapped(annotation: object) -> tuple[object, bool]:
    """Take ``Annotated`` and ``| None`` off a type."""
    if get_origin(annotation) is Annotated:
        return _unwrapped(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        inner = [arg for arg in get_args(annotation) if arg is not NoneType]
        assert len(inner) == 1, "an option has one type, or none"
        return _unwrapped(inner[0])[0], True
    return annotation, False


def _path(loc: Loc) -> str:
    return ".".join("".join(c if c.isprintable() else "?" for c in key[:64]) for key in loc)


def _found(node: Node, loc: Loc) -> str:
    if isinstance(node, Table):
        return "options of its own"
    if isinstance(node, Items):
        return "a list"
    return "this value" if any(looks_secret(key) for key in loc) else shown(node)


def _drop(raw: dict[str, object], loc: Loc) -> None:
    *parents, last = loc
    node: object = raw
    for key in parents:
        node = node.get(key) if isinstance(node, dict) else None
    if isinstance(node, dict):
        node.pop(last, None)


def _fill(raw: dict[str, object], model: type[BaseModel]) -> None:
    """Put stand-ins where required options are missing."""
    for name, info in model.model_fields.items():
        key = option_name(name, info)
        wanted, _ = _unwrapped(info.annotation)
        if key not in raw:
            if not info.is_required():
                continue
            raw[key] = _stand_in(wanted)
        inner = raw[key]
        section = section_of(wanted)
        if section is not None and isinstance(inner, dict):
            _fill(inner, section)
        elif get_origin(wanted) is dict and isinstance(inner, dict):
            below = section_of(_unwrapped(get_args(wanted)[1])[0])
            if below is not None:
                for value in inner.values():
                    _fill(value, below)


def _stand_in(wanted: object) -> object:
    if section_of(wanted) is not None:
        return {}
    if get_origin(wanted) is dict:
        return {"x": _stand_in(_unwrapped(get_args(wanted)[1])[0])}
    if get_origin(wanted) is Literal:
        return get_args(wanted)[0]
    return {str: "x", int: 1, float: 1.0, bool: False}.get(wanted)  # type: ignore[call-overload]  # any type
