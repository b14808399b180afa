"""``gatewayd train-pictures``: a folder of pictures in, a model bundle out."""

import re
from pathlib import Path
from typing import Literal, cast

import click
import orjson

from gatewayd.cli.train import check_name, check_out, make_parents
from gatewayd.workbench.train_pictures import (
    SIDE_STEP,
    PictureOptions,
    PictureReport,
    read_album,
    train_pictures,
)

_DEFAULTS = PictureOptions(name="default")
_FRACTION = click.FloatRange(0, 1, min_open=True, max_open=True)
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_MOST = 1024  # a side: beyond, one picture is tens of MiB of columns


def _size(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[int, int]:
    """Read ``96x64`` as width and height."""
    match = re.fullmatch(r"([0-9]{1,4})x([0-9]{1,4})", text)
    sides = (int(match[1]), int(match[2])) if match else (0, 0)
    if any(side % SIDE_STEP or not SIDE_STEP <= side <= _MOST for side in sides):
        raise click.BadParameter(
            f"expected WIDTHxHEIGHT, multiples of {SIDE_STEP} from {SIDE_STEP} to {_MOST}, such as 96x64, not '{text}'"
        )
    return sides


@click.command("train-pictures")
@click.argument("folder", type=_FOLDER)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="The bundle's folder."
)
@click.option("--name", required=True, callback=check_name, help="The model's name.")
@click.option("--version", default=_DEFAULTS.version, show_default=True, help="The model's version.")
@click.option(
    "--size",
    default=f"{_DEFAULTS.width}x{_DEFAULTS.height}",
    show_default=True,
    callback=_size,
    help="Width and height that the model looks at, in pixels.",
)
@click.option(
    "--colours",
    type=click.Choice(["1", "3"]),
    default=str(_DEFAULTS.colours),
    show_default=True,
    help="3: red, green, blue. 1: grey.",
)
@click.option(
    "--fit",
    type=click.Choice(["stretch", "crop", "letterbox"]),
    default=_DEFAULTS.fit,
    show_default=True,
    help="What becomes of another shape; the stream's format_options need the same.",
)
@click.option("--odd", type=_FOLDER, help="Pictures that should raise an alert; to measure only.")
@click.option(
    "--held-out-fraction",
    type=_FRACTION,
    default=_DEFAULTS.held_out_fraction,
    show_default=True,
    help="Part of each folder's pictures that sets the threshold.",
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
    help="What z-scores are distances from: the training pictures' mean, the picture's own, or its median.",
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
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def command(
    *,
    folder: Path,
    out: Path,
    name: str,
    version: str,
    size: tuple[int, int],
    colours: str,
    fit: Literal["stretch", "crop", "letterbox"],
    odd: Path | None,
    held_out_fraction: float,
    quantile: float,
    margin: float,
    error: Literal["mse", "mae"],
    normalise: Literal["training", "window", "robust"],
    epochs: int,
    seed: int,
    as_json: bool,
) -> None:
    """Train a model on the JPEG and PNG pictures in FOLDER and the folders in it, and write its bundle.

    They show what is normal. The first of each folder, by name, fit the model, the rest set the threshold. Needs
    the extras 'train' and 'formats'. Exit code 78 where the pictures cannot be trained on.
    """
    check_out(out)
    options = PictureOptions(
        name=name,
        version=version,
        width=size[0],
        height=size[1],
        colours=cast("Literal[1, 3]", int(colours)),
        fit=fit,
        held_out_fraction=held_out_fraction,
        threshold_quantile=quantile,
        threshold_margin=margin,
        error=error,
        normalise=normalise,
        epochs=epochs,
        seed=seed,
    )
    album = read_album(folder, options, odd=odd)
    make_parents(out)
    report = train_pictures(album, options, out)
    click.echo(orjson.dumps(report.figures()).decode() if as_json else _text(report, out))


def _text(report: PictureReport, out: Path) -> str:
    spec, pictures = report.spec, report.pictures
    assert spec.image is not None
    head = (
        f"{out}: {spec.name} {spec.version}, pictures of {spec.image.width} x {spec.image.height} pixels, "
        f"{report.bytes} bytes, threshold {spec.threshold:.4g}"
    )
    how = (
        f"pictures: {pictures['fitted']} fitted, {pictures['held_out']} held out; {report.epochs} epochs, "
        f"loss {report.loss:.4g}; {report.saturated:.1%} of the held-out values saturate"
    )
    lines = [head, f"channels: {', '.join(channel.name for channel in spec.channels)}", how]
    if pictures["odd"]:
        found = [
            f"{name:8s}  {count} of {pictures['odd']} odd pictures are anomalous"
            for name, count in report.found.items()
        ]
        return "\n".join([*lines, *found])
    return "\n".join([*lines, "not measured against odd pictures: there are none (--odd)"])
