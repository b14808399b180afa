"""``gatewayd model show`` and ``verify``: what a person sees, and the exit code."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from gatewayd.cli import main
from tests.support.models import MODELS, NAMES, copy_bundle, golden_bundle


def invoke(*arguments):
    return CliRunner().invoke(main, ["model", *(str(argument) for argument in arguments)])


def test_show_says_what_a_bundle_is():
    result = invoke("show", MODELS / "classifier_int8")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[:8] == [
        "name        classifier_int8",
        "version     1",
        "task        classification: calm, busy, wild; alert on busy, wild; activation none",
        "threshold   0.5",
        "window      16 readings, hop 4, a reading every 0.05 s",
        "channels    c0  mm/s: mean 20, std 1",
        "            c1  mm/s: mean 30, std 0.5",
        "            c2  mm/s: mean 40, std 0.333333",
    ]
    bundle = golden_bundle("classifier_int8")
    assert (
        f"input       int8, 16 x 3, scale {bundle.input.scale:.9g}, zero point {bundle.input.zero_point}"
        in lines
    )
    assert f"model       {len(bundle.model):,} bytes, SHA-256 {bundle.sha256}" in lines
    assert "training    by: tools/make_test_models.py" in lines
    assert f"made with   {bundle.golden.runtime} (3 golden windows)" in lines
    assert lines[-1].startswith("golden      ok on ")


def test_show_says_what_pictures_a_model_looks_at():
    lines = invoke("show", MODELS / "camera_int8").stdout.splitlines()
    assert lines[4:6] == ["pictures    24 x 16 pixels", "channels    red    no unit: mean 83.7, std 44.8"]


@pytest.mark.parametrize("name", NAMES)
def test_show_as_json_has_the_same_facts(name):
    bundle = golden_bundle(name)
    values = json.loads(invoke("show", "--json", MODELS / name).stdout)
    assert values["name"] == name
    assert values["threshold"] == bundle.spec.threshold
    assert values["window"] == {
        "length": bundle.spec.length,
        "hop": bundle.spec.hop,
        "interval_s": bundle.spec.interval_s,
    }
    assert values["image"] == ({"height": 16, "width": 24} if name == "camera_int8" else None)
    assert [channel["mean"] for channel in values["channels"]] == bundle.spec.mean.tolist()
    assert values["input"] == {
        "shape": list(bundle.input.shape),
        "dtype": bundle.input.dtype,
        "scale": bundle.input.scale,
        "zero_point": bundle.input.zero_point,
    }
    assert values["model"] == {"bytes": len(bundle.model), "sha256": bundle.sha256}
    assert values["training"] == bundle.training
    assert values["golden"]["is_met"] is True


def test_nested_provenance_is_one_line_a_value_and_long_ones_are_left_to_json(tmp_path):
    training = {"by": {"hand": [1, 2], "note": "x" * 200}, "rows": list(range(100)), "empty": {}}
    folder = copy_bundle(golden_bundle("gru_float32"), tmp_path / "b", training=training)
    output = invoke("show", folder).stdout
    assert "training    by.hand: [1, 2]\n            by.note: 200 characters (--json shows them)\n" in output
    assert "            rows: 100 items (--json shows them)\n            empty: {}\n" in output
    assert "threshold   none: the configuration gives one\n" in output
    assert "task        score, activation none\n" in output
    assert json.loads(invoke("show", "--json", folder).stdout)["training"] == training


def test_a_bundle_without_provenance_says_so(tmp_path):
    bundle = golden_bundle("dense_float32")
    spec = replace(bundle.spec, interval_s=None)
    output = invoke("show", copy_bundle(bundle, tmp_path / "b", spec=spec, training={})).stdout
    assert "training    not stated\n" in output
    assert "window      32 readings, hop 8\n" in output
    assert "task        reconstruction: mse of z-scores\n" in output
    assert "input       float32, 32 x 4\n" in output


def failing(tmp_path):
    bundle = golden_bundle("classifier_int8")
    outputs = bundle.golden.outputs[::-1].copy()
    return copy_bundle(bundle, tmp_path / "b", golden=replace(bundle.golden, outputs=outputs))


def test_verify_accepts_a_good_bundle():
    folder = MODELS / "dense_int8"
    result = invoke("verify", folder)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"{folder}: ok"
    assert lines[1].startswith("  dense_int8 1; ok on ")
    assert "of 384 outputs differ, by at most" in lines[1]


def test_verify_refuses_wrong_golden_vectors_with_78_and_one_line(tmp_path):
    result = invoke("verify", failing(tmp_path))
    assert (result.exit_code, result.stdout) == (78, "")
    assert result.stderr.count("\n") == 1
    assert "must give the golden outputs within" in result.stderr


def test_show_shows_what_verify_refuses(tmp_path):
    folder = failing(tmp_path)
    result = invoke("show", folder)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].startswith("golden      FAILED on ")
    assert json.loads(invoke("show", "--json", folder).stdout)["golden"]["is_met"] is False


@pytest.mark.parametrize("verb", ["show", "verify"])
def test_what_is_no_bundle_is_refused_with_78_and_one_line(verb, tmp_path):
    result = invoke(verb, tmp_path)
    assert (result.exit_code, result.stdout) == (78, "")
    assert result.stderr == f"{tmp_path}/bundle.yaml: no such file or directory\n"


def test_without_the_runtime_a_bundle_is_shown_but_not_verified(monkeypatch):
    monkeypatch.setattr("gatewayd.model.interpreter._is_installed", lambda name: False)
    folder = MODELS / "dense_int8"
    result = invoke("show", "--runtime", "tflite-runtime", folder)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "golden      not run: no runtime: install tflite-runtime"
    assert json.loads(invoke("show", "--json", folder).stdout)["golden"]["is_met"] is None
    result = invoke("verify", folder)
    assert result.exit_code == 78
    assert result.stderr == f"{folder}/model.tflite: no runtime: install ai-edge-litert or tflite-runtime\n"
