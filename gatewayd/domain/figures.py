"""What the line and the deliverers have done so far, as frozen snapshots that other threads may read."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFigures:
    """The line's counters since its start.

    They add up: ``messages + copies == sum(refused) + sum(rejected) + accepted`` and
    ``readings + grid_rows == sum(dropped) + merged + waiting + scored``. ``refused_frames`` stand outside: they never
    became messages.

    Attributes:
        messages: Received.
        copies: Further streams that took or refused a message, beyond its first.
        refused: Messages not taken in, by reason; each stream of a shared topic refuses for itself.
        rejected: Payloads that could not be decoded, by reason.
        unread: Parts of messages that could not be used though the message could, by reason.
        accepted: Payloads decoded.
        readings: Decoded from them.
        untimed: Readings that got the time of their arrival for want of a usable one, by reason.
        dropped: Readings cleaned away or given up, by reason.
        clipped: Values that were changed to the nearest that is allowed, by rule.
        marked: Values let through although a rule speaks against them, by rule.
        removed: Values taken out of readings that went on without them, by reason.
        merged: Readings that became part of another row: one of the same instant, or one of the time grid.
        grid_rows: Rows made on the time grid.
        unfilled: Instants of the time grid that got no row, since a channel had no value.
        waiting: Readings that wait for later ones, and those in open windows, in no complete one yet.
        scored: Readings that were in at least one complete window.
        windows: Complete windows.
        unscored: Windows without a score, by reason.
        predictions: Windows with a score.
        alerts_raised: Alerts raised.
        alerts_cleared: Alerts cleared.
        alerts_withheld: Alerts that were never published, by reason.
        commands: What people said to alerts: ``done``, or why it was refused.
        alerts_standing: Alerts that were published and are not normal again.
        devices: Seen so far.
        saturated: Model inputs outside the range of the model's input tensor, by ``stream/channel``.
        unasked: By stream, the channels that came where none that was asked for did.
        unstored: Publications that the outbox could not take, by reason.
        refused_frames: PUBLISH frames that the session would not take in, by reason.
        is_subscribed: Whether the line receives.
        examples: For ``refused/REASON`` the first topic it happened to; for ``rejected/REASON`` and
            ``dropped/REASON`` the first device, as ``stream/levels``, for ``unread/REASON`` the first topic.
    """

    messages: int = 0
    copies: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    unread: Mapping[str, int] = field(default_factory=dict)
    accepted: int = 0
    readings: int = 0
    untimed: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    clipped: Mapping[str, int] = field(default_factory=dict)
    marked: Mapping[str, int] = field(default_factory=dict)
    removed: Mapping[str, int] = field(default_factory=dict)
    merged: int = 0
    grid_rows: int = 0
    unfilled: int = 0
    waiting: int = 0
    scored: int = 0
    windows: int = 0
    unscored: Mapping[str, int] = field(default_factory=dict)
    predictions: int = 0
    alerts_raised: int = 0
    alerts_cleared: int = 0
    alerts_withheld: Mapping[str, int] = field(default_factory=dict)
    commands: Mapping[str, int] = field(default_factory=dict)
    alerts_standing: int = 0
    devices: int = 0
    saturated: Mapping[str, int] = field(default_factory=dict)
    unasked: Mapping[str, str] = field(default_factory=dict)
    unstored: Mapping[str, int] = field(default_factory=dict)
    refused_frames: Mapping[str, int] = field(default_factory=dict)
    is_subscribed: bool = False
    examples: Mapping[str, str] = field(default_factory=dict)


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
    """What waits in the outbox, and what was given up since the start.

    Attributes:
        records: Results that wait.
        payload_bytes: Their topics, payloads and properties.
        appended: Results that came.
        acknowledged: Results that upstream has taken.
        evicted: Results that upstream will not get, by reason.
        covers_s: How long the upstream link may be away from now on before results are evicted, at the rate of the last
            minutes; None while nothing comes or the rate is not known yet.
    """

    records: int = 0
    payload_bytes: int = 0
    appended: int = 0
    acknowledged: int = 0
    evicted: Mapping[str, int] = field(default_factory=dict)
    covers_s: float | None = None
