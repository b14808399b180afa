"""All that the file, the files it names and the bundles can show to be wrong is found before anything runs."""

import re
import shutil
import subprocess
from dataclasses import dataclass

import numpy as np
import pytest

import gatewayd.startup
from gatewayd.domain.model import ChannelSpec, ModelSpec
from gatewayd.errors import ConfigError, ModelError
from gatewayd.startup import open_image_format, prepare
from tests.support.daemon import PUMP_MODEL
from tests.support.models import MODELS
from tests.support.pictures import belt, encoded

SECRET = "S3cr3t-Ga7e"
CONFIG = """\
gateway: {id: g}
brokers:
  local:
    host: 127.0.0.1
    username: gw
    password_file: pw
streams:
  pump:
    from: local
    topic: site/{device}/t
    channels: {a: {}, b: {unit: g}}
    model: models/pump
    publish: {to: local}
"""


@dataclass(frozen=True)
class FakeBundle:
    """What startup reads of a bundle."""

    spec: ModelSpec


def fake_load(folder):
    """Keep load_bundle's promise: a bundle, or one ModelError."""
    if folder.name != "pump":
        raise ModelError(f"{folder}: no bundle here; expected bundle.yaml")
    channels = (ChannelSpec(name="b", unit="g"), ChannelSpec(name="a", unit=""))
    numbers = {"length": 4, "hop": 2, "interval_s": None, "threshold": 1.0}
    ones = np.ones(2)
    return FakeBundle(
        ModelSpec(
            name="pump",
            version="1.0",
            task="reconstruction",
            channels=channels,
            mean=ones,
            std=ones.copy(),
            **numbers,
        )
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(gatewayd.startup, "load_bundle", fake_load)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    (tmp_path / "pw").write_text(f"{SECRET}\n", encoding="utf-8")
    (tmp_path / "pw").chmod(0o600)
    (tmp_path / "c.yaml").write_text(CONFIG, encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    """Two keys with a certificate each, and an encrypted key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    made = tmp_path_factory.mktemp("pem")
    for name in ("one", "two"):
        subject = ["-subj", f"/CN={name}", "-days", "2", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
        request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject]
        subprocess.run(request, cwd=made, check=True, capture_output=True)
    cipher = ["openssl", "rsa", "-aes128", "-passout", "pass:x", "-in", "one.key", "-out", "locked.key"]
    subprocess.run(cipher, cwd=made, check=True, capture_output=True)
    (made / "junk.pem").write_text("no certificate", encoding="utf-8")
    return made


def problems(folder, text=None):
    if text is not None:
        (folder / "c.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        prepare(folder / "c.yaml")
    return [str(problem).replace(str(folder), "DIR") for problem in caught.value.problems]


def test_a_good_configuration_is_prepared(folder):
    prepared = prepare(folder / "c.yaml")
    assert prepared.secrets["local"].reveal() == SECRET
    assert prepared.bundles["pump"].spec.name == "pump"
    assert prepared.settings.gateway.id == "g"
    assert prepared.warnings == ()
    assert SECRET not in repr(prepared)


def test_who_connects_to_nothing_needs_no_passwords(folder):
    (folder / "pw").unlink()
    with pytest.raises(ConfigError, match="password_file"):
        prepare(folder / "c.yaml")
    assert prepare(folder / "c.yaml", opens_links=False).secrets == {}


def test_a_password_that_everybody_can_read_is_warned_about(folder):
    (folder / "pw").chmod(0o644)
    (warning,) = prepare(folder / "c.yaml").warnings
    assert warning.startswith(f"{folder}/c.yaml:6:20: brokers.local.password_file: every user of this")


@pytest.mark.parametrize(
    ("topic", "publish", "missing"),
    [
        ("site/{line}/{device}/t", "{to: local}", "{line}"),
        ("site/{line}/{device}/t", "{to: local, topic: fixed/results}", "{line}, {device}"),
        ("site/{line}/{device}/t", "{to: local, topic: 'x/{line}-{device}'}", None),
        ("site/only/t", "{to: local, topic: fixed/results}", None),
    ],
)
def test_devices_that_would_publish_on_one_topic_are_warned_about(folder, topic, publish, missing):
    text = CONFIG.replace("site/{device}/t", topic).replace("{to: local}", publish)
    (folder / "c.yaml").write_text(text, encoding="utf-8")
    found = prepare(folder / "c.yaml").warnings
    if missing is None:
        assert found == ()
    else:
        (warning,) = found
        assert f"streams.pump.publish.topic: lacks {missing} of the subscription" in warning
        assert warning.startswith(f"{folder}/c.yaml:13:")


@pytest.mark.parametrize(
    ("option", "words", "mended"),
    [
        (
            "align: {every_s: 60}",
            "align.max_gap_s: shorter than every_s (60)",
            "align: {every_s: 60, max_gap_s: 60}",
        ),
        (
            "align: {every_s: 60, max_gap_s: 30}",
            "align.max_gap_s: shorter than every_s (60)",
            "align: {every_s: 30, max_gap_s: 30}",
        ),
        (
            "alert: {acknowledge: required}",
            "alert.acknowledge: nobody can end such an alert",
            "alert: {acknowledge: required}\ncommands: {from: local}",
        ),
        (
            "alert: {latch: on}",
            "alert.latch: nobody can end such an alert",
            "alert: {latch: on}\ncommands: {from: local}",
        ),
    ],
)
def test_what_runs_but_hardly_as_it_was_meant_is_warned_about(folder, option, words, mended):
    (folder / "c.yaml").write_text(f"{CONFIG}    {option}\n", encoding="utf-8")
    (warning,) = prepare(folder / "c.yaml").warnings
    assert "c.yaml:14:" in warning
    assert words in warning
    (folder / "c.yaml").write_text(f"{CONFIG}    {mended}\n", encoding="utf-8")
    assert prepare(folder / "c.yaml").warnings == ()


def test_a_credential_of_systemd_comes_first(folder, tmp_path_factory, monkeypatch):
    credentials = tmp_path_factory.mktemp("credentials")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    assert prepare(folder / "c.yaml").secrets["local"].reveal() == SECRET
    (credentials / "pw").write_text("other", encoding="utf-8")
    assert prepare(folder / "c.yaml").secrets["local"].reveal() == "other"


def test_problems_of_several_kinds_are_reported_at_once(folder):
    (folder / "pw").write_text("", encoding="utf-8")
    text = CONFIG.replace("unit: g", "unit: K").replace("    publish", "    window: {hop: 5}\n    publish")
    text += "  fan:\n" + CONFIG.split("  pump:\n")[1].replace("models/pump", "models/fan")
    assert problems(folder, text) == [
        "DIR/c.yaml:6:20: brokers.local.password_file: the file is empty; expected the secret as its only line",
        "DIR/c.yaml:11:33: streams.pump.channels.b.unit: the model was trained on g, not K",
        "DIR/c.yaml:13:19: streams.pump.window.hop: must lie in 1..4 (the model's window length), not 5",
        "DIR/c.yaml:19:12: streams.fan.model: DIR/models/fan: no bundle here; expected bundle.yaml",
    ]


def test_problems_of_file_and_bundle_are_reported_at_once_and_once_each(folder):
    text = CONFIG.replace("b: {unit: g}", "b: {unit: K, mni: 5}, a_: {min: x}").replace(
        "g}\nbrok", "g, i: 1}\nbrok"
    )
    assert problems(folder, text) == [
        "DIR/c.yaml:1:18: gateway.i: unknown option; did you mean 'id'?",
        "DIR/c.yaml:11:33: streams.pump.channels.b.unit: the model was trained on g, not K",
        "DIR/c.yaml:11:36: streams.pump.channels.b.mni: unknown option; did you mean 'min'?",
        "DIR/c.yaml:11:55: streams.pump.channels.a_.min: expected a number, not x",
    ]


def test_a_secret_in_place_of_its_path_is_not_repeated(folder):
    found = problems(folder, CONFIG.replace("password_file: pw", f"password_file: {SECRET}"))
    assert found == [
        "DIR/c.yaml:6:20: brokers.local.password_file: no such file; relative paths begin at DIR",
    ]


@pytest.mark.parametrize(
    ("tls", "option", "words"),
    [
        ("{ca_file: missing.pem}", "ca_file", "cannot be read: No such file"),
        ("{ca_file: PEM/junk.pem}", "ca_file", "no certificate in PEM form"),
        ("{cert_file: PEM/one.pem, key_file: PEM/two.key}", "cert_file", "does not belong to the key"),
        ("{cert_file: PEM/one.pem, key_file: PEM/locked.key}", "cert_file", "the key is encrypted"),
        ("{cert_file: PEM/junk.pem, key_file: PEM/one.key}", "cert_file", "no certificate with its key"),
    ],
)
def test_tls_files_are_tried(folder, pem, tls, option, words):
    text = CONFIG.replace("    username", f"    tls: {tls.replace('PEM', str(pem))}\n    username")
    (found,) = problems(folder, text)
    assert f"brokers.local.tls.{option}: " in found
    assert words in found


def test_good_tls_files_are_taken_and_blind_trust_is_warned_about(folder, pem):
    files = f"{{ca_file: {pem}/one.pem, cert_file: {pem}/one.pem, key_file: {pem}/one.key}}"
    (folder / "c.yaml").write_text(
        CONFIG.replace("    username", f"    tls: {files}\n    username"), encoding="utf-8"
    )
    assert prepare(folder / "c.yaml").warnings == ()
    blind = CONFIG.replace("    username", "    tls: {insecure_skip_verify: true}\n    username")
    (folder / "c.yaml").write_text(blind, encoding="utf-8")
    assert "any certificate is accepted" in prepare(folder / "c.yaml").warnings[0]


PICTURES = """\
gateway: {id: g}
brokers: {local: {host: 127.0.0.1}}
streams:
  belt:
    from: local
    topic: cameras/{device}
    format: image
    format_options: {fit: crop}
    channels: {blue: {}, green: {}, red: {}}
    model: MODEL
    publish: {to: local}
""".replace("MODEL", str(MODELS / "camera_int8"))


def test_a_format_of_pictures_has_the_models_size(tmp_path):
    (tmp_path / "c.yaml").write_text(PICTURES, encoding="utf-8")
    prepared = prepare(tmp_path / "c.yaml")
    made = open_image_format(prepared.settings.streams["belt"], prepared.spec("belt"))
    assert made.decode([encoded(belt())]).values.shape == (1, 16 * 24 * 3)
    text = CONFIG.replace("    username: gw\n    password_file: pw\n", "").replace(
        "models/pump", str(PUMP_MODEL)
    )
    (tmp_path / "c.yaml").write_text(
        re.sub(
            r"channels: .*", "channels: {temperature: {}, vibration: {}, pressure: {}, current: {}}", text
        ),
        encoding="utf-8",
    )
    prepared = prepare(tmp_path / "c.yaml")
    assert open_image_format(prepared.settings.streams["pump"], prepared.spec("pump")) is None


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "fit: crop",
            "fit: cut",
            "8:27: streams.belt.format_options.fit: expected stretch, crop, letterbox, not 'cut'",
        ),
        (
            "fit: crop",
            "width: 96",
            "8:29: streams.belt.format_options.width: format image has no option 'width'; it has fit",
        ),
        ("blue: {}, ", "", "9:5: streams.belt.channels: the model needs the channel 'blue' too"),
    ],
)
def test_what_a_stream_of_pictures_cannot_have_is_found_at_its_place(tmp_path, old, new, expected):
    assert problems(tmp_path, PICTURES.replace(old, new)) == [f"DIR/c.yaml:{expected}"]


def test_pictures_need_an_extra_and_check_says_which(tmp_path, monkeypatch):
    def absent(module):
        raise ModuleNotFoundError(name="PIL")

    monkeypatch.setattr("gatewayd.formats.registry.importlib.import_module", absent)
    (found,) = problems(tmp_path, PICTURES)
    assert found.removeprefix("DIR/c.yaml:7:13: streams.belt.format: ") == (
        "format 'image' needs the package 'PIL'; pip install '.[formats]' brings it"
    )


def test_the_real_loader_names_a_missing_bundle_at_its_option(tmp_path):
    text = CONFIG.replace("    username: gw\n    password_file: pw\n", "")
    found = problems(tmp_path, text)
    assert len(found) == 1
    assert found[0].startswith("DIR/c.yaml:10:12: streams.pump.model: ")
    assert "models/pump" in found[0]
