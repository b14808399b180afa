"""``gatewayd train``: recordings in, a model bundle out."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import click
import orjson
from pydantic import TypeAdapter, ValidationError

from gatewayd.config.settings import Name
from gatewayd.domain.model import ChannelSpec
from gatewayd.model.bundle import MANIFEST_FILE
from gatewayd.workbench.fit import Recipe
from gatewayd.workbench.table import Columns, Table, read_table
from gatewayd.workbench.train import Report, TrainOptions, train

_DEFAULTS = TrainOptions(name="default")
_FRACTION = click.FloatRange(0, 1, min_open=True, max_open=True)


def check_name(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    """Refuse what is no name of a model."""
    try:
        return TypeAdapter(Name).validate_python(text)
    except ValidationError as error:
        raise click.BadParameter(error.errors()[0]["msg"].removeprefix("Value error, ")) from error


def _channels(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> tuple[ChannelSpec, ...]:
    """Read ``temperature:°C,vibration:g``."""
    if text is None:
        return ()
    found = []
    for part in text.split(","):
        name, _, unit = part.partition(":")
        if not name.strip():
            raise click.BadParameter(f"a channel has no name in '{text}'")
        found.append(ChannelSpec(name=check_name(_context, _parameter, name.strip()), unit=unit.strip()))
    if len({channel.name for channel in found}) < len(found):
        raise click.BadParameter("a channel occurs twice")
    return tuple(found)


def _names(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


@click.command("train")
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="The bundle's folder."
)
@click.option("--name", required=True, callback=check_name, help="The model's name.")
@click.option("--version", default=_DEFAULTS.version, show_default=True, help="The model's version.")
@click.option(
    "--channels",
    callback=_channels,
    help="Columns and units, such as 'temperature:°C,vibration:g'; every column that is left.",
)
@click.option("--time-column", help="Column of the time stamp; without it, rows are evenly spaced.")
@click.option("--device-column", help="Column that tells machines apart; without it, one machine a file.")
@click.option("--label-column", help="Column with 0 (normal) and 1 (anomalous), or the class.")
@click.option("--ignore", default="", callback=_names, help="Columns to leave out, joined by commas.")
@click.option(
    "--recipe",
    type=click.Choice(["autoencoder-linear", "autoencoder-dense", "autoencoder-conv", "classifier-dense"]),
    default=_DEFAULTS.recipe,
    show_default=True,
    help="Which network.",
)
@click.option(
    "--labels",
    default=",".join(_DEFAULTS.labels),
    show_default=True,
    callback=_names,
    help="Classifier: names of classes 0, 1, …",
)
@click.option(
    "--alert-on",
    default="",
    callback=_names,
    help="Classifier: classes whose probability is the score; all but the first.",
)
@click.option(
    "--length",
    type=click.IntRange(1, 65_536),
    default=_DEFAULTS.length,
    show_default=True,
    help="Readings in a window.",
)
@click.option(
    "--hop",
    type=click.IntRange(1),
    default=_DEFAULTS.hop,
    show_default=True,
    help="Readings between two windows' starts. 1: the model runs, and a result is published, for every reading.",
)
@click.option("--train-rows", type=click.IntRange(1), help="Rows at the start of each file to train on.")
@click.option(
    "--train-fraction",
    type=click.FloatRange(0, 1, min_open=True),
    default=_DEFAULTS.train_fraction,
    show_default=True,
    help="Part of each file to train on, without --train-rows.",
)
@click.option(
    "--held-out-fraction",
    type=_FRACTION,
    default=_DEFAULTS.held_out_fraction,
    show_default=True,
    help="Part of the training rows that sets the threshold.",
)
@click.option(
    "--quantile",
    type=click.FloatRange(0, 1),
    default=_DEFAULTS.threshold_quantile,
    show_default=True,
    help="Of the held-out scores; 1 is the greatest.",
)
@click.option(
    "--margin",
    type=click.FloatRange(0, min_open=True),
    default=_DEFAULTS.threshold_margin,
    show_default=True,
    help="Threshold = that quantile times this.",
)
@click.option(
    "--error",
    type=click.Choice(["mse", "mae"]),
    default=_DEFAULTS.error,
    show_default=True,
    help="Reconstruction error.",
)
@click.option(
    "--normalise",
    type=click.Choice(["training", "window", "robust"]),
    default=_DEFAULTS.normalise,
    show_default=True,
    help="What z-scores are distances from: the training data's mean, the window's own, or its median.",
)
@click.option(
    "--max-gap-s",
    type=click.FloatRange(0, min_open=True),
    help="Longest time between two readings of one window; any.",
)
@click.option(
    "--epochs", type=click.IntRange(1), default=_DEFAULTS.epochs, show_default=True, help="At most."
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=_DEFAULTS.seed,
    show_default=True,
    help="Of everything random.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def command(
    *,
    data: tuple[Path, ...],
    out: Path,
    name: str,
    version: str,
    channels: tuple[ChannelSpec, ...],
    time_column: str | None,
    device_column: str | None,
    label_column: str | None,
    ignore: tuple[str, ...],
    recipe: Recipe,
    labels: tuple[str, ...],
    alert_on: tuple[str, ...],
    length: int,
    hop: int,
    train_rows: int | None,
    train_fraction: float,
    held_out_fraction: float,
    quantile: float,
    margin: float,
    error: Literal["mse", "mae"],
    normalise: Literal["training", "window", "robust"],
    max_gap_s: float | None,
    epochs: int,
    seed: int,
    as_json: bool,
) -> None:
    """Train a model on recorded readings (CSV, also .gz) and write its bundle.

    The first rows of each file fit the model, the next set the threshold, the rest measure it. Needs the
    extra 'train'. Exit code 78 where the data cannot be trained on.
    """
    if hop > length:
        raise click.BadParameter(
            f"must lie in 1..{length} (the window length), not {hop}", param_hint="--hop"
        )
    alerting = alert_on or labels[1:]
    if not set(alerting) <= set(labels) or not alerting:
        raise click.BadParameter(f"must be of {', '.join(labels)}", param_hint="--alert-on")
    check_out(out)
    columns = Columns(
        channels=channels, time=time_column, device=device_column, label=label_column, ignore=ignore
    )
    options = TrainOptions(
        name=name,
        version=version,
        recipe=recipe,
        length=length,
        hop=hop,
        train_rows=train_rows,
        train_fraction=train_fraction,
        held_out_fraction=held_out_fraction,
        threshold_quantile=quantile,
        threshold_margin=margin,
        error=error,
        normalise=normalise,
        labels=labels,
        alert_on=alerting,
        max_gap_s=max_gap_s,
        epochs=epochs,
        seed=seed,
    )
    tables = [read_table(path, columns) for path in data]
    if not channels:
        _warn_of_clocks(tables)
    make_parents(out)
    report = train(tables, options, out)
    named = [{"name": channel.name, "unit": channel.unit} for channel in report.spec.channels]
    figures = {**report.figures(), "channels": named}
    click.echo(orjson.dumps(figures).decode() if as_json else _table(report, out))


def check_out(out: Path) -> None:
    """Refuse a folder that no bundle can be put into, before minutes are spent on training; touch nothing."""
    place = out.resolve()
    try:
        if place.is_dir() and not (place / MANIFEST_FILE).exists() and any(place.iterdir()):
            raise click.BadParameter(f"{out} holds something else than a model bundle", param_hint="--out")
        ancestor = next(folder for folder in place.parents if folder.exists())
    except OSError as error:
        raise _unwritable(out, error.strerror) from error
    if not ancestor.is_dir():
        raise _unwritable(out, f"{ancestor} is not a folder")
    if not os.access(ancestor, os.W_OK | os.X_OK):
        raise _unwritable(out, f"no permission to write to {ancestor}")


def make_parents(out: Path) -> None:
    """Make the folders above a bundle's."""
    try:
        out.resolve().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(out, error.strerror) from error


def _unwritable(out: Path, reason: str | None) -> click.BadParameter:
    return click.BadParameter(f"{out} cannot be written: {reason or 'no reason given'}", param_hint="--out")


def _warn_of_clocks(tables: Sequence[Table]) -> None:
    for table in tables:
        for name in table.rising():
            click.echo(
                f"warning: {table.place}: channel '{name}' only ever rises, like a clock or a counter; --time-column "
                "names a time stamp, --ignore leaves a column out",
                err=True,
            )


def _table(report: Report, out: Path) -> str:
    spec, windows = report.spec, report.windows
    head = (
        f"{out}: {spec.name} {spec.version}, {len(spec.channels)} channels, window {spec.length}, hop {spec.hop}, "
        f"{report.bytes} bytes, threshold {spec.threshold:.4g}"
    )
    named = ", ".join(
        f"{channel.name} ({channel.unit})" if channel.unit else channel.name for channel in spec.channels
    )
    how = (
        f"windows: {windows['fitted']} fitted, {windows['held_out']} held out, {windows['measured']} after them; "
        f"{report.epochs} epochs, loss {report.loss:.4g}"
    )
    if windows["measured"]:
        how += f"; {report.saturated:.1%} of the values after them saturate"
    lines = [head, f"channels: {named}", how]
    if report.counts:
        lines.append("model     precision   recall       F1  false alarms  accuracy   (by row, causal)")
        lines += [
            f"{name:8s}  {counts.precision:9.3f}{counts.recall:9.3f}{counts.f1:9.3f}"
            f"{counts.false_alarm_rate:13.1%}{counts.accuracy:10.3f}"
            for name, counts in report.counts.items()
        ]
    elif windows["measured"]:
        lines.append("not measured against labels: there are none (--label-column)")
    else:
        lines.append("nothing measured: no window ends after the training rows")
    return "\n".join(lines)
