"""A folder of pictures → a model bundle: read as the daemon reads them, normalise, fit, quantise, set the threshold.

Rules: of each folder's pictures the first part, by name, gives statistics and weights, the rest (held out) the
threshold. Threshold, golden vectors and measurements come from the daemon's runtime, not from TensorFlow. The same
files, options and versions give the same model, byte for byte.
"""

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from gatewayd import __version__
from gatewayd.domain.arrays import Bool, Float64
from gatewayd.domain.model import COLOURS, GREY, ChannelSpec, ImageSpec, ModelSpec
from gatewayd.errors import ConfigError, Problem, StartupError
from gatewayd.formats.decoded import Format
from gatewayd.formats.registry import IMAGE
from gatewayd.model.bundle import write_bundle
from gatewayd.model.interpreter import Interpreter
from gatewayd.pipeline.normalise import normalised
from gatewayd.workbench.evaluate import score_windows
from gatewayd.workbench.fit import Fitted, Job, fit
from gatewayd.workbench.train import golden_vectors

SIDE_STEP = 8  # the network halves each side three times
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
_LEAST = 16
_GOLDEN = 3
_FLAT = 1e-9  # grey levels


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureOptions:
    """How to train.

    Attributes:
        name: The model's name.
        version: Its version, free text.
        width: What the model looks at, in pixels; a multiple of 8.
        height: Likewise.
        colours: 3: red, green, blue; 1: grey.
        fit: What becomes of pictures of another shape; see ``ImageFormat``.
        held_out_fraction: Part of each folder's pictures, at its end, that sets the threshold.
        threshold_quantile: Of the held-out scores, 0..1 (1: the greatest).
        threshold_margin: Factor on that quantile.
        error: Reconstruction error: mean squared or mean absolute.
        normalise: What z-scores are distances from: the training pictures' mean, the picture's own, or its median.
        epochs: At most.
        seed: Of everything random.
    """

    name: str
    version: str = "1.0.0"
    width: int = 96
    height: int = 96
    colours: Literal[1, 3] = 3
    fit: Literal["stretch", "crop", "letterbox"] = "stretch"
    held_out_fraction: float = 0.25
    threshold_quantile: float = 1.0
    threshold_margin: float = 1.5
    error: Literal["mse", "mae"] = "mse"
    normalise: Literal["training", "window", "robust"] = "training"
    epochs: int = 100
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureReport:
    """What training gave.

    Attributes:
        spec: The bundle's numbers.
        pictures: How many were ``fitted`` on, ``held_out``, and how many ``odd`` ones there were.
        found: How many of the odd ones are anomalous, by model (``float32``, ``int8``).
        saturated: Part of the held-out values outside the int8 model's range.
        bytes: Size of the int8 model.
        epochs: How many ran.
        loss: Over the pictures it was fitted on.
    """

    spec: ModelSpec
    pictures: Mapping[str, int]
    found: Mapping[str, int]
    saturated: float
    bytes: int
    epochs: int
    loss: float

    def figures(self) -> dict[str, object]:
        """Return plain values, for JSON and for the bundle."""
        return {
            "name": self.spec.name,
            "version": self.spec.version,
            "threshold": self.spec.threshold,
            "pictures": dict(self.pictures),
            "found": dict(self.found),
            "saturated": self.saturated,
            "bytes": self.bytes,
            "epochs": self.epochs,
            "loss": self.loss,
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Album:
    """Pictures, read as the daemon reads them: shape ``(n, height * width, colours)``, 0 to 255.

    Attributes:
        source: Name of their folder.
        sha256: Of the hashes of all files in it that were read, in hexadecimal.
        fitted: What is learnt from.
        held_out: What sets the threshold.
        odd: What only measures.
    """

    source: str
    sha256: str
    fitted: Float64
    held_out: Float64
    odd: Float64


def read_album(folder: Path, options: PictureOptions, *, odd: Path | None = None) -> Album:
    """Read the pictures to train on.

    Args:
        folder: JPEG and PNG pictures of what is normal, in folders of any depth: one for each camera, say.
        options: How.
        odd: Pictures of what should raise an alert. Nothing is learnt from them; they measure.

    Raises:
        ConfigError: The pictures cannot be trained on; with each file.
        StartupError: Pillow is not there.
    """
    try:
        reader = IMAGE(width=options.width, height=options.height, colours=options.colours, fit=options.fit)
    except ValueError as error:
        raise StartupError(str(error)) from error
    files = _files(folder)
    is_held_out = _held_out([file.parent for file in files], options.held_out_fraction)
    for what, count in (("to fit", (~is_held_out).sum()), ("to set the threshold", is_held_out.sum())):
        if count < _LEAST:
            raise _refused(folder, f"too few pictures: {count} {what}, at least {_LEAST} are needed")
    values, sha256 = _read(reader, files, options)
    flat = values[~is_held_out].std(axis=(0, 1)) <= _FLAT
    if flat.any():
        colour = _names(options)[int(flat.argmax())]
        raise _refused(folder, f"{colour} is the same in every pixel of every picture to fit")
    return Album(
        source=folder.resolve().name,
        sha256=sha256,
        fitted=values[~is_held_out],
        held_out=values[is_held_out],
        odd=_read(reader, _files(odd) if odd is not None else [], options)[0],
    )


def train_pictures(album: Album, options: PictureOptions, out: Path) -> PictureReport:
    """Train a model and write its bundle.

    Args:
        album: From ``read_album`` with the same options.
        options: How.
        out: The bundle's folder.

    Raises:
        ModelError: The bundle cannot be written.
        StartupError: TensorFlow is not there, or failed.
    """
    spec = _spec(options, album.fitted)
    job = Job(
        recipe="autoencoder-picture",
        classes=0,
        epochs=options.epochs,
        seed=options.seed,
        image=(options.height, options.width),
    )
    result = fit(job, normalised(album.fitted, spec), np.zeros(len(album.fitted), np.int64))
    models = {"float32": result.float32, "int8": result.int8}
    judged = {name: _judged(model, spec, album, options) for name, model in models.items()}
    chosen = judged["int8"]
    report = PictureReport(
        spec=chosen.spec,
        pictures={"fitted": len(album.fitted), "held_out": len(album.held_out), "odd": len(album.odd)},
        found={name: one.found for name, one in judged.items()},
        saturated=chosen.saturated,
        bytes=len(result.int8),
        epochs=result.epochs,
        loss=result.loss,
    )
    write_bundle(
        out,
        spec=report.spec,
        model=result.int8,
        golden=golden_vectors(chosen.interpreter, report.spec, album.held_out, most=_GOLDEN),
        training=_provenance(album, options, report, result),
    )
    return report


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Judged:
    """A model with its threshold, and what it makes of the pictures; see ``PictureReport``."""

    interpreter: Interpreter
    spec: ModelSpec
    found: int
    saturated: float


def _judged(model: bytes, spec: ModelSpec, album: Album, options: PictureOptions) -> _Judged:
    interpreter = Interpreter(model)
    scored = score_windows(interpreter, spec, album.held_out)
    threshold = float(np.quantile(scored.scores, options.threshold_quantile)) * options.threshold_margin
    return _Judged(
        interpreter=interpreter,
        spec=replace(spec, threshold=threshold),
        found=int((score_windows(interpreter, spec, album.odd).scores >= threshold).sum()),
        saturated=float(scored.saturated.sum()) / album.held_out.size,
    )


def _files(folder: Path) -> list[Path]:
    """Return a folder's pictures by name, in the order of their folders."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in _SUFFIXES and file.is_file())
    if not files:
        raise _refused(folder, "no pictures: no file that ends in .jpg, .jpeg or .png")
    return files


def _held_out(folders: Sequence[Path], fraction: float) -> Bool:
    """Choose the last part of each folder's files; the first part, which fits, is rounded up."""
    is_held_out = np.zeros(len(folders), dtype=np.bool_)
    for folder in dict.fromkeys(folders):
        rows = [row for row, one in enumerate(folders) if one == folder]
        is_held_out[rows[len(rows) - int(len(rows) * fraction) :]] = True
    return is_held_out


def _read(reader: Format, files: Sequence[Path], options: PictureOptions) -> tuple[Float64, str]:
    """Read pictures and hash them; tell of all that can't be read."""
    values = np.empty((len(files), options.height * options.width, options.colours))
    digest = hashlib.sha256()
    problems = []
    for index, file in enumerate(files):
        try:
            data = file.read_bytes()
        except OSError as error:
            problems.append(_problem(file, f"cannot be read: {error.strerror}"))
            continue
        digest.update(hashlib.sha256(data).digest())
        decoded = reader.decode([data])
        if decoded.rejected:
            problems.append(_problem(file, f"the daemon would reject it: {decoded.rejected[0][1]}"))
        else:
            values[index] = decoded.values.reshape(values.shape[1:])
    if problems:
        raise ConfigError(problems)
    return values, digest.hexdigest()


def _names(options: PictureOptions) -> tuple[str, ...]:
    return COLOURS if options.colours == len(COLOURS) else (GREY,)


def _spec(options: PictureOptions, pictures: Float64) -> ModelSpec:
    pixels = options.height * options.width
    return ModelSpec(
        name=options.name,
        version=options.version,
        task="reconstruction",
        channels=tuple(ChannelSpec(name=name, unit="") for name in _names(options)),
        length=pixels,
        hop=pixels,
        interval_s=None,
        mean=pictures.mean(axis=(0, 1)),
        std=pictures.std(axis=(0, 1)),
        threshold=None,
        error=options.error,
        normalise=options.normalise,
        image=ImageSpec(height=options.height, width=options.width),
    )


def _provenance(
    album: Album, options: PictureOptions, report: PictureReport, result: Fitted
) -> dict[str, object]:
    def unnamed(values: Mapping[str, object]) -> dict[str, object]:
        return {key: value for key, value in values.items() if key not in ("name", "version")}

    return {
        "data": [{"source": album.source, "sha256": album.sha256}],
        "options": unnamed(asdict(options)),
        "results": unnamed(report.figures()),
        "made_with": {
            "gatewayd": __version__,
            "tensorflow": result.tensorflow,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def _problem(path: Path, message: str) -> Problem:
    return Problem(path=str(path), line=0, column=0, message=message)


def _refused(folder: Path, message: str) -> ConfigError:
    return ConfigError([_problem(folder, message)])
