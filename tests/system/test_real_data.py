"""Real recordings: trained by ``gatewayd train``, scored live through a real mosquitto, compared with the labels.

Everything is causal: a row counts as flagged where an alert stood when it arrived. No model sees a row number or a
time. The figures are printed (``pytest -s``, or the report of a failure) and stand in docs/performance.md.
"""

import json
import subprocess
import sys

import pytest

from tests.support.daemon import Client, Daemon
from tests.support.evaluation import confusion, read_rows, recordings, write_rows
from tests.support.recordings import needs_tensorflow

pytestmark = [pytest.mark.broker, pytest.mark.data, *needs_tensorflow]

CONFIG = """
gateway: {{id: gw, state_dir: state, figures_interval_s: 1}}
brokers: {{b: {{host: 127.0.0.1, port: {port}, max_inflight: 500}}}}
streams:
  data:
    from: b
    topic: site/{{device}}
    time: {{field: ts}}
    channels: {{{channels}}}
    model: {model}
    alert: {alert}
    publish: {{to: b, topic: "out/{{device}}"}}
"""
SKAB = {
    "Accelerometer1RMS": "g",
    "Accelerometer2RMS": "g",
    "Current": "A",
    "Pressure": "bar",
    "Temperature": "°C",
    "Thermocouple": "°C",
    "Voltage": "V",
    "VolumeFlowRateRMS": "l/min",
}
OCCUPANCY = {"Temperature": "°C", "Humidity": "%", "Light": "lx", "CO2": "ppm", "HumidityRatio": "kg/kg"}


def train(folder, data, units, *options):
    """Train a bundle with the command; returns its report."""
    channels = ",".join(f"{name}:{unit}" for name, unit in units.items())
    command = [sys.executable, "-m", "gatewayd", "train", str(data), "--out", str(folder / "model")]
    done = subprocess.run(
        [*command, "--name", "real", "--channels", channels, "--json", *options],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def play(folder, broker, units, rows, *, alert, length):
    """Publish rows through the daemon; returns its predictions and alerts."""
    channels = ", ".join(f"{name}: {{unit: {unit!r}}}" for name, unit in units.items())
    text = CONFIG.format(port=broker.port, channels=channels, model=folder / "model", alert=alert)
    with Client(broker.port, "out/#") as client, Daemon(folder, text) as daemon:
        daemon.ready()
        for row in rows:
            time = row.get("datetime") or row["date"]
            client.publish("site/plant", {"ts": time, **{name: float(row[name]) for name in units}})
        predictions = client.wait_for("/prediction", len(rows) - length + 1, timeout_s=120)
        assert daemon.stop() == 0
        return predictions, client.documents("/alert")


def standing(alerts, times):
    """Tell for each row whether an alert stood when it had arrived."""
    changes = {a["raised_at" if a["state"] == "raised" else "cleared_at"]: a["state"] for a in alerts}
    flags, is_standing = [], False
    for time in times:
        is_standing = changes.get(time, "raised" if is_standing else "cleared") == "raised"
        flags.append(is_standing)
    return flags


def as_published(text):
    return text.replace(" ", "T") + "Z"


@pytest.mark.timeout(900)
def test_pump_faults_are_found_in_recordings_of_a_real_plant(tmp_path, broker):
    """SKAB: trained on the first 400 rows of a file, alerts on the rest against its labels."""
    flags, labels, reports = [], [], []
    for name in ("valve1/0", "valve1/6", "valve2/1", "other/9"):
        folder = tmp_path / name.replace("/", "-")
        folder.mkdir()
        rows = read_rows(recordings("skab") / f"{name}.csv")
        data = write_rows(folder / "rows.csv", rows[:400])
        options = ("--time-column", "datetime", "--label-column", "anomaly", "--ignore", "changepoint")
        reports.append(train(folder, data, SKAB, *options, "--train-rows", "400"))
        test = rows[400:]
        _, alerts = play(folder, broker, SKAB, test, alert="{raise: 2 of 3, clear: 3 of 3}", length=16)
        found = standing(alerts, [as_published(row["datetime"]) for row in test])
        wanted = [float(row["anomaly"]) > 0 for row in test]
        print(name, json.dumps(confusion(found, wanted)))
        flags += found
        labels += wanted
    figures = confusion(flags, labels)
    print("skab, live alerts:", json.dumps(figures))
    assert figures["f1"] >= 0.7
    assert figures["far"] <= 0.3


@pytest.mark.timeout(600)
def test_a_classifier_tells_occupied_rooms_live(tmp_path, broker):
    """Occupancy: a small classifier trained on the published training days, scored live on another day."""
    folder = recordings("occupancy")
    data = write_rows(tmp_path / "train.csv", read_rows(folder / "train.csv.gz"))
    train(
        tmp_path,
        data,
        OCCUPANCY,
        *("--recipe", "classifier-dense", "--labels", "vacant,occupied", "--alert-on", "occupied"),
        *("--time-column", "date", "--label-column", "Occupancy", "--length", "1", "--hop", "1"),
    )
    test = read_rows(folder / "test1_door_closed.csv.gz")
    predictions, alerts = play(
        tmp_path, broker, OCCUPANCY, test, alert="{raise: 2 of 2, clear: 2 of 2}", length=1
    )
    wanted = {as_published(row["date"]): row["Occupancy"] == "1" for row in test}
    by_window = confusion(
        [p["verdict"] == "anomalous" for p in predictions], [wanted[p["window"]["end"]] for p in predictions]
    )
    by_alert = confusion(standing(alerts, list(wanted)), list(wanted.values()))
    print("occupancy, predictions:", json.dumps(by_window))
    print("occupancy, live alerts:", json.dumps(by_alert))
    assert {p["label"] for p in predictions} == {"vacant", "occupied"}
    assert by_window["accuracy"] >= 0.9
    assert by_window["f1"] >= 0.9
