"""How fast is a replay, and does its memory stay flat? JSON out.

    python tools/bench/replay.py [--readings 400000] [--devices 100] [--repeats 3]

CPU time a reading, readings a second and times real time of `gatewayd replay` beside this Python, for recorded
messages, a CSV table, and the same table with its rows grouped by device, which have to be put in order first. The
time is the whole process's, start and model included, on whatever core it gets. Memory is the greatest resident set
with all the readings, and with a tenth of them. The load is `line.py`'s: 100 devices of 4 channels, windows of 64
readings every 16, the int8 model in `models/dense64x4`. From it follows how many predictions must come; if they don't,
or two runs differ by a byte, there are no figures.
"""

import argparse
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from machine import describe
from rig import RigError

MODEL = Path(__file__).resolve().parent / "models" / "dense64x4"
WINDOW, HOP = 64, 16
STEP_S = 0.05
BEGIN_S = 1_700_000_000
CHANNELS = ("temperature", "vibration", "pressure", "current")
USUAL = ((21.5, 0.8), (0.05, 0.01), (310.0, 4.0), (17.5, 0.3))  # mean and spread, as the model was trained
CONFIG = """
gateway: {{id: bench}}
brokers: {{local: {{host: 127.0.0.1}}}}
streams:
  pump:
    from: local
    topic: site/{{line}}/{{device}}/telemetry
    time: {{field: ts}}
    channels: {{temperature: {{unit: °C}}, vibration: {{unit: g}}, pressure: {{unit: kPa}}, current: {{unit: A}}}}
    model: {model}
    publish: {{to: local, topic: "plant/{{gateway}}/{{device}}"}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one replay took."""

    took_s: float
    cpu_s: float
    peak_kib: int
    digest: str
    predictions: int


def rows(count: int, devices: int, *, is_grouped: bool = False) -> Iterator[tuple[str, str, list[float]]]:
    """Time stamps, devices and values, in order of time, or one device after the other."""
    rng = random.Random(1)  # noqa: S311  # a load, no secret
    pool = [[round(rng.gauss(mean, std), 3) for mean, std in USUAL] for _ in range(1009)]
    order = (
        (n for first in range(devices) for n in range(first, count, devices)) if is_grouped else range(count)
    )
    for number in order:
        at = BEGIN_S + STEP_S * (number // devices)
        yield f"{at:.3f}", f"pump-{number % devices:02d}", pool[number % len(pool)]


def write_messages(path: Path, found: Iterator[tuple[str, str, list[float]]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for at, device, values in found:
            payload = json.dumps({"ts": float(at), **dict(zip(CHANNELS, values, strict=True))})
            line = {"at": float(at), "topic": f"site/line1/{device}/telemetry", "payload": payload, "qos": 1}
            file.write(json.dumps(line) + "\n")


def write_table(path: Path, found: Iterator[tuple[str, str, list[float]]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(f"ts,line,device,{','.join(CHANNELS)}\n")
        for at, device, values in found:
            file.write(f"{at},line1,{device},{','.join(map(str, values))}\n")


def replay(command: Path, config: Path, recording: Path) -> Run:
    """Run the command; its memory is what the kernel counted for it, or for us at its start, if that was more."""
    began = time.perf_counter()
    digest, predictions = hashlib.sha256(), 0
    process = subprocess.Popen(
        [command, "replay", "-c", config, recording], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    for line in process.stdout:
        digest.update(line)
        predictions += b'"kind":"prediction"' in line
    said = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RigError(f"gatewayd replay ended with {process.returncode}: {said}")
    return Run(
        took_s=time.perf_counter() - began,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_kib=usage.ru_maxrss,
        digest=digest.hexdigest(),
        predictions=predictions,
    )


def spread(values: Sequence[float]) -> dict[str, object]:
    """Summarise repeats."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values), "all": list(values)}


def measure(
    folder: Path, kind: str, *, command: Path, readings: int, devices: int, repeats: int
) -> dict[str, object]:
    """Replay one kind of recording."""
    write = write_messages if kind == "messages" else write_table
    is_grouped = kind == "grouped"
    expected = devices * max(0, (readings // devices - WINDOW) // HOP + 1)
    few = max(readings // 10 // devices, WINDOW) * devices
    write(folder / "few", rows(few, devices, is_grouped=is_grouped))
    write(folder / "all", rows(readings, devices, is_grouped=is_grouped))
    small = replay(command, folder / "c.yaml", folder / "few")
    runs = [replay(command, folder / "c.yaml", folder / "all") for _ in range(repeats)]
    if any(run.predictions != expected for run in runs):
        raise RigError(f"{[run.predictions for run in runs]} predictions came, not {expected}")
    if len({run.digest for run in runs}) > 1:
        raise RigError("two replays of one recording differ")
    rates = [round(readings / run.took_s) for run in runs]
    lasts_s = readings / devices * STEP_S
    return {
        "recording_bytes": (folder / "all").stat().st_size,
        "cpu_us": spread([round(run.cpu_s / readings * 1e6, 2) for run in runs]),
        "readings_per_s": spread(rates),
        "times_real_time": spread([round(lasts_s / run.took_s, 1) for run in runs]),
        "peak_kib": spread([run.peak_kib for run in runs]),
        "peak_kib_with_a_tenth": small.peak_kib,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--readings", type=int, default=400_000)
    parser.add_argument("--devices", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--command", type=Path, default=Path(sys.executable).with_name("gatewayd"))
    options = parser.parse_args()
    readings = options.readings // options.devices * options.devices
    results = {}
    try:
        for kind in ("messages", "table", "grouped"):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                (folder / "c.yaml").write_text(CONFIG.format(model=MODEL), encoding="utf-8")
                results[kind] = measure(
                    folder,
                    kind,
                    command=options.command,
                    readings=readings,
                    devices=options.devices,
                    repeats=options.repeats,
                )
    except (RigError, OSError) as error:
        print(f"void: {error}", file=sys.stderr)
        return 1
    report = {
        "machine": describe(),
        "conditions": {"readings": readings, "devices": options.devices, "window": WINDOW, "hop": HOP},
        "results": results,
    }
    json.dump(report, sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
