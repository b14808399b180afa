"""bundle.yaml: every spec comes back as it was; everything else is refused in one line that names the place."""

from dataclasses import fields

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.model import ChannelSpec, ImageSpec, ModelSpec
from gatewayd.errors import ModelError
from gatewayd.model.manifest import FileEntry, parse_manifest, render_manifest

ENTRY = FileEntry(sha256="0" * 64, bytes=1)
FILES = {"model.tflite": ENTRY, "golden.json": ENTRY}
GOOD = """\
bundle: 1
name: pump
version: 1.0.0
task: reconstruction
channels:
  - {name: temperature, unit: °C, mean: 45.21, std: 1.33}
  - {name: vibration, unit: g, mean: 1e-3, std: 2}
window: {length: 32, hop: 8, interval_s: 0.05}
output: {error: mae}
threshold: 2.31
files:
  model.tflite: {sha256: SHA, bytes: 12345}
  golden.json: {sha256: SHA, bytes: 10}
training: {seed: 1, note: on}
""".replace("SHA", "a1" * 32)

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,9}", fullmatch=True)
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(str.isprintable)
numbers = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def specs(draw):
    """Draw any spec that the format allows."""
    task = draw(st.sampled_from(["reconstruction", "classification", "score"]))
    channels = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    length = draw(st.integers(1, 500))
    options = {}
    if task == "reconstruction":
        options["error"] = draw(st.sampled_from(["mse", "mae"]))
    elif task == "score":
        options["activation"] = draw(st.sampled_from(["none", "sigmoid"]))
    else:
        labels = draw(st.lists(texts, min_size=2, max_size=4, unique=True))
        options |= {
            "labels": tuple(labels),
            "alert_on": tuple(draw(st.lists(st.sampled_from(labels), min_size=1, unique=True))),
            "activation": draw(st.sampled_from(["none", "softmax", "sigmoid"])),
        }
    count = len(channels)
    return ModelSpec(
        name=draw(names),
        version=draw(texts),
        task=task,
        channels=tuple(
            ChannelSpec(name=name, unit=draw(st.just("") | texts.filter(lambda text: len(text) <= 32)))
            for name in channels
        ),
        length=length,
        hop=draw(st.integers(1, length)),
        interval_s=draw(st.none() | st.floats(1e-9, 1e9)),
        mean=np.array(draw(st.lists(numbers, min_size=count, max_size=count))),
        std=np.array(draw(st.lists(st.floats(1e-300, 1e300), min_size=count, max_size=count))),
        threshold=draw(st.none() | numbers),
        **options,
    )


def as_plain(spec):
    return {field.name: np.asarray(getattr(spec, field.name)).tolist() for field in fields(spec)}


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | numbers | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


@given(specs(), st.dictionaries(st.text(max_size=20), plain, max_size=4))
def test_whatever_is_written_is_read_back(spec, training):
    """Each number exactly, each text as text, though it may look like a number, a date or a word of YAML."""
    manifest = parse_manifest(render_manifest(spec, files=FILES, training=training))
    assert as_plain(manifest.spec()) == as_plain(spec)
    assert manifest.training == training
    assert manifest.files == FILES


@pytest.mark.parametrize(
    "text", ["1.10", "010", "1e3", "on", "null", "~", "2024-01-01", "1:30", "=", "0x10", "yes"]
)
def test_texts_that_look_like_something_else_stay_texts(text):
    spec = parse_manifest(GOOD.encode()).spec()
    for changed in (
        ModelSpec(**{field.name: getattr(spec, field.name) for field in fields(spec)} | {"version": text}),
    ):
        written = render_manifest(changed, files=FILES, training={"k": text})
        manifest = parse_manifest(written)
        assert (manifest.version, manifest.training) == (text, {"k": text})
        # and so does a reader of YAML 1.1
        assert yaml.safe_load(written)["version"] == text


@given(st.binary(max_size=300))
def test_any_bytes_are_a_manifest_or_an_error_of_ours(data):
    with pytest.raises(ModelError) as caught:
        parse_manifest(data)
    assert "\n" not in str(caught.value)


@given(st.data())
def test_a_damaged_manifest_is_a_manifest_or_an_error_of_ours(data):
    text = GOOD
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text) - 1))
        text = text[:place] + data.draw(st.text(max_size=3)) + text[place + data.draw(st.integers(0, 9)) :]
    try:
        parse_manifest(text.encode("utf-8", "surrogatepass")).spec()
    except ModelError as error:
        message = str(error)
    else:
        return
    assert message
    assert "\n" not in message


def test_the_example_is_read_as_written():
    spec = parse_manifest(GOOD.encode()).spec()
    assert (spec.name, spec.version, spec.error, spec.threshold) == ("pump", "1.0.0", "mae", 2.31)
    assert spec.channels[0] == ChannelSpec(name="temperature", unit="°C")
    assert (spec.mean.tolist(), spec.std.tolist()) == ([45.21, 0.001], [1.33, 2.0])
    assert (spec.length, spec.hop, spec.interval_s) == (32, 8, 0.05)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("bundle: 1", "bundle: 2", "bundle: has format 2, but this gatewayd reads format 1"),
        ("bundle: 1", "bundle: yes", "bundle: should be 1, not 'yes'"),
        ("bundle: 1\n", "", "bundle: is missing"),
        ("name: pump", "name: a/b", "name: a name has 1 to 64 letters, digits"),
        ("version: 1.0.0", "version: 1.0", "version: should be a valid string, not '1.0'"),
        ("version: 1.0.0", 'version: "a\\tb"', "version: has characters that cannot be printed"),
        ("version: 1.0.0", "version: ''", "version: String should have at least 1 character"),
        (
            "task: reconstruction",
            "task: forecast",
            "task: should be 'reconstruction', 'classification' or 'score'",
        ),
        ("mean: 45.21", "mean: .nan", "channels[0].mean: should be a valid number, not '.nan'"),
        ("mean: 45.21", "mean: '45.21'", "channels[0].mean: should be a valid number, not '45.21'"),
        ("mean: 45.21", "mean: 1e999", "channels[0].mean: should be a finite number, not 'inf'"),
        ("std: 1.33", "std: 0", "channels[0].std: should be greater than 0, not '0'"),
        ("std: 2}", "std: -2}", "channels[1].std: should be greater than 0, not '-2'"),
        ("std: 2}", "std: 2, mode: x}", "channels[1].mode: is not known"),
        ("unit: g, ", "", "channels[1].unit: is missing"),
        ("name: vibration", "name: temperature", "channels: the name 'temperature' occurs twice"),
        ("hop: 8", "hop: 33", "window: hop must lie in 1..32 (the window length), not 33"),
        ("length: 32", "length: 32.0", "window.length: should be a valid integer, not '32.0'"),
        ("length: 32", "length: true", "window.length: should be a valid integer, not 'True'"),
        ("interval_s: 0.05", "interval_s: 0", "window.interval_s: should be greater than 0, not '0'"),
        ("error: mae", "error: max", "output.error: should be 'mse' or 'mae', not 'max'"),
        (
            "error: mae",
            "labels: [a, b]",
            "output: 'labels' does not belong to task reconstruction; allowed: error",
        ),
        ("threshold: 2.31", "threshold: high", "threshold: should be a valid number, not 'high'"),
        ("threshold: 2.31", "treshold: 2.31", "treshold: is not known"),
        ("model.tflite:", "../model.tflite:", "a file of a bundle has a plain name"),
        ("model.tflite:", "other.tflite:", "files: model.tflite is missing"),
        (
            "bytes: 12345",
            "bytes: -1",
            "files.model.tflite.bytes: should be greater than or equal to 0, not '-1'",
        ),
        ("training: {", "training: [", "is not YAML: "),
        ("training: {seed: 1, note: on}", "training: 5", "training: should be a valid dictionary, not '5'"),
        ("training: {seed: 1, note: on}", "training: {a: 1, a: 2}", "line 14: 'a' occurs twice"),
        ("training: {seed: 1, note: on}", "training: {[a]: 1}", "line 14: a key must be text"),
        ("name: pump", "name: &n pump\nx: *n", "aliases ('*name') are not allowed"),
        (
            "training: {seed: 1, note: on}",
            "training: " + "{a: " * 40 + "1" + "}" * 40,
            "is nested deeper than 32",
        ),
        ("training: {seed: 1, note: on}", "training: " + "[" * 9000, "is nested deeper than 32"),
    ],
)
def test_what_is_wrong_is_named(old, new, message):
    assert old in GOOD
    with pytest.raises(ModelError) as caught:
        parse_manifest(GOOD.replace(old, new, 1).encode())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("{labels: [a, b]}", "output: classification needs labels and alert_on"),
        (
            "{labels: [a, b], alert_on: [c]}",
            "output: alert_on has 'c', which is none of the labels ['a', 'b']",
        ),
        ("{labels: [a, a], alert_on: [a]}", "output: a label occurs twice"),
        ("{labels: [a], alert_on: [a]}", "output.labels: "),
        ("{labels: [1, 2], alert_on: [1]}", "output.labels[0]: should be a valid string, not '1'"),
        (
            "{labels: [a, b], alert_on: [a], error: mse}",
            "output: 'error' does not belong to task classification",
        ),
    ],
)
def test_what_is_wrong_with_a_classifier_is_named(output, message):
    text = GOOD.replace("task: reconstruction", "task: classification").replace("{error: mae}", output)
    with pytest.raises(ModelError) as caught:
        parse_manifest(text.encode())
    assert message in str(caught.value)


def test_words_of_yaml_1_1_are_labels():
    text = GOOD.replace("task: reconstruction", "task: classification")
    text = text.replace("{error: mae}", "{labels: [on, off], alert_on: [on]}")
    assert parse_manifest(text.encode()).spec().labels == ("on", "off")


def test_a_score_takes_no_softmax():
    text = GOOD.replace("task: reconstruction", "task: score").replace(
        "{error: mae}", "{activation: softmax}"
    )
    with pytest.raises(ModelError, match="softmax needs labels"):
        parse_manifest(text.encode())


def test_text_that_is_not_utf8_is_refused():
    with pytest.raises(ModelError, match="is not UTF-8: byte 3"):
        parse_manifest(b"abc\xff")


@pytest.mark.parametrize("text", ["", "a", "[1]", "null"])
def test_what_is_no_mapping_is_refused(text):
    with pytest.raises(ModelError, match="must be a mapping that begins with 'bundle: 1'"):
        parse_manifest(text.encode())


def test_numpy_values_and_what_is_not_finite_can_be_provenance():
    spec = parse_manifest(GOOD.encode()).spec()
    training = {
        "f1": np.float64(0.5),
        "rows": np.int64(3),
        "loss": float("nan"),
        "sizes": (1, 2),
        "a": np.arange(2),
    }
    manifest = parse_manifest(render_manifest(spec, files=FILES, training=training))
    assert manifest.training == {"f1": 0.5, "rows": 3, "loss": "nan", "sizes": [1, 2], "a": [0, 1]}


def test_the_same_list_twice_is_written_without_an_alias():
    spec, shared = parse_manifest(GOOD.encode()).spec(), [1, 2]
    manifest = parse_manifest(render_manifest(spec, files=FILES, training={"a": shared, "b": shared}))
    assert manifest.training == {"a": [1, 2], "b": [1, 2]}


def test_a_spec_that_breaks_a_rule_is_not_written():
    spec = parse_manifest(GOOD.encode()).spec()
    values = {field.name: getattr(spec, field.name) for field in fields(spec)} | {"std": np.array([1.0, 0.0])}
    with pytest.raises(ModelError, match=r"channels\[1\]\.std: should be greater than 0"):
        render_manifest(ModelSpec(**values), files=FILES, training={})


def test_a_text_that_is_not_unicode_is_not_written():
    spec = parse_manifest(GOOD.encode()).spec()
    with pytest.raises(ModelError, match="half of a surrogate pair"):
        render_manifest(spec, files=FILES, training={"by": "\ud800"})


CAMERA = """\
bundle: 1
name: camera
version: 1.0.0
task: reconstruction
channels:
  - {name: blue, unit: "", mean: 60, std: 20}
  - {name: red, unit: "", mean: 80, std: 40}
  - {name: green, unit: "", mean: 90, std: 20}
window: {length: 12, hop: 12}
image: {height: 3, width: 4}
files:
  model.tflite: {sha256: SHA, bytes: 12345}
  golden.json: {sha256: SHA, bytes: 10}
""".replace("SHA", "a1" * 32)


def test_an_image_comes_back_as_it_was():
    spec = parse_manifest(CAMERA.encode()).spec()
    assert spec.image == ImageSpec(height=3, width=4)
    again = parse_manifest(render_manifest(spec, files=FILES, training={})).spec()
    assert (again.image, again.length, again.hop) == (spec.image, 12, 12)
    assert parse_manifest(GOOD.encode()).spec().image is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("length: 12", "length: 13", "window.length: must be 12 (image.height times image.width), not 13"),
        ("hop: 12", "hop: 4", "window.hop: must be 12 (image.height times image.width), not 4"),
        ("width: 4", "width: 0", "image.width: should be greater than or equal to 1, not '0'"),
        ("width: 4", "breadth: 4", "image.width: is missing"),
        (
            "name: blue",
            "name: violet",
            "channels: those of an image are grey alone, or red, green, blue in any order, not violet, red, green",
        ),
        (
            "image:",
            "normalise: running\nimage:",
            "normalise: running statistics are of readings in time, and an image has none",
        ),
    ],
)
def test_an_image_that_does_not_fit_is_refused_at_its_place(old, new, message):
    with pytest.raises(ModelError) as caught:
        parse_manifest(CAMERA.replace(old, new).encode())
    assert str(caught.value) == message
