"""The sensors: five simulated pumps that publish 20 readings a second each, until SIGTERM.

One of them, ``FAULTY``, has a bearing that goes bad and is replaced; again every ``EVERY_S``. Events on
stdout, one line of JSON each: ``started`` with the wall time of the first reading, and ``stopped`` with
the readings published.
"""

import json
import signal
import sys
import time
from types import FrameType

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from gatewayd.workbench.simulate import CHANNELS, BearingFault, Pump

NAMES = ("pump-1", "pump-2", "pump-3", "pump-4", "pump-5")
FAULTY = "pump-3"
INTERVAL_S = 0.05
BEGINS_S, LASTS_S, RAMP_S, EVERY_S = 8.0, 8.0, 3.0, 60.0
_SEED = 20


class RecurringFault(BearingFault):
    """A bearing that wears out anew every ``EVERY_S``."""

    def damage(self, at_s: float) -> float:
        """Tell how worn the bearing is at a time, 0..1."""
        return BearingFault.damage(self, at_s % EVERY_S)


class Field:
    """The pumps and their link to the broker. Owned by the main thread; paho's only moves bytes."""

    def __init__(self, port: int) -> None:
        fault = RecurringFault(begins_s=BEGINS_S, lasts_s=LASTS_S, ramp_s=RAMP_S)
        self._pumps = {
            name: Pump(seed=_SEED + number, interval_s=INTERVAL_S, fault=fault if name == FAULTY else None)
            for number, name in enumerate(NAMES)
        }
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="demo-pumps")
        self._client.max_inflight_messages_set(100)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._stopping = False
        self._readings = 0

    def stop(self, _number: int, _frame: FrameType | None) -> None:
        """Signal handler: stop after the current reading."""
        self._stopping = True

    def run(self) -> int:
        """Publish until told to stop; return how many readings the broker has taken."""
        step_s = INTERVAL_S / len(NAMES)  # the pumps take turns, as real ones don't publish in one breath
        due_at = time.monotonic()
        last: mqtt.MQTTMessageInfo | None = None
        _say(event="started", at=time.time())
        while not self._stopping:
            for name, pump in self._pumps.items():
                last = self._publish(name, pump)
                due_at += step_s
                time.sleep(max(0.0, due_at - time.monotonic()))
        if last is not None:
            last.wait_for_publish(2.0)
        self._client.disconnect()
        self._client.loop_stop()
        return self._readings

    def _publish(self, name: str, pump: Pump) -> mqtt.MQTTMessageInfo:
        values = dict(zip((channel for channel, _ in CHANNELS), pump.step(), strict=True))
        reading = {"ts": round(time.time(), 6)} | {key: round(value, 4) for key, value in values.items()}
        self._readings += 1
        return self._client.publish(f"site/line1/{name}/telemetry", json.dumps(reading), qos=1)


def _say(**event: object) -> None:
    print(json.dumps(event), flush=True)


def main() -> None:
    """Publish to the port given as the only argument."""
    field = Field(int(sys.argv[1]))
    signal.signal(signal.SIGTERM, field.stop)
    _say(event="stopped", readings=field.run())


if __name__ == "__main__":
    main()
