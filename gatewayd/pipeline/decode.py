"""Messages → columns: which stream and device a topic belongs to, and what its payload says.

A topic is looked up by its raw bytes; the first time it is parsed, matched and given its device, and what came of it is
remembered, up to a few topics for each device that ``max_devices`` allows; others are parsed every time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import cast

import numpy as np

from gatewayd.domain.arrays import Bool, Int64
from gatewayd.domain.reading import Batch, Message
from gatewayd.domain.state import State, Value
from gatewayd.domain.topic import TopicFilter
from gatewayd.formats.decoded import NO_TIME, Format
from gatewayd.pipeline.encode import Device

RETAIN = 1  # bit of a PUBLISH header
_UNKNOWN = -1
_EXAMPLE_BYTES = 200
_TOPICS_A_DEVICE = 4  # remembered, on average: a device may publish on any number that its filter covers
_STREAM_SHIFT = 32  # a route is stream << 32 | device


class Devices:
    """A stream's devices, in order of their first reading. Owned by the line; bounded.

    Args:
        pattern: The stream's topic filter.
        name: Device name where the topic has no ``{device}``.
        limit: Devices at most.
        fits: Whether the results of a device can be published.
        also: Further filters of the stream, whose topics name no devices.
    """

    def __init__(
        self,
        pattern: TopicFilter,
        *,
        name: str,
        limit: int,
        fits: Callable[[Device], bool],
        also: Sequence[TopicFilter] = (),
    ) -> None:
        self.pattern, self._also = pattern, tuple(also)
        self._name, self.limit, self._fits = name, limit, fits
        self._index: dict[tuple[str, ...], int] = {}
        self.known: list[Device] = []

    def adopt(self, old: "Devices") -> None:
        """Go on with another one's devices, so that their indices stay; same topic filter."""
        self._index, self.known = old._index, old.known  # noqa: SLF001  # its own kind

    def covers(self, topic: str) -> bool:
        """Tell whether the stream subscribes to a topic."""
        return self.pattern.match(topic) is not None or any(
            pattern.match(topic) is not None for pattern in self._also
        )

    def levels(self, topic: str) -> tuple[str, ...]:
        """Return the named levels of a topic that is covered; empty ones where it is one of ``also``."""
        levels = self.pattern.match(topic)
        return levels if levels is not None else ("",) * len(self.pattern.names)

    def find(self, levels: tuple[str, ...], name: str | None = None) -> int | None:
        """Return the index of a device that is known, by what ``admit`` takes; None: it isn't."""
        return self._index.get(self._key(levels, name))

    def admit(self, levels: tuple[str, ...], name: str | None = None) -> int | str:
        """Return the index of a device, a new one if need be, or the reason why not.

        Args:
            levels: The named levels of its topic.
            name: As its messages name it; None: as the topic does.
        """
        index = self.find(levels, name)
        if index is not None:
            return index
        key = self._key(levels, name)
        named = dict(zip(self.pattern.names, key, strict=False))
        if name is not None:
            named["device"] = name
        device = Device(name=named.get("device", self._name), levels=named)
        # What is wrong with the name comes first: the same topic is refused for the same reason at any time.
        if not device.name:
            return "device_without_name"
        if not self._fits(device):
            return "device_name_too_long"
        if len(self.known) >= self.limit:
            return "too_many_devices"
        self._index[key] = len(self.known)
        self.known.append(device)
        return len(self.known) - 1

    def state(self) -> State:
        """Copy out which devices are known, in their order."""
        known = zip(self._index, self.known, strict=True)  # both in order of admission
        entries: Value = [[list(key), device.name, dict(device.levels)] for key, device in known]
        state = {"devices": entries}
        return state  # noqa: RET504  # not a reason, for the test that compares those with the documentation

    def restore(self, state: State) -> None:
        """Know these devices, by the indices that they had."""
        entries = state["devices"]
        assert isinstance(entries, Sequence)
        self._index, self.known = {}, []
        for entry in entries:
            key, name, levels = cast("tuple[list[str], str, dict[str, str]]", entry)
            self._index[tuple(key)] = len(self.known)
            self.known.append(Device(name=name, levels=levels))

    def _key(self, levels: tuple[str, ...], name: str | None) -> tuple[str, ...]:
        """Identify a device that its messages name: by that, in place of the topic's ``{device}`` or behind it all."""
        if name is None:
            return levels
        if "device" in self.pattern.names:
            position = self.pattern.names.index("device")
            return (*levels[:position], name, *levels[position + 1 :])
        return (*levels, name)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Routed:
    """What a run of messages brought one stream.

    Attributes:
        device: Shape ``(n,)``, index into the stream's devices.
        payloads: n payloads.
        arrived_at: Shape ``(n,)``, gateway clock, ns since the Unix epoch.
        steady_at: Shape ``(n,)``, the same by a clock that never jumps.
        topics: n topics, in UTF-8; empty where the format doesn't look at them.
        headers: n first bytes of the PUBLISH; empty as ``topics``.
    """

    device: Int64
    payloads: Sequence[bytes]
    arrived_at: Int64
    steady_at: Int64
    topics: Sequence[bytes] = ()
    headers: Sequence[int] = ()

    def parts(self, most: int) -> Iterator["Routed"]:
        """Yield the same in their order, so many at once."""
        for begin in range(0, len(self.payloads), most):
            part = slice(begin, begin + most)
            yield Routed(
                device=self.device[part],
                payloads=self.payloads[part],
                arrived_at=self.arrived_at[part],
                steady_at=self.steady_at[part],
                topics=self.topics[part],
                headers=self.headers[part],
            )


class Router:
    """Tells messages apart by topic. Owned by the line.

    Args:
        streams: Devices of each stream, in the order of the configuration.
        is_timed: Per stream, whether its payloads may carry their own time.
        is_free: Per stream, whether its messages are of free shape: they go to the stream as they are, retained and
            empty ones too, and are given their devices there (``rows``).

    Attributes:
        examples: For each reason, the first topic that was refused for it.
    """

    def __init__(
        self, streams: Sequence[Devices], is_timed: Sequence[bool], is_free: Sequence[bool] | None = None
    ) -> None:
        self._streams, self._is_timed = streams, is_timed
        self._is_free = is_free if is_free is not None else [False] * len(streams)
        self._most_routes = _TOPICS_A_DEVICE * sum(devices.limit for devices in streams)
        self.examples: dict[str, str] = {}
        self._routes: dict[bytes, int] = {}  # topics that belong to one stream, nearly always all
        # topics that several streams subscribe to: their routes, and why other streams refuse
        self._shared: dict[bytes, tuple[tuple[int, ...], tuple[str, ...]]] = {}

    def route(
        self, messages: Sequence[Message], arrived_at: Int64, steady_at: Int64
    ) -> tuple[list[Routed | None], dict[str, int]]:
        """Sort messages by stream.

        Returns:
            One entry per stream, None where it got nothing; and how many messages were refused, by reason:
            ``retained`` (of unknown age: no time stamp inside), ``empty``, ``bad_topic`` (not UTF-8),
            ``unexpected_topic``, ``too_many_devices``, ``device_without_name``, ``device_name_too_long``.
            Where several streams subscribe to a topic, each refuses for itself.
        """
        if not messages:
            return [None] * len(self._streams), {}
        topics, payloads, headers, _ = zip(*messages, strict=True)
        lookup = self._routes.get
        routes = np.array([lookup(topic, _UNKNOWN) for topic in topics], dtype=np.int64)
        is_plain = routes >= 0
        if any(header & RETAIN for header in headers) or not all(payloads):
            is_plain &= np.array([not header & RETAIN for header in headers]) & np.array(
                [len(payload) > 0 for payload in payloads]
            )
        if len(self._streams) == 1 and is_plain.all():
            is_free = self._is_free[0]
            routed = Routed(
                device=routes,
                payloads=payloads,
                arrived_at=arrived_at,
                steady_at=steady_at,
                topics=topics if is_free else (),
                headers=headers if is_free else (),
            )
            return [routed], {}
        return self._route_one_by_one(messages, arrived_at, steady_at, routes, is_plain)

    def _route_one_by_one(
        self,
        messages: Sequence[Message],
        arrived_at: Int64,
        steady_at: Int64,
        routes: Int64,
        is_plain: Bool,
    ) -> tuple[list[Routed | None], dict[str, int]]:
        refused: dict[str, int] = {}
        rows: list[int] = []
        found: list[int] = []
        for row, (route, plain) in enumerate(zip(routes.tolist(), is_plain.tolist(), strict=True)):
            if plain:
                rows.append(row)
                found.append(route)
                continue
            some, reasons = self._examine(messages[row])
            for reason in reasons:
                refused[reason] = refused.get(reason, 0) + 1
                if reason not in self.examples:
                    self.examples[reason] = messages[row][0][:_EXAMPLE_BYTES].decode(
                        errors="backslashreplace"
                    )
            for one in some:
                rows.append(row)
                found.append(one)
        row_of, route_of = np.array(rows, dtype=np.int64), np.array(found, dtype=np.int64)
        stream_of = route_of >> _STREAM_SHIFT
        result: list[Routed | None] = []
        for stream in range(len(self._streams)):
            chosen = stream_of == stream
            if not chosen.any():
                result.append(None)
                continue
            picked = list(compress(rows, chosen.tolist()))
            is_free = self._is_free[stream]
            result.append(
                Routed(
                    device=route_of[chosen] & ((1 << _STREAM_SHIFT) - 1),
                    payloads=[messages[row][1] for row in picked],
                    arrived_at=arrived_at[row_of[chosen]],
                    steady_at=steady_at[row_of[chosen]],
                    topics=[messages[row][0] for row in picked] if is_free else (),
                    headers=[messages[row][2] for row in picked] if is_free else (),
                )
            )
        return result, refused

    def _examine(self, message: Message) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Return the routes of a message, and the reason of each refusal."""
        topic, payload, header, _ = message
        if not payload and not any(self._is_free):
            return (), ("empty",)  # a cleared retained topic (MQTT 3.1.1, 3.3.1.3), or nothing to read anyway
        found = self._shared.get(topic)
        if found is None:
            single = self._routes.get(topic)
            found = ((single,), ()) if single is not None else self._admit(topic)
        if payload and not header & RETAIN:
            return found
        routes, reasons = found
        good = self._is_timed if payload else self._is_free
        kept = tuple(route for route in routes if good[route >> _STREAM_SHIFT])
        return kept, reasons + ("retained" if payload else "empty",) * (len(routes) - len(kept))

    def _admit(self, topic: bytes) -> tuple[tuple[int, ...], tuple[str, ...]]:
        try:
            text = topic.decode()
        except UnicodeDecodeError:
            return (), ("bad_topic",)
        routes: list[int] = []
        reasons: list[str] = []
        for stream, devices in enumerate(self._streams):
            device = self._device(stream, devices, text)
            if isinstance(device, str):
                reasons.append(device)
            elif device is not None:
                routes.append(stream << _STREAM_SHIFT | device)
        if not routes and not reasons:
            return (), ("unexpected_topic",)
        found = tuple(routes), tuple(reasons)
        if len(self._routes) + len(self._shared) < self._most_routes:
            if len(routes) == 1 and not reasons:
                self._routes[topic] = routes[0]
            elif routes:
                self._shared[topic] = found
        return found

    def _device(self, stream: int, devices: Devices, topic: str) -> int | str | None:
        """Return a topic's device in a stream, why it can have none, or None where the stream has no use for it."""
        if self._is_free[stream]:
            return 0 if devices.covers(topic) else None
        levels = devices.pattern.match(topic)
        return None if levels is None else devices.admit(levels)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Readings:
    """Decoded readings, when each arrived, and what became of the payloads that gave none.

    Attributes:
        batch: The readings.
        arrived_at: Shape ``(n,)``, gateway clock, ns since the Unix epoch.
        steady_at: Shape ``(n,)``, the same by a clock that never jumps.
        has_own_time: Shape ``(n,)``; where not, ``taken_at`` is the time of arrival.
        rejected: ``(payload index, reason)``.
        untimed: ``(reason, count)`` of readings whose own time cannot be used.
    """

    batch: Batch
    arrived_at: Int64
    steady_at: Int64
    has_own_time: Bool
    rejected: tuple[tuple[int, str], ...]
    untimed: tuple[tuple[str, int], ...]


class ColumnDecoder:
    """Decodes payloads whose channels the configuration points out. Keeps nothing between them."""

    def __init__(self, payload_format: Format) -> None:
        self._format = payload_format

    def decode(self, routed: Routed) -> Readings:
        """Decode one stream's payloads. A reading without a usable time of its own gets that of its arrival."""
        decoded = self._format.decode(routed.payloads, routed.arrived_at)
        if len(decoded.source) == len(routed.payloads):
            device, arrived_at, steady_at = routed.device, routed.arrived_at, routed.steady_at
        else:
            device, arrived_at = routed.device[decoded.source], routed.arrived_at[decoded.source]
            steady_at = routed.steady_at[decoded.source]
        has_own_time = decoded.taken_at != NO_TIME
        taken_at = (
            decoded.taken_at if has_own_time.all() else np.where(has_own_time, decoded.taken_at, arrived_at)
        )
        return Readings(
            batch=Batch(device=device, taken_at=taken_at, values=decoded.values),
            arrived_at=arrived_at,
            steady_at=steady_at,
            has_own_time=has_own_time,
            rejected=decoded.rejected,
            untimed=decoded.untimed,
        )
