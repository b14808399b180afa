"""What the log says about the figures: once in a while all of them, and losses summed per interval. Pure."""

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence

from gatewayd.domain.figures import DeliveryFigures, LineFigures, OutboxFigures

_LOSSES = (
    ("frames_refused", "refused_frames"),
    ("messages_refused", "refused"),
    ("payloads_rejected", "rejected"),
    ("parts_unread", "unread"),
    ("readings_dropped", "dropped"),
    ("windows_unscored", "unscored"),
    ("times_replaced", "untimed"),
    ("inputs_saturated", "saturated"),
    ("publications_lost", "unstored"),
    ("publications_evicted", "evicted"),
)
# Readings get lost anywhere; a result that nobody will see is an operator's business.
_ERRORS = ("unstored", "evicted")
# What every start or every sensor brings is no reason to look.
_USUAL = {"unscored/warming_up", "unread/rebirth_requested", "unread/message_before_birth"}
_SHORT_S = 3600.0  # an outbox that will be full within this is worth a line


class FigureReport:
    """Turns snapshots into log lines. Owned by the main thread.

    The first loss of each kind and reason is told at once; what comes after is summed and told once per interval.

    Args:
        interval_s: Between two lines of all figures.
        now_s: Monotonic clock.
        before: What the process before had counted, and told; counters run on from there.
    """

    def __init__(self, *, interval_s: float, now_s: float, before: LineFigures | None = None) -> None:
        self._interval_s = interval_s
        self._due_s = now_s + interval_s
        self._before = before or LineFigures()
        self._told: dict[tuple[str, str], int] = {}
        self._is_short_told = False  # in this outage

    def lines(
        self,
        line: LineFigures,
        deliveries: Sequence[DeliveryFigures],
        outbox: OutboxFigures,
        *,
        now_s: float,
        is_last: bool,
    ) -> Iterator[tuple[int, str, dict[str, object]]]:
        """Yield ``(level, event, fields)`` of what is due.

        Args:
            line: The line's latest snapshot.
            deliveries: One per upstream broker.
            outbox: What waits, and what was given up.
            now_s: Monotonic clock.
            is_last: The process ends: tell everything.
        """
        is_due = is_last or now_s >= self._due_s
        for event, name in _LOSSES:
            reasons: Mapping[str, int] = outbox.evicted if name == "evicted" else getattr(line, name)
            before: Mapping[str, int] = {} if name == "evicted" else getattr(self._before, name)
            for reason, count in reasons.items():
                level = _level(name, reason)
                is_first = (event, reason) not in self._told
                told = before.get(reason, 0) if is_first else self._told[event, reason]
                if count > told and (is_first or is_due):
                    self._told[event, reason] = count
                    fields: dict[str, object] = {"reason": reason, "count": count - told, "total": count}
                    if (example := line.examples.get(f"{name}/{reason}")) is not None:
                        fields["first_seen_on"] = example
                    yield level, event, fields
        yield from self._unasked(line, is_due=is_due)
        yield from self._shortage(deliveries, outbox)
        if not is_due:
            return
        self._due_s = now_s + self._interval_s
        fields = dataclasses.asdict(line)
        del fields["examples"]  # told with the first loss
        fields["deliveries"] = {delivery.broker: dataclasses.asdict(delivery) for delivery in deliveries}
        fields["outbox"] = dataclasses.asdict(outbox)
        yield logging.INFO, "figures", fields

    def _unasked(self, line: LineFigures, *, is_due: bool) -> Iterator[tuple[int, str, dict[str, object]]]:
        """Tell once of each stream that messages come for it, and none of the channels that it asks for."""
        event = "channels_unknown"
        for stream, heard in line.unasked.items():
            if is_due and (event, stream) not in self._told:
                self._told[event, stream] = 1
                yield logging.WARNING, event, {"stream": stream, "heard": heard}

    def _shortage(
        self, deliveries: Sequence[DeliveryFigures], outbox: OutboxFigures
    ) -> Iterator[tuple[int, str, dict[str, object]]]:
        """Yield the warning that the outbox will soon be full, once per outage.

        An outage ends when every link stands and nothing waits: one that flaps is one outage.
        """
        away = [delivery.broker for delivery in deliveries if not delivery.is_open]
        if not away:
            self._is_short_told = self._is_short_told and outbox.records > 0
        elif outbox.covers_s is not None and outbox.covers_s < _SHORT_S and not self._is_short_told:
            self._is_short_told = True
            event = "outbox_nearly_full"
            fields: dict[str, object] = {
                "away": away,
                "covers_s": outbox.covers_s,
                "records": outbox.records,
                "payload_bytes": outbox.payload_bytes,
            }
            yield logging.WARNING, event, fields


def _level(name: str, reason: str) -> int:
    if name in _ERRORS:
        return logging.ERROR
    return logging.INFO if f"{name}/{reason}" in _USUAL else logging.WARNING
