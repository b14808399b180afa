"""What Sparkplug births announced: the metrics of each edge node and of its devices, bounded.

A node that gave way, or died, is one whose birth nobody has seen: its next message asks for another. So is one that is
remembered from before a stop, unless its next message is the very next (by chance, one in 256 is so): otherwise its
births of meanwhile, which may have given an alias to another metric, were missed.

Reference:
    Sparkplug 3.0.0, 6.4 "Sparkplug B": aliases of metrics, sequence numbers of payloads.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from gatewayd.domain.state import State, Value, as_int, as_state
from gatewayd.errors import RejectedInputError
from gatewayd.formats.remembered import as_list, as_text, as_text_or_none

MAX_NODES = 1024
MAX_NODE_METRICS = 20_000  # that one node and its devices may announce; a device counts as one itself
MAX_METRICS = 100_000  # of all nodes; the node whose birth is longest ago gives way

_NUMBERS = 256  # of messages, and of sessions


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """One metric, as its birth had it. ``datatype`` is Sparkplug's number, ``unit`` None where it has none."""

    name: str
    datatype: int
    unit: str | None


@dataclass(slots=True)
class Table:
    """What one birth announced. An alias that it gave to two metrics says nothing, and is None."""

    by_name: dict[str, Announced] = field(default_factory=dict)
    name_of: dict[int, str | None] = field(default_factory=dict)  # by alias

    def learn(self, announced: Announced, alias: int | None) -> None:
        """Take note of one metric; announced twice, the last one counts."""
        self.by_name[announced.name] = announced
        if alias is not None:
            is_free = self.name_of.get(alias, announced.name) == announced.name
            self.name_of[alias] = announced.name if is_free else None

    def by_alias(self, alias: int) -> Announced | None:
        """Return the metric that an alias stands for; None where that is none, or not clear."""
        name = self.name_of.get(alias)
        return None if name is None else self.by_name[name]

    @property
    def size(self) -> int:
        """Metrics that it keeps, and the device itself; one of many aliases counts so often."""
        return 1 + max(len(self.by_name), len(self.name_of))

    def state(self) -> State:
        """Copy out what was announced, as columns: there may be many."""
        metrics = self.by_name.values()
        place = {name: index for index, name in enumerate(self.by_name)}
        return {
            "names": list(self.by_name),
            "datatypes": [metric.datatype for metric in metrics],
            "units": [metric.unit for metric in metrics],
            "aliases": list(self.name_of),
            "aliased": [None if name is None else place[name] for name in self.name_of.values()],
        }

    @classmethod
    def from_state(cls, state: State) -> "Table":
        """Make one of a state. Raises ValueError where it is none."""
        names = [as_text(name) for name in as_list(state.get("names"))]
        datatypes = [as_int(datatype) for datatype in as_list(state.get("datatypes"), len(names))]
        units = [as_text_or_none(unit) for unit in as_list(state.get("units"), len(names))]
        aliases = [as_int(alias) for alias in as_list(state.get("aliases"))]
        aliased = [_named(place, names) for place in as_list(state.get("aliased"), len(aliases))]
        columns = zip(names, datatypes, units, strict=True)
        return cls(
            by_name={name: Announced(name=name, datatype=kind, unit=unit) for name, kind, unit in columns},
            name_of=dict(zip(aliases, aliased, strict=True)),
        )


@dataclass(slots=True)
class Node:
    """One edge node.

    Attributes:
        is_born: Whether its birth was seen; its devices' may have been, without.
        birth: ``bdSeq`` of its birth, which its death will carry; None where there was none.
        in_order: Messages since one was missed.
        is_proven: False where it was restored, until a message is the very next: so no birth was missed.
        tables: By device; the node's own under the empty name.
    """

    is_born: bool = False
    birth: int | None = None
    in_order: int = 0
    is_proven: bool = True
    tables: dict[str, Table] = field(default_factory=dict)
    _expected: int | None = None

    def take(self, number: int | None) -> bool:
        """Take note of a message's number; tell whether it's the next one, as far as that is known."""
        is_next = number is None or self._expected in (None, number)
        self._expected = None if number is None else (number + 1) % _NUMBERS
        self.in_order = self.in_order + 1 if is_next else 0
        return is_next

    def prove(self, number: int | None) -> bool:
        """Take a restored node for what it was if a message's number is the very next; tell whether it is proven."""
        self.is_proven |= number is not None and number == self._expected
        return self.is_proven

    def state(self) -> State:
        """Copy it out."""
        return {
            "is_born": self.is_born,
            "birth": self.birth,
            "in_order": self.in_order,
            "expected": self._expected,
            "tables": {device: table.state() for device, table in self.tables.items()},
        }

    @classmethod
    def from_state(cls, state: State) -> "Node":
        """Make one of a state, not proven. Raises ValueError where it is none."""
        tables = as_state(state.get("tables")).items()
        return cls(
            is_born=bool(as_int(state.get("is_born"))),
            birth=_int_or_none(state.get("birth")),
            in_order=as_int(state.get("in_order")),
            is_proven=False,
            tables={as_text(device): Table.from_state(as_state(table)) for device, table in tables},
            _expected=_int_or_none(state.get("expected")),
        )

    def outlives(self, died: int | None) -> bool:
        """Tell whether a death is that of an earlier session than its own.

        That of a later one, whose birth was missed, is its end too. Sessions count from 0 to 255 and again from 0.
        """
        return died is not None and self.birth is not None and (died - self.birth) % _NUMBERS >= _NUMBERS // 2

    @property
    def size(self) -> int:
        """Metrics and devices that it keeps."""
        return sum(table.size for table in self.tables.values())


class Nodes:
    """The nodes by ``group/node``. Owned by its format, and so by the line."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}  # in order of their births

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, key: str) -> Node | None:
        """Return a node; None where it's not known, or no longer."""
        return self._nodes.get(key)

    def add(self, key: str, node: Node) -> None:
        """Keep a node in place of what it was before; the one born longest ago may give way."""
        self._nodes.pop(key, None)
        self._nodes[key] = node
        if len(self._nodes) > MAX_NODES:
            self._forget_oldest()

    def remove(self, key: str) -> Node | None:
        """Forget a node and return it; None where it wasn't known."""
        return self._nodes.pop(key, None)

    def announce(self, key: str, device: str, table: Table) -> None:
        """Keep what a birth announced, in place of what the same device announced before; others may give way.

        Args:
            key: Of a node that is known.
            device: Of the node; empty: the node itself.
            table: What it announced.

        Raises:
            RejectedInputError: ``too_many_metrics``, of this node; nothing is kept of the device then.
        """
        node = self._nodes[key]
        node.tables.pop(device, None)
        if node.size + table.size > MAX_NODE_METRICS:
            raise RejectedInputError("too_many_metrics")
        node.tables[device] = table
        self._trim(but=key)

    def state(self) -> State:
        """Copy out the nodes, the one born longest ago first."""
        return {key: node.state() for key, node in self._nodes.items()}

    def restore(self, state: Value) -> None:
        """Know the nodes of a state instead, as many as there may be; none of them proven.

        Raises:
            ValueError: It is no such state; nothing has changed then.
        """
        nodes = {as_text(key): Node.from_state(as_state(node)) for key, node in as_state(state).items()}
        newest = list(nodes.items())[-MAX_NODES:]
        self._nodes = {key: node for key, node in newest if node.size <= MAX_NODE_METRICS}
        self._trim()

    def _trim(self, but: str | None = None) -> None:
        excess = sum(known.size for known in self._nodes.values()) - MAX_METRICS
        while excess > 0:
            excess -= self._forget_oldest(but)

    def _forget_oldest(self, but: str | None = None) -> int:
        oldest = next(key for key in self._nodes if key != but)
        return self._nodes.pop(oldest).size


def _named(place: Value, names: Sequence[str]) -> str | None:
    if place is None:
        return None
    if not 0 <= as_int(place) < len(names):
        raise ValueError(f"expected one of {len(names)} metrics, not number {place}")
    return names[as_int(place)]


def _int_or_none(value: Value) -> int | None:
    return None if value is None else as_int(value)
