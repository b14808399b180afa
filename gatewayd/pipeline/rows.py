"""Samples → rows: messages of free shape laid into a stream's columns.

A message names its channels, perhaps its devices and times. Values of one device and one instant in a message make one
row; a channel that isn't there is NaN, for ``align`` to find in another message. What nobody asked for is passed over.

Where a message names its device, that is the device; otherwise the topic's ``{device}``, or the stream's name. The
named levels of the topic belong to a device's identity in both cases.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gatewayd.domain.reading import Batch
from gatewayd.domain.state import State
from gatewayd.formats.sample import RememberingFormat, Request, Sample, SampleFormat, Samples
from gatewayd.formats.units import same_unit
from gatewayd.pipeline.decode import RETAIN, Devices, Readings, Routed

_EXAMPLE_CHARS = 200
_MOST_UNASKED = 20
_MOST_PLACES = 65_536  # remembered: the topics of devices that may come under several


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A stream's channel: what the messages call it, and the unit that it must have (empty: any)."""

    field: str
    unit: str


@dataclass(slots=True)
class _Rows:
    """What is gathered for one run."""

    device: list[int] = field(default_factory=list)
    taken_at: list[int] = field(default_factory=list)
    arrived_at: list[int] = field(default_factory=list)
    steady_at: list[int] = field(default_factory=list)
    own: list[bool] = field(default_factory=list)
    values: list[list[float]] = field(default_factory=list)
    rejected: list[tuple[int, str]] = field(default_factory=list)


class RowDecoder:
    """Decodes one stream's messages of free shape. Owned by the line; keeps what the format keeps.

    Args:
        payload_format: The stream's own.
        devices: The stream's.
        columns: The stream's channels, in the model's order.

    Attributes:
        unasked: While nothing came that was asked for, the channels that did, some of them.
    """

    def __init__(self, payload_format: SampleFormat, devices: Devices, columns: Sequence[Column]) -> None:
        self._format, self._devices = payload_format, devices
        self._width = len(columns)
        self._columns: dict[str, list[int]] = {}
        for index, column in enumerate(columns):
            self._columns.setdefault(column.field, []).append(index)
        self._units = [column.unit for column in columns]
        self._known: dict[tuple[bytes, str | None], int | str] = {}
        self.unread: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.unasked: dict[str, None] = {}
        self._is_unheard = True  # nothing that was asked for has come yet
        self.requests: list[Request] = []
        self.offline: list[tuple[int, int, int]] = []

    def decode(self, routed: Routed) -> Readings:
        """Decode messages into rows, in order of arrival.

        ``unread`` then holds, by reason, the parts of this run's messages that could not be used though the message
        could: the format's own reasons and notices, ``unit_differs``, ``retained`` (no time of its own, so of unknown
        age) and those of ``Devices.admit``. ``requests`` is what the senders should be asked for, ``offline`` the
        devices that are said to have gone, as (row, device, steady time): before this row. Of one that was never
        heard, nothing is said.
        """
        self.unread, self.examples, self.requests, self.offline = Counter(), {}, [], []
        rows = _Rows()
        for index, (topic, payload) in enumerate(zip(routed.topics, routed.payloads, strict=True)):
            arrived_at = int(routed.arrived_at[index])
            found = self._format.decode(topic.decode(), payload, arrived_at=arrived_at)
            errors = list(found.errors)
            if errors and not found.samples:
                rows.rejected.append((index, errors.pop(0)))
            for reason in (*errors, *found.notices):
                self._unread(reason, topic)
            self.requests += found.requests
            self._lay(rows, topic, found, arrived_at, is_retained=bool(routed.headers[index] & RETAIN))
            added = len(rows.device) - len(rows.steady_at)
            rows.steady_at += [int(routed.steady_at[index])] * added
            for name in found.offline:
                device = self._devices.find(self._devices.levels(topic.decode()), name)
                if device is not None:
                    self.offline.append((len(rows.device), device, int(routed.steady_at[index])))
        return self._readings(rows)

    def adopt(self, old: "RowDecoder") -> None:
        """Go on with what another one's format has learnt: units, births, aliases."""
        self._format = old._format  # noqa: SLF001  # its own kind

    def state(self) -> State | None:
        """Copy out what the format has learnt; None: it remembers nothing."""
        return self._format.state() if isinstance(self._format, RememberingFormat) else None

    def restore(self, state: State) -> None:
        """Go on with what a format of the same name and options had learnt. Raises ValueError as it does."""
        if isinstance(self._format, RememberingFormat):
            self._format.restore(state)

    def _lay(self, rows: _Rows, topic: bytes, found: Samples, arrived_at: int, *, is_retained: bool) -> None:
        """Lay one message's samples onto rows: one for each device and instant, and more where a channel repeats."""
        at: dict[tuple[int, int | None], int] = {}
        untimed: Counter[int] = Counter()
        for sample in found.samples:
            columns = self._columns.get(sample.channel)
            if columns is None:
                if self._is_unheard and len(self.unasked) < _MOST_UNASKED:
                    self.unasked[sample.channel] = None
                continue
            if self._is_unheard:
                self._is_unheard = False
                self.unasked = {}
            if is_retained and sample.taken_at is None:
                self._unread("retained", topic)
                continue
            device = self._device(topic, sample.device)
            if isinstance(device, str):
                self._unread(device, topic)
                continue
            for column in columns:
                if not self._is_unit(sample, column):
                    self._unread(
                        "unit_differs", topic, f"{sample.channel}: {sample.unit}, not {self._units[column]}"
                    )
                    continue
                key = (device, sample.taken_at)
                row = at.get(key)
                if row is None or not np.isnan(rows.values[row][column]):
                    row = at[key] = len(rows.device)
                    rows.device.append(device)
                    rows.own.append(sample.taken_at is not None)
                    # Readings of one message that have no time of their own stay in order, and apart.
                    rows.taken_at.append(
                        sample.taken_at if sample.taken_at is not None else arrived_at + untimed[device]
                    )
                    untimed[device] += sample.taken_at is None
                    rows.arrived_at.append(arrived_at)
                    rows.values.append([np.nan] * self._width)
                rows.values[row][column] = sample.value

    def _device(self, topic: bytes, name: str | None) -> int | str:
        """Return a device's index, or why there can be none."""
        key = (topic, name)
        device = self._known.get(key)
        if device is None:
            device = self._devices.admit(self._devices.levels(topic.decode()), name)
            if isinstance(device, int) and len(self._known) < _MOST_PLACES:
                self._known[key] = device
        return device

    def _is_unit(self, sample: Sample, column: int) -> bool:
        return sample.unit is None or same_unit(sample.unit, self._units[column])

    def _unread(self, reason: str, topic: bytes, detail: str = "") -> None:
        self.unread[reason] += 1
        if reason not in self.examples:
            self.examples[reason] = " ".join(filter(None, (topic.decode(), detail)))[:_EXAMPLE_CHARS]

    def _readings(self, rows: _Rows) -> Readings:
        columns = [
            np.array(column, dtype=np.int64)
            for column in (rows.device, rows.taken_at, rows.arrived_at, rows.steady_at)
        ]
        values = np.array(rows.values, dtype=np.float64).reshape(len(rows.device), self._width)
        return Readings(
            batch=Batch(device=columns[0], taken_at=columns[1], values=values),
            arrived_at=columns[2],
            steady_at=columns[3],
            has_own_time=np.array(rows.own, dtype=np.bool_),
            rejected=tuple(rows.rejected),
            untimed=(),
        )
