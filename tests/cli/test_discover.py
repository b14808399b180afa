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


class Interrupted:
    """A session to which a pump talks at each poll, until somebody presses Ctrl-C at the ninth."""

    last_error = None

    def __init__(self, settings, *, client_id, subscriptions, **_):
        assert client_id.startswith("gatewayd-discover-")
        assert subscriptions == [("site/+", 0), ("#", 0)]
        self.polls = 0

    def poll(self, timeout_s):
        assert 0 <= timeout_s <= 1
        self.polls += 1
        if self.polls == 9:
            raise KeyboardInterrupt

    def take_messages(self):
        return [(b"site/p1", b'{"temp":%d.5}' % (20 + self.polls % 3), 0x30, 0)]

    def close(self, timeout_s):
        assert timeout_s > 0


@pytest.fixture
def _interrupted(monkeypatch):
    monkeypatch.setattr("gatewayd.cli.discover.Session", Interrupted)


@pytest.mark.usefixtures("_interrupted")
def test_ctrl_c_ends_the_listening_with_what_was_heard(tmp_path):
    path = tmp_path / "new.yaml"
    done = run("--host", "h", "--topic", "site/{x}", "--topic", "#", "--gateway", "Gerät 1", "-o", path)
    assert done.exit_code == 0, done.output
    table, heard, written = done.stderr.splitlines()[1:]
    assert table.split() == ["site", "json", "site/{device}", "1", "8", *table.split()[5:7], "temp"]
    assert (heard, written) == ("8 messages on 1 topic", f"{path}: written; now gatewayd check -c {path}")
    assert "  id: Gerat_1\n" in path.read_text()
    assert CliRunner().invoke(main, ["check", "-c", str(path)]).exit_code == 0


@pytest.mark.usefixtures("_interrupted")
def test_without_a_file_the_configuration_goes_to_standard_output():
    done = run("--host", "h", "--topic", "site/{x}", "--topic", "#")
    assert done.exit_code == 0
    assert done.stdout.startswith("# A first configuration")
    assert "written" not in done.stderr


@pytest.mark.usefixtures("_interrupted")
def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    done = run("--host", "h", "--topic", "site/{x}", "--topic", "#", "-o", tmp_path / "no" / "new.yaml")
    assert done.exit_code == 1
    assert (
        done.stderr.splitlines()[-1]
        == f"{tmp_path}/no/new.yaml: cannot be written: No such file or directory"
    )


@pytest.mark.usefixtures("_interrupted")
def test_a_refused_subscription_ends_it(monkeypatch):
    monkeypatch.setattr(Interrupted, "last_error", "subscription refused: #")
    monkeypatch.setattr(Interrupted, "take_messages", lambda _: [])
    monkeypatch.setattr(Interrupted, "close", lambda *_: None)
    done = run("--host", "h", "--topic", "site/{x}", "--topic", "#")
    assert (done.exit_code, done.output) == (1, "h:1883: subscription refused: #\n")
