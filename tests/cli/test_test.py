"""``gatewayd test`` as a person types it."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from gatewayd.cli import main

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
gateway: {id: gw}
brokers: {local: {host: 127.0.0.1}}
streams:
  boiler:
    from: local
    topic: site/{device}/telemetry
    time: {field: ts}
    channels: {temperature: {unit: °C, max: 150, resolution: 0.5}}
    baseline: {warm_up: 3}
    alert: {threshold: 6, raise: 1 of 1, clear: 1 of 1}
    publish: {to: local, predictions: anomalous, encoding: senml}
"""
GOOD = """
- name: a hot boiler rings
  messages:
    - {topic: site/b1/telemetry, repeat: 5, json: {ts: "{at}", temperature: 20}}
    - {topic: site/b1/telemetry, json: {ts: "{at}", temperature: 90}}
  expect:
    readings: 6
    predictions: [{device: b1, verdict: anomalous, window: {end: "2023-11-14T22:13:25Z"}}]
    alerts: [{state: raised, device: b1, condition: anomaly, score: "> 100"}]
    unscored: {warming_up: 3}
"""
BAD = """
- name: all is well
  messages: [{topic: site/b1/telemetry, json: {ts: "{at}", temperature: 20}}]
  expect: {readings: 1}
- name: more is expected than comes
  messages:
    - {topic: site/b1/telemetry, json: {ts: "{at}", temperature: 200}}
    - {topic: site/b2/telemetry, payload: hello}
  expect:
    readings: [{device: b1, values: {temperature: 20}}, {device: b2}]
    rejected: {not_json: 2}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "gatewayd.yaml").write_text(CONFIG)
    return tmp_path


def run(folder, *arguments):
    return CliRunner().invoke(main, ["test", "-c", str(folder / "gatewayd.yaml"), *map(str, arguments)])


def test_cases_that_hold_are_one_line_each(folder):
    (folder / "a.cases.yaml").write_text(GOOD)
    done = run(folder)
    assert done.output == f"{folder}/a.cases.yaml\n  ok    a hot boiler rings\n1 cases, all as expected\n"
    assert done.exit_code == 0


def test_what_differs_is_told_below_its_case(folder):
    (folder / "b.cases.yaml").write_text(BAD)
    done = run(folder)
    assert done.output == (
        f"{folder}/b.cases.yaml\n"
        "  ok    all is well\n"
        "  FAIL  more is expected than comes\n"
        "          readings[0].values.temperature: expected 20, found 200.0\n"
        '          readings[1]: expected {"device": "b2"}, found nothing\n'
        "          rejected not_json: expected 2, found 1, first boiler/b2\n"
        "          dropped out_of_range: expected 0, found 1, first boiler/b1\n"
        "1 of 2 cases failed\n"
    )
    assert done.exit_code == 1


def test_files_beside_the_configuration_are_found_and_others_can_be_named(folder):
    (folder / "cases").mkdir()
    for name in ("b.cases.yaml", "a.cases.yaml", "cases/c.yaml", "other.yaml"):
        (folder / name).write_text(GOOD)
    files = [line for line in run(folder).output.splitlines() if line.endswith(".yaml")]
    assert files == [str(folder / name) for name in ("a.cases.yaml", "b.cases.yaml", "cases/c.yaml")]
    named = [
        line for line in run(folder, folder / "other.yaml").output.splitlines() if line.endswith(".yaml")
    ]
    assert named == [str(folder / "other.yaml")]


def test_without_cases_it_says_where_they_are_looked_for(folder):
    done = run(folder)
    assert done.exit_code == 2
    assert "expected *.cases.yaml or cases/*.yaml, or files to be named" in done.output


def test_a_broken_file_of_cases_runs_nothing(folder):
    (folder / "a.cases.yaml").write_text(GOOD)
    broken = folder / "b.cases.yaml"
    broken.write_text("- {name: x, mesages: [], expect: {}}\n")
    done = run(folder)
    assert done.output == f"{broken}:1:13: unknown key 'mesages'; did you mean 'messages'?\n"
    assert done.exit_code == 78


def test_a_broken_configuration_runs_nothing(folder):
    (folder / "gatewayd.yaml").write_text("gateway: {}\n")
    (folder / "a.cases.yaml").write_text(GOOD)
    done = run(folder)
    assert f"{folder}/gatewayd.yaml:1:1: " in done.output
    assert done.exit_code == 78


def test_results_go_into_a_file_for_build_servers(folder):
    (folder / "b.cases.yaml").write_text(BAD)
    report = folder / "report.xml"
    report.write_text("of yesterday")
    done = run(folder, "--junit", report)
    assert done.exit_code == 1
    (suite,) = ET.fromstring(report.read_text())
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("2", "1")


def test_a_report_that_cannot_be_written_is_one_line(folder):
    (folder / "a.cases.yaml").write_text(GOOD)
    done = run(folder, "--junit", folder / "nowhere" / "report.xml")
    assert (
        done.output.splitlines()[-1]
        == f"{folder}/nowhere/report.xml: cannot be written: No such file or directory"
    )
    assert done.exit_code == 1


def test_the_sample_s_own_cases_hold():
    done = CliRunner().invoke(main, ["test", "-c", str(ROOT / "config" / "gatewayd.yaml")])
    assert done.output.splitlines()[-1] == "7 cases, all as expected"
    assert done.exit_code == 0
