"""``bundle.yaml``: a bundle's numbers as text, read strictly.

The format is drawn in docs/models.md. Scalars are read as YAML 1.2 reads them (``on`` is text, ``1e3`` is a
number); whatever is missing, unknown, of another type or out of range is an error that names its place.

The only other import of yaml beside ``config/document.py``: this reads and writes a machine's file as plain
values, while the document keeps each scalar as text until the option that it belongs to says how to read it.
"""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

import numpy as np
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from gatewayd.config.settings import Name
from gatewayd.domain.model import (
    COLOURS,
    GREY,
    Activation,
    BundleTask,
    ChannelSpec,
    ImageSpec,
    ModelSpec,
    Normalise,
)
from gatewayd.errors import ModelError

FORMAT = 1
MODEL_FILE = "model.tflite"
GOLDEN_FILE = "golden.json"
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SURROGATE = re.compile("[\ud800-\udfff]")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
_MAX_DEPTH = 32
# Plain YAML values; a mapping's keys are text.
Value = None | bool | int | float | str | list["Value"] | dict[str, "Value"]


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("has characters that cannot be printed")
    return text


def _plain_file(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", text):
        raise ValueError("a file of a bundle has a plain name: letters, digits, '_', '-' and '.', no folder")
    return text


_Text = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_printable)]
_Unit = Annotated[str, Field(max_length=32), AfterValidator(_printable)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class _Channel(_Section):
    name: Name
    unit: _Unit
    mean: float
    std: float = Field(gt=0)


class _Window(_Section):
    length: int = Field(ge=1, le=1_000_000)
    hop: int = Field(ge=1)
    interval_s: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _hop(self) -> Self:
        if self.hop > self.length:
            raise ValueError(f"hop must lie in 1..{self.length} (the window length), not {self.hop}")
        return self


class _Image(_Section):
    height: int = Field(ge=1, le=4096)
    width: int = Field(ge=1, le=4096)


class _Output(_Section):
    """What the output means; which of the options are asked for depends on the task."""

    error: Literal["mse", "mae"] | None = None
    labels: tuple[_Text, ...] | None = Field(None, strict=False, min_length=2)
    alert_on: tuple[_Text, ...] | None = Field(None, strict=False, min_length=1)
    activation: Activation | None = None


class FileEntry(_Section):
    """What a file of the bundle must be."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0, le=1 << 30)


class Manifest(_Section):
    """The whole ``bundle.yaml``."""

    bundle: Literal[1]
    name: Name
    version: _Text
    task: BundleTask
    channels: tuple[_Channel, ...] = Field(strict=False, min_length=1, max_length=10_000)
    window: _Window
    image: _Image | None = None
    normalise: Normalise = "training"
    output: _Output = _Output()
    threshold: float | None = None
    files: dict[Annotated[str, AfterValidator(_plain_file)], FileEntry]
    training: dict[str, object] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [channel.name for channel in self.channels]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"channels: the name '{min(twice)}' occurs twice")
        for name in (MODEL_FILE, GOLDEN_FILE):
            if name not in self.files:
                raise ValueError(f"files: {name} is missing")
        _check_output(self.task, self.output)
        if self.image is not None:
            _check_image(self.image, self.window, names, self.normalise)
        return self

    def spec(self) -> ModelSpec:
        """Return the numbers that the line works with."""
        output = self.output
        return ModelSpec(
            name=self.name,
            version=self.version,
            task=self.task,
            channels=tuple(ChannelSpec(name=channel.name, unit=channel.unit) for channel in self.channels),
            length=self.window.length,
            hop=self.window.hop,
            interval_s=self.window.interval_s,
            mean=np.array([channel.mean for channel in self.channels]),
            std=np.array([channel.std for channel in self.channels]),
            threshold=self.threshold,
            normalise=self.normalise,
            error=output.error or "mse",
            labels=output.labels or (),
            alert_on=output.alert_on or (),
            activation=output.activation or "none",
            image=None if self.image is None else ImageSpec(height=self.image.height, width=self.image.width),
        )


def _check_output(task: BundleTask, output: _Output) -> None:
    known = {
        "reconstruction": {"error"},
        "classification": {"labels", "alert_on", "activation"},
        "score": {"activation"},
    }
    for option in output.model_fields_set:
        if option not in known[task]:
            allowed = ", ".join(sorted(known[task]))
            raise ValueError(f"output: '{option}' does not belong to task {task}; allowed: {allowed}")
    if task == "score" and output.activation == "softmax":
        raise ValueError("output: softmax needs labels; a score takes none or sigmoid")
    if task == "classification":
        labels, alert_on = output.labels, output.alert_on
        if labels is None or alert_on is None:
            raise ValueError("output: classification needs labels and alert_on")
        if len(set(labels)) != len(labels) or len(set(alert_on)) != len(alert_on):
            raise ValueError("output: a label occurs twice")
        unknown = [label for label in alert_on if label not in labels]
        if unknown:
            raise ValueError(
                f"output: alert_on has '{unknown[0]}', which is none of the labels {list(labels)}"
            )


def _check_image(image: _Image, window: _Window, channels: list[str], normalise: Normalise) -> None:
    pixels = image.height * image.width
    for option, value in (("length", window.length), ("hop", window.hop)):
        if value != pixels:
            raise ValueError(
                f"window.{option}: must be {pixels} (image.height times image.width), not {value}"
            )
    if channels != [GREY] and sorted(channels) != sorted(COLOURS):
        raise ValueError(
            f"channels: those of an image are {GREY} alone, or {', '.join(COLOURS)} in any order, not "
            f"{', '.join(channels)}"
        )
    if normalise == "running":
        raise ValueError("normalise: running statistics are of readings in time, and an image has none")


def parse_manifest(text: bytes) -> Manifest:
    """Read the text of ``bundle.yaml``.

    Raises:
        ModelError: One line: the place within the file, what was found and what was expected.
    """
    values = _load(text)
    found = values.get("bundle")
    if isinstance(found, int) and not isinstance(found, bool) and found != FORMAT:
        raise ModelError(f"bundle: has format {found}, but this gatewayd reads format {FORMAT}")
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        raise ModelError(_complaint(first["loc"], first["type"], first["msg"], first["input"])) from error


def _complaint(loc: tuple[int | str, ...], kind: str, message: str, found: object) -> str:
    place = ""
    for part in loc:
        if isinstance(part, int):
            place += f"[{part}]"
        else:
            place += f".{_legible(part)}" if place else _legible(part)
    if kind == "missing":
        return f"{place}: is missing"
    if kind == "extra_forbidden":
        return f"{place}: is not known"
    text = message.removeprefix("Value error, ").removeprefix("Input ")
    if kind == "value_error":
        return f"{place}: {text}" if place else text
    return (
        f"{place}: {text}, not {str(found)[:40]!r}"
        if not isinstance(found, dict | list)
        else f"{place}: {text}"
    )


def _legible(key: str) -> str:
    """Return a key fit for a message of one line."""
    return key[:64] if key.isprintable() else ascii(key[:64])


def _load(text: bytes) -> dict[str, Value]:
    try:
        decoded = text.decode()
        _check_events(decoded)
        node = yaml.compose(decoded, Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise ModelError(f"is not UTF-8: byte {error.start}") from error
    except yaml.YAMLError as error:
        raise ModelError(f"is not YAML: {' '.join(str(error).split())[:200]}") from error
    value = _value(node)
    if not isinstance(value, dict):
        raise ModelError("must be a mapping that begins with 'bundle: 1'")
    return value


def _check_events(text: str) -> None:
    """Stop early at what costs time or memory out of proportion: aliases, and depth (PyYAML's is quadratic)."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.ScalarEvent) and _SURROGATE.search(event.value):
            raise ModelError("has half of a surrogate pair, which is no text")
        if isinstance(event, yaml.AliasEvent):
            raise ModelError("aliases ('*name') are not allowed")  # a few lines of them can fill the memory
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise ModelError(f"is nested deeper than {_MAX_DEPTH} levels")


def _value(node: yaml.Node | None) -> Value:
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item) for item in node.value]
    if not isinstance(node, yaml.MappingNode):
        return None
    values: dict[str, Value] = {}
    for key, item in node.value:
        where = f"line {key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            raise ModelError(f"{where}: a key must be text")
        if key.value in values:
            raise ModelError(f"{where}: '{_legible(key.value)}' occurs twice")
        values[key.value] = _value(item)
    return values


def _scalar(node: yaml.ScalarNode) -> Value:
    text: str = node.value
    if node.style is not None or node.tag == "tag:yaml.org,2002:str":  # quoted, or text to YAML 1.1 as well
        return text if node.style is not None or not _FLOAT.fullmatch(text) else float(text)
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if len(text) <= 40:  # noqa: PLR2004  # no quantity is longer, and a hash of 64 digits is text
        if _INT.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text


def render_manifest(
    spec: ModelSpec, *, files: Mapping[str, FileEntry], training: Mapping[str, object]
) -> bytes:
    """Write a spec as the text of ``bundle.yaml``; ``parse_manifest`` gives it back.

    Args:
        spec: The model's numbers.
        files: What each file must be, by name.
        training: Provenance: text, numbers, lists and mappings with text as keys, whatever says where it came
            from.

    Raises:
        ModelError: The spec breaks a rule of the format; the message names the field.
    """
    output: dict[str, object] = {}
    if spec.task == "reconstruction":
        output["error"] = spec.error
    else:
        output["activation"] = spec.activation
    if spec.task == "classification":
        output |= {"labels": list(spec.labels), "alert_on": list(spec.alert_on)}
    window: dict[str, object] = {"length": spec.length, "hop": spec.hop}
    if spec.interval_s is not None:
        window["interval_s"] = float(spec.interval_s)
    values: dict[str, object] = {
        "bundle": FORMAT,
        "name": spec.name,
        "version": spec.version,
        "task": spec.task,
        "channels": [
            {"name": channel.name, "unit": channel.unit, "mean": float(mean), "std": float(std)}
            for channel, mean, std in zip(spec.channels, spec.mean, spec.std, strict=True)
        ],
        "window": window,
    }
    if spec.image is not None:
        values["image"] = {"height": spec.image.height, "width": spec.image.width}
    values["output"] = output
    if spec.normalise != "training":
        values["normalise"] = spec.normalise
    if spec.threshold is not None:
        values["threshold"] = float(spec.threshold)
    values["files"] = {name: entry.model_dump() for name, entry in files.items()}
    values["training"] = _plain(training)
    text = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    encoded = text.encode()
    parse_manifest(encoded)
    return encoded


class _Dumper(yaml.SafeDumper):
    """Writes text in quotes wherever a reader could take it for something else, and never an alias."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = '"' if _FLOAT.fullmatch(text) or text.lower() in _WORDS or not text.isprintable() else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _plain(value: object) -> object:
    """Turn what training brings (NumPy scalars, tuples, paths) into plain YAML values; what is not finite into text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
