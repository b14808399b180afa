"""What Sparkplug births announced: the metrics of each edge node and of its devices, bounded.

A node that gave way, or died, is one whose birth nobody has seen: its next message asks for another.

Reference:
    Sparkplug 3.0.0, 6.4 "Sparkplug B": aliases of metrics, sequence numbers of payloads.
"""

from dataclasses import dataclass, field

from gatewayd.errors import RejectedInputError

MAX_NODES = 1024
MAX_NODE_METRICS = 20_000  # that one node and its devices may announce; a device counts as one itself
MAX_METRICS = 100_000  # of all nodes; the node whose birth is longest ago gives way

_NUMBERS = 256


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
    by_alias: dict[int, Announced | None] = field(default_factory=dict)

    def learn(self, announced: Announced, alias: int | None) -> None:
        """Take note of one metric; announced twice, the last one counts."""
        self.by_name[announced.name] = announced
        if alias is not None:
            taken = self.by_alias.get(alias, announced)
            self.by_alias[alias] = announced if taken is not None and taken.name == announced.name else None


@dataclass(slots=True)
class Node:
    """One edge node.

    Attributes:
        is_born: Whether its birth was seen; its devices' may have been, without.
        birth: ``bdSeq`` of its birth, which its death will carry; None where there was none.
        in_order: Messages since one was missed.
        tables: By device; the node's own under the empty name.
    """

    is_born: bool = False
    birth: int | None = None
    in_order: int = 0
    tables: dict[str, Table] = field(default_factory=dict)
    _expected: int | None = None

    def take(self, number: int | None) -> bool:
        """Take note of a message's number; tell whether it's the next one, as far as that is known."""
        is_next = number is None or self._expected in (None, number)
        self._expected = None if number is None else (number + 1) % _NUMBERS
        self.in_order = self.in_order + 1 if is_next else 0
        return is_next

    @property
    def size(self) -> int:
        """Metrics and devices that it keeps."""
        return sum(1 + len(table.by_name) for table in self.tables.values())


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
        if node.size + 1 + len(table.by_name) > MAX_NODE_METRICS:
            raise RejectedInputError("too_many_metrics")
        node.tables[device] = table
        excess = sum(known.size for known in self._nodes.values()) - MAX_METRICS
        while excess > 0:
            excess -= self._forget_oldest(but=key)

    def _forget_oldest(self, but: str | None = None) -> int:
        oldest = next(key for key in self._nodes if key != but)
        return self._nodes.pop(oldest).size
