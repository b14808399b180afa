"""The benchmark measures what it says it measures: counts and fields, never times."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tools.bench.frames import Cutter, Load, parse_publish

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "tools" / "bench"


def gatewayd() -> str:
    """The installed command; the benchmark measures nothing else."""
    command = Path(sys.executable).with_name("gatewayd")
    if not command.is_file():
        if os.environ.get("CI"):
            pytest.fail(f"{command} is not there: install gatewayd first")
        pytest.skip("gatewayd is not installed beside this Python")
    return str(command)


@pytest.mark.timeout(280)
def test_the_line_is_measured_against_the_null_broker():
    """Counts are verified inside: exit 0 says that exactly the expected predictions came back."""
    command = [sys.executable, str(BENCH / "line.py"), "--quick", "--brokers", "null", "--daemon", gatewayd()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["machine"]["versions"]["numpy"]
    assert report["conditions"]["window"] == 64
    results = report["results"]
    assert set(results) == {
        "daemon_null_qos0", "paho_null_qos0", "daemon_null_qos1", "paho_null_qos1",
        "memory_many_devices", "daemon_to_paho",
    }  # fmt: skip
    for name in ("daemon_null_qos0", "daemon_null_qos1", "paho_null_qos0", "paho_null_qos1"):
        cost = results[name]["cpu_us"]
        assert 0 < cost["min"] <= cost["median"] <= cost["max"]
    assert results["memory_many_devices"]["vmrss_kib"]["min"] > 0
    assert results["daemon_null_qos0"]["ready_s"]["min"] > 0


@pytest.mark.parametrize("qos", [0, 1])
def test_a_load_says_what_it_should(qos):
    """Two laps: every frame valid JSON on its device's topic, times rising by the step, packet ids in turn."""
    load, cutter = Load(devices=3, qos=qos), Cutter()
    frames = []
    while len(frames) < 2 * load.frames_per_lap:
        frames += cutter.feed(bytes(load.take(50)))
    latest: dict[str, float] = {}
    for number, (head, body) in enumerate(frames):
        topic, payload, puback = parse_publish(head, body)
        reading = json.loads(payload)
        assert topic.decode() == f"site/line1/{reading['device']}/telemetry"
        if reading["device"] in latest:
            assert reading["ts"] - latest[reading["device"]] == pytest.approx(0.05, abs=1e-6)
        latest[reading["device"]] = reading["ts"]
        assert puback == (b"\x40\x02" + (number + 1).to_bytes(2, "big") if qos else b"")
    assert sorted(latest) == ["pump-00", "pump-01", "pump-02"]


def test_the_cutter_gives_the_same_wherever_the_stream_is_cut():
    rng = random.Random(7)
    load = Load(devices=2, qos=1)
    stream = (
        b"".join(bytes(load.take(5)) + b"\x40\x02\x00\x07" * rng.randrange(4) for _ in range(20))
        + b"\xd0\x00"
    )
    whole = Cutter()
    expected = whole.feed(stream)
    for _ in range(50):
        cutter, found, at = Cutter(), [], 0
        while at < len(stream):
            size = rng.choice([1, 2, 3, 4, 5, 150, 400])
            found += cutter.feed(stream[at : at + size])
            at += size
        assert found == expected
        assert cutter.acks == whole.acks
