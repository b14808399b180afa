"""``gatewayd model``: what a bundle is, and whether a runtime here may run it."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import click

from gatewayd.domain.model import ModelSpec, TensorSpec
from gatewayd.errors import ModelError
from gatewayd.model.bundle import Bundle, load_bundle
from gatewayd.model.interpreter import Interpreter, Runtime, open_model
from gatewayd.model.verify import GoldenResult, compare_golden

_MAX_TEXT = 120  # characters of one value in the text form
_PATH = click.argument("path", type=click.Path(path_type=Path))
_RUNTIME = click.option(
    "--runtime",
    type=click.Choice(["auto", "tflite-runtime", "ai-edge-litert"]),
    default="auto",
    help="TFLite runtime; auto: ai-edge-litert where it is installed.",
)


@click.group("model")
def command() -> None:
    """Show and verify model bundles."""


@command.command("show")
@_PATH
@_RUNTIME
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(path: Path, runtime: Runtime, *, as_json: bool) -> None:
    """Say what the bundle in the folder PATH is.

    A bundle that disagrees with itself is not shown; one that no runtime here can run is, and the last line says
    why.
    """
    bundle = load_bundle(path)
    golden, problem = _try_golden(bundle, runtime)
    if as_json:
        click.echo(json.dumps(_as_values(bundle, golden, problem), indent=2, ensure_ascii=False))
        return
    for label, text in (*_lines(bundle), ("golden", _golden_text(bundle, golden, problem))):
        click.echo(f"{label:<11} {text}".rstrip())


@command.command("verify")
@_PATH
@_RUNTIME
def verify(path: Path, runtime: Runtime) -> None:
    """Check the bundle in the folder PATH as ``run`` would; exit code 78 if it is refused."""
    bundle = load_bundle(path)
    result = compare_golden(bundle, open_model(bundle, runtime=runtime))
    click.echo(f"{path}: ok")
    click.echo(f"  {bundle.spec.name} {bundle.spec.version}; {_golden_text(bundle, result, None)}")


def _try_golden(bundle: Bundle, runtime: Runtime) -> tuple[GoldenResult | None, str | None]:
    try:
        return compare_golden(bundle, Interpreter(bundle.model, runtime=runtime)), None
    except ModelError as error:
        return None, str(error)


def _lines(bundle: Bundle) -> list[tuple[str, str]]:
    spec, golden = bundle.spec, bundle.golden
    interval = "" if spec.interval_s is None else f", a reading every {spec.interval_s:g} s"
    lines = [
        ("name", spec.name),
        ("version", spec.version),
        ("task", _task_text(spec)),
        (
            "threshold",
            "none: the configuration gives one" if spec.threshold is None else f"{spec.threshold:g}",
        ),
    ]
    if spec.image is not None:
        lines.append(("pictures", f"{spec.image.width} x {spec.image.height} pixels"))
    else:
        lines.append(("window", f"{spec.length} readings, hop {spec.hop}{interval}"))
    width = max(len(channel.name) for channel in spec.channels)
    for index, channel in enumerate(spec.channels):
        numbers = f"mean {spec.mean[index]:g}, std {spec.std[index]:g}"
        unit = channel.unit or "no unit"
        lines.append(("" if index else "channels", f"{channel.name:<{width}}  {unit}: {numbers}"))
    lines += [
        ("input", _tensor_text(bundle.input)),
        ("output", _tensor_text(bundle.output)),
        ("model", f"{len(bundle.model):,} bytes, SHA-256 {bundle.sha256}"),
    ]
    training = _flattened(bundle.training)
    lines += [("" if index else "training", text) for index, text in enumerate(training or ["not stated"])]
    lines.append(("made with", f"{golden.runtime} ({len(golden.windows)} golden windows)"))
    return lines


def _task_text(spec: ModelSpec) -> str:
    if spec.task == "reconstruction":
        return f"reconstruction: {spec.error} of z-scores"
    if spec.task == "score":
        return f"score, activation {spec.activation}"
    labels, alert_on = ", ".join(spec.labels), ", ".join(spec.alert_on)
    return f"classification: {labels}; alert on {alert_on}; activation {spec.activation}"


def _tensor_text(tensor: TensorSpec) -> str:
    shape = " x ".join(str(size) for size in tensor.shape)
    if tensor.dtype == "float32":
        return f"float32, {shape}"
    return f"{tensor.dtype}, {shape}, scale {tensor.scale:.9g}, zero point {tensor.zero_point}"


def _flattened(values: Mapping[str, object], prefix: str = "") -> list[str]:
    """Write nested values one a line; what is too long for a line is left to ``--json``."""
    lines: list[str] = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            lines += _flattened(value, f"{prefix}{key}.")
            continue
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if len(text) > _MAX_TEXT:
            count = f"{len(value)} items" if isinstance(value, list) else f"{len(text)} characters"
            text = f"{count} (--json shows them)"
        lines.append(f"{prefix}{key}: {text}")
    return lines


def _golden_text(bundle: Bundle, result: GoldenResult | None, problem: str | None) -> str:
    if result is None:
        return f"not run: {problem}"
    unit = "relative" if bundle.output.dtype == "float32" else "steps"
    verdict = "ok" if result.is_met else "FAILED"
    return (
        f"{verdict} on {result.runtime}: {result.differing} of {result.outputs} outputs differ, "
        f"by at most {result.greatest:.2g} {unit}; allowed {result.allowed:g}"
        + (f" but for one in 1,000, here {result.beyond}" if result.beyond else "")
    )


def _as_values(bundle: Bundle, result: GoldenResult | None, problem: str | None) -> Mapping[str, object]:
    spec = bundle.spec
    golden: dict[str, object] = {"made_with": bundle.golden.runtime, "windows": len(bundle.golden.windows)}
    if result is None:
        golden |= {"is_met": None, "problem": problem}
    else:
        golden |= {
            "is_met": result.is_met,
            "runtime": result.runtime,
            "outputs": result.outputs,
            "differing": result.differing,
            "greatest": result.greatest,
            "allowed": result.allowed,
        }
    return {
        "name": spec.name,
        "version": spec.version,
        "task": spec.task,
        "error": spec.error if spec.task == "reconstruction" else None,
        "labels": list(spec.labels),
        "alert_on": list(spec.alert_on),
        "activation": spec.activation,
        "threshold": spec.threshold,
        "window": {"length": spec.length, "hop": spec.hop, "interval_s": spec.interval_s},
        "image": None if spec.image is None else asdict(spec.image),
        "channels": [
            {"name": channel.name, "unit": channel.unit, "mean": float(mean), "std": float(std)}
            for channel, mean, std in zip(spec.channels, spec.mean, spec.std, strict=True)
        ],
        "input": _tensor_values(bundle.input),
        "output": _tensor_values(bundle.output),
        "model": {"bytes": len(bundle.model), "sha256": bundle.sha256},
        "training": dict(bundle.training),
        "golden": golden,
    }


def _tensor_values(tensor: TensorSpec) -> Mapping[str, object]:
    return {
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        "scale": tensor.scale,
        "zero_point": tensor.zero_point,
    }
