"""``gatewayd tap`` as a person types it; tests/integration/test_tap.py lets it look on."""

import pytest
from click.testing import CliRunner

from gatewayd.cli import main
from tests.support.broker import free_port

CONFIG = """
gateway: {{id: gw}}
brokers: {{local: {{host: 127.0.0.1, port: {port}}}}}
streams:
  boiler:
    from: local
    topic: site/{{device}}/telemetry
    channels: {{temperature: {{}}}}
    alert: {{threshold: 4}}
    publish: {{to: local}}
"""


def tap(folder, *arguments):
    path = folder / "gatewayd.yaml"
    path.write_text(CONFIG.format(port=free_port()))
    return path, CliRunner().invoke(main, ["tap", "-c", str(path), *arguments])


def test_a_broker_that_refuses_is_one_line(tmp_path):
    _, done = tap(tmp_path)
    assert done.exit_code == 1
    (line,) = done.output.splitlines()
    assert line.startswith("127.0.0.1:")
    assert "refused" in line


def test_an_unknown_stream_is_named(tmp_path):
    _, done = tap(tmp_path, "boilr")
    assert done.exit_code == 2
    assert "there is no stream 'boilr'; there are boiler" in done.output


@pytest.mark.parametrize("option", [["--seconds", "0"], ["--count", "0"]])
def test_a_limit_is_above_nothing(tmp_path, option):
    _, done = tap(tmp_path, *option)
    assert done.exit_code == 2
    assert "not in the range" in done.output


def test_a_wrong_configuration_is_not_looked_at(tmp_path):
    path = tmp_path / "gatewayd.yaml"
    path.write_text("gateway: {}\n")
    done = CliRunner().invoke(main, ["tap", "-c", str(path)])
    assert done.exit_code == 78
    assert f"{path}:1:1: gateway: the option 'id' is missing" in done.output
