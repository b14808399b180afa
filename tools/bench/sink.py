"""The upstream side at a real broker: counts predictions, and measures how old their last reading is.

Events on stdout, one line of JSON each: ``subscribed``; then ``answered`` when the expected number of
predictions has come, or when stdin ends. It ends by itself. Latency: arrival here less the time stamp of
the reading that completed the window, which the generator takes right before it sends.
"""

import argparse
import json
import select
import socket
import sys
import time
from datetime import datetime

from frames import Cutter, connect, parse_publish, subscribe

_RECEIVE_BYTES = 1 << 18


def window_end_s(payload: bytes) -> float:
    """Return a prediction's window end, seconds since the Unix epoch."""
    end = json.loads(payload)["window"]["end"]
    return datetime.fromisoformat(end).timestamp() if isinstance(end, str) else float(end)


def percentile(ordered: list[float], fraction: float) -> float:
    """Return the value below which ``fraction`` of an ascending list lies (nearest rank)."""
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


def main() -> None:
    """Subscribe, count, report."""
    parser = argparse.ArgumentParser(description="Counts predictions.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--expect", type=int, required=True)
    parser.add_argument("--latency", action="store_true", help="readings carry the time of sending")
    options = parser.parse_args()
    link = socket.create_connection(("127.0.0.1", options.port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.sendall(connect("bench-sink") + subscribe(b"plant/#", 1))
    cutter = Cutter()
    predictions, others, latencies_ms = 0, 0, list[float]()
    while predictions < options.expect:
        readable, _, _ = select.select([link, sys.stdin], [], [])
        if sys.stdin in readable:
            break
        data = link.recv(_RECEIVE_BYTES)
        arrived_at = time.time()
        if not data:
            raise ConnectionError("the broker closed the connection")
        replies = bytearray()
        for head, body in cutter.feed(data):
            if head >> 4 == 9:
                print(json.dumps({"event": "subscribed"}), flush=True)
            if head >> 4 != 3:
                continue
            topic, payload, puback = parse_publish(head, body)
            replies += puback
            if not topic.endswith(b"/prediction"):
                others += 1
                continue
            predictions += 1
            if options.latency:
                latencies_ms.append((arrived_at - window_end_s(payload)) * 1e3)
        link.sendall(replies)
    report: dict[str, object] = {"event": "answered", "predictions": predictions, "others": others}
    if latencies_ms:
        latencies_ms.sort()
        report["latency_ms"] = {
            "n": len(latencies_ms),
            **{
                name: percentile(latencies_ms, part)
                for name, part in (("p50", 0.5), ("p99", 0.99), ("p99_9", 0.999))
            },
            "max": latencies_ms[-1],
        }
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
