"""``gatewayd check`` and the command line around it: what a person sees, and the exit code."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import gatewayd.cli.check
import gatewayd.startup
from gatewayd import __version__
from gatewayd.cli import main
from gatewayd.errors import TransientError
from tests.support.models import MODELS
from tests.test_startup import CONFIG, SECRET, fake_load

ROOT = Path(__file__).resolve().parents[2]
CAMERA = ROOT / "config" / "examples" / "camera.yaml"
OTHERS = {*(ROOT / "config").rglob("bundle.yaml"), *(ROOT / "config").rglob("*.cases.yaml")}
SHIPPED = sorted({*(ROOT / "config").rglob("*.yaml")} - OTHERS - {CAMERA})
BROKEN = sorted((ROOT / "tests" / "config" / "broken").glob("*.yaml"))


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setattr(gatewayd.startup, "load_bundle", fake_load)
    (tmp_path / "pw").write_text(SECRET, encoding="utf-8")
    (tmp_path / "pw").chmod(0o644)
    (tmp_path / "c.yaml").write_text(CONFIG, encoding="utf-8")
    return tmp_path / "c.yaml"


def test_a_good_file_is_summed_up(config):
    result = invoke("check", "-c", config)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"{config}: ok",
        "  broker local: 127.0.0.1:1883, user gw",
        "  stream pump: local site/{device}/t -> local; model pump 1.0, window 4, hop 2",
    ]
    assert result.stderr.startswith("warning: ")
    assert SECRET not in result.output


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_what_is_shipped_runs_with_the_model_that_is_shipped(path):
    result = invoke("check", "-c", path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "model pump " in result.stdout or "no model: running z-scores" in result.stdout


def test_the_example_for_cameras_lacks_nothing_but_the_user_s_model(tmp_path):
    result = invoke("check", "-c", CAMERA)
    line = CAMERA.read_text(encoding="utf-8").splitlines().index("    model: ../models/belt") + 1
    (told,) = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (78, "")
    assert told.startswith(f"{CAMERA}:{line}:12: streams.belt.model: ")
    text = CAMERA.read_text(encoding="utf-8").replace("../models/belt", str(MODELS / "camera_int8"))
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    result = invoke("check", "-c", tmp_path / "c.yaml")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == (
        "  stream belt: local cameras/{device}/image -> local; model camera_int8 1, pictures of 24 x 16 pixels"
    )


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_a_broken_file_is_refused_with_all_its_problems(path):
    result = invoke("check", "--config", path)
    assert result.exit_code == 78
    assert result.stdout == ""
    lines = result.stderr.replace(str(path), path.name).splitlines()
    golden = path.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line in golden] == golden
    # the bundles and passwords that these files name do not exist, which is said in the same breath
    assert all("no such file" in line.lower() for line in lines if line not in golden)


def test_a_missing_file_is_one_line(tmp_path):
    result = invoke("check", "-c", tmp_path / "none.yaml")
    assert (result.exit_code, result.stderr) == (
        78,
        f"{tmp_path}/none.yaml: cannot be read: No such file or directory\n",
    )


def test_an_error_that_is_not_the_operators_ends_with_1(config, monkeypatch):
    def fail(path):
        raise TransientError("the disk is away")

    monkeypatch.setattr(gatewayd.cli.check, "prepare", fail)
    result = invoke("check", "-c", config)
    assert (result.exit_code, result.stderr) == (1, "the disk is away\n")


def test_wrong_usage_ends_with_2():
    assert invoke("check").exit_code == 2
    assert invoke("frobnicate").exit_code == 2


def test_the_version_is_the_packages():
    assert invoke("--version").output == f"gatewayd, version {__version__}\n"


def test_help_names_every_verb_and_imports_none():
    code = (
        "import sys\nfrom gatewayd.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit as end: assert end.code == 0\n"
        "loaded = {'tensorflow', 'pydantic', 'numpy', 'yaml', 'paho'} & set(sys.modules)\nassert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    for verb in ("run", "check", "train", "model"):
        assert f"  {verb} " in done.stdout
