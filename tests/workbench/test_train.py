"""From recordings to a bundle: what is refused, what is kept apart, and what comes out."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from gatewayd.errors import ConfigError
from gatewayd.model.bundle import load_bundle
from gatewayd.model.interpreter import open_model
from gatewayd.model.verify import compare_golden
from gatewayd.workbench import train as train_module
from gatewayd.workbench.evaluate import score_windows
from gatewayd.workbench.metrics import Counts, count
from gatewayd.workbench.table import Columns, read_table
from gatewayd.workbench.train import TrainOptions, train
from gatewayd.workbench.windows import cut
from tests.support.recordings import needs_tensorflow, pump_csv

COLUMNS = Columns(time="ts", label="anomaly")
OPTIONS = TrainOptions(name="pump", length=8, train_rows=500, epochs=8)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return read_table(pump_csv(tmp_path_factory.mktemp("data") / "pump.csv"), COLUMNS)


def changed(table, **changes):
    return dataclasses.replace(table, **changes)


def flat(table):
    values = table.values.copy()
    values[:, 2] = 6.25
    return changed(table, values=values)


@pytest.mark.parametrize(
    "case",
    [
        (lambda t: [t], {"train_rows": 901}, "pump.csv: has 900 rows, fewer than the 901 to train on"),
        (
            lambda t: [t],
            {"train_rows": 30},
            "pump.csv: too few rows: 0 windows of 8 to set the threshold, at least 16 are needed",
        ),
        (
            lambda t: [t],
            {"length": 400},
            "pump.csv: too few rows: 0 windows of 400 to fit, at least 16 are needed",
        ),
        (
            lambda t: [flat(t)],
            {},
            "pump.csv: channel 'pressure' is constant in the training rows: leave it out",
        ),
        (
            lambda t: [t, changed(t, channels=t.channels[::-1], source="b.csv", path=None)],
            {},
            "b.csv: must have the same channels as pump.csv",
        ),
        (
            lambda t: [changed(t, label=None)],
            {"recipe": "classifier-dense"},
            "pump.csv: must have a label column to train a classifier",
        ),
        (
            lambda t: [changed(t, label=t.label * 2)],
            {"recipe": "classifier-dense"},
            "pump.csv: has class 2, but only 2 classes have names",
        ),
    ],
)
def test_what_cannot_be_trained_on_is_one_line_before_anything_is_fitted(
    monkeypatch, tmp_path, recording, case
):
    tables, options, message = case
    monkeypatch.setattr(train_module, "fit", None)  # calling it would fail the test
    with pytest.raises(ConfigError) as caught:
        train(tables(recording), dataclasses.replace(OPTIONS, **options), tmp_path / "out")
    # a recording is named with its folder; one that never was a file has none
    assert str(caught.value).replace(f"{recording.path.parent}/", "") == message
    assert message.startswith("b.csv") or str(caught.value).startswith(str(recording.path))
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def trained(tmp_path_factory, recording):
    out = tmp_path_factory.mktemp("models") / "pump"
    return out, train([recording], OPTIONS, out)


class TestBundle:
    """One training of a pump that later fails."""

    pytestmark = needs_tensorflow

    def test_the_bundle_loads_and_reproduces_its_golden_vectors(self, trained):
        bundle = load_bundle(trained[0])
        assert open_model(bundle).input.shape == (32,)
        assert bundle.spec.interval_s == pytest.approx(0.2)
        assert bundle.training["data"][0]["rows"] == 900

    def test_statistics_come_from_the_fitted_rows_alone(self, trained, recording):
        rows = recording.values[:375]  # 500 less the held-out quarter
        spec = load_bundle(trained[0]).spec
        assert spec.mean == pytest.approx(rows.mean(axis=0))
        assert spec.std == pytest.approx(rows.std(axis=0))

    def test_the_threshold_is_the_greatest_held_out_score_times_the_margin(self, trained, recording):
        bundle = load_bundle(trained[0])
        windows = cut(recording, length=8, hop=1)
        held_out = windows.select((windows.rows[:, 0] >= 375) & (windows.rows[:, -1] < 500))
        scores = score_windows(open_model(bundle), bundle.spec, held_out.values).scores
        assert bundle.spec.threshold == pytest.approx(scores.max() * 1.5)

    @pytest.mark.parametrize("mode", ["window", "robust"])
    def test_another_normalisation_travels_with_the_model(self, tmp_path, recording, mode):
        report = train([recording], dataclasses.replace(OPTIONS, normalise=mode), tmp_path / "pump")
        bundle = load_bundle(tmp_path / "pump")
        assert bundle.spec.normalise == report.spec.normalise == mode
        assert compare_golden(bundle, open_model(bundle)).is_met
        moved = bundle.golden.windows + 1000.0  # a level is nothing to such a model
        scores = score_windows(open_model(bundle), bundle.spec, moved).scores
        assert scores == pytest.approx(
            score_windows(open_model(bundle), bundle.spec, bundle.golden.windows).scores, rel=0.05
        )

    def test_the_fault_is_found_by_float_and_int8_alike(self, trained):
        counts = trained[1].counts
        assert set(counts) == {"float32", "int8"}
        assert counts["int8"].f1 > 0.8
        assert abs(counts["int8"].f1 - counts["float32"].f1) < 0.05

    def test_rows_after_the_training_rows_change_nothing_but_the_measurement(
        self, trained, recording, tmp_path
    ):
        values = recording.values.copy()
        values[500:] *= 2
        train([changed(recording, values=values)], OPTIONS, tmp_path / "again")
        first, second = load_bundle(trained[0]), load_bundle(tmp_path / "again")
        assert second.sha256 == first.sha256
        assert second.spec.threshold == first.spec.threshold
        assert np.array_equal(second.golden.outputs, first.golden.outputs)


DATA = Path(os.environ.get("GATEWAYD_EVAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_data = [*needs_tensorflow, pytest.mark.data]


class TestRecordedMachines:
    """Recordings of real rooms and machines, beside the repository."""

    pytestmark = needs_data

    @pytest.mark.skipif(not (DATA / "skab").is_dir(), reason=f"{DATA / 'skab'} is not there")
    def test_faults_of_a_real_pump_are_found_and_int8_is_as_good_as_float(self, tmp_path):
        """One file of each group; tools/bench/skab.py measures all 34."""
        columns = Columns(time="datetime", label="anomaly", ignore=("changepoint",))
        pooled = {"float32": Counts(), "int8": Counts()}
        for name in ("valve1/1.csv", "valve2/1.csv", "other/1.csv"):
            table = read_table(DATA / "skab" / name, columns)
            report = train([table], TrainOptions(name="skab", train_rows=400), tmp_path / "model")
            for model, counts in report.counts.items():
                pooled[model] += counts
        print({model: counts.figures() for model, counts in pooled.items()})  # a measurement
        assert pooled["int8"].f1 > 0.75
        assert pooled["int8"].false_alarm_rate < 0.25
        assert abs(pooled["int8"].f1 - pooled["float32"].f1) < 0.02

    @pytest.mark.skipif(not (DATA / "occupancy").is_dir(), reason=f"{DATA / 'occupancy'} is not there")
    @pytest.mark.parametrize("name", ["test1_door_closed", "test2_door_open"])
    def test_a_room_of_other_days_is_classified(self, tmp_path, name):
        columns = Columns(time="date", label="Occupancy")
        learned = read_table(DATA / "occupancy" / "train.csv.gz", columns)
        options = TrainOptions(
            name="room",
            recipe="classifier-dense",
            length=1,
            train_fraction=1.0,
            labels=("vacant", "occupied"),
            alert_on=("occupied",),
        )
        train([learned], options, tmp_path / "room")
        bundle = load_bundle(tmp_path / "room")
        met = read_table(DATA / "occupancy" / f"{name}.csv.gz", columns)
        windows = cut(met, length=1, hop=1)
        scored = score_windows(open_model(bundle), bundle.spec, windows.values)
        counts = count(met.label[windows.rows[:, -1]] > 0, scored.scores >= bundle.spec.threshold)
        print(name, counts.figures())  # a measurement
        assert counts.accuracy > 0.97
        assert np.array_equal(scored.label == 1, scored.scores > 0.5)
