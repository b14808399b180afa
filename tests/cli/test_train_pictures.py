"""``gatewayd train-pictures`` as a person types it."""

import orjson
import pytest
from click.testing import CliRunner

from gatewayd.cli import main
from gatewayd.model.bundle import load_bundle
from tests.support.pictures import belt, encoded
from tests.support.recordings import needs_tensorflow


def run(*arguments):
    return CliRunner().invoke(main, ["train-pictures", *map(str, arguments)])


def fill(folder, count, **drawn):
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:03}.jpg").write_bytes(encoded(belt(1 + number % 16, **drawn)))
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--name", "a b"], "a name has 1 to 64 letters"),
        (["--name", "m", "--size", "96"], "expected WIDTHxHEIGHT, multiples of 8 from 8 to 1024"),
        (["--name", "m", "--size", "96x60"], "not '96x60'"),
        (["--name", "m", "--size", "2048x96"], "not '2048x96'"),
        (["--name", "m", "--size", "0x96"], "not '0x96'"),
        (["--name", "m", "--colours", "2"], "'2' is not one of"),
        ([], "Missing option '--name'"),
    ],
)
def test_a_wrong_option_is_explained(tmp_path, arguments, message):
    done = run(tmp_path, "--out", tmp_path / "out", *arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())


def test_a_folder_that_is_not_there_is_wrong_usage(tmp_path):
    done = run(tmp_path / "none", "--out", tmp_path / "out", "--name", "m")
    assert done.exit_code == 2
    assert "does not exist" in done.output


def test_a_mistake_in_the_pictures_leaves_no_folder_behind(tmp_path):
    folder = fill(tmp_path / "good", 64)
    (folder / "000.jpg").write_bytes(b"none")
    done = run(folder, "--out", tmp_path / "new" / "out", "--name", "m", "--size", "24x16")
    assert done.exit_code == 78
    assert done.output == f"{folder / '000.jpg'}: the daemon would reject it: not_an_image\n"
    assert not (tmp_path / "new").exists()


@pytest.mark.train
@needs_tensorflow[1]
def test_a_bundle_is_written_and_summed_up(tmp_path):
    good, odd, out = (
        fill(tmp_path / "good", 64),
        fill(tmp_path / "odd", 3, parcel="blue"),
        tmp_path / "a" / "out",
    )
    common = (good, "--out", out, "--name", "belt", "--size", "24x16", "--epochs", "4", "--colours", "1")
    done = run(*common)
    assert done.exit_code == 0, done.output
    spec = load_bundle(out).spec
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{out}: belt 1.0.0, pictures of 24 x 16 pixels, ")
    assert lines[0].endswith(f"threshold {spec.threshold:.4g}")
    assert lines[1] == "channels: grey"
    assert lines[2].startswith("pictures: 48 fitted, 16 held out; 4 epochs, loss ")
    assert lines[3] == "not measured against odd pictures: there are none (--odd)"
    figures = orjson.loads(run(*common, "--odd", odd, "--json").stdout)
    assert figures["pictures"] == {"fitted": 48, "held_out": 16, "odd": 3}
    assert set(figures["found"]) == {"float32", "int8"}
    assert figures["threshold"] == spec.threshold  # the same pictures, the same model
