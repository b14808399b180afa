"""``gatewayd tap``: what the streams make of what comes just now, beside a running daemon."""

import os
import secrets
import sys
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import click

from gatewayd.cli.quiet import silent_logs, until_told
from gatewayd.errors import TransientError
from gatewayd.links import broker_settings, source_name, subscriptions
from gatewayd.mqtt.session import Session
from gatewayd.startup import Prepared, prepare
from gatewayd.workbench.tap import Tap, looked_on
from gatewayd.workbench.telling import Teller

_BEGAN_NS = time.time_ns() - time.monotonic_ns()
_POLL_S = 0.25
_CLOSE_S = 1.0
_READ_PER_S = 20  # messages a second that a person can follow
_PIPED_PER_S = 500  # that looking on one by one can keep up with, on a small machine


@click.command("tap")
@click.option(
    "-c",
    "--config",
    "config",
    required=True,
    type=click.Path(path_type=Path, readable=False),
    help="The configuration file.",
)
@click.argument("streams", nargs=-1)
@click.option("--seconds", type=click.FloatRange(0.1, 86_400), help="How long to look on; until Ctrl-C.")
@click.option("--count", type=click.IntRange(min=1), help="Messages after which to end.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON lines.")
@click.option("--raw", is_flag=True, help="Show each message's topic and payload as well.")
def command(
    *,
    config: Path,
    streams: tuple[str, ...],
    seconds: float | None,
    count: int | None,
    as_json: bool,
    raw: bool,
) -> None:
    """Show live what STREAMS (all of them, if none is named) decode, drop and score.

    Listens with a link of its own and runs a flow of its own: a daemon beside it notices nothing, and nothing is
    published or kept. Windows, running means and thresholds begin anew, so first scores take a while. Ctrl-C ends
    it with a summary. Exit code 1 where the broker can't be reached, 78 where the configuration can't run.
    """
    prepared = prepare(config)
    try:
        prepared = looked_on(prepared, streams)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    is_tty = sys.stdout.isatty()
    is_coloured = is_tty and not os.environ.get("NO_COLOR")
    tap = Tap(
        prepared,
        steady_now=_steady_ns(),
        shown_per_s=_READ_PER_S if is_tty and not as_json else _PIPED_PER_S,
        teller=None if as_json else Teller(prepared.settings, is_coloured=is_coloured, is_raw=raw),
        is_raw=raw,
    )
    with (
        silent_logs(),
        until_told(),
        closing(_listened(prepared, tap, seconds=seconds, count=count)) as lines,
    ):
        for line in lines:
            click.echo(line, color=is_coloured)
    for line in tap.end():
        click.echo(line, color=is_coloured)


def _listened(
    prepared: Prepared, tap: Tap, *, seconds: float | None, count: int | None
) -> Generator[str, None, None]:
    """Yield what the tap has to say until the time is over or enough has come.

    Raises:
        TransientError: The broker can't be reached, or refuses the subscriptions.
    """
    name = source_name(prepared.settings)
    broker = broker_settings(prepared, name)
    gateway = prepared.settings.gateway.id
    session = Session(
        broker,
        client_id=f"{gateway}-tap-{secrets.token_hex(4)}",
        gateway=gateway,
        password=prepared.secrets.get(name),
        subscriptions=[(topic, 0) for topic, _ in subscriptions(prepared)],
    )
    began = time.monotonic()
    told: str | None = None
    was_subscribed = False
    try:
        while (left_s := _left_s(began, seconds)) > 0 and (count is None or tap.messages < count):
            session.poll(min(left_s, _POLL_S))
            was_subscribed = was_subscribed or session.is_subscribed
            if session.last_error is not None and not was_subscribed:
                raise TransientError(f"{broker.host}:{broker.effective_port}: {session.last_error}")
            if session.last_error not in (None, told):
                click.echo(
                    f"{broker.host}:{broker.effective_port}: {session.last_error}; trying again", err=True
                )
            told = session.last_error
            messages = session.take_messages()
            if count is not None:
                del messages[count - tap.messages :]
            yield from tap.take(messages, now=time.time_ns(), steady_now=_steady_ns())
    finally:
        session.close(_CLOSE_S)


def _left_s(began: float, seconds: float | None) -> float:
    return _POLL_S if seconds is None else began + seconds - time.monotonic()


def _steady_ns() -> int:
    """Return the time by a clock that begins at the wall clock's and never jumps, as the line has it."""
    return _BEGAN_NS + time.monotonic_ns()
