"""``gatewayd replay`` as a person types it: results, summary, exit codes."""

import json
import re
import subprocess
import sys
from itertools import pairwise

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.cli import main
from gatewayd.workbench.simulate import CHANNELS, BearingFault, Pump
from tests.support.daemon import PUMP_MODEL

NAMES = [name for name, _ in CHANNELS]
CONFIG = f"""
gateway: {{id: gw-1}}
brokers:
  local: {{host: 127.0.0.1}}
streams:
  pump:
    from: local
    topic: site/{{line}}/{{device}}/t
    time: {{field: ts}}
    channels: {{temperature: {{}}, vibration: {{}}, pressure: {{}}, current: {{}}}}
    model: {PUMP_MODEL}
    publish: {{to: local, topic: "plant/{{device}}"}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A configuration, and two pumps' readings as messages and as a table; the second pump wears."""
    folder = tmp_path_factory.mktemp("replay")
    (folder / "c.yaml").write_text(CONFIG)
    fault = BearingFault(begins_s=4.0, lasts_s=100.0, ramp_s=1.0)
    pumps = {"p1": Pump(seed=1, interval_s=0.05), "p2": Pump(seed=2, interval_s=0.05, fault=fault)}
    lines, rows = [], [f"ts,line,device,{','.join(NAMES)}"]
    for step in range(200):
        at = round(1_700_000_000 + 0.05 * step, 3)
        for device, pump in pumps.items():
            values = pump.step()
            payload = json.dumps({"ts": at, **dict(zip(NAMES, values, strict=True))})
            lines.append(json.dumps({"at": at + 0.02, "topic": f"site/l1/{device}/t", "payload": payload}))
            rows.append(f"{at},l1,{device},{','.join(map(repr, values))}")
    (folder / "r.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "r.csv").write_text("\n".join(rows) + "\n")
    return folder


def replay(folder, *arguments):
    return CliRunner().invoke(main, ["replay", "-c", str(folder / "c.yaml"), *map(str, arguments)])


def test_a_recording_gives_what_the_daemon_would_publish(folder):
    done = replay(folder, folder / "r.jsonl")
    assert done.exit_code == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [line["topic"].rpartition("/")[2] for line in lines]
    assert kinds.count("prediction") == 2 * ((200 - 32) // 8 + 1)
    (alert,) = (line for line in lines if line["topic"] == "plant/p2/alert")
    assert alert == {**alert, "qos": 1, "retain": False}
    assert (alert["payload"]["state"], alert["payload"]["labels"]) == ("raised", {"line": "l1"})
    said = done.stderr.splitlines()
    assert said[:6] == [
        "messages:    400, over 9.95 s",
        "readings:    400 of 2 devices; 0 wait in open windows",
        "windows:     44",
        "predictions: 44",
        "alerts:      1 raised, 0 cleared, 1 standing",
        "  pump/p2: 1 raised",
    ]
    assert re.fullmatch(r"took \S+ s: [\d,]+ readings/s, [\d,]+ x real time", said[-1])
    assert all(line.startswith("saturated, pump/") for line in said[6:-1])  # what the bad pump does to int8


def test_a_table_gives_the_same_byte_for_byte_and_so_does_another_run(folder):
    messages = replay(folder, folder / "r.jsonl")
    assert replay(folder, folder / "r.csv").stdout_bytes == messages.stdout_bytes
    assert replay(folder, folder / "r.jsonl").stdout_bytes == messages.stdout_bytes


def test_parquet_gives_the_same_too(folder, tmp_path):
    core = pytest.importorskip("arro3.core", reason="needs the extra 'parquet'")
    io = pytest.importorskip("arro3.io", reason="needs the extra 'parquet'")
    head, *rows = (folder / "r.csv").read_text().splitlines()
    columns = dict(zip(head.split(","), zip(*(row.split(",") for row in rows), strict=True), strict=True))
    arrays = {name: core.Array(columns[name], type=core.DataType.string()) for name in ("line", "device")}
    micros = [round(float(at) * 1000) * 1000 for at in columns["ts"]]
    arrays["ts"] = core.Array(micros, type=core.DataType.int64()).cast(core.DataType.timestamp("us"))
    for name in NAMES:
        arrays[name] = core.Array([float(cell) for cell in columns[name]], type=core.DataType.float64())
    path = tmp_path / "r.parquet"
    io.write_parquet(core.Table.from_pydict(arrays), path)
    assert replay(folder, path).stdout_bytes == replay(folder, folder / "r.csv").stdout_bytes


def test_alerts_alone_can_be_written_to_a_file_that_is_not_there(folder, tmp_path):
    output = tmp_path / "out.jsonl"
    done = replay(folder, folder / "r.jsonl", "-o", output, "--no-predictions")
    assert (done.exit_code, done.stdout) == (0, "")
    (alert,) = map(json.loads, output.read_text().splitlines())
    assert alert["topic"] == "plant/p2/alert"
    again = replay(folder, folder / "r.jsonl", "-o", output)
    assert again.exit_code == 2
    assert "exists already, and stays as it is" in again.stderr
    nowhere = replay(folder, folder / "r.jsonl", "-o", tmp_path / "none" / "out")
    assert nowhere.exit_code == 1
    assert nowhere.stderr == f"{tmp_path}/none/out: cannot be written: No such file or directory\n"


@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(0, 200).map(lambda n: 2 * n), max_size=4))
def test_any_cut_into_files_gives_the_same(folder, tmp_path_factory, cuts):
    """Messages in their order; tables in any, where rows of one instant stay together."""
    whole = replay(folder, folder / "r.jsonl").stdout_bytes
    parts = tmp_path_factory.mktemp("parts")
    edges = sorted({0, 400, *cuts})
    lines = (folder / "r.jsonl").read_text().splitlines(keepends=True)
    head, *rows = (folder / "r.csv").read_text().splitlines(keepends=True)
    messages, tables = [], []
    for begin, end in pairwise(edges):
        messages.append(parts / f"{begin:03}.jsonl")
        messages[-1].write_text("".join(lines[begin:end]))
        tables.append(parts / f"{begin:03}.csv")
        tables[-1].write_text(head + "".join(rows[begin:end]))
    assert replay(folder, *messages).stdout_bytes == whole
    assert replay(folder, *reversed(tables)).stdout_bytes == whole  # rows go by time


def test_lines_that_cannot_be_read_are_summed_up_with_the_first_place_of_each_kind(folder, tmp_path):
    lines = (folder / "r.jsonl").read_text().splitlines()
    path = tmp_path / "damaged.jsonl"
    path.write_text("\n".join((*lines[:10], "{", *lines[10:], '{"topic": "x"}', lines[-1][:50])))
    done = replay(folder, path)
    assert done.exit_code == 0
    assert done.stdout_bytes == replay(folder, folder / "r.jsonl").stdout_bytes
    left_out = [line for line in done.stderr.splitlines() if line.startswith("lines left out")]
    assert left_out == [
        f"lines left out, no_single_payload: 1, first {path}:402",
        f"lines left out, not_json: 2, first {path}:11",
    ]


def test_losses_of_the_flow_are_summed_up_by_reason(folder, tmp_path):
    first = json.loads((folder / "r.jsonl").read_text().splitlines()[0])
    path = tmp_path / "bad.jsonl"
    bad = [
        first,
        {**first, "payload": "{"},
        {**first, "topic": "elsewhere"},
        first,
    ]
    path.write_text("\n".join(map(json.dumps, bad)))
    done = replay(folder, path)
    assert done.exit_code == 0
    found = done.stderr.splitlines()
    assert "refused, unexpected_topic: 1, first elsewhere" in found
    assert "rejected, not_json: 1, first pump/l1/p1" in found
    assert "dropped, duplicate: 1, first pump/l1/p1" in found


def test_many_alerting_devices_do_not_fill_the_screen(folder, tmp_path):
    path = tmp_path / "many.csv"
    values = ",".join("999" for _ in NAMES)
    rows = [f"{1_700_000_000 + step},l1,d{n:02},{values}" for step in range(100) for n in range(52)]
    path.write_text("\n".join([f"ts,line,device,{','.join(NAMES)}", *rows]))
    lines = replay(folder, path).stderr.splitlines()
    assert "alerts:      52 raised, 0 cleared, 52 standing" in lines
    assert "  pump/d49: 1 raised" in lines
    assert "  pump/d50: 1 raised" not in lines
    assert "  and 2 more devices" in lines


def test_requests_to_sources_are_counted(folder, tmp_path):
    """A Sparkplug node that was never born would be asked for its birth."""
    pytest.importorskip("google.protobuf", reason="needs the extra 'formats'")
    config = CONFIG.replace("topic: site/{line}/{device}/t", "topic: spBv1.0/plant/+/edge/{device}")
    config = config.replace("    time: {field: ts}\n", "    format: sparkplug_b\n").replace("{line}", "")
    (tmp_path / "c.yaml").write_text(config)
    path = tmp_path / "r.jsonl"
    path.write_text('{"at": 1700000000, "topic": "spBv1.0/plant/DDATA/edge/p1", "payload_hex": "18011000"}')
    done = replay(tmp_path, path)
    assert done.exit_code == 0
    assert "requests that sources would have been sent: 1" in done.stderr


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("nonsense\nmore\n", "r.csv", "r.csv:1: has no column that looks like a time stamp"),
        ('{"topic": 1}\n{"x": 1}\n', "r.jsonl", "r.jsonl:1: nothing could be read"),
        ("", "r.csv", None),
        (None, "r.jsonl", "r.jsonl: cannot be read: No such file or directory"),
        ("PAR1", "r.parquet", "r.parquet: "),
    ],
)
def test_what_is_no_recording_ends_with_1_and_its_place(folder, tmp_path, text, name, message):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    done = replay(folder, path)
    if message is None:  # an empty file is an empty recording
        assert done.exit_code == 0
        return
    assert done.exit_code == 1
    assert f"{tmp_path}/{message}" in done.stderr.splitlines()[-1]


def test_a_configuration_that_cannot_run_ends_with_78(folder, tmp_path):
    (tmp_path / "c.yaml").write_text("gateway: {id: gw-1}\n")
    assert replay(tmp_path, folder / "r.jsonl").exit_code == 78


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing argument 'FILES...'"),
        (("r.jsonl", "r.csv"), "r.csv is a table, others are not"),
        (("r.csv", "--stream", "x"), "there is no stream 'x'"),
        (("r.csv", "--format", "avro"), "'avro' is not one of"),
    ],
)
def test_wrong_usage_is_explained(folder, arguments, message, monkeypatch):
    monkeypatch.chdir(folder)
    done = replay(folder, *arguments)
    assert done.exit_code == 2
    assert message in done.stderr


def test_the_format_can_be_said(folder, tmp_path):
    """Rows that look like messages; and messages behind much that doesn't."""
    rows = tmp_path / "rows.jsonl"
    row = {"ts": 1_700_000_000, "topic": "a", "payload": "b", **dict.fromkeys(NAMES, 1.0)}
    rows.write_text(json.dumps(row))
    assert "readings:    0 " in replay(folder, rows).stderr
    assert "readings:    1 of 1 devices" in replay(folder, rows, "--format", "table").stderr
    messages = tmp_path / "messages.jsonl"
    messages.write_text("noise\n" * 20 + (folder / "r.jsonl").read_text())
    assert "readings:    400 of 2 devices" in replay(folder, messages, "--format", "messages").stderr


def test_a_reader_that_goes_away_is_no_traceback(folder):
    done = subprocess.run(
        f"{sys.executable} -m gatewayd replay -c {folder}/c.yaml {folder}/r.jsonl | head -c 10",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == '{"topic":"'
    assert "Traceback" not in done.stderr
