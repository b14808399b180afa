"""A Sparkplug B edge node: the gateway as hosts see it, with births before data and a number on every message.

    spBv1.0/{group}/NBIRTH/{gateway}              seq 0: bdSeq, Node Control/Rebirth
    spBv1.0/{group}/DBIRTH/{gateway}/{device}     seq 1: all of the device's metrics, with their values
    spBv1.0/{group}/DDATA/{gateway}/{device}      seq 2: what a verdict changed
    ...                                           ... 255, then 0 again

The first verdict of a device, and one with a metric that its birth didn't name, goes out as a birth: a birth holds
values too, so that each verdict is one message. Metrics are always named, never by alias alone: a message is understood
even by who missed the birth. Each metric carries the time of what it tells of; ``is_historical`` is unset.

What a pure encoder can't give: an order that survives when records are evicted before they were delivered (a host sees
a gap in ``seq`` and asks for a rebirth), and a will. Whoever holds the session may take ``death()`` for that.

Reference:
    Sparkplug 3.0.0: topics and messages; operational behaviour; 6.4 "Sparkplug B" (payloads).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, cast

from gatewayd.domain.state import State
from gatewayd.domain.topic import safe_level
from gatewayd.domain.verdict import Kind, Publication
from gatewayd.errors import RejectedInputError
from gatewayd.formats.sparkplug_schema import Payload, new_payload, parse_payload
from gatewayd.pipeline.verdict_sparkplug import CONTENT_TYPE, Metric, Type, Value

REBIRTH = "Node Control/Rebirth"

_SEQ_LIMIT = 256
_MILLISECOND = 10**6
_SESSION = "bdSeq"
# Data type's number and the field that carries it.
_TYPES: Mapping[Type, tuple[int, str]] = {
    "Int32": (3, "int_value"),
    "Int64": (4, "long_value"),
    "Double": (10, "double_value"),
    "Boolean": (11, "boolean_value"),
    "String": (12, "string_value"),
    "DateTime": (13, "long_value"),
}


class EdgeNode:
    """One gateway in one group, with the devices of all its streams. Owned by the line.

    Remembers for each device what its metrics were last, as a birth has to tell: as many as streams admit devices.

    Args:
        group: Sparkplug's group id.
        gateway: The gateway's id, which is the edge node's.
        broker: Name of the upstream broker.
        qos: Of every publication; Sparkplug asks for 0, an outbox that loses nothing for 1.
    """

    def __init__(self, *, group: str, gateway: str, broker: str, qos: Literal[0, 1]) -> None:
        self._group, self._gateway = safe_level(group), safe_level(gateway)
        self._broker, self._qos = broker, qos
        self._bd_seq = self._seq = 0
        self._is_born = False
        self._born: set[str] = set()  # devices, since the node's birth
        self._devices: dict[str, dict[str, Metric]] = {}

    @property
    def command_topic(self) -> str:
        """The topic on which hosts command this node (NCMD)."""
        return self._topic("NCMD")

    def publish(self, device: str, metrics: Sequence[Metric], *, kind: Kind, at: int) -> list[Publication]:
        """Publish what a device's metrics have become; before that, what has to be known to understand it.

        Args:
            device: The device's id, see ``device_id``.
            metrics: Those that changed.
            kind: Of what they tell.
            at: When, ns since the Unix epoch.
        """
        found = [] if self._is_born else [self._node_birth(at)]
        known = self._devices.setdefault(device, {})
        is_understood = device in self._born and all(metric.name in known for metric in metrics)
        known.update((metric.name, metric) for metric in metrics)
        if is_understood:
            found.append(self._message("DDATA", device, metrics, kind=kind, at=at))
        else:
            found.append(self._device_birth(device, at))
        return found

    def rebirth(self, at: int) -> list[Publication]:
        """Return all births again: the node's, then each device's.

        Args:
            at: Now, ns since the Unix epoch.
        """
        return [self._node_birth(at), *(self._device_birth(device, at) for device in self._devices)]

    @property
    def devices(self) -> tuple[str, ...]:
        """Ids of the devices that a rebirth tells of."""
        return tuple(self._devices)

    def told_at(self, device: str) -> int:
        """Return when what hosts know of a device was told last, ns since the Unix epoch."""
        return max(metric.at_ms for metric in self._devices[device].values()) * _MILLISECOND

    def remove(self, device: str, at: int) -> Publication:
        """Forget a device whose stream is gone, and return what tells hosts so (DDEATH).

        Args:
            device: One of ``devices``.
            at: Now, ns since the Unix epoch.
        """
        del self._devices[device]
        self._born.discard(device)
        return self._message("DDEATH", device, (), kind="discovery", at=at)

    def asks_rebirth(self, payload: bytes) -> bool:
        """Tell whether a command to this node asks for a rebirth; False for any bytes that don't."""
        try:
            metrics = parse_payload(payload).metrics
        except RejectedInputError:
            return False
        return any(metric.name == REBIRTH and metric.boolean_value for metric in metrics)

    def begin_session(self) -> None:
        """Begin a new session with the broker: ``bdSeq`` counts it, and what was born before is to be born again."""
        self._bd_seq = (self._bd_seq + 1) % _SEQ_LIMIT
        self._is_born = False

    def death(self) -> Publication:
        """Return what tells of the end of this session; to be left with the broker as the session's will."""
        payload = new_payload()
        self._add_session(payload, None)
        return self._publication("NDEATH", None, payload, "discovery")

    def state(self) -> State:
        """Copy out what hosts were told."""
        return {
            "bd_seq": self._bd_seq,
            "seq": self._seq,
            "is_born": self._is_born,
            "born": sorted(self._born),
            "devices": {
                device: [[one.name, one.type, one.value, one.at_ms] for one in metrics.values()]
                for device, metrics in self._devices.items()
            },
        }

    def restore(self, state: State) -> None:
        """Go on where another one stopped."""
        self._bd_seq, self._seq = cast("int", state["bd_seq"]), cast("int", state["seq"])
        self._is_born = bool(state["is_born"])
        self._born = set(cast("Sequence[str]", state["born"]))
        devices = cast("Mapping[str, Sequence[tuple[str, Type, Value, int]]]", state["devices"])
        self._devices = {
            device: {
                name: Metric(name=name, type=type_, value=value, at_ms=at_ms)
                for name, type_, value, at_ms in metrics
            }
            for device, metrics in devices.items()
        }

    def _node_birth(self, at: int) -> Publication:
        self._seq, self._is_born = 0, True
        self._born.clear()
        payload = self._payload(
            (Metric(name=REBIRTH, type="Boolean", value=False, at_ms=at // _MILLISECOND),), at
        )
        self._add_session(payload, at // _MILLISECOND)
        return self._publication("NBIRTH", None, payload, "discovery")

    def _device_birth(self, device: str, at: int) -> Publication:
        self._born.add(device)
        # Not of the verdict's kind: without this one, what follows says little.
        return self._message("DBIRTH", device, self._devices[device].values(), kind="discovery", at=at)

    def _message(
        self, what: str, device: str, metrics: Iterable[Metric], *, kind: Kind, at: int
    ) -> Publication:
        return self._publication(what, device, self._payload(metrics, at), kind)

    def _payload(self, metrics: Iterable[Metric], at: int) -> Payload:
        payload = new_payload()
        payload.timestamp, payload.seq = at // _MILLISECOND, self._seq
        self._seq = (self._seq + 1) % _SEQ_LIMIT
        for metric in metrics:
            _add(payload, metric)
        return payload

    def _add_session(self, payload: Payload, at_ms: int | None) -> None:
        added = payload.metrics.add()
        added.name, added.datatype, added.long_value = _SESSION, _TYPES["Int64"][0], self._bd_seq
        if at_ms is not None:
            added.timestamp = at_ms

    def _publication(self, what: str, device: str | None, payload: Payload, kind: Kind) -> Publication:
        return Publication(
            broker=self._broker,
            kind=kind,
            topic=self._topic(what, device),
            payload=payload.SerializeToString(),
            qos=self._qos,
            retain=False,  # births and data are never retained (Sparkplug 3.0.0)
            content_type=CONTENT_TYPE,
        )

    def _topic(self, what: str, device: str | None = None) -> str:
        return "/".join(["spBv1.0", self._group, what, self._gateway] + ([] if device is None else [device]))


def _add(payload: Payload, metric: Metric) -> None:
    added = payload.metrics.add()
    number, field = _TYPES[metric.type]
    added.name, added.timestamp, added.datatype = metric.name, metric.at_ms, number
    if metric.value is None:
        added.is_null = True
    else:
        setattr(added, field, metric.value)
