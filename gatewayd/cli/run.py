"""``gatewayd run``: the daemon."""

import sys
from pathlib import Path

import click

from gatewayd import app
from gatewayd.startup import prepare


@click.command("run")
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path, readable=False),
    default=Path("/etc/gatewayd/gatewayd.yaml"),
    show_default=True,
    help="The configuration file.",
)
def command(config: Path) -> None:
    """Run the gateway until SIGTERM; SIGHUP reloads the configuration."""
    sys.exit(app.run(prepare(config)))
