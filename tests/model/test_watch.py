"""A change of a bundle's files is told once, whatever kind of change."""

import shutil

import pytest

from gatewayd.model.watch import BundleWatch
from tests.support.models import MODELS


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(MODELS / "dense_int8", tmp_path / "bundle")


def test_nothing_changed(folder):
    watch = BundleWatch({"s": folder})
    assert watch.changed() == watch.changed() == []


@pytest.mark.parametrize("name", ["bundle.yaml", "model.tflite", "golden.json"])
def test_each_file_counts_and_each_change_is_told_once(folder, name):
    watch = BundleWatch({"s": folder, "t": folder.parent})
    (folder / name).write_bytes(b"x")
    assert watch.changed() == ["s"]
    assert watch.changed() == []


def test_a_folder_that_is_replaced_by_rename(folder):
    watch = BundleWatch({"s": folder})
    copy = shutil.copytree(folder, folder.parent / "new")
    shutil.rmtree(folder)
    assert watch.changed() == ["s"]
    copy.rename(folder)
    assert watch.changed() == ["s"]


def test_a_change_during_a_reload_is_told_afterwards(folder):
    """The watch that goes on remembers what was there before the bundles were read, not after."""
    other = shutil.copytree(folder, folder.parent / "other")
    before = BundleWatch({"s": folder, "t": folder, "gone": folder})
    (folder / "model.tflite").write_bytes(b"newer than what the reload has read")
    after = before.over({"s": folder, "t": other, "new": other})
    assert after.changed() == ["s"]
    assert after.changed() == []
    assert before.changed() == ["s", "t", "gone"]


def test_other_files_don_t_count(folder):
    watch = BundleWatch({"s": folder})
    (folder / "notes.txt").write_text("x")
    assert watch.changed() == []
