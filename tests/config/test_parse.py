"""Every problem of a file at once, each with its place; and any text whatever gives Settings or ConfigError."""

import os
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from gatewayd.config.document import read_document
from gatewayd.config.parse import load_config, read_settings
from gatewayd.config.settings import Settings
from gatewayd.errors import ConfigError

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CASES = ROOT.parent / "shared" / "cases" / "files"
MINIMAL = (ROOT / "config" / "examples" / "minimal.yaml").read_text(encoding="utf-8")
SAMPLE = (ROOT / "config" / "gatewayd.yaml").read_text(encoding="utf-8")
BROKEN = sorted((HERE / "broken").glob("*.yaml"))


def problems(path):
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    return caught.value.problems


def messages(folder, text):
    path = folder / "c.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [f"{p.line}:{p.column}: {p.message}" for p in problems(path)]


def case_file(name):
    path = CASES / name
    if not path.exists():
        pytest.skip(f"the cases' files are not beside the repository: {name}")
    return path


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_a_broken_file_is_answered_line_by_line(path):
    """The golden files are what a person reads; change them only together with a look at them."""
    lines = "".join(f"{str(p).replace(str(path), path.name)}\n" for p in problems(path))
    assert lines == path.with_suffix(".txt").read_text(encoding="utf-8")


def test_case_28_typing_errors_are_named_with_path_line_and_nearest_name():
    found = {p.line: p.message for p in problems(HERE / "broken" / "typos.yaml")}
    assert found[7] == "brokers.local.keep_alvie: unknown option; did you mean 'keepalive_s'?"
    assert found[9] == "brokers.local.tls.verfy: unknown option; did you mean 'insecure_skip_verify'?"
    assert found[18] == "streams.pump.alert.treshold: unknown option; did you mean 'threshold'?"


def test_case_28_a_doubled_key_is_named_with_both_lines():
    found = [p.message for p in problems(HERE / "broken" / "doubled.yaml")]
    assert "brokers.local.port: given twice, in lines 7 and 9; keep one" in found
    assert not any("x-defaults" in message or "brokers.local.host" in message for message in found)


def test_case_28_the_files_as_they_are_are_refused_with_their_lines():
    typo = {p.line: p.message for p in problems(case_file("config_typo.yaml")) if p.line > 1}
    assert {2, 5, 10} <= set(typo)  # input, upstream, scoring: no sections of ours
    doubled = [p.message for p in problems(case_file("config_duplicate.yaml"))]
    assert "input.filters: given twice, in lines 7 and 9; keep one" in doubled


class Traps(BaseModel):
    """Options of the types that the authors of config_traps.yaml meant."""

    model_config = ConfigDict(strict=True, extra="forbid")
    client_id: str
    port: int
    country: str
    threshold: float
    min: float
    max: float
    payload_map: dict[str, int]
    retain: bool
    quiet_from: str
    model_version: str
    device_ids: tuple[str, ...]
    since: str
    topic: str


def test_case_27_each_value_is_what_its_author_meant():
    traps, faults = read_settings(read_document(case_file("config_traps.yaml").read_bytes()), Traps)
    assert faults.found == []
    assert traps.model_dump() == {
        "client_id": "0777",
        "port": 1883,
        "country": "no",
        "threshold": 1000.0,
        "min": 0.001,
        "max": 1000.0,
        "payload_map": {"on": 1, "off": 0},
        "retain": False,
        "quiet_from": "22:30",
        "model_version": "1.10",
        "device_ids": ("0123", "08", "1_000", "12e03"),
        "since": "2025-03-14",
        "topic": "plant/#",
    }


def test_case_27_the_product_takes_the_same_values(tmp_path):
    text = MINIMAL.replace("id: gateway-1", "id: 0777").replace("to: local", "to: no").replace("local", "no")
    text = text.replace("unit: °C", "unit: 22:30, min: 1e-3, max: 1.0e3").replace(
        "model: ../models/pump", "model: 1.10"
    )
    text += "    alert: {threshold: 1e3}\n    qos: 0\nx-anything: [1]\n"
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    loaded = load_config(tmp_path / "c.yaml").settings
    stream = loaded.streams["pump"]
    channel = stream.channels["temperature"]
    assert (loaded.gateway.id, stream.from_, stream.publish.to, stream.model) == ("0777", "no", "no", "1.10")
    assert (channel.unit, channel.min, channel.max, stream.alert.threshold) == (
        "22:30",
        0.001,
        1000.0,
        1000.0,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("client_id: a\npassword: !pass\n", "2:11: '!' begins a tag"),
        ("client_id: a\nnote: a: b\n", "2:8: not valid YAML"),
        ("- a\n- b\n", "1:1: expected options as 'key: value'"),
    ],
)
def test_case_27_fragments_are_refused_with_their_line(tmp_path, text, expected):
    assert any(line.startswith(expected) for line in messages(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("device_ids: plant/#", "device_ids: expected a list, such as [a, b], not plant/#"),
        ("threshold: .nan", "threshold: expected a number, not .nan"),
        ("port: true", "port: expected a whole number, not true"),
        ("payload_map: {on: x}", "payload_map.on: expected a whole number, not x"),
        ("device_ids: [{a: 1}]", "device_ids: expected a single value, not options of its own"),
    ],
)
def test_case_27_a_value_of_another_type_is_refused(text, expected):
    _, faults = read_settings(read_document(text.encode()), Traps)
    assert expected in [fault.message for fault in faults.found]


def test_a_missing_option_is_named_at_its_section(tmp_path):
    found = messages(tmp_path, MINIMAL.replace("    from: local\n", "").replace("  id: gateway-1\n", ""))
    assert found == [
        "3:1: gateway: the option 'id' is missing (Name of this gateway; part of client ids, topics and payloads)",
        "10:3: streams.pump: the option 'from' is missing (Name of the broker to subscribe at)",
    ]


def test_a_misspelt_required_option_is_one_problem(tmp_path):
    found = messages(tmp_path, MINIMAL.replace("host:", "hots:"))
    assert found == ["8:5: brokers.local.hots: unknown option; did you mean 'host'?"]


def test_a_problem_that_follows_from_another_is_left_out(tmp_path):
    """The broker's name is misspelt in its section: nothing is said of those who use it rightly."""
    assert messages(tmp_path, MINIMAL.replace("  local:\n    host: 127.0.0.1\n", "  []\n")) == [
        "7:3: brokers: expected options as 'key: value' below it, not a list"
    ]


def test_an_empty_section_is_at_its_defaults_but_tls_must_be_plain(tmp_path):
    (tmp_path / "c.yaml").write_text(MINIMAL + "line:\noutbox: # nothing\n", encoding="utf-8")
    assert load_config(tmp_path / "c.yaml").settings.line.batch == 256
    found = messages(tmp_path, MINIMAL.replace("    host: 127.0.0.1\n", "    host: a\n    tls:\n"))
    assert found == ["9:9: brokers.local.tls: expected options below it, or {} for the defaults, not nothing"]


def test_a_name_that_is_none_is_refused_at_its_key(tmp_path):
    found = messages(tmp_path, MINIMAL.replace("  pump:", "  pump station:"))
    assert len(found) == 1
    assert found[0].startswith("11:3: streams.pump station: a name has")


@pytest.mark.parametrize(
    ("name", "reason"), [("missing", "No such file"), (".", "is not a file"), ("pipe", "is not a")]
)
def test_what_cannot_be_read_is_one_line(tmp_path, name, reason):
    os.mkfifo(tmp_path / "pipe")
    (problem,) = problems(tmp_path / name)
    assert reason in str(problem)
    assert "\n" not in str(problem)


def test_no_secret_of_the_file_is_repeated():
    text = "\n".join(str(problem) for problem in problems(HERE / "broken" / "secrets.yaml"))
    assert "S3cr3t" not in text
    assert "password_file" in text


def test_messages_speak_to_people():
    text = "\n".join(str(problem) for path in BROKEN for problem in problems(path))
    for jargon in ("pydantic", "http", "Input", "validation", "type=", "Extra", "[key]"):
        assert jargon not in text


def test_places_and_paths_are_those_of_the_file(tmp_path):
    (tmp_path / "c.yaml").write_text(MINIMAL, encoding="utf-8")
    loaded = load_config(tmp_path / "c.yaml")
    assert loaded.place(("streams", "pump", "model")) == (19, 12)
    assert loaded.place(("streams", "pump", "alert", "threshold")) == (11, 3)
    assert str(loaded.problem(("gateway", "id"), "x")) == f"{tmp_path}/c.yaml:4:7: gateway.id: x"
    assert loaded.resolve("models/pump") == tmp_path / "models/pump"
    assert loaded.resolve("/srv/m") == Path("/srv/m")


FRAGMENT = st.sampled_from(
    [
        "~",
        "{}",
        "[]",
        "no",
        "1e3",
        ".nan",
        "'",
        '"',
        "{",
        "}",
        "&a ",
        "*a",
        "<<: ",
        "!x ",
        "- ",
        "\t",
        "0",
        "99999999",
        "x: 1\n",
        "brokers: ",
        "channels",
        "null",
        "-1",
        "%",
        "\ufeff",
        "\x85",
        "|",
        "? ",
        ": ",
        "#",
        "é",
        "\x00",
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(
    edits=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 30), FRAGMENT | st.text(max_size=8)), max_size=4
    ),
    base=st.sampled_from([MINIMAL, SAMPLE]),
)
def test_any_text_gives_settings_or_config_error(tmp_path, edits, base):
    text = base
    for where, cut, fragment in edits:
        at = int(where * len(text))
        text = text[:at] + fragment + text[at + cut :]
    path = tmp_path / "c.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    problems_found, loaded = [], None
    try:
        loaded = load_config(path)
    except ConfigError as error:
        problems_found = error.problems
    assert bool(problems_found) != isinstance(loaded and loaded.settings, Settings)
    assert all(problem.line >= 1 and problem.message for problem in problems_found)


@settings(deadline=None)
@given(
    st.recursive(
        st.sampled_from(["x", "1", "null", "'q'"]),
        lambda inner: (
            st.dictionaries(
                st.sampled_from(
                    [
                        *Settings.model_fields,
                        "a",
                        "from",
                        "host",
                        "topic",
                        "channels",
                        "publish",
                        "to",
                        "id",
                        "tls",
                    ]
                ),
                inner,
                max_size=4,
            ).map(lambda d: "{" + ", ".join(f"{k}: {v}" for k, v in d.items()) + "}")
            | st.lists(inner, max_size=2).map(lambda i: "[" + ", ".join(i) + "]")
        ),
        max_leaves=25,
    )
)
def test_any_shape_is_read_without_another_error(text):
    document = read_document(f"{{gateway: {text}, brokers: {text}, streams: {{s: {text}}}}}".encode())
    result, faults = read_settings(document, Settings)
    assert result is not None
    assert faults.found or faults.wrong == set()


def test_a_choice_of_numbers_is_read_as_numbers():
    class Choice(BaseModel):
        qos: Literal[0, 1]

    model, faults = read_settings(read_document(b"qos: 1"), Choice)
    assert model.qos == 1
    _, faults = read_settings(read_document(b"qos: 01"), Choice)
    assert [fault.message for fault in faults.found] == ["qos: expected 0 or 1, not 01"]
