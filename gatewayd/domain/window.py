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
        samples: Shape ``(k,)``, 1..length, how many readings are in it: where fewer than length, what follows repeats
            the last one; a picture, whose pixels fill its window, is one. None: length.
        fresh: Shape ``(k,)``, 1..samples, how many of the readings, the newest, no earlier window held; None: not
            known.
    """

    device: Int64
    start: Int64
    end: Int64
    values: Float64
    samples: Int64 | None = None
    fresh: Int64 | None = None

    def __post_init__(self) -> None:
        """Hold the columns to one length and make them read-only."""
        for column in (self.device, self.start, self.end, self.values, self.samples, self.fresh):
            if column is not None:
                assert len(column) == len(self.device)
                column.setflags(write=False)

    def only(self, rows: Int64) -> "WindowBatch":
        """Return some of the windows, by their rows."""
        return WindowBatch(
            device=self.device[rows],
            start=self.start[rows],
            end=self.end[rows],
            values=self.values[rows],
            samples=None if self.samples is None else self.samples[rows],
            fresh=None if self.fresh is None else self.fresh[rows],
        )

    def __len__(self) -> int:
        return len(self.device)
