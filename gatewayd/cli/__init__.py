"""The command line: one module per verb, imported when that verb runs.

``gatewayd --help`` and ``gatewayd run`` must not pay for what training needs, so the help texts of the
verbs stand here. Exit codes: 0; 78 (EX_CONFIG of sysexits.h) if a person must act before another start
makes sense; 1 for other errors; 2 for wrong usage.
"""

from importlib import import_module

import click

from gatewayd import __version__
from gatewayd.errors import GatewayError, StartupError

EXIT_CONFIG = 78
_VERBS = {
    "check": "Say all that is wrong with a configuration, or what it would run.",
    "discover": "Listen to a broker, write a first configuration.",
    "model": "Show and verify model bundles.",
    "replay": "Run a recording through a configuration, faster than real time.",
    "run": "Run the gateway.",
    "tap": "Show live what streams decode, drop and score, beside a running daemon.",
    "test": "Run the cases that stand beside a configuration through it.",
    "train": "Make a model bundle from recorded readings (extra 'train').",
    "train-pictures": "Make a model bundle from a folder of pictures (extra 'train').",
}


class _Verbs(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Name the verbs."""
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # same
        """Import a verb's module and return its ``command``."""
        if cmd_name not in _VERBS:
            return None
        command = import_module(f"gatewayd.cli.{cmd_name.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # same
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_VERBS.items()))

    def invoke(self, ctx: click.Context) -> object:
        """Run a verb; print each problem of ours as one line."""
        try:
            return super().invoke(ctx)
        except GatewayError as error:
            for line in str(error).splitlines():
                click.echo(line, err=True)
            ctx.exit(EXIT_CONFIG if isinstance(error, StartupError) else 1)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gatewayd")
def main() -> None:
    """Score sensor windows on an edge gateway; publish predictions and alerts over MQTT."""
