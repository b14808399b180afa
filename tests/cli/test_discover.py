"""``gatewayd discover`` as a person types it; tests/integration/test_discover.py lets it listen."""

import pytest
import structlog
from click.testing import CliRunner

from gatewayd.cli import main
from tests.support.broker import free_port


def run(*arguments):
    return CliRunner().invoke(main, ["discover", *map(str, arguments)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing option '--host'"),
        (["--host", "mqtt://h"], "expected a host name or address alone"),
        (["--host", "h", "--topic", "a#"], "a wildcard stands on a level of its own"),
        (["--host", "h", "--seconds", "0"], "not in the range"),
        (["--host", "h", "--password-file", "nothing"], "does not exist"),
        (["--host", "h", "--password-file", __file__], "--password-file needs --username"),
        (["--host", "h", "--cert-file", __file__], "--cert-file and --key-file go together"),
    ],
)
def test_a_wrong_option_is_explained(arguments, message):
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in done.output


def test_an_existing_file_stays_as_it_is(tmp_path):
    path = tmp_path / "gatewayd.yaml"
    path.write_text("mine")
    done = run("--host", "127.0.0.1", "-o", path)
    assert done.exit_code == 2
    assert "exists already" in done.output
    assert path.read_text() == "mine"


def test_a_broker_that_refuses_is_one_line(tmp_path):
    port, before = free_port(), structlog.get_config()
    done = run("--host", "127.0.0.1", "--port", port, "-o", tmp_path / "new.yaml")
    assert done.exit_code == 1
    assert done.output.startswith(f"127.0.0.1:{port}: ")
    assert len(done.output.splitlines()) == 1
    assert not (tmp_path / "new.yaml").exists()
    assert structlog.get_config() == before
