"""Nodes of a YAML file → plain values, every fault with its place; for files that are no configurations.

A configuration's options are typed by its model (``config.parse``). Files that hold JSON values of any shape, or either
this or that, are read here, key by key.
"""

import math
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Final, TypeVar

from gatewayd.config.document import Entry, Fault, Items, Node, Place, Scalar, Table
from gatewayd.config.scalars import UnreadableError, is_nothing, read_scalar, shown
from gatewayd.errors import RejectedInputError
from gatewayd.workbench.case import Json
from gatewayd.workbench.recording import instant

_LONGEST_NUMBER: Final = 40
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,4})?", re.ASCII)
_JSON_WORDS: Final = {"true": True, "false": False}
T = TypeVar("T", int, float, str, bool)
N = TypeVar("N", int, float)


class Nodes:
    """Reads nodes of one file. What is wrong is noted in ``faults``, and read as absent."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults

    def items(self, node: Node, at: str, what: str) -> tuple[Node, ...]:
        """Return a list's items."""
        if isinstance(node, Items):
            return node.items
        self.wrong(node.place, at, f"expected {what}, not {kind_of_node(node)}")
        return ()

    def wrong(self, place: Place, at: str, message: str) -> None:
        """Note a fault."""
        self.faults.append(Fault(place, f"{at}: {message}" if at else message))

    def table(self, node: Node, at: str, known: Mapping[str, bool] | None, what: str) -> Mapping[str, Entry]:
        """Return a mapping's entries; ``known`` names its keys and whether they must be there, None: any."""
        if not isinstance(node, Table):
            self.wrong(node.place, at, f"expected {what} as 'key: value', not {kind_of_node(node)}")
            return {}
        if known is None:
            return node.entries
        meant: set[str] = set()
        for key, entry in node.entries.items():
            if key not in known:
                near = get_close_matches(key.lower(), known, n=1)
                meant.update(near)
                hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}"
                self.wrong(entry.key_place, at, f"unknown key '{shortened(key)}'; {hint}")
        for key, is_required in known.items():
            if is_required and key not in node.entries and key not in meant:
                self.wrong(node.place, at, f"the key '{key}' is missing")
        return {key: entry for key, entry in node.entries.items() if key in known}

    def scalar(self, entries: Mapping[str, Entry], name: str, at: str, wanted: type[T]) -> T | None:
        """Return one of a mapping's values as the type that is wanted; None where it isn't there."""
        if name not in entries:
            return None
        node, here = entries[name].value, f"{at}.{shortened(name)}" if at else shortened(name)
        if not isinstance(node, Scalar):
            self.wrong(node.place, here, f"expected a single value, not {kind_of_node(node)}")
            return None
        try:
            value = read_scalar(node, wanted)
        except UnreadableError as error:
            self.wrong(node.place, here, f"{error}, not {shown(node)}")
            return None
        assert isinstance(value, wanted)
        return value

    def number(
        self,
        entries: Mapping[str, Entry],
        name: str,
        at: str,
        wanted: type[N],
        limits: tuple[int, int | None],
    ) -> N | None:
        """Return one of a mapping's values as a number within limits, both included; None where it isn't there."""
        value = self.scalar(entries, name, at, wanted)
        least, most = limits
        if value is None or (value >= least and (most is None or value <= most)):
            return value
        here = f"{at}.{shortened(name)}" if at else shortened(name)
        expected = f"must be at least {least}" if most is None else f"must lie in {least}..{most}"
        self.wrong(entries[name].value.place, here, f"{expected}, not {value:.15g}")
        return None

    def time(self, entries: Mapping[str, Entry], name: str, at: str) -> int | None:
        """Return one of a mapping's values as a time, ns since the Unix epoch; None where it isn't there."""
        text = self.scalar(entries, name, at, str)
        if text is None:
            return None
        try:
            return instant(text)
        except RejectedInputError:
            node = entries[name].value
            assert isinstance(node, Scalar)
            message = f"expected a time, RFC 3339 or seconds since 1970, not {shown(node)}"
            self.wrong(node.place, f"{at}.{name}", message)
            return None

    def json(self, node: Node, at: str) -> Json:
        """Read a node as JSON would be: what is quoted is a text; so is what is no JSON number, true, false or null."""
        if isinstance(node, Items):
            return [self.json(item, f"{at}[{index}]") for index, item in enumerate(node.items)]
        if isinstance(node, Table):
            return {
                key: self.json(entry.value, f"{at}.{shortened(key)}") for key, entry in node.entries.items()
            }
        return self._json_scalar(node, at) if node.is_plain else node.text

    def _json_scalar(self, node: Scalar, at: str) -> Json:
        if is_nothing(node):
            return None
        number = _NUMBER.fullmatch(node.text)
        if number is None:
            return _JSON_WORDS.get(node.text, node.text)
        if len(node.text) > _LONGEST_NUMBER or math.isinf(float(node.text)):
            self.wrong(node.place, at, "this number is too large; quote a text")
            return None
        return int(node.text) if number[2] is None and number[3] is None else float(node.text)


def contents(path: Path, most: int) -> bytes | str:
    """Return the first bytes of a file, or why it can't be read."""
    try:
        if path.is_file():  # a pipe would keep us waiting
            with path.open("rb") as file:
                return file.read(most)
        return "is not a file" if path.exists() else "cannot be read: No such file or directory"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def kind_of_node(node: Node) -> str:
    """Say what stands there, for a message."""
    if isinstance(node, Table):
        return "'key: value'"
    return "a list" if isinstance(node, Items) else shown(node)


def shortened(key: str) -> str:
    """Write a key so that it stays within a message."""
    return "".join(c if c.isprintable() else "?" for c in key[:64])
