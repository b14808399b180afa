"""Sparkplug B: edge nodes and their devices announce metrics in a birth, then send changes by name or alias.

``spBv1.0/PlantA/DDATA/EdgeNode1/Press7`` with ``{alias 2, double 183.5}`` gives ``EdgeNode1/Press7``
``Hydraulics/Pressure`` 183.5 bar, once the device's birth has said what alias 2 is. A metric is used where its name and
type are known, from itself or from the birth; neither is ever guessed.

Every message of a node and its devices carries the next number, 0 to 255. One that is missing, a metric that nobody
announced, data before a birth: each means that a birth may have been missed, and the node is asked for another
(``sparkplug_rebirth.py``). That is no error of the message, whose other values are good; ``notices`` tell it. Only the
first gap after a restart costs what was announced before (``sparkplug_nodes.py``).

Historical values keep their own time; transient ones are readings like others. ``bdSeq`` and what stands below ``Node
Control/`` and ``Device Control/`` are no readings. Commands, and the state of other hosts, don't concern us.

Groups are kept apart in what is remembered, but not in a device's name unless asked for: two groups with nodes of one
name belong in two streams, or under ``with_group``.

Reference:
    Sparkplug 3.0.0: topics and messages, operational behaviour, 6.4 "Sparkplug B" (payloads).
"""

import re
import zlib
from dataclasses import dataclass, field

from gatewayd.domain.state import State, as_state
from gatewayd.errors import RejectedInputError
from gatewayd.formats.leaves import MAX_BYTES
from gatewayd.formats.remembered import MAX_TEXT
from gatewayd.formats.sample import Request, Sample, Samples
from gatewayd.formats.sparkplug_metric import metric_time, metric_unit, metric_value, text
from gatewayd.formats.sparkplug_nodes import Announced, Node, Nodes, Table
from gatewayd.formats.sparkplug_rebirth import Rebirths
from gatewayd.formats.sparkplug_schema import Metric, Payload, parse_payload

MAX_METRICS = 10_000  # of one message
SETTLED = 256  # messages in order, after which a node's gaps are worth the same haste again

_TOPIC = re.compile(
    r"spBv1\.0/([^/+#]+)/(?:(NBIRTH|NDATA|NDEATH)/([^/+#]+)|(D(?:BIRTH|DATA|DEATH))/([^/+#]+)/([^/+#]+))"
)
_NOT_OURS = re.compile(r"(spBv1\.0/)?STATE/.*|spBv1\.0/[^/]+/[ND]CMD/.*", re.DOTALL)
_CONTROL = ("Node Control/", "Device Control/")
_COMPRESSED = "SPBV1.0_COMPRESSED"
_ZLIB_OR_GZIP = zlib.MAX_WBITS | 32  # told by the header; the metric "algorithm" says the same


@dataclass(frozen=True, slots=True, kw_only=True)
class _Address:
    """Where a message comes from; ``device`` is empty for the node itself."""

    group: str
    kind: str
    node: str
    device: str

    @property
    def key(self) -> str:
        return f"{self.group}/{self.node}"


@dataclass(slots=True)
class _Answer:
    """What is gathered for one message."""

    samples: list[Sample] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    offline: tuple[str, ...] = ()
    requests: tuple[Request, ...] = ()
    is_birth_missed: bool = False


class SparkplugFormat:
    """Reads Sparkplug B. Keeps what at most 1,024 nodes announced, and of all of them 100,000 metrics.

    Args:
        with_group: Whether a device's name begins with its group.
    """

    def __init__(self, *, with_group: bool = False) -> None:
        self._with_group = with_group
        self._nodes = Nodes()
        self._rebirths = Rebirths()

    def decode(self, topic: str, payload: bytes, *, arrived_at: int) -> Samples:
        """Decode one message; see ``SampleFormat``.

        Errors: ``unknown_topic``, ``too_large``, ``not_protobuf``, ``not_compressed`` (though it says so),
        ``too_many_metrics``, ``invalid_name``, ``no_historical_time``, and those of ``metric_value``.

        Notices: ``unannounced_metric`` (dropped), ``sequence_gap``, ``message_before_birth``, ``stale_death`` (of an
        earlier session of the node; ignored), ``rebirth_requested``.
        """
        if not payload or _NOT_OURS.fullmatch(topic):
            return Samples()  # not payload: a cleared topic
        try:
            address = _address(topic)
            answer = self._answer(address, _content(payload))
            if answer.is_birth_missed:
                self._ask(address, answer, arrived_at)
        except RejectedInputError as error:
            return Samples(errors=(error.reason,))
        return Samples(
            samples=tuple(answer.samples),
            errors=tuple(answer.errors),
            notices=tuple(answer.notices),
            requests=answer.requests,
            offline=answer.offline,
        )

    def state(self) -> State:
        """Copy out nodes, births and requests; see ``RememberingFormat``."""
        return {"nodes": self._nodes.state(), "rebirths": self._rebirths.state()}

    def restore(self, state: State) -> None:
        """Know these nodes, as far as their next messages prove that none was missed; see ``RememberingFormat``."""
        rebirths, nodes = Rebirths(), Nodes()
        rebirths.restore(as_state(state.get("rebirths")))
        nodes.restore(state.get("nodes"))
        self._rebirths, self._nodes = rebirths, nodes

    def _answer(self, address: _Address, payload: Payload) -> _Answer:
        answer = _Answer()
        if address.kind == "NDEATH":
            self._node_death(address, payload, answer)
            return answer
        node = self._node(address, payload)
        self._watch_order(address, node, payload, answer)
        if address.kind == "DDEATH":
            node.tables.pop(address.device, None)
            answer.offline = (self._name(address, address.device),)
        elif address.kind in ("NBIRTH", "DBIRTH"):
            self._birth(address, payload, answer)
        else:
            self._data(address, node.tables.get(address.device), payload, answer)
        return answer

    def _node(self, address: _Address, payload: Payload) -> Node:
        """Return the node that a message belongs to, as the message leaves it."""
        if address.kind == "NBIRTH":
            node = Node(is_born=True, birth=_bd_seq(payload))
        else:
            known = self._nodes.get(address.key)
            if known is not None and (known.is_proven or known.prove(_number(payload))):
                return known
            if known is not None:
                self._nodes.remove(address.key)
                self._rebirths.forget(address.group, address.node)
            node = Node()
        if address.kind in ("NBIRTH", "DBIRTH"):
            self._nodes.add(address.key, node)
        return node

    def _watch_order(self, address: _Address, node: Node, payload: Payload, answer: _Answer) -> None:
        if not node.take(_number(payload)):
            answer.notices.append("sequence_gap")
            answer.is_birth_missed = True
        if not node.is_born:
            answer.notices.append("message_before_birth")
            answer.is_birth_missed = True
        if node.in_order == SETTLED:
            self._rebirths.settle(address.group, address.node)

    def _node_death(self, address: _Address, payload: Payload, answer: _Answer) -> None:
        node = self._nodes.get(address.key)
        if node is not None and node.outlives(_bd_seq(payload)):
            answer.notices.append("stale_death")
            return
        self._nodes.remove(address.key)
        devices = [device for device in (node.tables if node is not None else ()) if device]
        answer.offline = tuple(self._name(address, device) for device in ("", *devices))

    def _birth(self, address: _Address, payload: Payload, answer: _Answer) -> None:
        table = Table()
        for metric in payload.metrics:
            name = text(metric.name)
            if name is None:
                answer.errors.append("invalid_name")
                continue
            announced = Announced(name=name, datatype=metric.datatype, unit=metric_unit(metric))
            table.learn(announced, metric.alias if metric.HasField("alias") else None)
            self._read(address, announced, metric, payload, answer)
        try:
            self._nodes.announce(address.key, address.device, table)
        except RejectedInputError as error:
            answer.errors.append(error.reason)  # the values are good

    def _data(self, address: _Address, table: Table | None, payload: Payload, answer: _Answer) -> None:
        answer.is_birth_missed |= table is None
        for metric in payload.metrics:
            announced = _find(table or Table(), metric)
            if announced is None:
                answer.notices.append("unannounced_metric")
                answer.is_birth_missed = True
            else:
                self._read(address, announced, metric, payload, answer)

    def _read(
        self, address: _Address, announced: Announced, metric: Metric, payload: Payload, answer: _Answer
    ) -> None:
        if announced.name == "bdSeq" or announced.name.startswith(_CONTROL):
            return
        try:
            value = metric_value(metric, announced.datatype)
            if value is None:
                return
            sample = Sample(
                device=self._name(address, address.device),
                channel=announced.name,
                value=value,
                unit=metric_unit(metric) or announced.unit,
                taken_at=metric_time(metric, payload),
            )
        except RejectedInputError as error:
            answer.errors.append(error.reason)
        else:
            answer.samples.append(sample)

    def _ask(self, address: _Address, answer: _Answer, arrived_at: int) -> None:
        request = self._rebirths.request(address.group, address.node, now=arrived_at)
        if request is not None:
            answer.requests = (request,)
            answer.notices.append("rebirth_requested")

    def _name(self, address: _Address, device: str) -> str:
        levels = (address.group if self._with_group else "", address.node, device)
        return "/".join(level for level in levels if level)


def _address(topic: str) -> _Address:
    match = _TOPIC.fullmatch(topic)
    if match is None or len(topic) > MAX_TEXT:
        raise RejectedInputError("unknown_topic")
    group, node_kind, lone_node, device_kind, node, device = match.groups()
    return _Address(group=group, kind=node_kind or device_kind, node=lone_node or node, device=device or "")


def _content(data: bytes) -> Payload:
    """Parse a payload, and the one within where it was sent compressed (as Eclipse Tahu does).

    Raises:
        RejectedInputError: It can't be parsed, or is larger than can be.
    """
    outer = payload = parse_payload(data)
    if outer.uuid == _COMPRESSED:
        inflater = zlib.decompressobj(_ZLIB_OR_GZIP)
        try:
            inner = inflater.decompress(outer.body, MAX_BYTES + 1)
        except zlib.error as error:
            raise RejectedInputError("not_compressed", str(error)[:80]) from error
        if not inflater.eof and len(inner) <= MAX_BYTES:
            raise RejectedInputError("not_compressed", "cut off")
        payload = parse_payload(inner)
        if outer.HasField("seq"):
            payload.seq = outer.seq
    if len(payload.metrics) > MAX_METRICS:
        raise RejectedInputError("too_many_metrics")
    return payload


def _find(table: Table, metric: Metric) -> Announced | None:
    """Return what is known of a metric; None where its name or its type isn't."""
    name = text(metric.name)
    if name is None:
        return table.by_alias(metric.alias) if metric.HasField("alias") else None
    if name in table.by_name or not metric.datatype:
        return table.by_name.get(name)
    return Announced(name=name, datatype=metric.datatype, unit=None)


def _bd_seq(payload: Payload) -> int | None:
    for metric in payload.metrics:
        if metric.name == "bdSeq":
            return metric.long_value if metric.WhichOneof("value") == "long_value" else metric.int_value
    return None


def _number(payload: Payload) -> int | None:
    return payload.seq if payload.HasField("seq") else None
