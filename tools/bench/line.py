"""What does a reading cost, and how long does it take? The installed daemon, whole pipeline and outbox.

In one run, the daemon on one core and its load on the other:

- CPU per reading at saturation, against a null broker and a real mosquitto, at QoS 0 and 1; and in turn
  with it, the same load read by a paho client whose ``on_message`` is empty. Their ratio says more than
  either figure: it holds on other machines, too.
- Latency from publish to prediction at 1,000 readings/s, through mosquitto.
- Resident memory with few and with many devices; time from start to READY.

Every run counts: the predictions that came back must be exactly as many as the windows that the load
completes, else the run is void and the exit code 1. JSON on stdout, progress on stderr. See README.md
beside this file.
"""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from machine import describe
from rig import Daemon, Helper, Mosquitto, RigError, cores, cpu_s, memory_kib, wait_until_idle

_MODEL = Path(__file__).resolve().parent / "models" / "dense64x4"
_LENGTH, _HOP = 64, 16
_DEVICES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured."""

    daemon: Sequence[str]
    repeats: int
    readings: int
    paho_readings: int
    devices: int
    many_devices: int
    latency_s: float
    latency_rate: float


def whole(readings: int, devices: int) -> int:
    """Round up so that each device's last reading completes a window: then a run is over with its last prediction."""
    hops = max(0, -(-(-(-readings // devices) - _LENGTH) // _HOP))
    return devices * (_LENGTH + hops * _HOP)


def expected_windows(readings: int, devices: int) -> int:
    """Count the windows that a ``whole`` number of readings, dealt out to devices in turn, completes."""
    return devices * (1 + (readings // devices - _LENGTH) // _HOP)


def spread(values: Sequence[float]) -> dict[str, object]:
    """Summarise repeats: least, median, greatest, and all of them in order."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values), "all": list(values)}


class Bench:
    """One run of all questions. Owned by the main thread."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._core, self._load_core = cores()

    def daemon_at_null(
        self, qos: int, *, devices: int | None = None, readings: int | None = None
    ) -> dict[str, float]:
        """Run the daemon against the null broker."""
        count, devices = readings or self._plan.readings, devices or self._plan.devices
        expect = expected_windows(count, devices)
        arguments = ["--count", count, "--devices", devices, "--qos", qos, "--expect", expect]
        with (
            tempfile.TemporaryDirectory() as name,
            Helper("null_broker.py", *arguments, core=self._load_core) as broker,
        ):
            port = broker.event("listening")["port"]
            with Daemon(self._plan.daemon, self._config(Path(name), port, qos), core=self._core) as daemon:
                broker.event("subscribed")
                before, load_before = cpu_s(daemon.pid), cpu_s(broker.pid)
                broker.go()
                sent = broker.event("sent")
                answered = broker.event("answered")
                used, load_used = cpu_s(daemon.pid) - before, cpu_s(broker.pid) - load_before
                memory = memory_kib(daemon.pid)
                self._verify(daemon.stop(), readings=count, windows=expect, arrived=answered["predictions"])
                return {
                    "cpu_us": used / count * 1e6,
                    "load_cpu_us": load_used / count * 1e6,
                    "readings_per_s": count / _number(sent["wall_s"]),
                    "ready_s": daemon.ready_s,
                    "vmrss_kib": memory["VmRSS"],
                    "vmhwm_kib": memory["VmHWM"],
                }

    def daemon_at_mosquitto(self, qos: int) -> dict[str, float]:
        """Run the daemon at a real mosquitto, which shares the other core with generator and sink."""
        return self._through_mosquitto(qos, self._plan.readings, rate=None)

    def latency(self, qos: int) -> dict[str, float]:
        """Measure publish → prediction at a steady rate, through mosquitto."""
        rate = self._plan.latency_rate
        return self._through_mosquitto(
            qos, whole(int(self._plan.latency_s * rate), self._plan.devices), rate=rate
        )

    def _through_mosquitto(self, qos: int, count: int, *, rate: float | None) -> dict[str, float]:
        expect = expected_windows(count, self._plan.devices)
        core = self._load_core
        pace, timing = ([], []) if rate is None else (["--rate", rate], ["--latency"])
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            port = stack.enter_context(Mosquitto(folder, core=core)).port
            sink = Helper("sink.py", "--port", port, "--expect", expect, *timing, core=core)
            stack.enter_context(sink).event("subscribed")
            config = self._config(folder, port, qos)
            daemon = stack.enter_context(Daemon(self._plan.daemon, config, core=self._core))
            load = ["--port", port, "--count", count, "--devices", self._plan.devices, "--qos", qos]
            generator = stack.enter_context(Helper("generator.py", *load, *pace, core=core))
            generator.event("ready")
            before, began_at = cpu_s(daemon.pid), time.monotonic()
            generator.go()
            generator.event("sent")
            answered = sink.event("answered")
            used, wall_s = cpu_s(daemon.pid) - before, time.monotonic() - began_at
            self._verify(daemon.stop(), readings=count, windows=expect, arrived=answered["predictions"])
            found = {"cpu_us": used / count * 1e6, "readings_per_s": count / wall_s}
            if rate is not None:
                assert isinstance(answered["latency_ms"], dict)
                found |= {f"latency_{key}": value for key, value in answered["latency_ms"].items()}
            return found

    def paho_at_null(self, qos: int) -> dict[str, float]:
        """Run the empty paho client against the null broker."""
        count = self._plan.paho_readings
        arguments = ["--count", count, "--devices", self._plan.devices, "--qos", qos]
        with Helper("null_broker.py", *arguments, core=self._load_core) as broker:
            port = broker.event("listening")["port"]
            with Helper("empty_paho.py", "--port", port, "--qos", qos, core=self._core) as client:
                broker.event("subscribed")
                client.event("subscribed")
                before = cpu_s(client.pid)
                broker.go()
                sent = broker.event("sent")
                wait_until_idle(client.pid)
                used = cpu_s(client.pid) - before
                return {"cpu_us": used / count * 1e6, "readings_per_s": count / _number(sent["wall_s"])}

    def paho_at_mosquitto(self, qos: int) -> dict[str, float]:
        """Run the empty paho client at a real mosquitto."""
        count, core = self._plan.paho_readings, self._load_core
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            port = stack.enter_context(Mosquitto(folder, core=core)).port
            client = Helper("empty_paho.py", "--port", port, "--qos", qos, core=self._core)
            stack.enter_context(client).event("subscribed")
            load = ["--port", port, "--count", count, "--devices", self._plan.devices, "--qos", qos]
            generator = stack.enter_context(Helper("generator.py", *load, core=core))
            generator.event("ready")
            before = cpu_s(client.pid)
            generator.go()
            generator.event("sent")
            wait_until_idle(client.pid)
            return {"cpu_us": (cpu_s(client.pid) - before) / count * 1e6}

    def _config(self, folder: Path, port: object, qos: int) -> Path:
        path = folder / "gatewayd.yaml"
        path.write_text(
            f"""\
gateway: {{id: bench, state_dir: {json.dumps(str(folder / "state"))}}}
brokers:
  local: {{host: 127.0.0.1, port: {port}}}
streams:
  pump:
    from: local
    topic: site/{{line}}/{{device}}/telemetry
    qos: {qos}
    format: json
    time: {{field: ts}}
    channels:
      temperature: {{unit: °C}}
      vibration: {{unit: g}}
      pressure: {{unit: kPa}}
      current: {{unit: A}}
    model: {json.dumps(str(_MODEL))}
    publish: {{to: local, topic: "plant/{{gateway}}/{{stream}}/{{device}}"}}
""",
            encoding="utf-8",
        )
        return path

    def _verify(self, figures: dict[str, object], *, readings: int, windows: int, arrived: object) -> None:
        """Hold what came back, and the daemon's own counters, to what the load must give."""
        wanted = {"readings": readings, "windows": windows, "predictions": windows}
        found = {key: figures.get(key) for key in wanted}
        if found != wanted or arrived != windows:
            raise RigError(
                f"void: expected {wanted}; the daemon counted {found}, {arrived} predictions arrived"
            )


def _number(value: object) -> float:
    assert isinstance(value, (int, float))
    return float(value)


def measure(plan: Plan, *, brokers: Sequence[str], qos: Sequence[int]) -> dict[str, object]:
    """Put every question ``plan.repeats`` times, in turn, so that a noisy minute hits all alike."""
    bench = Bench(plan)
    questions: dict[str, Callable[[], dict[str, float]]] = {}
    for level in qos:
        for broker in brokers:
            for client in ("daemon", "paho"):
                run: Callable[[int], dict[str, float]] = getattr(bench, f"{client}_at_{broker}")
                questions[f"{client}_{broker}_qos{level}"] = partial(run, level)
        if "mosquitto" in brokers:
            questions[f"latency_qos{level}"] = partial(bench.latency, level)
    many = plan.many_devices
    questions["memory_many_devices"] = lambda: bench.daemon_at_null(
        0, devices=many, readings=many * 2 * _LENGTH
    )
    found: dict[str, list[dict[str, float]]] = {name: [] for name in questions}
    for repeat in range(plan.repeats):
        for name, question in questions.items():
            print(f"{repeat + 1}/{plan.repeats} {name}", file=sys.stderr, flush=True)
            found[name].append(question())
    results: dict[str, object] = {
        name: {key: spread([run[key] for run in runs]) for key in runs[0]} for name, runs in found.items()
    }
    results["daemon_to_paho"] = {
        f"{broker}_qos{level}": spread(
            [
                mine["cpu_us"] / theirs["cpu_us"]
                for mine, theirs in zip(
                    found[f"daemon_{broker}_qos{level}"], found[f"paho_{broker}_qos{level}"], strict=True
                )
            ]
        )
        for level in qos
        for broker in brokers
    }
    return results


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measures what the daemon costs and how fast it is.")
    parser.add_argument(
        "--quick", action="store_true", help="small numbers: shows that the bench works, no more"
    )
    parser.add_argument("--repeats", type=int, help="runs of each question; 3, quick: 1")
    parser.add_argument("--readings", type=int, help="readings of a run; 400000, quick: 12800")
    parser.add_argument("--brokers", default="null,mosquitto", help="null, mosquitto, or both with a comma")
    parser.add_argument("--qos", default="0,1", help="0, 1, or both with a comma")
    parser.add_argument("--daemon", help="the gatewayd to measure; the one beside this Python")
    options = parser.parse_args()
    readings = whole(options.readings or (12_800 if options.quick else 400_000), _DEVICES)
    plan = Plan(
        daemon=[options.daemon or str(Path(sys.executable).with_name("gatewayd"))],
        repeats=options.repeats or (1 if options.quick else 3),
        readings=readings,
        paho_readings=min(readings, 200_000),
        devices=_DEVICES,
        many_devices=200 if options.quick else 1000,
        latency_s=10.0 if options.quick else 60.0,
        latency_rate=1000.0,
    )
    report: dict[str, object] = {
        "bench": "line",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe(),
        "conditions": {
            "channels": 4, "window": _LENGTH, "hop": _HOP, "model": _MODEL.name, "devices": plan.devices,
            "many_devices": plan.many_devices, "readings": plan.readings, "paho_readings": plan.paho_readings,
            "latency_s": plan.latency_s, "latency_rate": plan.latency_rate, "repeats": plan.repeats,
            "core": cores()[0], "load_core": cores()[1],
        },
    }  # fmt: skip
    try:
        report["results"] = measure(
            plan, brokers=options.brokers.split(","), qos=[int(level) for level in options.qos.split(",")]
        )
    except RigError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
