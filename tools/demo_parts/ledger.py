"""What was seen at the upstream side, and whether it is what the demo promises. Pure.

The promise: within 30 s of the sensors' start an alert is raised for the pump whose bearing goes bad, and
for no other, and is cleared again.
"""

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

PROMISED_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A prediction or an alert as it arrived.

    Attributes:
        arrived_at: Wall time of arrival, seconds since the Unix epoch.
        end_at: Time stamp of the window's last reading, seconds since the Unix epoch.
        state: Of an alert; None for a prediction.
        causes: Of an alert: channels, largest contribution first.
    """

    device: str
    arrived_at: float
    end_at: float
    score: float
    threshold: float
    state: Literal["raised", "cleared"] | None = None
    causes: tuple[tuple[str, float], ...] = ()


def read(topic: str, payload: bytes, *, arrived_at: float) -> Seen | None:
    """Read a result from its topic and payload; None for anything else."""
    kind = topic.rpartition("/")[2]
    if kind not in ("prediction", "alert"):
        return None
    body = json.loads(payload)
    if kind == "prediction":
        return Seen(
            device=body["device"],
            arrived_at=arrived_at,
            end_at=_seconds(body["window"]["end"]),
            score=body["score"],
            threshold=body["threshold"],
        )
    return Seen(
        device=body["device"],
        arrived_at=arrived_at,
        end_at=_seconds(body["cleared_at"] if body["state"] == "cleared" else body["raised_at"]),
        score=body["score"],
        threshold=body["threshold"],
        state=body["state"],
        causes=tuple((cause["channel"], cause["contribution"]) for cause in body.get("causes", ())),
    )


def _seconds(stamp: str | float) -> float:
    return datetime.fromisoformat(stamp).timestamp() if isinstance(stamp, str) else float(stamp)


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Everything that arrived since ``started_at``, the sensors' start. Owned by the stage."""

    started_at: float
    predictions: int = 0
    alerts: list[Seen] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)

    def add(self, seen: Seen) -> None:
        """Take in one result."""
        if seen.state is not None:
            self.alerts.append(seen)
            return
        self.predictions += 1
        self.latencies_ms.append((seen.arrived_at - seen.end_at) * 1e3)

    def devices(self, state: Literal["raised", "cleared"]) -> list[str]:
        """Name the devices whose alerts were raised or cleared, in order."""
        return [alert.device for alert in self.alerts if alert.state == state]

    def latency_ms(self, fraction: float) -> float | None:
        """Return the latency that ``fraction`` of the predictions stay below; None without any."""
        ordered = sorted(self.latencies_ms)
        return round(ordered[min(len(ordered) - 1, int(fraction * len(ordered)))], 3) if ordered else None

    def broken_promises(self, faulty: str) -> list[str]:
        """Say what was promised and not seen; empty when all was."""
        broken = []
        if self.predictions == 0:
            broken.append("no prediction arrived")
        others = sorted(set(self.devices("raised")) - {faulty})
        if others:
            broken.append(f"an alert was raised for {', '.join(others)}, where nothing is wrong")
        for state in ("raised", "cleared"):
            times = [
                alert.arrived_at - self.started_at
                for alert in self.alerts
                if alert.device == faulty and alert.state == state
            ]
            if not times:
                broken.append(f"no alert for {faulty} was {state}")
            elif times[0] > PROMISED_WITHIN_S:
                broken.append(f"the alert for {faulty} was {state} only after {times[0]:.1f} s")
        return broken
