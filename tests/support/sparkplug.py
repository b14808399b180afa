"""Sparkplug B payloads for tests."""

from dataclasses import dataclass

from hypothesis import strategies as st

from gatewayd.formats.sparkplug_schema import new_payload

AT_MS = 1_741_944_413_000
INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FLOAT, DOUBLE, BOOLEAN, STRING = range(1, 13)


def metric(name=None, **fields):
    """Fields as the schema names them; ``value=("int_value", 3)`` or ``unit="bar"`` as short forms."""
    return {"name": name, **fields}


def payload(*metrics, seq=None, timestamp=AT_MS):
    message = new_payload()
    for name, value in (("seq", seq), ("timestamp", timestamp)):
        if value is not None:
            setattr(message, name, value)
    for fields in metrics:
        added = message.metrics.add()
        for name, value in fields.items():
            if name == "unit":
                added.properties.keys.append("engUnit")
                added.properties.values.add().string_value = value
            elif name == "value":
                setattr(added, *value)
            elif value is not None:
                setattr(added, name, value)
    return message.SerializeToString()


def node_birth(bd_seq=None, *metrics, seq=0):
    session = () if bd_seq is None else (metric("bdSeq", datatype=INT64, value=("long_value", bd_seq)),)
    return payload(*session, *metrics, seq=seq)


def double(value, *, name=None, alias=None, datatype=DOUBLE, **fields):
    return metric(name, alias=alias, datatype=datatype, value=("double_value", value), **fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A message that a gateway got.

    Attributes:
        topic: Of the message.
        payload: Of the message.
        node: Whose it is.
        is_next: No message of this node was lost between the one before and this one.
    """

    topic: str
    payload: bytes
    node: str
    is_next: bool

    @property
    def kind(self) -> str:
        return self.topic.split("/")[2]


class EdgeNode:
    """A node with a device ``d``, both with metrics ``p`` and ``q``, by aliases that each session gives anew."""

    def __init__(self, name: str) -> None:
        self.name, self.is_missed = name, False
        self._session, self._number = -1, 255

    def say(self, kind: str, p: float, q: float, timestamp: int = AT_MS) -> tuple[str, bytes]:
        """Make the next message; ``OLD`` is a death of the session before."""
        if kind in ("NDEATH", "OLD"):
            died = (self._session - (kind == "OLD")) % 256
            return f"spBv1.0/g/NDEATH/{self.name}", node_birth(died, seq=None)
        is_birth = kind.endswith("BIRTH")
        self._session += kind == "NBIRTH"
        self._number = 0 if kind == "NBIRTH" else (self._number + 1) % 256
        names, aliases = (
            ("p", "q") if is_birth else (None, None),
            (1 + self._session % 2, 2 - self._session % 2),
        )
        values = [
            double(value, name=name, alias=alias, datatype=DOUBLE if is_birth else None)
            for value, name, alias in zip((p, q), names, aliases, strict=True)
        ]
        if kind == "NBIRTH":
            values.append(metric("bdSeq", datatype=INT64, value=("long_value", self._session % 256)))
        sent = payload(*([] if kind == "DDEATH" else values), seq=self._number, timestamp=timestamp)
        return f"spBv1.0/g/{kind}/{self.name}{'/d' if kind[0] == 'D' else ''}", sent


KINDS = ["NBIRTH", "DBIRTH", "NDATA", "DDATA", "DDATA", "DDATA", "DDEATH", "NDEATH", "OLD"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from("mn"), st.sampled_from(KINDS), st.sampled_from([False, False, False, True])
    ),  # node, what it says, whether that is lost
    max_size=25,
)


def heard(steps: list[tuple[str, str, bool]]) -> list[Heard]:
    """What arrives of what two nodes say: of ``p`` 0, 1, 2 … and of ``q`` -0.5 less, one second apart."""
    nodes, found = {name: EdgeNode(name) for name in "mn"}, []
    for second, (name, kind, is_lost) in enumerate(steps):
        node = nodes[name]
        topic, data = node.say(kind, float(second), -second - 0.5, AT_MS + 1000 * second)
        if not is_lost:
            found.append(Heard(topic=topic, payload=data, node=name, is_next=not node.is_missed))
        if kind not in ("NDEATH", "OLD"):
            node.is_missed = is_lost
    return found


def is_unbroken(messages: list[Heard], cut: int) -> bool:
    """Tell whether each node goes on with the very next message behind a cut, or with a birth."""
    following: dict[str, Heard] = {}
    for message in messages[cut:]:
        if message.kind != "NDEATH":
            following.setdefault(message.node, message)
    return all(message.is_next or message.kind == "NBIRTH" for message in following.values())
