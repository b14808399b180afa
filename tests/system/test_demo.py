"""tools/demo keeps its promise, ends by itself or at Ctrl-C, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.demo_parts.ledger import Ledger, Seen, read

ROOT = Path(__file__).resolve().parents[2]
DEMO = [sys.executable, str(ROOT / "tools" / "demo"), "--here"]


def environment(folder: Path) -> dict[str, str]:
    """The demo's own temporary folder goes where the test can look into it."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": path}


def processes_in(folder: Path) -> list[str]:
    """Processes whose working folder lies in ``folder``: the demo's parts do."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                place = str((entry / "cwd").readlink())
            except OSError:  # it ended, or isn't ours
                continue
            if place.startswith(str(folder)):
                found.append(f"{entry.name} {(entry / 'cmdline').read_bytes()!r}")
    return found


def seen(device: str, arrived_at: float, state: str | None = None) -> Seen:
    return Seen(
        device=device, arrived_at=arrived_at, end_at=arrived_at - 0.002, score=1.0, threshold=2.0, state=state
    )


@pytest.mark.demo
@pytest.mark.timeout(180)
def test_an_alert_is_raised_for_the_pump_with_the_bad_bearing_and_cleared(tmp_path):
    """The promise of the README, as a viewer sees it: exit 0, the summary as the last line, no trace left."""
    done = subprocess.run(
        [*DEMO, "--seconds", "40"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["alerts_raised"] == summary["alerts_cleared"] == ["pump-3"]
    # five pumps, 20 readings/s, 40 s: less only where the machine stood still
    assert summary["published"] == summary["readings"] > 2000
    # a window of 32 with hop 8: per pump, all readings but the first 24 open one every 8
    assert abs(summary["predictions"] - (summary["readings"] - 5 * 24) / 8) <= 5
    assert summary["dropped"] == {}
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p99"]
    assert "!! ALERT    pump-3" in done.stdout
    assert "\x1b" not in done.stdout, "no colour but on a terminal"
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


@pytest.mark.demo
@pytest.mark.timeout(180)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_every_process_without_a_traceback(tmp_path, number):
    """Ctrl-C once readings flow: a summary, exit 0, no orphan, no file."""
    command = [sys.executable, "-u", *DEMO[1:]]
    with subprocess.Popen(
        command, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as demo:
        lines = []
        for line in demo.stdout:
            lines.append(line)
            if "pump-1 " in line:
                demo.send_signal(number)
                break
        lines += demo.stdout.readlines()
    assert demo.returncode == 0, "".join(lines)
    assert "Traceback" not in "".join(lines)
    assert json.loads(lines[-1])["readings"] > 0
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


@pytest.mark.demo
@pytest.mark.timeout(180)
def test_nothing_survives_a_killed_stage(tmp_path):
    """kill -9 on the stage: its parts are tied to it and end."""
    with subprocess.Popen([*DEMO], env=environment(tmp_path), stdout=subprocess.PIPE, text=True) as demo:
        for line in demo.stdout:
            if "pump-1 " in line:
                break
        assert len(processes_in(tmp_path)) == 3, "broker, daemon and pumps"
        demo.kill()
    deadline = time.monotonic() + 60
    while processes_in(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_in(tmp_path) == []


def test_seconds_out_of_range_are_refused(tmp_path):
    done = subprocess.run(
        [*DEMO, "--seconds", "0"], env=environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "seconds must lie in 1..86400" in done.stderr


def test_the_kept_promise_is_recognised():
    ledger = Ledger(started_at=100.0)
    for one in (seen("pump-1", 102.0), seen("pump-3", 111.0, "raised"), seen("pump-3", 119.0, "cleared")):
        ledger.add(one)
    assert ledger.broken_promises("pump-3") == []
    assert ledger.predictions == 1
    assert ledger.latency_ms(0.5) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("alerts", "complaint"),
    [
        ([], "no alert for pump-3 was raised"),
        ([("pump-3", 110.0, "raised")], "no alert for pump-3 was cleared"),
        ([("pump-3", 110.0, "raised"), ("pump-3", 131.0, "cleared")], "cleared only after 31.0 s"),
        (
            [("pump-3", 110.0, "raised"), ("pump-1", 111.0, "raised"), ("pump-3", 115.0, "cleared")],
            "raised for pump-1",
        ),
    ],
)
def test_a_broken_promise_is_named(alerts, complaint):
    ledger = Ledger(started_at=100.0)
    ledger.add(seen("pump-3", 102.0))
    for alert in alerts:
        ledger.add(seen(*alert))
    assert any(complaint in broken for broken in ledger.broken_promises("pump-3"))


def test_a_demo_without_predictions_is_a_broken_promise():
    assert "no prediction arrived" in Ledger(started_at=0.0).broken_promises("pump-3")


def test_results_are_read_from_their_documents():
    """As docs/payloads.md shows them; anything else on the topic is none."""
    alert = {
        "device": "pump-3",
        "state": "raised",
        "raised_at": "2026-03-14T10:26:51.750000001Z",
        "cleared_at": None,
        "score": 3.5,
        "threshold": 2.25,
        "causes": [{"channel": "vibration", "contribution": 0.9}],
    }
    found = read("plant/demo/pump/pump-3/alert", json.dumps(alert).encode(), arrived_at=1.0)
    assert found is not None
    assert (found.device, found.state, found.causes) == ("pump-3", "raised", (("vibration", 0.9),))
    assert found.end_at == pytest.approx(1773484011.75, abs=1e-5)
    assert read("gatewayd/demo/status", b"{}", arrived_at=1.0) is None
