"""``gatewayd check``: everything that is wrong with a configuration, or what it would run."""

from pathlib import Path

import click

from gatewayd.config.settings import BrokerSettings, StreamSettings
from gatewayd.domain.model import ModelSpec
from gatewayd.startup import Prepared, prepare


@click.command("check")
@click.option(
    "-c",
    "--config",
    "path",
    required=True,
    type=click.Path(path_type=Path, readable=False),
    help="The configuration file.",
)
def command(path: Path) -> None:
    """Say all that is wrong with a configuration, each problem with its place; touch nothing.

    Reads the file, the password and TLS files that it names, and the model bundles. Exit code 0 if it can
    run, 78 if it cannot.
    """
    prepared = prepare(path)
    for warning in prepared.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{path}: ok")
    for line in _summary(prepared):
        click.echo(f"  {line}")


def _summary(prepared: Prepared) -> list[str]:
    lines = [f"broker {name}: {_address(broker)}" for name, broker in prepared.settings.brokers.items()]
    for name, stream in prepared.settings.streams.items():
        spec = prepared.spec(name)
        lines.append(
            f"stream {name}: {stream.from_} {stream.topic} -> {stream.publish.to}; "
            f"{_model(spec)}, {_window(stream, spec)}"
        )
    return lines


def _model(spec: ModelSpec) -> str:
    return "no model: running z-scores" if spec.task == "deviation" else f"model {spec.name} {spec.version}"


def _window(stream: StreamSettings, spec: ModelSpec) -> str:
    window = stream.window
    if spec.image is not None:
        return f"pictures of {spec.image.width} x {spec.image.height} pixels"
    if window.duration_s is not None:
        hop_s = window.hop_s if window.hop_s is not None else window.duration_s
        return f"windows of {window.duration_s:g} s every {hop_s:g} s"
    return f"window {spec.length}, hop {window.hop if window.hop is not None else spec.hop}"


def _address(broker: BrokerSettings) -> str:
    tls = ", TLS" if broker.tls is not None else ""
    user = f", user {broker.username}" if broker.username is not None else ""
    return f"{broker.host}:{broker.effective_port}{tls}{user}"
