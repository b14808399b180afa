"""Windows that became complete together, as columns."""

from dataclasses import dataclass

from gatewayd.domain.arrays import Float64, Int64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowBatch:
    """Complete windows of one stream, oldest first within each device.

    Attributes:
        device: Shape ``(k,)``, index into the stream's devices.
        start: Shape ``(k,)``, when the first reading was taken, ns since the Unix epoch.
        end: Shape ``(k,)``, when the last reading was taken, ns since the Unix epoch.
        values: Shape ``(k, length, channels)``, in each channel's unit; finite.
    """

    device: Int64
    start: Int64
    end: Int64
    values: Float64

    def __post_init__(self) -> None:
        """Hold the columns to one length and make them read-only."""
        assert len(self.device) == len(self.start) == len(self.end) == len(self.values)
        for column in (self.device, self.start, self.end, self.values):
            column.setflags(write=False)

    def __len__(self) -> int:
        return len(self.device)
