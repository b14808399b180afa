"""Fitting in a process of its own: what comes out, that it repeats, and how it fails."""

import sys

import numpy as np
import pytest

from gatewayd.errors import StartupError
from gatewayd.model.interpreter import Interpreter
from gatewayd.pipeline.infer import infer
from gatewayd.workbench import fit as fit_module
from gatewayd.workbench.fit import Job, fit
from tests.support.recordings import needs_tensorflow, random_windows


def job(recipe, classes=0, seed=0):
    return Job(recipe=recipe, classes=classes, epochs=8, seed=seed)


@pytest.mark.parametrize(
    "recipe", ["autoencoder-linear", "autoencoder-dense", "autoencoder-conv", "classifier-dense"]
)
class TestRecipes:
    """Each recipe, quantised, does in the daemon's runtime nearly what it does in float."""

    pytestmark = needs_tensorflow

    def test_int8_is_near_float_and_batches(self, recipe):
        windows = random_windows(200, 12, 3)
        labels = (windows[:, -1, 0] > 0).astype(np.int64)
        fitted = fit(job(recipe, classes=2 if recipe == "classifier-dense" else 0), windows, labels)
        exact, small = Interpreter(fitted.float32), Interpreter(fitted.int8)
        assert (small.input.dtype, small.output.dtype) == ("int8", "int8")
        assert exact.input.dtype == "float32"
        assert max(small.batch_sizes) == 64
        wanted, found = infer(exact, windows), infer(small, windows)
        # two steps of the output, and what rounding the input and the layers between adds up to
        assert np.abs(wanted.outputs - found.outputs).mean() < 4 * small.output.scale
        if recipe == "classifier-dense":
            assert (wanted.outputs.argmax(1) == labels).mean() > 0.8


class TestLinear:
    """The linear autoencoder is the optimum itself: principal components."""

    pytestmark = needs_tensorflow

    def test_its_error_is_what_the_components_left_out_hold(self):
        windows = random_windows(300, 6, 3)
        fitted = fit(job("autoencoder-linear"), windows, np.zeros(300, np.int64))
        outputs = infer(Interpreter(fitted.float32), windows).outputs.reshape(windows.shape)
        flat = windows.reshape(300, 18).astype(np.float64)
        variances = np.linalg.eigvalsh(np.cov(flat.T, bias=True))
        # Eckart-Young: no linear code of as many values as channels does better
        assert np.square(outputs - windows).mean() == pytest.approx(variances[:-3].sum() / 18, rel=1e-4)
        assert fitted.epochs == 0


class TestRepeats:
    """The same windows, job and versions give the same bytes; another seed others."""

    pytestmark = needs_tensorflow

    def test_the_same_job_gives_the_same_bytes(self):
        windows, labels = random_windows(100, 8, 2), np.zeros(100, np.int64)
        first = fit(job("autoencoder-dense"), windows, labels)
        assert fit(job("autoencoder-dense"), windows, labels) == first
        assert fit(job("autoencoder-dense", seed=1), windows, labels).int8 != first.int8


PYTHON = sys.executable


def fail_with(monkeypatch, tmp_path, source):
    """Let the child process be another program that ends as told."""
    script = tmp_path / "python"
    script.write_text(f"#!{PYTHON}\n{source}\n")
    script.chmod(0o755)
    monkeypatch.setattr(fit_module.sys, "executable", str(script))
    with pytest.raises(StartupError) as caught:
        fit(job("autoencoder-dense"), random_windows(20, 8, 2), np.zeros(20, np.int64))
    return str(caught.value)


def test_a_missing_tensorflow_is_said_in_one_line(monkeypatch, tmp_path):
    source = "raise ModuleNotFoundError(\"No module named 'tensorflow'\")"
    message = fail_with(monkeypatch, tmp_path, source)
    assert message == "training needs TensorFlow: pip install '.[train]'"


def test_any_other_failure_gives_its_last_line(monkeypatch, tmp_path):
    assert fail_with(monkeypatch, tmp_path, "raise ValueError('no such shape')") == (
        "training failed: ValueError: no such shape"
    )
    assert fail_with(monkeypatch, tmp_path, "raise SystemExit(3)") == "training failed: exit code 3"
