"""Recordings → a model bundle: split, normalise, fit, quantise, set the threshold, measure.

Rules: statistics and weights come from the first part of the training rows, the threshold from the rest of them
(held out; a classifier needs none), the measurement from rows after both. Threshold, golden vectors and measurements
come from the daemon's runtime, not from TensorFlow. The same tables, options and versions give the same model, byte
for byte.
"""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from gatewayd import __version__
from gatewayd.domain.arrays import Bool, Float64, Int64
from gatewayd.domain.model import ModelSpec
from gatewayd.errors import ConfigError, Problem
from gatewayd.model.bundle import Golden, write_bundle
from gatewayd.model.interpreter import Interpreter
from gatewayd.pipeline.normalise import normalised
from gatewayd.pipeline.quantise import quantise
from gatewayd.workbench.evaluate import Scored, score_windows
from gatewayd.workbench.fit import Fitted, Job, Recipe, fit
from gatewayd.workbench.metrics import Counts, count
from gatewayd.workbench.table import Table
from gatewayd.workbench.windows import Windows, cut, interval_s, spread

_GOLDEN = 8
_LEAST_WINDOWS = 16
# a channel whose spread is less than this part of its size is constant up to rounding
_FLAT = 1e-9
_PROBABLE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """How to train.

    Attributes:
        name: The model's name.
        version: Its version, free text.
        recipe: Which network.
        length: Rows in a window.
        hop: Rows between the starts of two windows in the daemon; training uses every window.
        train_rows: Rows at the start of each recording to train on; None: ``train_fraction`` of them.
        train_fraction: Used where ``train_rows`` is None.
        held_out_fraction: Part of the training rows, at their end, that sets the threshold.
        threshold_quantile: Of the held-out scores, 0..1 (1: the greatest).
        threshold_margin: Factor on that quantile.
        error: Reconstruction error: mean squared or mean absolute.
        normalise: What z-scores are distances from: the training rows' mean, the window's own, or its median.
        labels: Names of classes 0, 1, …; classifier only.
        alert_on: Classes whose probability is the score; classifier only.
        max_gap_s: Longest time between two readings of one window; None: any.
        epochs: At most.
        seed: Of everything random.
        train_every: Rows between the starts of two training windows.
    """

    name: str
    version: str = "1.0.0"
    recipe: Recipe = "autoencoder-linear"
    length: int = 16
    hop: int = 1
    train_rows: int | None = None
    train_fraction: float = 0.7
    held_out_fraction: float = 0.25
    threshold_quantile: float = 1.0
    threshold_margin: float = 1.5
    error: Literal["mse", "mae"] = "mse"
    normalise: Literal["training", "window", "robust"] = "training"
    labels: tuple[str, ...] = ("normal", "anomalous")
    alert_on: tuple[str, ...] = ("anomalous",)
    max_gap_s: float | None = None
    epochs: int = 60
    seed: int = 0
    train_every: int = 1

    @property
    def is_classifier(self) -> bool:
        """Whether the recipe learns from labels."""
        return self.recipe == "classifier-dense"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What training gave.

    Attributes:
        spec: The bundle's numbers.
        windows: Windows fitted on, held out, and measured on.
        counts: Row by row over the measured rows, by model (``float32``, ``int8``); empty without labels.
        saturated: Part of the measured input values outside the int8 model's range; 0 without measured rows.
        bytes: Size of the int8 model.
        epochs: How many ran; 0 where the weights are known in closed form.
        loss: Over the windows it was fitted on.
    """

    spec: ModelSpec
    windows: Mapping[str, int]
    counts: Mapping[str, Counts]
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
            "windows": dict(self.windows),
            "metrics": {name: counts.figures() for name, counts in self.counts.items()},
            "saturated": self.saturated,
            "bytes": self.bytes,
            "epochs": self.epochs,
            "loss": self.loss,
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    """One recording, cut: every window, and which of them are whose."""

    table: Table
    train_rows: int
    fit_rows: int
    windows: Windows

    def fitted(self, every: int) -> Windows:
        chosen = self.windows.rows[:, -1] < self.fit_rows
        return self.windows.select(chosen & (self.windows.rows[:, 0] % every == 0))

    def held_out(self) -> Windows:
        first, last = self.windows.rows[:, 0], self.windows.rows[:, -1]
        return self.windows.select((first >= self.fit_rows) & (last < self.train_rows))

    def measured(self) -> Windows:
        return self.windows.select(self.windows.rows[:, -1] >= self.train_rows)


def train(tables: Sequence[Table], options: TrainOptions, out: Path) -> Report:
    """Train a model and write its bundle.

    Args:
        tables: One or more recordings with the same channels.
        options: How.
        out: The bundle's folder.

    Raises:
        ConfigError: The recordings cannot be trained on; with the file.
        ModelError: The bundle cannot be written.
        StartupError: TensorFlow is not there, or failed.
    """
    parts = [_part(table, options) for table in tables]
    _check(parts, options)
    fit_rows = np.concatenate([part.table.values[: part.fit_rows] for part in parts])
    spec = _spec(parts[0].table, options, fit_rows)
    fitted_on = _stack([part.fitted(options.train_every) for part in parts])
    held_out = _stack([part.held_out() for part in parts])
    job = Job(
        recipe=options.recipe,
        classes=len(options.labels) if options.is_classifier else 0,
        epochs=options.epochs,
        seed=options.seed,
    )
    labels = np.concatenate([_labels_of(part, part.fitted(options.train_every)) for part in parts])
    result = fit(job, normalised(fitted_on, spec), labels)
    counts, saturated = {}, 0.0
    models = {"float32": Interpreter(result.float32), "int8": Interpreter(result.int8)}
    specs = {name: _with_threshold(model, spec, held_out, options) for name, model in models.items()}
    for name, model in models.items():
        found, saturated = _measure(model, specs[name], parts, options)
        if found is not None:
            counts[name] = found
    report = Report(
        spec=specs["int8"],
        windows={
            "fitted": len(fitted_on),
            "held_out": len(held_out),
            "measured": sum(len(part.measured()) for part in parts),
        },
        counts=counts,
        saturated=saturated,
        bytes=len(result.int8),
        epochs=result.epochs,
        loss=result.loss,
    )
    golden = golden_vectors(models["int8"], report.spec, held_out if len(held_out) else fitted_on)
    provenance = _provenance(tables, options, report, result)
    write_bundle(out, spec=report.spec, model=result.int8, golden=golden, training=provenance)
    return report


def _part(table: Table, options: TrainOptions) -> _Part:
    rows = options.train_rows or int(len(table) * options.train_fraction)
    if rows > len(table):
        raise _refused(table, f"has {len(table)} rows, fewer than the {rows} to train on")
    return _Part(
        table=table,
        train_rows=rows,
        # a probability's threshold is not calibrated: a classifier learns from all training rows
        fit_rows=rows if options.is_classifier else rows - int(rows * options.held_out_fraction),
        windows=cut(table, length=options.length, hop=1, max_gap_s=options.max_gap_s),
    )


def _check(parts: Sequence[_Part], options: TrainOptions) -> None:
    """Find what cannot be trained on before TensorFlow is started."""
    first = parts[0].table
    for part in parts:
        table = part.table
        if table.channels != first.channels:
            raise _refused(table, f"must have the same channels as {first.place}")
        if options.is_classifier and table.label is None:
            raise _refused(table, "must have a label column to train a classifier")
        if options.is_classifier and table.label is not None and table.label.max() >= len(options.labels):
            raise _refused(
                table, f"has class {table.label.max()}, but only {len(options.labels)} classes have names"
            )
    enough = {"to fit": sum(len(part.fitted(options.train_every)) for part in parts)}
    if not options.is_classifier:
        enough["to set the threshold"] = sum(len(part.held_out()) for part in parts)
    for what, windows in enough.items():
        if windows < _LEAST_WINDOWS:
            raise _refused(
                first,
                f"too few rows: {windows} windows of {options.length} {what}, at least {_LEAST_WINDOWS} are needed",
            )
    values = np.concatenate([part.table.values[: part.fit_rows] for part in parts])
    flat = values.std(axis=0) <= _FLAT * np.maximum(1.0, np.abs(values).max(axis=0))
    if flat.any():
        name = first.channels[int(np.flatnonzero(flat)[0])].name
        raise _refused(first, f"channel '{name}' is constant in the training rows: leave it out")


def _spec(table: Table, options: TrainOptions, rows: Float64) -> ModelSpec:
    is_classifier = options.is_classifier
    return ModelSpec(
        name=options.name,
        version=options.version,
        task="classification" if is_classifier else "reconstruction",
        channels=table.channels,
        length=options.length,
        hop=options.hop,
        interval_s=interval_s(table),
        mean=rows.mean(axis=0),
        std=rows.std(axis=0),
        threshold=_PROBABLE if is_classifier else None,
        error=options.error,
        normalise=options.normalise,
        labels=options.labels if is_classifier else (),
        alert_on=options.alert_on if is_classifier else (),
        activation="softmax" if is_classifier else "none",
    )


def _with_threshold(
    model: Interpreter, spec: ModelSpec, held_out: Float64, options: TrainOptions
) -> ModelSpec:
    if options.is_classifier:
        return spec
    scores = score_windows(model, spec, held_out).scores
    threshold = float(np.quantile(scores, options.threshold_quantile)) * options.threshold_margin
    return replace(spec, threshold=threshold)


def _measure(
    model: Interpreter, spec: ModelSpec, parts: Sequence[_Part], options: TrainOptions
) -> tuple[Counts | None, float]:
    """Count alarms against labels over the rows after the training rows; and the part of inputs that saturated."""
    counts: Counts | None = None
    saturated = values = 0
    for part in parts:
        windows = part.measured()
        scored = score_windows(model, spec, windows.values)
        saturated += int(scored.saturated.sum())
        values += windows.values.size
        if part.table.label is not None and len(windows):
            found = count(_truth(part, options), _alarms(part, windows, scored, spec, options))
            counts = found if counts is None else counts + found
    return counts, saturated / values if values else 0.0


def _truth(part: _Part, options: TrainOptions) -> Bool:
    assert part.table.label is not None
    label = part.table.label[part.train_rows :]
    alerting = [options.labels.index(name) for name in options.alert_on] if options.is_classifier else None
    return np.isin(label, alerting) if alerting is not None else label > 0


def _alarms(part: _Part, windows: Windows, scored: Scored, spec: ModelSpec, options: TrainOptions) -> Bool:
    """Tell for each measured row whether the newest window that ended at it or before is anomalous."""
    by_row = spread(part.table, windows, scored.scores, max_gap_s=options.max_gap_s)[part.train_rows :]
    assert spec.threshold is not None
    return np.nan_to_num(by_row, nan=-np.inf) >= spec.threshold


def _labels_of(part: _Part, windows: Windows) -> Int64:
    """Return each window's class: that of its last row, the newest that the daemon has seen then."""
    if part.table.label is None:
        return np.zeros(len(windows), np.int64)
    return np.asarray(part.table.label[windows.rows[:, -1]], np.int64)


def golden_vectors(model: Interpreter, spec: ModelSpec, windows: Float64, *, most: int = _GOLDEN) -> Golden:
    """Choose some of the windows, ``(k, length, channels)`` in channel units, and note what the model makes of them."""
    chosen = windows[np.linspace(0, len(windows) - 1, min(most, len(windows)), dtype=int)]
    raw, _ = quantise(normalised(chosen, spec), model.input)
    outputs = model.invoke(raw.reshape(len(raw), *model.input.shape))
    return Golden(windows=chosen, outputs=outputs, runtime=model.runtime)


def _provenance(
    tables: Sequence[Table], options: TrainOptions, report: Report, result: Fitted
) -> dict[str, object]:
    kept = {key: value for key, value in asdict(options).items() if key not in ("name", "version")}
    return {
        "data": [{"source": table.source, "sha256": table.sha256, "rows": len(table)} for table in tables],
        "options": {key: list(value) if isinstance(value, tuple) else value for key, value in kept.items()},
        "results": {key: value for key, value in report.figures().items() if key not in ("name", "version")},
        "made_with": {
            "gatewayd": __version__,
            "tensorflow": result.tensorflow,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def _stack(windows: Sequence[Windows]) -> Float64:
    return np.concatenate([part.values for part in windows])


def _refused(table: Table, message: str) -> ConfigError:
    return ConfigError([Problem(path=table.place, line=0, column=0, message=message)])
