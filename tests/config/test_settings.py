"""The options themselves: described, closed, limited; the sample and the reference name them all."""

import re
import runpy
from pathlib import Path

import pytest
from pydantic import ValidationError

from gatewayd.config.document import Table, read_document
from gatewayd.config.parse import load_config
from gatewayd.config.settings import BrokerSettings, Settings, parse_n_of_m
from gatewayd.config.wording import walk_options

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "config" / "gatewayd.yaml"
OPTIONS = list(walk_options(Settings))


def uncommented(text):
    """Turn ``#option: example`` into an option; prose has a space behind its ``#``."""
    return re.sub(r"(?m)^( *)#([a-z])", r"\1\2", text)


def options_in(text):
    def walk(table, at):
        for key, entry in table.entries.items():
            name = "NAME" if at and at[-1] in ("brokers", "streams", "channels") else key
            yield (*at, name)
            if isinstance(entry.value, Table):
                yield from walk(entry.value, (*at, name))

    document = read_document(text.encode())
    assert not document.faults
    return set(walk(document.root, ()))


def test_every_option_is_described():
    assert [loc for loc, info in OPTIONS if not info.description and loc[-1] != "gateway"] == []


def test_the_sample_names_every_option():
    missing = {loc for loc, _ in OPTIONS} - options_in(uncommented(SAMPLE.read_text(encoding="utf-8")))
    assert missing == set()


def test_the_sample_stands_at_the_defaults():
    loaded = load_config(SAMPLE)
    for loc, info in OPTIONS:
        if info.is_required() or loc in (("streams", "NAME", "time"), ("streams", "NAME", "model")):
            continue  # shown because they are what most people want
        value = loaded.settings
        for part in loc:
            if part == "NAME":
                value = next(iter(value.values()))
            elif value is not None:
                value = getattr(value, {"from": "from_", "raise": "raise_"}.get(part, part))
            if value is None:
                break
        assert value == info.default or (value is None and part != loc[-1]), (
            loc
        )  # a section that is off has none


def test_the_sample_with_every_option_uncommented_is_valid(tmp_path):
    text = uncommented(SAMPLE.read_text(encoding="utf-8"))
    # the topic has {device}; and where there are two ways, one or the other
    text = re.sub(r"(?m)^ *(device: pump-7|ema: 0.3|hop: 8|threshold: 2.5)\n", "", text)
    text = text.replace("    protocol: 3.1.1\n", "    protocol: 5\n")
    (tmp_path / "all.yaml").write_text(text, encoding="utf-8")
    assert load_config(tmp_path / "all.yaml").settings.brokers["local"].tls is not None


@pytest.mark.parametrize("path", sorted((ROOT / "config" / "examples").glob("*.yaml")), ids=lambda p: p.name)
def test_each_example_is_valid(path):
    assert load_config(path).settings.streams


def test_the_reference_is_what_its_script_writes():
    tool = runpy.run_path(str(ROOT / "tools" / "config_reference.py"))
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert tool["updated"](text) == text
    for loc, info in OPTIONS:
        assert (
            f"`{loc[-1]}`" in text and info.description.replace("|", "\\|") in text
            if info.description
            else True
        )


@pytest.mark.parametrize("text", ["3 of 5", "1 of 1", "64 of 64"])
def test_n_of_m_is_read(text):
    n, m = parse_n_of_m(text)
    assert f"{n} of {m}" == text


@pytest.mark.parametrize("text", ["", "0 of 3", "4 of 3", "3 of 65", "3/5", "three of 5", "3 of 5 of 7"])
def test_what_is_no_n_of_m_is_refused(text):
    with pytest.raises(ValueError, match="N"):
        parse_n_of_m(text)


@pytest.mark.parametrize("host", ["localhost", "broker.example.com", "127.0.0.1", "::1", "my_host"])
def test_a_host_is_a_name_or_an_address(host):
    assert BrokerSettings(host=host).host == host


@pytest.mark.parametrize("host", ["", "mqtt://x", "u:S3cret@x", "x:1883", "a b", "x/y", "-x"])
def test_what_is_more_than_a_host_is_refused(host):
    with pytest.raises(ValidationError) as caught:
        BrokerSettings(host=host)
    assert "S3cret" not in caught.value.errors()[0]["msg"]


def test_the_port_follows_the_transport():
    assert BrokerSettings(host="x").effective_port == 1883
    assert BrokerSettings.model_validate({"host": "x", "tls": {}}).effective_port == 8883
    assert BrokerSettings(host="x", port=5).effective_port == 5
