"""The adapter over both runtimes: the cases' numbers, batches, copies, threads, failures, and the other runtime."""

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

import gatewayd.model.interpreter as module
from gatewayd.errors import ModelError, RejectedInputError
from gatewayd.model.bundle import load_bundle, write_bundle
from gatewayd.model.interpreter import Interpreter, open_model
from gatewayd.model.tflite import read_model
from gatewayd.pipeline.infer import infer
from gatewayd.pipeline.quantise import dequantise, quantise
from tests.support.models import (
    NAMES,
    ROOT,
    case_model,
    copy_bundle,
    golden_bundle,
    make_golden,
    make_spec,
    other_python,
)

A, B, C = [1.0, -2.0, 0.5, 2.65], [0.0, 0.0, 0.0, 0.0], [2.35, 1.05, -0.75, 0.4]
EXPECTED = {"A": [2.2, 0.9], "B": [0.1, -0.2], "C": [1.7, 1.3]}


def real(model, values):
    """Run windows of one reading, given and returned as real values."""
    return infer(model, np.array(values, np.float32)[:, None, :]).outputs


def random_windows(model, count, seed=1):
    """Windows as z-scores lie: most near the middle, some at the ends of the range."""
    spec = model.input
    random = np.random.default_rng(seed)
    if spec.dtype == "float32":
        return random.normal(0, 1.5, (count, *spec.shape)).astype(np.float32)
    steps = np.rint(random.normal(0, 2.0, (count, *spec.shape)) / spec.scale) + spec.zero_point
    return np.clip(steps, -128, 127).astype(spec.dtype)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_depend_on_neither_the_batch_nor_the_neighbours(name):
    """Promise 1: byte by byte the same, whatever a window is batched with."""
    model = Interpreter(golden_bundle(name).model)
    windows = random_windows(model, 150)
    alone = np.concatenate([model.invoke(windows[index : index + 1]) for index in range(len(windows))])
    for n in (2, 3, 4, 5, 7, 15, 16, 17, 63, 64, 65, 90, 150):
        for start in (0, 150 - n):
            assert model.invoke(windows[start : start + n]).tobytes() == alone[start : start + n].tobytes()
    order = np.random.default_rng(2).permutation(150)
    assert model.invoke(windows[order]).tobytes() == alone[order].tobytes()


@pytest.mark.parametrize("name", ["dense_int8", "conv_int8", "classifier_int8", "camera_int8"])
def test_int8_models_are_batched(name):
    assert Interpreter(golden_bundle(name).model).batch_sizes == module.BATCH_SIZES


def test_each_number_of_windows_is_planned_with_little_waste():
    model = Interpreter(golden_bundle("dense_int8").model)
    for n in range(1, 300):
        plan = model._plan(n)
        assert n <= sum(plan) <= 1.5 * n
        assert sum(plan[:-1]) < n  # only the last one is padded
        assert set(plan) <= set(model.batch_sizes)


class Stubborn:
    """A runtime whose models fail with a batch: in resize, in allocate or in invoke."""

    def __init__(self, real_factory, where):
        self._real, self._where, self.made = real_factory, where, []

    def __call__(self, *, model_content, num_threads):
        native = self._real(model_content=model_content, num_threads=num_threads)
        self.made.append(num_threads)
        if len(self.made) > 1:
            return _Failing(native, self._where)
        return native


class _Failing:
    def __init__(self, native, where):
        self._native, self._where = native, where

    def __getattr__(self, name):
        if name == self._where:
            return self._fail
        return getattr(self._native, name)

    def _fail(self, *arguments):
        raise RuntimeError("cannot\nresize")


@pytest.mark.parametrize("where", ["resize_tensor_input", "allocate_tensors", "invoke"])
def test_a_model_that_cannot_be_batched_runs_one_window_at_a_time(where, monkeypatch):
    bundle = golden_bundle("dense_int8")
    expected = Interpreter(bundle.model)
    name, factory = module._load_runtime("auto")
    stubborn = Stubborn(factory, where)
    monkeypatch.setattr(module, "_load_runtime", lambda runtime: (name, stubborn))
    model = Interpreter(bundle.model)
    assert model.batch_sizes == (1,)
    windows = random_windows(expected, 9)
    assert model.invoke(windows).tolist() == expected.invoke(windows).tolist()
    assert set(stubborn.made) == {1}  # threads


def test_case_14_a_runtime_error_costs_that_window_only(monkeypatch):
    model = Interpreter(golden_bundle("dense_int8").model)
    windows = np.zeros((3, 32, 4), np.float32)
    windows[1] = 1.0
    honest = infer(model, windows)
    poison = quantise(windows[1:2], model.input)[0]
    for prepared in model._prepared.values():
        native = prepared._native
        monkeypatch.setattr(prepared, "_native", _Poisoned(native, poison))
    with pytest.raises(RejectedInputError, match="model_failed: out of luck"):
        model.invoke(poison)
    result = infer(model, windows)
    assert result.is_failed.tolist() == [False, True, False]
    assert result.outputs[[0, 2]].tolist() == honest.outputs[[0, 2]].tolist()
    assert infer(model, windows[:1]).outputs.tolist() == honest.outputs[:1].tolist()


class _Poisoned:
    """A native interpreter that fails when a certain window is in its batch."""

    def __init__(self, native, poison):
        self._native, self._poison, self._is_poisoned = native, poison, False

    def __getattr__(self, name):
        return getattr(self._native, name)

    def set_tensor(self, index, value):
        self._is_poisoned = any((row == self._poison[0]).all() for row in value)
        self._native.set_tensor(index, value)

    def invoke(self):
        if self._is_poisoned:
            raise RuntimeError("out of\nluck")
        self._native.invoke()


def test_results_are_copies():
    model = Interpreter(golden_bundle("dense_int8").model)
    first_windows, second_windows = random_windows(model, 4, 1), random_windows(model, 4, 2)
    kept = model.invoke(first_windows)
    before = kept.copy()
    second = model.invoke(second_windows)
    assert kept.tolist() == before.tolist()
    assert second.tolist() != before.tolist()
    assert not np.shares_memory(kept, second)
    kept[:] = 0  # the caller's own
    assert model.invoke(second_windows).tolist() == second.tolist()


def test_case_14_a_kept_result_is_unchanged_by_the_next_call():
    model = Interpreter(case_model("fc_int8.tflite"))
    kept = real(model, [A])
    real(model, [B])
    assert kept.tolist()[0] == pytest.approx(EXPECTED["A"], abs=1e-3)
    for name, values in (("A", A), ("B", B), ("C", C)):
        assert real(model, [values]).tolist()[0] == pytest.approx(EXPECTED[name], abs=1e-3)


def test_case_14_eight_threads_on_one_interpreter_get_their_own_results():
    """One thread owns an interpreter; should another come, it waits."""
    model = Interpreter(case_model("fc_int8.tflite"))
    right, problems = [], []

    def work(seed):
        random = np.random.default_rng(seed)
        try:
            for _ in range(500):
                name, values = [("A", A), ("B", B), ("C", C)][random.integers(3)]
                found = real(model, [values] * int(random.integers(1, 6)))
                right.append(np.abs(found - EXPECTED[name]).max() < 1e-3)
        except Exception as error:  # noqa: BLE001  # a thread's exception would be lost
            problems.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert (len(right), sum(right)) == (4000, 4000)


def write_case_bundle(folder, name, *, channels=4, outputs=2):
    """Wrap a model file of the cases in a bundle: zeros in, what the model makes of them out."""
    data = case_model(name)
    labels = tuple(f"label{index}" for index in range(outputs))
    spec = make_spec(channels=channels, task="classification", labels=labels, alert_on=labels[1:])
    try:
        model = Interpreter(data)
        inputs, _ = quantise(np.zeros((1, channels)), model.input)
        golden = make_golden([[[0.0] * channels]], model.invoke(inputs), model.output.dtype, model.runtime)
    except (ModelError, ValueError):
        golden = make_golden([[[0.0] * channels]], [[0] * outputs], "float32")
    write_bundle(folder, spec=spec, model=data, golden=golden, training={})
    return folder


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fc_int8_cut60.tflite", "is not a valid model: cut short or damaged"),
        ("not_a_model.tflite", "is not a valid model: no TensorFlow Lite file (the mark 'TFL3' is missing)"),
        ("empty.tflite", "is empty"),
        (
            "fc_f32_3in.tflite",
            "wants 3 values a window (shape [3]), but the bundle gives 4 (1 readings of 4 channels)",
        ),
    ],
)
def test_case_15_a_file_that_cannot_be_the_model_is_refused(name, message, tmp_path):
    """Both when such a bundle is to be written and when such a file lies in one."""
    with pytest.raises(ModelError) as caught:
        write_case_bundle(tmp_path / "bundle", name)
    assert str(caught.value) == f"{tmp_path}/bundle/model.tflite: {message}"
    assert list(tmp_path.iterdir()) == []


def test_case_15_a_missing_op_is_named(tmp_path):
    data = case_model("flex_erf.tflite")
    labels = ("a", "b", "c", "d")
    spec = make_spec(task="classification", labels=labels, alert_on=("a",))
    golden = make_golden([[[0.0] * 4]], [[0.0] * 4], "float32")
    write_bundle(tmp_path / "b", spec=spec, model=data, golden=golden, training={})
    with pytest.raises(ModelError) as caught:
        open_model(load_bundle(tmp_path / "b"))
    assert str(caught.value) == f"{tmp_path}/b/model.tflite: needs the op FlexErf, which this runtime lacks"


@pytest.mark.parametrize("name", ["fc_f32.tflite", "fc_uint8.tflite", "fc_f32_dynbatch.tflite"])
def test_case_15_a_usable_file_is_accepted(name, tmp_path):
    model = open_model(load_bundle(write_case_bundle(tmp_path / "b", name)))
    assert model.input.dtype == ("uint8" if "uint8" in name else "float32")


def test_case_15_a_batch_of_three():
    model = Interpreter(case_model("fc_f32_dynbatch.tflite"))
    found = real(model, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]])
    assert found == pytest.approx(np.array([[0.1, 2.8], [3.1, 10.8], [6.1, 18.8]]), abs=1e-5)


def test_case_15_a_models_own_nan_stays_a_nan_and_is_no_failure(tmp_path):
    model = Interpreter(case_model("log_f32.tflite"))
    windows = np.array([[[1.0, -2.0, 0.5, 3.0]], [[1.0, 2.0, 0.5, 3.0]]], np.float32)
    result = infer(model, windows)
    assert result.outputs[0] == pytest.approx([0, np.nan, -0.6931, 1.0986], abs=1e-4, nan_ok=True)
    assert np.isfinite(result.outputs[1]).all()
    assert result.is_failed.tolist() == [False, False]


def test_case_16_a_file_that_is_truncated_meanwhile_changes_nothing(tmp_path):
    """The model is in memory, so nothing that happens to its file reaches the running one."""
    folder = write_case_bundle(tmp_path / "b", "fc_f32_padded.tflite")
    model = open_model(load_bundle(folder))
    assert real(model, [A])[0] == pytest.approx([2.225, 0.875], abs=1e-5)
    with (folder / "model.tflite").open("wb") as file:  # truncates the file in place
        assert real(model, [A])[0] == pytest.approx([2.225, 0.875], abs=1e-5)
        data = case_model("fc_int8.tflite")
        for start in range(0, len(data), 100):
            file.write(data[start : start + 100])
            file.flush()
            assert real(model, [A] * 5)[4] == pytest.approx([2.225, 0.875], abs=1e-5)
            with pytest.raises(ModelError, match=r"model\.tflite: must have 29408 bytes"):
                load_bundle(folder)


@pytest.mark.parametrize(
    ("name", "in_raw", "out_raw", "outputs"),
    [
        ("fc_f32.tflite", None, None, [2.225, 0.875]),
        ("fc_int8.tflite", [10, -50, 0, 43], [27, 14], [2.2, 0.9]),
        ("fc_int8_perchannel.tflite", [10, -50, 0, 43], [27, 14], [2.2, 0.9]),
        ("fc_uint8.tflite", [138, 78, 128, 171], [155, 142], [2.2, 0.9]),
        ("float_io_int8_core.tflite", None, None, [2.2, 0.9]),
    ],
)
def test_case_18_the_same_numbers_through_every_kind_of_model(name, in_raw, out_raw, outputs):
    model = Interpreter(case_model(name))
    raw, _ = quantise(np.array([A], np.float32), model.input)
    found = model.invoke(raw)
    if in_raw is not None:
        assert raw.tolist() == [in_raw]
        assert found.tolist() == [out_raw]
    tolerance = 1e-5 if name == "fc_f32.tflite" else 1e-3
    assert dequantise(found, model.output)[0] == pytest.approx(outputs, abs=tolerance)
    assert real(model, [A])[0] == pytest.approx(outputs, abs=tolerance)


def test_case_18_a_model_that_quantises_agrees_with_us_but_for_ties():
    model = Interpreter(case_model("quantize_only.tflite"))
    values = np.array([[0.15625, -0.15625, 0.16, 0.0, 1.0, -1.0, 50.0, -50.0]], np.float32)
    ours, _ = quantise(values, model.output)
    theirs = model.invoke(values)
    assert np.abs(ours[0, :2].astype(int) - theirs[0, :2]).max() <= 1
    assert ours[0, 2:].tolist() == theirs[0, 2:].tolist()


@pytest.mark.parametrize(
    "windows",
    [np.zeros((1, 32, 4), np.float32), np.zeros((1, 4, 32), np.int8), np.zeros((0, 32, 4), np.int8)],
)
def test_other_shapes_and_types_are_an_error_of_the_caller(windows):
    model = Interpreter(golden_bundle("dense_int8").model)
    with pytest.raises(ValueError, match="expected int8"):
        model.invoke(windows)


def test_the_runtime_says_its_name_version_and_machine():
    name, version, machine = Interpreter(golden_bundle("dense_int8").model).runtime.split()
    assert importlib.metadata.version(name) == version
    assert machine == os.uname().machine


def test_auto_takes_litert_where_both_are_installed(monkeypatch):
    monkeypatch.setattr(module, "_is_installed", lambda name: True)
    monkeypatch.setattr(module, "_factory", lambda name: None)
    assert module._load_runtime("auto") == ("ai-edge-litert", None)


def test_tflite_runtime_beside_numpy_2_is_an_error_that_says_what_to_install(monkeypatch):
    monkeypatch.setattr(module, "_is_installed", lambda name: name == "tflite-runtime")
    monkeypatch.setattr(np, "__version__", "2.1.0")
    for runtime in ("auto", "tflite-runtime"):
        with pytest.raises(ModelError) as caught:
            module._load_runtime(runtime)
        assert str(caught.value) == (
            "tflite-runtime is built against numpy 1 and cannot run beside numpy 2.1.0: "
            "install 'numpy<2', or ai-edge-litert in its place"
        )


def test_a_runtime_that_is_not_installed_is_an_error(monkeypatch):
    monkeypatch.setattr(module, "_is_installed", lambda name: False)
    with pytest.raises(ModelError, match="no runtime: install ai-edge-litert or tflite-runtime"):
        Interpreter(golden_bundle("dense_int8").model)


def test_a_runtime_that_cannot_be_imported_is_an_error(monkeypatch):
    monkeypatch.setitem(module._MODULES, "ai-edge-litert", "gatewayd.no_such_module")
    module._factory.cache_clear()
    monkeypatch.setattr(module, "_is_installed", lambda name: True)
    with pytest.raises(ModelError, match="ai-edge-litert is installed, but cannot be imported: No module"):
        module._load_runtime("ai-edge-litert")
    module._factory.cache_clear()


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (
            "Encountered unresolved custom op: Foo.\nSee instructions. Node number 0 (Foo) failed to prepare.",
            "needs the op Foo, which this runtime lacks",
        ),
        (
            "Didn't find op for builtin opcode 'FULLY_CONNECTED' version '12'. An older version\nmight be supported.",
            "needs the op FULLY_CONNECTED version 12, which this runtime lacks",
        ),
        ("something\n  else", "is not a model that this runtime can run: something else"),
    ],
)
def test_a_runtimes_refusal_becomes_one_line(message, line):
    assert module._explain(message) == line


def test_a_bundle_whose_golden_vectors_fail_does_not_open(tmp_path):
    bundle = golden_bundle("classifier_int8")
    outputs = bundle.golden.outputs[::-1].copy()
    copy_bundle(bundle, tmp_path / "b", golden=replace(bundle.golden, outputs=outputs))
    with pytest.raises(ModelError, match="must give the golden outputs within"):
        open_model(load_bundle(tmp_path / "b"))


_OTHER = """
import sys, numpy as np
from pathlib import Path
from gatewayd.model.interpreter import Interpreter
folder = Path(sys.argv[1])
for path in sorted(folder.glob("*.tflite")):
    model = Interpreter(path.read_bytes())
    np.save(path.with_suffix(".out.npy"), model.invoke(np.load(path.with_suffix(".in.npy"))))
print(model.runtime)
"""


def test_both_runtimes_agree_as_far_as_their_kernels_allow(tmp_path):
    """Int8: 2 steps (of pictures, a few 4), in at most 6 % of the outputs; float32: 1e-5. Over 1000 windows a model."""
    other, found = other_python(), {}
    for name in NAMES:
        bundle = golden_bundle(name)
        model = Interpreter(bundle.model)
        windows = random_windows(model, 1000, 11)
        (tmp_path / f"{name}.tflite").write_bytes(bundle.model)
        np.save(tmp_path / f"{name}.in.npy", windows)
        found[name] = model.invoke(windows)
    done = subprocess.run(
        [other, "-c", _OTHER, str(tmp_path)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() != model.runtime, "GATEWAYD_OTHER_PYTHON has the same runtime"
    report = {}
    for name in NAMES:
        theirs = np.load(tmp_path / f"{name}.out.npy").astype(np.float64)
        difference = np.abs(found[name].astype(np.float64) - theirs)
        report[name] = (difference.max(), (difference > 0).mean())
        if found[name].dtype == np.float32:
            scale = np.maximum(1.0, np.abs(theirs).reshape(1000, -1).max(axis=1))
            assert (difference.reshape(1000, -1).max(axis=1) / scale).max() <= 1e-5, report
        else:
            assert difference.max() <= (4 if name == "camera_int8" else 2), report
            assert (difference > 2).mean() <= 1e-4, report
            assert (difference > 0).mean() <= 0.06, report
    print(json.dumps({name: [float(x) for x in pair] for name, pair in report.items()}))


_LOAD = """
import sys
from pathlib import Path
from gatewayd.model.interpreter import Interpreter
Interpreter(Path(sys.argv[1]).read_bytes())
"""


def test_a_cut_model_never_reaches_the_runtime_that_would_die_of_it(tmp_path):
    """In a process of its own: the process must end by an exception, not by a signal."""
    (tmp_path / "m.tflite").write_bytes(case_model("fc_int8_cut60.tflite"))
    done = subprocess.run(
        [sys.executable, "-c", _LOAD, str(tmp_path / "m.tflite")], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert b"ModelError: is not a valid model" in done.stderr
    assert done.returncode != -signal.SIGSEGV


def test_the_runtime_reads_tensors_as_we_do():
    for name in NAMES:
        bundle = golden_bundle(name)
        model, file = Interpreter(bundle.model), read_model(bundle.model)
        assert (model.input, model.output) == (file.input, file.output)


def test_a_runtime_that_reads_another_tensor_is_refused(monkeypatch):
    bundle = golden_bundle("dense_int8")
    file = read_model(bundle.model)
    monkeypatch.setattr(
        module, "read_model", lambda data: replace(file, input=replace(file.input, scale=0.5))
    )
    with pytest.raises(ModelError, match="input: the runtime finds int8"):
        Interpreter(bundle.model)


def test_a_large_model_prepares_fewer_batch_sizes(monkeypatch):
    monkeypatch.setattr(module, "_LARGE_BYTES", 1000)
    assert Interpreter(golden_bundle("dense_int8").model).batch_sizes == (1, 16)


def test_a_model_that_fails_alone_is_loaded_all_the_same_and_rejects_its_windows(monkeypatch):
    """What fails on our probe may run on a sensor's values: that is told window by window."""
    name, factory = module._load_runtime("auto")
    monkeypatch.setattr(
        module,
        "_load_runtime",
        lambda runtime: (name, lambda **arguments: _Failing(factory(**arguments), "invoke")),
    )
    model = Interpreter(golden_bundle("dense_int8").model)
    assert model.batch_sizes == (1,)
    assert infer(model, np.zeros((2, 32, 4), np.float32)).is_failed.tolist() == [True, True]
