"""``gatewayd test``: an integrator's tests of a configuration, kept beside it."""

import time
from collections import Counter
from pathlib import Path

import click

from gatewayd.assemble import build_flow
from gatewayd.errors import TransientError
from gatewayd.startup import Prepared, prepare
from gatewayd.workbench.case import Case
from gatewayd.workbench.case_file import read_cases
from gatewayd.workbench.case_match import differences
from gatewayd.workbench.case_run import run_case
from gatewayd.workbench.junit import Result, junit
from gatewayd.workbench.tap import looked_on
from gatewayd.workbench.telling import printable

_PATTERNS = ("*.cases.yaml", "cases/*.yaml")


@click.command("test")
@click.option(
    "-c",
    "--config",
    "config",
    required=True,
    type=click.Path(path_type=Path, readable=False),
    help="The configuration file.",
)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--junit",
    "report",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write the results to as JUnit XML, in place of one that is there.",
)
def command(*, config: Path, files: tuple[Path, ...], report: Path | None) -> None:
    """Run the cases in FILES through a configuration, and say where something else comes out than they expect.

    Without FILES: every *.cases.yaml, and every *.yaml in cases/, beside the configuration. Nothing is connected,
    nothing is kept; each case begins anew. Exit code 0 where all hold, 1 where one doesn't, 78 where the configuration
    or a file of cases is wrong.
    """
    prepared = looked_on(prepare(config, opens_links=False), (), has_all_scores=False)
    paths = files or _beside(config)
    if not paths:
        raise click.UsageError(
            f"no cases beside {config}: expected {' or '.join(_PATTERNS)}, or files to be named"
        )
    results = []
    shown: Path | None = None
    for case in read_cases(paths):
        if case.path != shown:
            click.echo(str(case.path))
            shown = case.path
        result = _run(case, prepared)
        results.append(result)
        click.echo(f"  {'FAIL' if result[1] else 'ok  '}  {printable(case.name)}")
        for line in result[1]:
            click.echo(f"          {printable(line)}")
    _report(results, report)


def _beside(config: Path) -> tuple[Path, ...]:
    return tuple(path for pattern in _PATTERNS for path in sorted(config.parent.glob(pattern)))


def _run(case: Case, prepared: Prepared) -> Result:
    began = time.perf_counter()
    found = differences(case.expected, run_case(case, build_flow(prepared)))
    return case, found, time.perf_counter() - began


def _report(results: list[Result], report: Path | None) -> None:
    if report is not None:
        try:
            report.write_text(junit(results), encoding="utf-8")
        except OSError as error:
            raise TransientError(f"{report}: cannot be written: {error.strerror}") from error
    counts = Counter(bool(found) for _, found, _ in results)
    failed = f"{counts[True]} of {len(results)} cases failed"
    click.echo(failed if counts[True] else f"{len(results)} cases, all as expected")
    if counts[True]:
        raise click.exceptions.Exit(1)
