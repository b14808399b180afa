"""What arrives: messages from a broker, and the readings decoded from them, as columns."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gatewayd.domain.arrays import Float64, Int64

# (topic, payload, first byte of the PUBLISH header, receipt): a plain tuple, since one is built for every message and
# a named one costs four times as much. Bit 0 of the header is retain, bits 1-2 the QoS, bit 3 DUP (MQTT 3.1.1,
# 3.3.1). The receipt is the packet id with the connection above its 16 bits, 0 at QoS 0. The topic is the frame's raw
# bytes: whether it is UTF-8 is looked at once per new topic.
Message = tuple[bytes, bytes, int, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Readings of one stream, in order of arrival, as columns.

    Attributes:
        device: Shape ``(n,)``, index into the stream's devices.
        taken_at: Shape ``(n,)``, nanoseconds since the Unix epoch, sensor clock.
        values: Shape ``(n, channels)``, in each channel's unit; NaN where absent.
    """

    device: Int64
    taken_at: Int64
    values: Float64

    def __post_init__(self) -> None:
        """Hold the columns to one length and make them read-only."""
        assert len(self.device) == len(self.taken_at) == len(self.values)
        for column in (self.device, self.taken_at, self.values):
            column.setflags(write=False)

    def __len__(self) -> int:
        return len(self.device)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kept:
    """What a step lets go on, and what it does not.

    Attributes:
        batch: The readings that go on.
        dropped: How many don't, by reason.
        clipped: How many values were changed to the nearest that is allowed, by rule.
        marked: How many values were let through although a rule speaks against them, by rule.
        examples: For each reason or rule, the index of a device that it happened to.
    """

    batch: Batch
    dropped: Mapping[str, int] = field(default_factory=dict)
    clipped: Mapping[str, int] = field(default_factory=dict)
    marked: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, int] = field(default_factory=dict)
