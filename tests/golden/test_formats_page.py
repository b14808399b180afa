"""docs/formats.md: each format has its section, each option its line, and each example gives what it says."""

import inspect
import re
from pathlib import Path

import pytest
import yaml

from gatewayd.domain.topic import TopicFilter
from gatewayd.formats.image import ImageFormat
from gatewayd.formats.registry import FORMATS
from gatewayd.formats.timestamp import to_ns
from tests.support.readings import ARRIVAL

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
EXAMPLES = [
    (name, *blocks)
    for name, text in SECTIONS.items()
    for blocks in re.findall(r"```yaml\n(.*?)```\n\n```text\n(.*?)```", text, re.DOTALL)
]
IDS = [f"{name}-{index}" for index, (name, *_) in enumerate(EXAMPLES)]


def parameters(name):
    """Those that a configuration gives."""
    if name == "image":
        known = inspect.signature(ImageFormat).parameters
        return {
            option: known[option] for option in known.keys() - {"width", "height", "colours"}
        }  # the model's
    return inspect.signature(FORMATS[name]._load()).parameters


def written(default):
    """A default as the page shows it."""
    if default is inspect.Parameter.empty:
        return "required"
    if default is None:
        return ""
    if isinstance(default, bool):
        return "`yes`" if default else "`no`"
    text = default if isinstance(default, str) else ", ".join(default)
    return f"`{text}`" if text else '`""`'


def test_every_format_has_its_section_and_no_other():
    assert set(SECTIONS) == {*FORMATS, "json", "number", "image"}
    for name in SECTIONS:
        assert f"[{name}](#{name})" in PAGE


def test_every_reason_of_a_format_is_explained():
    given = re.compile(
        r"""(?:RejectedInputError\(|(?:errors|notices)\.append\(|errors=\(|errors \+= .*\[)"([a-z_]+)\""""
    )
    code = "".join(
        path.read_text(encoding="utf-8") for path in sorted((ROOT / "gatewayd" / "formats").glob("*.py"))
    )
    reasons = set(given.findall(code))
    assert {"not_json", "bad_quality", "sequence_gap", "skipped_time"} <= reasons
    explained = PAGE.split("## What could not be read", 1)[1]
    operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert sorted(reason for reason in reasons if f"`{reason}`" not in explained + operations) == []
    words = set(re.findall(r"`([a-z]+_[a-z_]+)`", explained)) - set(FORMATS)
    assert sorted(word for word in words if f'"{word}"' not in code) == []


@pytest.mark.parametrize("name", sorted({*FORMATS, "image"}))
def test_every_option_has_its_line_with_its_default(name):
    rows = re.findall(r"^\| `(\w+)` \| (.*?) ?\| (.+) \|$", SECTIONS[name], re.MULTILINE)
    expected = {
        option: written(parameter.default)
        for option, parameter in parameters(name).items()
        if option != "time_unit"  # goes with time, as its unit
    }
    assert {option: default for option, default, _ in rows} == expected
    assert ("No options." in SECTIONS[name]) is not expected


def test_every_format_has_an_example():
    assert {name for name, *_ in EXAMPLES} == set(FORMATS)


def message(line):
    topic, payload = line.split(" ", 1)
    if payload.startswith("hex:"):
        return topic, bytes.fromhex(payload.removeprefix("hex:"))
    return topic, payload.replace("\\n", "\n").encode()


def reading(line):
    """Device, channel, value, unit, time, as far as they're stated."""
    line, _, at = line.removeprefix("→ ").partition(" at ")
    device, channel, value, *unit = line.split()
    return (
        None if device == "(topic)" else device,
        channel,
        float(value),
        unit[0] if unit else None,
        to_ns(at, "iso") if at else None,
    )


@pytest.mark.parametrize(("name", "stream", "lines"), EXAMPLES, ids=IDS)
def test_every_example_gives_what_it_says(name, stream, lines):
    settings = yaml.safe_load(stream)
    assert settings["format"] == name
    time = settings.get("time", {})
    given = {"time": time["field"], "time_unit": time.get("unit", "auto")} if time else {}
    decoder = FORMATS[name].from_text(settings.get("format_options", {}), **given)
    filters = [TopicFilter.parse(pattern) for pattern in (settings["topic"], *settings.get("also", ()))]
    expected, found = [], []
    for line in lines.splitlines():
        if line.startswith("→"):
            expected.append(reading(line))
            continue
        topic, payload = message(line)
        assert any(one.match(topic) is not None for one in filters), topic
        samples = decoder.decode(topic, payload, arrived_at=ARRIVAL)
        assert samples.errors == ()
        found += [(one.device, one.channel, one.value, one.unit, one.taken_at) for one in samples.samples]
    asked = {channel for _, channel, *_ in expected}  # what no channel asks for is passed over
    assert [row for row in found if row[1] in asked] == expected


def test_a_switch_of_the_page_is_a_switch():
    assert FORMATS["sparkplug_b"].from_text({"with_group": "no"})
