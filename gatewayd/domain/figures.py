"""What the line and the deliverers have done so far, as frozen snapshots that other threads may read."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFigures:
    """The line's counters since its start.

    They add up: every message is refused, rejected, or decoded into readings; every reading is dropped, waits in an
    open window, or was scored. The mappings go from a reason to a count.
    """

    messages: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    readings: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    waiting: int = 0
    scored: int = 0
    windows: int = 0
    unscored: Mapping[str, int] = field(default_factory=dict)
    predictions: int = 0
    alerts_raised: int = 0
    alerts_cleared: int = 0
    devices: int = 0
    saturated: Mapping[str, int] = field(default_factory=dict)
    is_subscribed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFigures:
    """One upstream link's counters since its start."""

    broker: str
    is_open: bool = False
    published: int = 0
    acknowledged: int = 0
    reconnects: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxFigures:
    """What waits in the outbox, and what was given up since the start."""

    records: int = 0
    payload_bytes: int = 0
    appended: int = 0
    acknowledged: int = 0
    evicted: Mapping[str, int] = field(default_factory=dict)
