"""``gatewayd replay``: a recording through the same flow as the daemon's, faster than real time."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

import click

from gatewayd.assemble import build_flow
from gatewayd.config.settings import Settings
from gatewayd.domain.figures import LineFigures
from gatewayd.startup import prepare
from gatewayd.workbench.recording import Arrived, Kind, RecordingError, Unread, kind_of, read_messages
from gatewayd.workbench.replay import Replay, Tally, written
from gatewayd.workbench.row_messages import TableError, TableOptions
from gatewayd.workbench.table_messages import read_tables

Form = Literal["auto", "messages", "table"]

_ALERTS_SHOWN = 50  # devices
# counters by reason, in the order of a reading's journey
_LOSSES = (
    "refused",
    "rejected",
    "unread",
    "untimed",
    "dropped",
    "removed",
    "clipped",
    "marked",
    "saturated",
    "unscored",
    "alerts_withheld",
)


@click.command("replay")
@click.option(
    "-c",
    "--config",
    "config",
    required=True,
    type=click.Path(path_type=Path, readable=False),
    help="The configuration file.",
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--stream", help="Stream that a table's rows belong to; the only one.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["auto", "messages", "table"]),
    default="auto",
    show_default=True,
    help="What the files hold: recorded messages, or rows of a table.",
)
@click.option("--time-column", help="A table's column of time stamps; found by its name.")
@click.option("--device-column", help="A table's column that tells devices apart; 'device' if there is one.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write; must not exist. Standard output.",
)
@click.option(
    "--predictions/--no-predictions",
    default=True,
    show_default=True,
    help="Write predictions too, or alerts only.",
)
@click.option(
    "--drain/--no-drain",
    default=True,
    show_default=True,
    help="Let time go on at the end, until readings of idle devices went on.",
)
def command(  # one per option
    *,
    config: Path,
    files: tuple[Path, ...],
    stream: str | None,
    form: Form,
    time_column: str | None,
    device_column: str | None,
    output: Path | None,
    predictions: bool,
    drain: bool,
) -> None:
    """Run recorded messages or tables through a configuration; write what it would have published.

    Nothing is connected, nothing is kept: the configuration's brokers and its state are left alone. Results are JSON
    lines; a summary goes to standard error. The same recording always gives the same, byte for byte. Exit code 1 where
    a recording can't be read, 78 where the configuration can't run.
    """
    if output is not None and output.exists():
        raise click.UsageError(f"{output} exists already, and stays as it is")
    prepared = prepare(config, opens_links=False)
    unread = Unread()
    options = TableOptions(stream=stream, time=time_column, device=device_column)
    flow = build_flow(prepared)
    replay = Replay(flow, prepared.settings)
    began = time.perf_counter()
    arrivals = _arrivals(files, form, prepared.settings, options, unread)
    with _writer(output) as file:
        for outcome in replay.run(arrivals, drains=drain):
            file.writelines(
                written(publication)
                for publication in outcome.publications
                if predictions or publication.kind != "prediction"
            )
    took_s = time.perf_counter() - began
    for line in _summary(flow.figures(), replay.tally, unread, took_s):
        click.echo(line, err=True)
    if not replay.tally.messages and unread.counts:
        raise RecordingError(f"{next(iter(unread.examples.values()))}: nothing could be read, from here on")


def _arrivals(
    files: tuple[Path, ...], form: Form, settings: Settings, options: TableOptions, unread: Unread
) -> Iterator[Arrived]:
    kinds = [(path, _kind(path, form)) for path in files]
    tables = [path for path, kind in kinds if kind != "messages"]
    if not tables:
        return (arrived for path in files for arrived in read_messages(path, unread))
    if len(tables) < len(files):
        raise click.UsageError(f"{tables[0]} is a table, others are not: say --format, or replay them apart")
    try:
        return read_tables(kinds, settings, options, unread)
    except TableError as error:
        raise click.UsageError(str(error)) from error


def _kind(path: Path, form: Form) -> Kind:
    if form == "messages":
        return "messages"
    kind = kind_of(path)
    return "rows" if form == "table" and kind == "messages" else kind


@contextmanager
def _writer(output: Path | None) -> Iterator[IO[bytes]]:
    if output is None:
        stdout = sys.stdout.buffer
        yield stdout
        stdout.flush()
        return
    try:
        with output.open("xb") as file:
            yield file
    except OSError as error:
        raise RecordingError(f"{output}: cannot be written: {error.strerror}") from error


def _summary(figures: LineFigures, tally: Tally, unread: Unread, took_s: float) -> Iterator[str]:
    yield f"messages:    {figures.messages}, over {tally.lasted_s:.6g} s"
    yield f"readings:    {figures.readings} of {figures.devices} devices; {figures.waiting} wait in open windows"
    yield f"windows:     {figures.windows}"
    yield f"predictions: {figures.predictions}"
    yield (
        f"alerts:      {figures.alerts_raised} raised, {figures.alerts_cleared} cleared, "
        f"{figures.alerts_standing} standing"
    )
    yield from _alerts(tally)
    for name in _LOSSES:
        yield from _losses(name, getattr(figures, name), figures.examples)
    for reason, count in sorted(unread.counts.items()):
        yield f"lines left out, {reason}: {count}, first {unread.examples[reason]}"
    if tally.requests:
        yield f"requests that sources would have been sent: {tally.requests}"
    rate = figures.readings / took_s if took_s else 0.0
    yield f"took {took_s:.3g} s: {rate:,.0f} readings/s, {tally.lasted_s / took_s if took_s else 0.0:,.0f} x real time"


def _alerts(tally: Tally) -> Iterator[str]:
    devices: dict[tuple[str, str], list[str]] = {}
    for (stream, device, state), count in tally.alerts.items():
        devices.setdefault((stream, device), []).append(f"{count} {state}")
    for (stream, device), states in sorted(devices.items())[:_ALERTS_SHOWN]:
        yield f"  {stream}/{device}: {', '.join(states)}"
    if len(devices) > _ALERTS_SHOWN:
        yield f"  and {len(devices) - _ALERTS_SHOWN} more devices"


def _losses(name: str, counts: Mapping[str, int], examples: Mapping[str, str]) -> Iterator[str]:
    for reason, count in sorted(counts.items()):
        example = examples.get(f"{name}/{reason}")
        yield f"{name.replace('_', ' ')}, {reason}: {count}" + (f", first {example}" if example else "")
