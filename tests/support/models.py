"""Models for tests: the committed bundles, parts to build others from, and the files of the cases."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gatewayd.domain.model import ChannelSpec, ModelSpec, TensorSpec
from gatewayd.errors import RejectedInputError
from gatewayd.model.bundle import Bundle, Golden, load_bundle, write_bundle

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "tests" / "golden" / "models"
# made by tools/make_test_models.py
NAMES = ("dense_int8", "dense_float32", "conv_int8", "classifier_int8", "gru_float32", "camera_int8")
CASE_MODELS = ROOT.parent / "shared" / "cases" / "files" / "models"


def golden_bundle(name: str) -> Bundle:
    """Load one of the committed bundles."""
    return load_bundle(MODELS / name)


def case_model(name: str) -> bytes:
    """Read a model file of the cases; skip the test where they are absent."""
    path = CASE_MODELS / name
    if not path.exists():
        pytest.skip(f"the cases' files are absent: no {path.name} beside the repository")
    return path.read_bytes()


def make_spec(channels: int = 4, length: int = 1, **changes: object) -> ModelSpec:
    """Return a spec of a score model without normalisation: z-scores are the values themselves."""
    spec = ModelSpec(
        name="case",
        version="1",
        task="score",
        channels=tuple(ChannelSpec(name=f"c{index}", unit="") for index in range(channels)),
        length=length,
        hop=1,
        interval_s=None,
        mean=np.zeros(channels),
        std=np.ones(channels),
        threshold=None,
    )
    return replace(spec, **changes)


def make_golden(windows: object, outputs: object, dtype: str, runtime: str = "by hand") -> Golden:
    """Return golden vectors from nested lists."""
    return Golden(
        windows=np.array(windows, np.float64), outputs=np.array(outputs, np.dtype(dtype)), runtime=runtime
    )


def copy_bundle(bundle: Bundle, folder: Path, **changes: object) -> Path:
    """Write a bundle anew with some of its parts (spec, model, golden, training) exchanged."""
    parts = {
        "spec": bundle.spec,
        "model": bundle.model,
        "golden": bundle.golden,
        "training": bundle.training,
        **changes,
    }
    write_bundle(folder, **parts)
    return folder


def other_python() -> str:
    """Return the interpreter that has the other runtime; skip the test where none is named."""
    path = os.environ.get("GATEWAYD_OTHER_PYTHON")
    if not path:
        pytest.skip("GATEWAYD_OTHER_PYTHON names no Python with the other runtime")
    return path


class FakeModel:
    """Doubles each value; fails on windows that hold ``poison``. Keeps ``Model``'s promises."""

    runtime = "fake 1"

    def __init__(
        self, given: TensorSpec, result: TensorSpec | None = None, poison: float | None = None
    ) -> None:
        self.input = given
        self.output = given if result is None else result
        self.poison = poison
        self.calls: list[int] = []

    def invoke(self, inputs):
        """Return twice the input, in the input's shape."""
        assert inputs.dtype == self.input.dtype
        assert inputs.shape[1:] == self.input.shape
        assert len(inputs) > 0
        self.calls.append(len(inputs))
        if self.poison is not None and (inputs == self.poison).any():
            raise RejectedInputError("model_failed", "poisoned")
        return (inputs * inputs.dtype.type(2)).reshape(len(inputs), *self.output.shape)
