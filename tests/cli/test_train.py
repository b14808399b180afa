"""``gatewayd train`` as a person types it."""

import orjson
import pytest
from click.testing import CliRunner

from gatewayd.cli import main
from gatewayd.model.bundle import load_bundle
from tests.support.recordings import needs_tensorflow, pump_csv


def run(*arguments):
    return CliRunner().invoke(main, ["train", *map(str, arguments)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--name", "a b"], "a name has 1 to 64 letters"),
        (["--name", "m", "--hop", "17"], "must lie in 1..16 (the window length), not 17"),
        (["--name", "m", "--labels", "a,b", "--alert-on", "c"], "must be of a, b"),
        (["--name", "m", "--channels", "x:g,x:g"], "a channel occurs twice"),
        (["--name", "m", "--channels", "a,,b"], "a channel has no name in 'a,,b'"),
        (["--name", "m", "--channels", ":g"], "a channel has no name in ':g'"),
        (["--name", "m", "--channels", ""], "a channel has no name in ''"),
        (["--name", "m", "--recipe", "lstm"], "'lstm' is not one of"),
        ([], "Missing option '--name'"),
    ],
)
def test_a_wrong_option_is_explained(tmp_path, arguments, message):
    done = run(tmp_path / "data.csv", "--out", tmp_path / "out", *arguments)
    assert done.exit_code == 2
    assert message in done.output


def test_a_folder_with_something_else_in_it_is_refused_before_the_data_is_read(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    done = run(tmp_path / "no.csv", "--out", tmp_path / "out", "--name", "m")
    assert done.exit_code == 2
    assert "holds something else than a model bundle" in done.output


def test_a_place_that_cannot_be_written_is_refused_before_the_data_is_read(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    done = run(tmp_path / "no.csv", "--out", tmp_path / "file" / "deep" / "out", "--name", "m")
    assert done.exit_code == 2
    assert "cannot be written" in done.output
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write anywhere
    done = run(tmp_path / "no.csv", "--out", tmp_path / "deep" / "out", "--name", "m")
    assert done.exit_code == 2
    assert f"no permission to write to {tmp_path}" in done.output.replace("\n", " ")


def test_a_mistake_in_the_data_leaves_no_folder_behind(tmp_path):
    data = tmp_path / "data.csv"
    data.write_text("a\n1\nx\n")
    assert run(data, "--out", tmp_path / "new" / "out", "--name", "m").exit_code == 78
    assert not (tmp_path / "new").exists()


def test_too_few_rows_name_the_file_with_its_folder(tmp_path):
    data = tmp_path / "data.csv"
    data.write_text("a\n1\n2\n")
    done = run(data, "--out", tmp_path / "new" / "out", "--name", "m")
    assert done.exit_code == 78
    assert done.stderr.startswith(f"{data}: too few rows")


def test_a_channel_that_only_rises_is_warned_about(tmp_path):
    data = tmp_path / "data.csv"
    data.write_text("a,hours\n" + "".join(f"{row % 3},{row}\n" for row in range(20)))
    done = run(data, "--out", tmp_path / "out", "--name", "m")
    assert done.stderr.startswith(f"warning: {data}: channel 'hours' only ever rises")
    assert "channel 'a'" not in done.stderr
    named = run(data, "--out", tmp_path / "out", "--name", "m", "--channels", "a,hours")
    assert "warning" not in named.stderr


def test_a_mistake_in_the_data_is_one_line_and_exit_78(tmp_path):
    data = tmp_path / "data.csv"
    data.write_text("a,b\n1,2\n3,x\n")
    done = run(data, "--out", tmp_path / "out", "--name", "m")
    assert done.exit_code == 78
    assert done.stderr == f"{data}:3:1: column 'b' must be a finite number, not 'x'\n"
    assert not (tmp_path / "out").exists()


class TestTraining:
    """The whole way."""

    pytestmark = needs_tensorflow

    def test_a_table_compares_float_and_int8_and_the_bundle_has_what_was_asked_for(self, tmp_path):
        data = pump_csv(tmp_path / "pump.csv")
        out = tmp_path / "models" / "new" / "pump"
        done = run(
            *(data, "--out", out, "--name", "pump", "--version", "2.1"),
            *("--channels", "vibration:g,temperature:°C", "--time-column", "ts", "--label-column", "anomaly"),
            *("--recipe", "autoencoder-conv", "--length", 12, "--hop", 4, "--train-rows", 500, "--epochs", 5),
        )
        assert done.exit_code == 0, done.output
        assert "float32 " in done.stdout
        assert "int8 " in done.stdout
        assert "channels: vibration (g), temperature (°C)\n" in done.stdout
        spec = load_bundle(out).spec
        assert (spec.name, spec.version, spec.length, spec.hop) == ("pump", "2.1", 12, 4)
        assert [(c.name, c.unit) for c in spec.channels] == [("vibration", "g"), ("temperature", "°C")]

    def test_json_has_the_same_figures(self, tmp_path):
        data = pump_csv(tmp_path / "pump.csv")
        done = run(
            *(data, "--out", tmp_path / "pump", "--name", "pump", "--time-column", "ts"),
            *("--label-column", "anomaly", "--recipe", "classifier-dense", "--length", 1, "--epochs", 5),
            *("--train-fraction", 0.9, "--json"),
        )
        assert done.exit_code == 0, done.output
        figures = orjson.loads(done.stdout)
        assert figures["channels"] == [
            {"name": c.name, "unit": ""} for c in load_bundle(tmp_path / "pump").spec.channels
        ]
        assert set(figures["metrics"]) == {"float32", "int8"}
        assert 0 <= figures["metrics"]["int8"]["f1"] <= 1
        assert load_bundle(tmp_path / "pump").spec.labels == ("normal", "anomalous")

    def test_without_labels_nothing_is_said_to_be_measured(self, tmp_path):
        data = pump_csv(tmp_path / "pump.csv")
        common = ("--out", tmp_path / "pump", "--name", "pump", "--time-column", "ts", "--ignore", "anomaly")
        done = run(data, *common)
        assert done.exit_code == 0, done.output
        assert "not measured against labels: there are none (--label-column)" in done.stdout
        done = run(data, *common, "--train-fraction", 1)
        assert "nothing measured: no window ends after the training rows" in done.stdout
        assert "saturate" not in done.stdout
