"""The figures as one line of text, and when the service counts as ready. Pure.

The line is what ``systemctl status`` shows::

    receiving: 5 devices, 1,234 readings, 77 predictions (1 alert standing) · cloud: open, 0 waiting
    waiting for broker local (connection refused) · cloud: away, 12 waiting, room for 3.2 h
"""

from collections.abc import Sequence

from gatewayd.domain.figures import DeliveryFigures, LineFigures, OutboxFigures

PATIENCE_S = 5.0
_MAX_REASON = 120
_HOUR_S = 3600
_DAY_S = 86_400


def status_text(
    line: LineFigures,
    deliveries: Sequence[DeliveryFigures],
    outbox: OutboxFigures,
    *,
    source: str,
    reason: str | None = None,
) -> str:
    """Say in one line what the daemon is doing.

    Args:
        line: The line's counters.
        deliveries: One per upstream broker.
        outbox: What waits, for all upstream brokers together.
        source: Name of the broker that the line subscribes at.
        reason: Why the line is not subscribed, where known.
    """
    return " · ".join([_line(line, source, reason), *_upstream(deliveries, outbox)])


def _line(line: LineFigures, source: str, reason: str | None) -> str:
    if not line.is_subscribed:
        why = f" ({' '.join(reason.split())[:_MAX_REASON]})" if reason else ""
        return f"waiting for broker {source}{why}"
    alerts = f" ({_count(line.alerts_standing, 'alert')} standing)" if line.alerts_standing else ""
    parts = [
        _count(line.devices, "device"),
        _count(line.readings, "reading"),
        _count(line.predictions, "prediction") + alerts,
    ]
    losses = ("refused", line.refused), ("rejected", line.rejected), ("dropped", line.dropped)
    parts += [f"{sum(reasons.values()):,} {name}" for name, reasons in losses if sum(reasons.values())]
    return f"receiving: {', '.join(parts)}"


def _upstream(deliveries: Sequence[DeliveryFigures], outbox: OutboxFigures) -> list[str]:
    """One part per link; the outbox is counted as a whole: with several links it is a part of its own."""
    links = [f"{delivery.broker}: {'open' if delivery.is_open else 'away'}" for delivery in deliveries]
    evicted = sum(outbox.evicted.values())
    waiting = f"{outbox.records:,} waiting" + (f", {evicted:,} evicted" if evicted else "")
    if outbox.covers_s is not None and not all(delivery.is_open for delivery in deliveries):
        waiting += f", room for {_span(outbox.covers_s)}"
    return [f"{links[0]}, {waiting}"] if len(links) == 1 else [*links, f"outbox: {waiting}"]


def _span(seconds: float) -> str:
    """Return a span in the unit that suits it; downwards, since people rely on it."""
    if seconds < _HOUR_S:
        return f"{seconds // 60:.0f} min"
    if seconds < 2 * _DAY_S:
        return f"{seconds // 360 / 10:.1f} h"
    return f"{seconds // _DAY_S:,.0f} days"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class Readiness:
    """Decides once when the service counts as started.

    As soon as the line is subscribed; but a gateway that boots without network is no failed gateway, so after
    ``patience_s`` it is ready all the same, and its status says what it waits for. Otherwise systemd would
    kill and start it for as long as the broker is away.
    """

    def __init__(self, *, started_at_s: float, patience_s: float = PATIENCE_S) -> None:
        """Begin to wait.

        Args:
            started_at_s: Monotonic time of the start.
            patience_s: Longest wait for the subscription.
        """
        self._until_s = started_at_s + patience_s
        self.is_ready = False

    def becomes_ready(self, *, is_subscribed: bool, now_s: float) -> bool:
        """True exactly once: READY is to be sent now."""
        if self.is_ready or not (is_subscribed or now_s >= self._until_s):
            return False
        self.is_ready = True
        return True
