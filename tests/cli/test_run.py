"""``gatewayd run`` refuses as ``check`` does; what it does otherwise is tests/integration's."""

import os

import click
import pytest
from click.testing import CliRunner

from gatewayd.cli import main


@pytest.mark.parametrize("verb", ["run", "check"])
def test_a_file_that_is_missing_or_not_a_file_needs_the_operator(tmp_path, verb):
    for path in (tmp_path / "absent.yaml", tmp_path):
        result = CliRunner().invoke(main, [verb, "-c", str(path)])
        assert result.exit_code == 78
        assert str(path) in result.output


@pytest.mark.parametrize("verb", ["run", "check"])
def test_a_file_that_cannot_be_read_needs_the_operator(tmp_path, verb):
    path = tmp_path / "gatewayd.yaml"
    path.write_text("gateway: {id: x}")
    path.chmod(0)
    command = main.get_command(click.Context(main), verb)
    assert not next(
        p for p in command.params if "-c" in p.opts
    ).type.readable  # click's own exit code would be 2
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    result = CliRunner().invoke(main, [verb, "-c", str(path)])
    assert result.exit_code == 78
