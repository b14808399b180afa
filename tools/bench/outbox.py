"""What the outbox costs: µs per record appended and drained, and beside them what the plainest SQLite use costs.

    python tools/bench/outbox.py [--records 20000] [--payload 300] [--durability process] [--folder DIR]

Prints one JSON object. ``ratio`` compares with one transaction per record (INSERT, commit) in a WAL database of
the same durability, in the same run on the same disk, so that a busy machine moves both.
"""

import argparse
import json
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gatewayd.domain.verdict import Publication
from gatewayd.store.outbox import Outbox

ROUNDS = 5
SYNCHRONOUS = {"power": "FULL", "process": "NORMAL", "none": "OFF"}


def publications(count: int, payload_bytes: int) -> list[Publication]:
    return [
        Publication(
            broker="cloud",
            kind="prediction",
            topic=f"plant/line1-gw/pump/p{number % 100}/prediction",
            payload=os.urandom(payload_bytes),
            qos=1,
            retain=False,
        )
        for number in range(count)
    ]


def append_and_drain(
    folder: Path, items: list[Publication], batch: int, durability: str
) -> tuple[float, float]:
    """Return µs per record for append and for read-and-acknowledge."""
    outbox = Outbox(folder / f"{time.monotonic_ns()}.db", max_bytes=1 << 30, durability=durability)
    started = time.perf_counter()
    for first in range(0, len(items), batch):
        outbox.append(items[first : first + batch], at=1)
    appended = time.perf_counter()
    after = 0
    while page := outbox.pending("cloud", after=after, limit=64):
        after = page[-1][0]
        outbox.acknowledge([seq for seq, _ in page])
    drained = time.perf_counter()
    outbox.close()
    return (appended - started) / len(items) * 1e6, (drained - appended) / len(items) * 1e6


def append_while_draining(
    folder: Path, items: list[Publication], batch: int, durability: str
) -> dict[str, float]:
    """Append at a pace of some 1,000 batches/s while another thread drains; µs per append call, as percentiles."""
    outbox = Outbox(folder / f"{time.monotonic_ns()}.db", max_bytes=1 << 30, durability=durability)
    done, calls = threading.Event(), []

    def drain() -> None:
        after = 0
        while not done.is_set():
            if page := outbox.pending("cloud", after=after, limit=64):
                after = page[-1][0]
                outbox.acknowledge([seq for seq, _ in page])
                outbox.tidy()
            else:
                time.sleep(0.001)

    thread = threading.Thread(target=drain)
    thread.start()
    for first in range(0, len(items), batch):
        started = time.perf_counter()
        outbox.append(items[first : first + batch], at=1)
        calls.append((time.perf_counter() - started) * 1e6)
        time.sleep(0.0005)
    done.set()
    thread.join()
    outbox.close()
    calls.sort()
    return {
        "p50_us": round(calls[len(calls) // 2], 1),
        "p99_us": round(calls[int(len(calls) * 0.99)], 1),
        "max_us": round(calls[-1], 1),
    }


def plain(folder: Path, items: list[Publication], durability: str) -> float:
    """Return µs per record of one transaction per record."""
    connection = sqlite3.connect(folder / f"{time.monotonic_ns()}.db")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS[durability]}")
    connection.execute("CREATE TABLE record (seq INTEGER PRIMARY KEY, topic TEXT, payload BLOB)")
    started = time.perf_counter()
    for item in items:
        connection.execute("INSERT INTO record (topic, payload) VALUES (?, ?)", (item.topic, item.payload))
        connection.commit()
    spent = time.perf_counter() - started
    connection.close()
    return spent / len(items) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--payload", type=int, default=300)
    parser.add_argument("--durability", choices=["power", "process", "none"], default="process")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    items = publications(options.records, options.payload)
    result: dict[str, object] = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "records": options.records,
        "payload_bytes": options.payload,
        "durability": options.durability,
    }
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        few = items[: max(200, len(items) // 10)]
        plain_us = statistics.median(plain(folder, few, options.durability) for _ in range(ROUNDS))
        result["plain_us"] = round(plain_us, 1)
        for batch in (1, 16, 64, 256):
            some = few if batch == 1 else items
            runs = [append_and_drain(folder, some, batch, options.durability) for _ in range(ROUNDS)]
            appends = sorted(run[0] for run in runs)
            result[f"batch_{batch}"] = {
                "append_us": round(statistics.median(appends), 2),
                "append_spread_us": [round(appends[0], 2), round(appends[-1], 2)],
                "drain_us": round(statistics.median(run[1] for run in runs), 2),
                "ratio": round(statistics.median(appends) / plain_us, 3),
            }
        result["append_16_while_draining"] = append_while_draining(folder, items, 16, options.durability)
        result["append_1_while_draining"] = append_while_draining(folder, few, 1, options.durability)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
