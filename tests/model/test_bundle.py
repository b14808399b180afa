"""Bundles on disk: what is written is read back; whatever else lies there is refused, and never mixed."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gatewayd.model.bundle as module
from gatewayd.domain.model import ImageSpec
from gatewayd.errors import ModelError
from gatewayd.model.bundle import load_bundle, write_bundle
from gatewayd.model.interpreter import Interpreter
from gatewayd.model.manifest import parse_manifest
from gatewayd.model.verify import check_golden
from tests.support.models import MODELS, NAMES, ROOT, copy_bundle, golden_bundle, make_golden

SMALL = golden_bundle("classifier_int8")


@pytest.fixture
def folder(tmp_path):
    return copy_bundle(SMALL, tmp_path / "bundle")


def rehash(folder):
    """Make bundle.yaml agree with files that were changed on purpose."""
    text = (folder / "bundle.yaml").read_text(encoding="utf-8")
    head, _, tail = text.partition("files:\n")
    entries = "".join(
        f"  {name}: {{sha256: {hashlib.sha256(data).hexdigest()}, bytes: {len(data)}}}\n"
        for name in ("model.tflite", "golden.json")
        for data in [(folder / name).read_bytes()]
    )
    rest = tail[tail.index("training:") :]
    (folder / "bundle.yaml").write_text(f"{head}files:\n{entries}{rest}", encoding="utf-8")


def refusal(folder):
    with pytest.raises(ModelError) as caught:
        load_bundle(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_is_read_back_as_it_was_written(name, tmp_path):
    bundle = golden_bundle(name)
    again = load_bundle(copy_bundle(bundle, tmp_path / "b"))
    assert again.model == bundle.model
    assert again.sha256 == hashlib.sha256(bundle.model).hexdigest()
    assert again.golden.windows.tolist() == bundle.golden.windows.tolist()
    assert again.golden.outputs.tobytes() == bundle.golden.outputs.tobytes()
    assert again.golden.outputs.dtype == bundle.output.dtype
    assert (again.golden.runtime, again.training) == (bundle.golden.runtime, bundle.training)
    assert (again.input, again.output, again.folder) == (bundle.input, bundle.output, tmp_path / "b")
    assert again.spec.mean.tolist() == bundle.spec.mean.tolist()
    assert (tmp_path / "b" / "bundle.yaml").read_bytes() == (MODELS / name / "bundle.yaml").read_bytes()


def test_numbers_of_golden_vectors_survive_exactly(tmp_path):
    bundle = golden_bundle("dense_float32")
    random = np.random.default_rng(3)
    golden = make_golden(
        random.normal(0, 1e9, (2, 32, 4)) * 10.0 ** random.integers(-30, 30, (2, 32, 4)),
        random.normal(0, 1, (2, 32, 4)) * 10.0 ** random.integers(-30, 30, (2, 32, 4)),
        "float32",
    )
    again = load_bundle(copy_bundle(bundle, tmp_path / "b", golden=golden)).golden
    assert again.windows.tobytes() == golden.windows.tobytes()
    assert again.outputs.tobytes() == golden.outputs.tobytes()


def test_a_bundles_arrays_are_read_only():
    for array in (SMALL.golden.windows, SMALL.golden.outputs, SMALL.spec.mean, SMALL.spec.std):
        assert not array.flags.writeable


def test_no_weights_in_a_repr():
    assert len(repr(SMALL)) < 2000


@pytest.mark.parametrize("name", ["bundle.yaml", "model.tflite", "golden.json"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=100))
def test_any_bytes_in_any_file_are_an_error_of_ours(name, folder, data):
    original = (folder / name).read_bytes()
    (folder / name).write_bytes(data)
    try:
        assert refusal(folder).startswith(f"{folder / name}: ")
        if name != "bundle.yaml":
            manifest = (folder / "bundle.yaml").read_bytes()
            rehash(folder)
            assert refusal(folder).startswith(f"{folder / name}: ")
            (folder / "bundle.yaml").write_bytes(manifest)
    finally:
        (folder / name).write_bytes(original)


@pytest.mark.parametrize("name", ["bundle.yaml", "model.tflite", "golden.json"])
def test_a_missing_file_is_named(name, folder):
    (folder / name).unlink()
    assert refusal(folder) == f"{folder / name}: no such file or directory"


def test_a_missing_folder_and_a_file_in_its_place_are_named(tmp_path):
    assert refusal(tmp_path / "none") == f"{tmp_path / 'none'}: no model bundle: no such file or directory"
    (tmp_path / "file").touch()
    assert refusal(tmp_path / "file") == f"{tmp_path / 'file'}: no model bundle: not a directory"


def test_one_changed_bit_of_the_model_is_noticed(folder):
    data = bytearray((folder / "model.tflite").read_bytes())
    data[-40] ^= 1
    (folder / "model.tflite").write_bytes(data)
    assert f"{folder}/model.tflite: must have SHA-256 {SMALL.sha256} as bundle.yaml says, not " in refusal(
        folder
    )


def test_a_model_cut_short_is_noticed_by_its_size(folder):
    size = (folder / "model.tflite").stat().st_size
    os.truncate(folder / "model.tflite", size - 100)
    message = f"{folder}/model.tflite: must have {size} bytes as bundle.yaml says, not {size - 100}"
    assert refusal(folder) == message
    os.truncate(folder / "model.tflite", 0)
    assert refusal(folder) == f"{folder}/model.tflite: is empty"


def test_a_file_that_is_much_too_large_is_not_read(folder):
    os.truncate(folder / "model.tflite", 1 << 33)  # sparse: takes no space, but would take 8 GiB of memory
    assert "must have at most" in refusal(folder)
    os.truncate(folder / "bundle.yaml", 1 << 33)
    assert "bundle.yaml: must have at most" in refusal(folder)


def test_a_pipe_in_place_of_a_file_does_not_hang_the_loader(folder):
    (folder / "golden.json").unlink()
    os.mkfifo(folder / "golden.json")
    assert refusal(folder) == f"{folder}/golden.json: is not a regular file"


def test_files_that_are_not_listed_are_ignored(folder):
    (folder / "README.txt").write_text("hello", encoding="utf-8")
    (folder / ".model.tflite.swp").write_bytes(b"\0")
    assert load_bundle(folder).sha256 == SMALL.sha256


def test_listed_files_of_any_name_are_held_to_their_hash(folder):
    text = (folder / "bundle.yaml").read_text(encoding="utf-8")
    digest = hashlib.sha256(b"hello").hexdigest()
    listed = text.replace("files:\n", f"files:\n  notes.txt: {{sha256: {digest}, bytes: 5}}\n")
    (folder / "bundle.yaml").write_text(listed, encoding="utf-8")
    (folder / "notes.txt").write_text("hello", encoding="utf-8")
    load_bundle(folder)
    (folder / "notes.txt").write_text("hullo", encoding="utf-8")
    assert refusal(folder).startswith(f"{folder}/notes.txt: must have SHA-256")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..", ".hidden", "", "a\\nb"])
def test_no_file_outside_the_folder_is_read(name, folder):
    (folder.parent / "secret").write_text("hello", encoding="utf-8")
    text = (folder / "bundle.yaml").read_text(encoding="utf-8")
    digest = hashlib.sha256(b"hello").hexdigest()
    listed = text.replace("files:\n", f'files:\n  "{name}": {{sha256: {digest}, bytes: 5}}\n')
    (folder / "bundle.yaml").write_text(listed, encoding="utf-8")
    assert "a file of a bundle has a plain name" in refusal(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda golden: golden.pop("runtime"), "must be an object with golden, runtime, windows and outputs"),
        (lambda golden: golden.update(golden=2), "must have golden: 1 and runtime as text"),
        (lambda golden: golden.update(runtime=None), "must have golden: 1 and runtime as text"),
        (lambda golden: golden.update(windows=[]), "windows must have shape [1 or more, 16, 3]"),
        (lambda golden: golden["windows"].pop(), "outputs must have shape [2, 3], not [3, 3]"),
        (lambda golden: golden["windows"][0].pop(), "windows must be a regular array of numbers"),
        (lambda golden: golden.update(windows=[[["a"]]]), "windows must be a regular array of numbers"),
        (lambda golden: golden.update(outputs=[[True, False, True]] * 3), "outputs must be a regular array"),
        (
            lambda golden: golden["outputs"][0].__setitem__(0, 0.5),
            "outputs must be whole numbers that fit int8",
        ),
        (
            lambda golden: golden["outputs"][0].__setitem__(0, 128),
            "outputs must be whole numbers that fit int8",
        ),
        (lambda golden: golden["outputs"][0].__setitem__(0, None), "outputs must be a regular array"),
    ],
)
def test_golden_vectors_must_fit_the_model(change, message, folder):
    golden = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
    change(golden)
    (folder / "golden.json").write_text(json.dumps(golden), encoding="utf-8")
    rehash(folder)
    assert f"{folder}/golden.json: {message}" in refusal(folder)


def test_golden_vectors_must_be_finite(folder):
    text = (folder / "golden.json").read_text(encoding="utf-8")
    for number in ("NaN", "Infinity"):
        (folder / "golden.json").write_text(text.replace("[[[", f"[[[{number},", 1), encoding="utf-8")
        rehash(folder)
        assert "golden.json: is not JSON" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("dense_int8", {"length": 16}, "wants 128 values a window (shape [32, 4]), but the bundle gives 64"),
        (
            "camera_int8",
            {"length": 288, "hop": 288, "image": ImageSpec(height=24, width=12)},
            "wants 1152 values a window (shape [16, 24, 3]), but the bundle gives 864 (24 rows of 12",
        ),
        (
            "camera_int8",
            {"image": ImageSpec(height=24, width=16)},
            "wants 1152 values a window (shape [16, 24, 3]), but the bundle gives 1152 (24 rows of 16",
        ),
        (
            "camera_int8",
            {"image": None},
            "wants 1152 values a window (shape [16, 24, 3]), but the bundle gives 1152 (384 readings of 3 channels)",
        ),
        ("gru_float32", {"task": "reconstruction"}, "gives 1 values a window, but a window has 48"),
        ("classifier_int8", {"task": "score"}, "gives 3 values a window, but a score is one"),
        (
            "classifier_int8",
            {"labels": ("a", "b"), "alert_on": ("b",)},
            "gives 3 values a window, but the bundle has 2 labels",
        ),
        (
            "gru_float32",
            {"task": "classification", "labels": ("a", "b"), "alert_on": ("b",), "activation": "softmax"},
            "gives 1 values a window, but the bundle has 2 labels",
        ),
    ],
)
def test_numbers_that_do_not_fit_the_tensors_are_refused(name, changes, message, tmp_path):
    bundle = golden_bundle(name)
    with pytest.raises(ModelError) as caught:
        copy_bundle(bundle, tmp_path / "b", spec=replace(bundle.spec, **changes))
    assert f"{tmp_path}/b/model.tflite: {message}" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_one_output_serves_two_labels(tmp_path):
    bundle = golden_bundle("gru_float32")
    changes = {"task": "classification", "labels": ("down", "up"), "alert_on": ("up",), "threshold": 0.5}
    spec = replace(bundle.spec, **changes)
    assert load_bundle(copy_bundle(bundle, tmp_path / "b", spec=spec)).spec.labels == ("down", "up")


def test_a_bundle_takes_another_ones_place_and_nothing_stays_behind(folder):
    inode = folder.stat().st_ino
    copy_bundle(golden_bundle("dense_int8"), folder)
    assert load_bundle(folder).spec.name == "dense_int8"
    assert folder.stat().st_ino != inode
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


def test_a_bundle_can_be_read_by_the_daemons_user(folder):
    assert folder.stat().st_mode & 0o777 == 0o755
    assert (folder / "model.tflite").stat().st_mode & 0o044 == 0o044


def test_a_symbolic_link_to_a_bundle_stays_one(folder):
    link = folder.parent / "current"
    link.symlink_to(folder.name)
    copy_bundle(golden_bundle("dense_int8"), link)
    assert link.is_symlink()
    assert load_bundle(folder).spec.name == "dense_int8"


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "diary.txt").touch()
    with pytest.raises(ModelError, match="cannot be written: the folder holds something else"):
        copy_bundle(SMALL, tmp_path / "home")
    assert [path.name for path in tmp_path.rglob("*")] == ["home", "diary.txt"]


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "b").mkdir()
    assert load_bundle(copy_bundle(SMALL, tmp_path / "b")).spec.name == SMALL.spec.name


def test_a_missing_parent_is_said(tmp_path):
    with pytest.raises(ModelError, match="cannot be written: no such file or directory"):
        copy_bundle(SMALL, tmp_path / "none" / "b")


def test_a_file_system_that_cannot_exchange_still_replaces(folder, monkeypatch):
    class Old:
        @staticmethod
        def renameat2(*arguments):
            return -1

    monkeypatch.setattr(module.ctypes, "CDLL", lambda *a, **k: Old)
    monkeypatch.setattr(module.ctypes, "get_errno", lambda: module.errno.EINVAL)
    copy_bundle(golden_bundle("dense_int8"), folder)
    assert load_bundle(folder).spec.name == "dense_int8"
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


def test_an_exchange_that_fails_leaves_the_old_bundle(folder, monkeypatch):
    class Broken:
        @staticmethod
        def renameat2(*arguments):
            return -1

    monkeypatch.setattr(module.ctypes, "CDLL", lambda *a, **k: Broken)
    monkeypatch.setattr(module.ctypes, "get_errno", lambda: module.errno.EACCES)
    with pytest.raises(ModelError, match="cannot be written: permission denied"):
        copy_bundle(golden_bundle("dense_int8"), folder)
    assert load_bundle(folder).spec.name == SMALL.spec.name
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


def test_a_reader_sees_one_bundle_or_the_other_never_a_mixture(folder):
    """One thread replaces the bundle over and over while another loads it."""
    first, second = SMALL, golden_bundle("gru_float32")
    seen, is_over = [], threading.Event()

    def load():
        while not is_over.is_set():
            bundle = load_bundle(folder)
            seen.append((bundle.spec.name, bundle.sha256))

    reader = threading.Thread(target=load)
    reader.start()
    for turn in range(30):
        copy_bundle((second, first)[turn % 2], folder)
    is_over.set()
    reader.join()
    assert set(seen) <= {(first.spec.name, first.sha256), (second.spec.name, second.sha256)}
    assert seen


def test_files_of_two_bundles_in_one_folder_are_refused(folder):
    """What a copy file by file leaves half-way."""
    other = golden_bundle("dense_int8")
    (folder / "model.tflite").write_bytes(other.model)
    assert "model.tflite: must have" in refusal(folder)


def test_loading_needs_no_runtime(folder):
    code = (
        "import sys; from pathlib import Path; from gatewayd.model.bundle import load_bundle;"
        "load_bundle(Path(sys.argv[1]));"
        "print([name for name in sys.modules if name.startswith(('tflite_runtime', 'ai_edge_litert'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"


def test_a_golden_window_is_a_line(folder):
    lines = (folder / "golden.json").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2 + 3 + 1  # golden, runtime, three windows, outputs
    write_bundle(folder, spec=SMALL.spec, model=SMALL.model, golden=SMALL.golden, training={})
    assert (folder / "golden.json").read_text(encoding="utf-8").splitlines() == lines


def test_the_example_in_the_documentation_makes_a_bundle(tmp_path, monkeypatch):
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL).group(1)
    bundle = golden_bundle("dense_int8")
    channels = {
        f"c{index}": ("g", *pair)
        for index, pair in enumerate(zip(bundle.spec.mean.tolist(), bundle.spec.std.tolist(), strict=True))
    }
    code, count = re.subn(r"^channels = .*$", f"channels = {channels}", code, flags=re.MULTILINE)
    assert count == 1
    (tmp_path / "models").mkdir()
    (tmp_path / "pump.tflite").write_bytes(bundle.model)
    np.save(tmp_path / "windows.npy", bundle.golden.windows)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    made = load_bundle(tmp_path / "models" / "pump")
    check_golden(made, Interpreter(made.model))
    assert made.golden.windows.tolist() == bundle.golden.windows.tolist()


def test_the_format_in_the_documentation_is_the_format():
    """The page's bundle.yaml passes the parser once its shortened hashes are whole."""
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    text = re.search(r"```yaml\n(.*?)```", page, re.DOTALL).group(1)
    spec = parse_manifest(re.sub(r"sha256: \w+…", "sha256: " + "0" * 64, text).encode()).spec()
    assert (spec.name, spec.length, len(spec.channels), spec.threshold) == ("pump", 32, 2, 2.31)
