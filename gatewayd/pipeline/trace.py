"""What a flow does with messages, told step by step, for whoever looks on: ``tap`` and the tests of a configuration.

Nothing here runs in the daemon. Decoded readings come from the flow's own hook; what was lost and why is the difference
between its counters before and after. So what is told can't differ from what the daemon would do.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from gatewayd.domain.arrays import Float64, Int64
from gatewayd.domain.reading import Message
from gatewayd.pipeline.decode import Readings
from gatewayd.pipeline.flow import Flow, Outcome
from gatewayd.pipeline.origin import Device
from gatewayd.pipeline.stream import Stream

# Counters by reason that tell what became of messages, readings, values, windows and alerts; as in ``LineFigures``.
COUNTERS: Final = (
    "refused",
    "rejected",
    "unread",
    "untimed",
    "dropped",
    "clipped",
    "marked",
    "removed",
    "unscored",
    "alerts_withheld",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A reading as it was decoded, before any step has looked at it.

    Attributes:
        stream: Name of its stream.
        device: Whose it is.
        taken_at: When it was taken, ns since the Unix epoch; that of its arrival where it has no time of its own.
        values: By channel, in the channel's unit; None where absent. Of a picture, each colour's mean over all pixels.
    """

    stream: str
    device: Device
    taken_at: int
    values: Mapping[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What came of something.

    Attributes:
        readings: What was decoded, in order, stream by stream.
        counts: By counter (``COUNTERS``), how often for each reason; without zeros. A reading that waited for later
            ones is counted when its turn comes.
        outcome: What is published, and what has changed.
    """

    readings: tuple[Reading, ...]
    counts: Mapping[str, Mapping[str, int]]
    outcome: Outcome


class Tracer:
    """Runs messages through a flow and tells what came of them. Owned by whoever owns the flow.

    Args:
        flow: From here on, only this tracer runs it.

    Attributes:
        figures: The flow's, after the latest call.
        heard: Readings decoded so far, by stream and device (``place``).
    """

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._is_told = True
        self._readings: list[Reading] = []
        self.figures = flow.figures()
        self.heard: Counter[tuple[str, str]] = Counter()
        flow.on_readings = self._note

    def run(self, message: Message, *, arrived_at: int, steady_at: int) -> Trace:
        """Take one message in.

        Args:
            message: The message.
            arrived_at: Gateway clock, ns since the Unix epoch; above that of the message before.
            steady_at: The same by a clock that never jumps.
        """
        return self._run([message], np.array([arrived_at]), np.array([steady_at]))

    def run_all(self, messages: Sequence[Message], *, arrived_at: Int64, steady_at: Int64) -> Trace:
        """Take many messages in; which readings they brought is counted, but not told: it costs more than the rest."""
        self._is_told = False
        try:
            return self._run(messages, arrived_at, steady_at)
        finally:
            self._is_told = True

    def advance(self, now: int, steady_now: int) -> Trace | None:
        """Do what is due because nothing came; None where nothing is.

        Args:
            now: Gateway clock, ns since the Unix epoch.
            steady_now: The same by the clock that never jumps.
        """
        by_wall, by_steady = self._flow.deadlines()
        if (by_wall is None or by_wall > now) and (by_steady is None or by_steady > steady_now):
            return None
        return self._traced(self._flow.advance(now, steady_now))

    def _run(self, messages: Sequence[Message], arrived_at: Int64, steady_at: Int64) -> Trace:
        return self._traced(self._flow.run(messages, arrived_at, steady_at))

    def _traced(self, outcome: Outcome) -> Trace:
        before, self.figures = self.figures, self._flow.figures()
        readings, self._readings = self._readings, []
        changed = {name: _growth(getattr(before, name), getattr(self.figures, name)) for name in COUNTERS}
        return Trace(
            readings=tuple(readings),
            counts={name: counts for name, counts in changed.items() if counts},
            outcome=outcome,
        )

    def _note(self, stream: Stream, readings: Readings) -> None:
        batch, known = readings.batch, stream.devices.known
        devices, counts = np.unique(batch.device, return_counts=True)
        for device, count in zip(devices.tolist(), counts.tolist(), strict=True):
            self.heard[stream.name, place(known[device])] += count
        if not self._is_told:
            return
        channels = [channel.name for channel in stream.spec.channels]
        for index, taken_at, values in zip(
            batch.device.tolist(), batch.taken_at.tolist(), batch.values, strict=True
        ):
            self._readings.append(
                Reading(
                    stream=stream.name,
                    device=known[index],
                    taken_at=taken_at,
                    values=_named(channels, values),
                )
            )


def place(device: Device) -> str:
    """Name a device by all that tells it apart within its stream: labels, then its name."""
    return "/".join((*device.labels.values(), device.name))


def _named(channels: Sequence[str], values: Float64) -> dict[str, float | None]:
    if len(values) != len(channels):
        values = values.reshape(-1, len(channels)).mean(axis=0)  # a picture, pixel by pixel
    named = zip(channels, values.tolist(), strict=True)
    return {name: None if math.isnan(value) else value for name, value in named}


def _growth(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    grown = {reason: count - before.get(reason, 0) for reason, count in after.items()}
    return {reason: count for reason, count in grown.items() if count > 0}
