"""What does a PUBLISH frame cost, cut out by the tap and read by paho's own parser? One core, one run, no network.

Usage: ``python tools/bench/tap.py [--frames N] [--rounds N]``. Prints JSON: CPU microseconds a frame, least and median
of the rounds, for each payload size.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from gatewayd.mqtt.tap import Cutter, encode_publish

if TYPE_CHECKING:
    from gatewayd.domain.reading import Message

CHUNK_BYTES = 64 * 1024  # what one recv() brings at saturation
TOPIC = b"site/line1/pump-17/telemetry"


class _Source:
    """A socket for paho that holds the whole stream."""

    def __init__(self, stream: bytes) -> None:
        self._stream, self._at = stream, 0

    def recv(self, size: int) -> bytes:
        data = self._stream[self._at : self._at + size]
        if not data:
            raise BlockingIOError
        self._at += size
        return data

    def send(self, data: bytes) -> int:
        return len(data)

    def close(self) -> None:
        pass


def cut(stream: bytes, frames: int) -> float:
    cutter, chunk = Cutter(), CHUNK_BYTES
    messages: list[Message] = []
    acks: list[int] = []
    rest, found = bytearray(), 0
    chunks = [stream[begin : begin + chunk] for begin in range(0, len(stream), chunk)]
    began = time.process_time()
    for data in chunks:
        cutter.feed(data, messages, acks, rest)
        found += len(messages)
        messages.clear()
    took = time.process_time() - began
    assert found == frames
    return took / frames * 1e6


def parse(stream: bytes, frames: int) -> float:
    found = 0

    def on_message(_client: paho.Client, _userdata: object, _message: paho.MQTTMessage) -> None:
        nonlocal found
        found += 1

    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="bench", manual_ack=True)
    client.on_message = on_message
    client._sock = _Source(stream)  # type: ignore[assignment]  # noqa: SLF001  # the parser alone, without a network
    began = time.process_time()
    while found < frames:
        client.loop_read()
    took = time.process_time() - began
    return took / frames * 1e6


def spread(
    measure: Callable[[bytes, int], float], stream: bytes, frames: int, rounds: int
) -> dict[str, float]:
    costs = [measure(stream, frames) for _ in range(rounds)]
    return {"least": round(min(costs), 3), "median": round(statistics.median(costs), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    results = []
    for size in (82, 130):
        for qos in (0, 1):
            frame = encode_publish(TOPIC, b"x" * size, qos=qos, retain=False, packet_id=7)
            few = options.frames // 10  # paho is slow enough to be measured with fewer
            results.append(
                {
                    "payload_bytes": size,
                    "qos": qos,
                    "cutter_us": spread(cut, frame * options.frames, options.frames, options.rounds),
                    "paho_us": spread(parse, frame * few, few, options.rounds),
                }
            )
    machine = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "paho": version("paho-mqtt"),
    }
    print(
        json.dumps(
            {
                "bench": "tap",
                **machine,
                "frames": options.frames,
                "rounds": options.rounds,
                "results": results,
            }
        )
    )


if __name__ == "__main__":
    main()
