"""A folder of pictures becomes a bundle that the daemon runs, or one line says why not."""

import dataclasses
import random

import numpy as np
import pytest

from gatewayd.errors import ConfigError, StartupError
from gatewayd.model.bundle import load_bundle
from gatewayd.model.interpreter import open_model
from gatewayd.workbench.evaluate import score_windows
from gatewayd.workbench.train_pictures import PictureOptions, read_album, train_pictures
from tests.support.pictures import belt, encoded
from tests.support.recordings import needs_tensorflow

OPTIONS = PictureOptions(name="belt", width=24, height=16, fit="crop", epochs=40)


def fill(folder, count, *, seed=1, kind="JPEG", **drawn):
    """Write pictures of a belt, named in the order of their number."""
    folder.mkdir(parents=True)
    dice = random.Random(seed)
    for number in range(count):
        picture = belt(dice.randint(1, 16), light=dice.uniform(0.9, 1.1), **drawn)
        name = f"{number:04}.{'jpg' if kind == 'JPEG' else 'PNG'}"
        (folder / name).write_bytes(encoded(picture, kind))
    return folder


def refusals(folder, options=OPTIONS, **more):
    with pytest.raises(ConfigError) as caught:
        read_album(folder, options, **more)
    return str(caught.value).replace(f"{folder}", "DIR").splitlines()


def test_the_last_part_of_each_folder_is_held_out(tmp_path):
    for camera, count in (("one", 44), ("two", 30)):
        fill(tmp_path / "good" / camera, count, seed=count)
    (tmp_path / "good" / "notes.txt").write_text("no picture")
    album = read_album(tmp_path / "good", OPTIONS)
    assert (len(album.fitted), len(album.held_out), len(album.odd)) == (33 + 23, 11 + 7, 0)
    one = read_album(tmp_path / "good" / "one", dataclasses.replace(OPTIONS, held_out_fraction=0.5))
    assert album.fitted[:22].tolist() == one.fitted.tolist()
    assert album.held_out[:11].tolist() == one.held_out[11:].tolist()
    assert album.fitted.shape[1:] == (16 * 24, 3)
    assert album.source == "good"


def test_grey_pictures_have_one_colour(tmp_path):
    fill(tmp_path / "good", 64, kind="PNG")
    album = read_album(tmp_path / "good", dataclasses.replace(OPTIONS, colours=1), odd=tmp_path / "good")
    assert album.fitted.shape == (48, 16 * 24, 1)
    assert len(album.odd) == 64


def test_what_cannot_be_trained_on_is_refused_with_each_file(tmp_path):
    assert refusals(tmp_path) == ["DIR: no pictures: no file that ends in .jpg, .jpeg or .png"]
    folder = fill(tmp_path / "few", 40)
    assert refusals(folder) == ["DIR: too few pictures: 10 to set the threshold, at least 16 are needed"]
    folder = fill(tmp_path / "bad", 64)
    (folder / "0007.jpg").write_bytes(b"")
    (folder / "0070.jpeg").write_bytes(encoded(belt())[:900])
    assert refusals(folder) == [
        "DIR/0007.jpg: the daemon would reject it: not_an_image",
        "DIR/0070.jpeg: the daemon would reject it: truncated",
    ]
    folder = tmp_path / "dark"
    folder.mkdir()
    for number in range(64):
        (folder / f"{number}.png").write_bytes(encoded(belt(light=0.0), "PNG"))
    assert refusals(folder) == ["DIR: red is the same in every pixel of every picture to fit"]


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    def absent(module):
        raise ModuleNotFoundError(name="PIL")

    monkeypatch.setattr("gatewayd.formats.registry.importlib.import_module", absent)
    with pytest.raises(StartupError, match=r"needs the package 'PIL'; pip install '\.\[formats\]'"):
        read_album(tmp_path, OPTIONS)


@pytest.mark.train
@needs_tensorflow[1]
def test_a_bundle_finds_what_is_odd_and_nothing_else(tmp_path):
    fill(tmp_path / "good", 128)
    fill(tmp_path / "odd", 6, parcel="blue")
    fill(tmp_path / "fresh", 12, seed=2)
    album = read_album(tmp_path / "good", OPTIONS, odd=tmp_path / "odd")
    report = train_pictures(album, OPTIONS, tmp_path / "out")
    assert report.found == {"float32": 6, "int8": 6}
    assert report.pictures == {"fitted": 96, "held_out": 32, "odd": 6}
    bundle = load_bundle(tmp_path / "out")
    assert (bundle.spec.image.height, bundle.spec.image.width) == (16, 24)
    assert bundle.input.shape == bundle.output.shape == (16, 24, 3)
    assert bundle.input.dtype == "int8"
    assert np.allclose(bundle.spec.mean, album.fitted.mean(axis=(0, 1)))
    assert bundle.training["data"] == [{"source": "good", "sha256": album.sha256}]
    model = open_model(bundle)
    assert len(model.batch_sizes) > 1
    fresh = read_album(tmp_path / "good", OPTIONS, odd=tmp_path / "fresh").odd
    assert (score_windows(model, bundle.spec, fresh).scores < bundle.spec.threshold).all()
