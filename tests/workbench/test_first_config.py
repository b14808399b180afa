"""Whatever peers call their things, the file is YAML that reads back as it was meant, and that check accepts."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.config.document import Items, Scalar, Table, read_document
from gatewayd.domain.topic import filters_overlap
from gatewayd.workbench.discover import discover
from gatewayd.workbench.first_config import free_place, remark, scalar
from tests.support import plant
from tests.support.discovered import configured, overhear

NASTY = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="abz09 \t\n\r:#-?&*!|>'\"%@`{}[],~.\\/<=_", max_size=20),
    st.sampled_from(
        [
            "null",
            "~",
            "yes",
            "0777",
            "1e3",
            "<<",
            "- a",
            "a: b",
            "a #b",
            "\x85",
            "\u2028",
            "\ufeff",
            "\ufffe",
            "😀",
        ]
    ),
)


@given(NASTY)
def test_any_text_reads_back_as_it_is(text):
    document = read_document(
        f"key: {scalar(text)}\nlist:\n  - {scalar(text)}\n{scalar(text)}: value\n".encode()
    )
    assert not document.faults
    assert isinstance(document.root, Table)
    entries = document.root.entries
    value, listed = entries["key"].value, entries["list"].value
    assert isinstance(value, Scalar)
    assert isinstance(listed, Items)
    assert [value.text, listed.items[0].text] == [text, text]
    assert entries[text].value.text in ("value", text) or text == "list"


@given(NASTY)
def test_any_remark_stays_on_its_line(text):
    document = read_document(f"a: b\n# {remark(text)}\nc: d\n".encode())
    assert not document.faults
    assert list(document.root.entries) == ["a", "c"]


def test_plain_texts_stay_plain():
    for text in ("site/{line}/{device}/telemetry", "homie/#", "127.0.0.1", "kg", "m3/h"):
        assert scalar(text) == text
    for text in ("no", "null", "{device}/a", "+/a", "°C", "%", "a b", "", "a/ #"):
        assert scalar(text).startswith('"')


LEVEL = st.one_of(
    st.sampled_from(["+", "gatewayd", "gw", "results", "status", "gatewayd-results-1"]),
    st.text(alphabet="ab+", min_size=1, max_size=1),
)
FILTERS = st.lists(
    st.tuples(st.lists(LEVEL, min_size=1, max_size=7), st.booleans()).map(
        lambda made: "/".join(made[0]) + ("/#" if made[1] and made[0][0] != "+" else "")
    ),
    min_size=1,
    max_size=6,
)


@given(FILTERS)
def test_results_go_where_nobody_listens(filters):
    root, between = free_place(filters, "gw")
    for count in range(1, 7):
        topic = f"{root}/gw/{between}" + "/".join(["x"] * count)
        assert not any(filters_overlap(topic, one) for one in filters)


def test_where_everybody_listens_there_is_no_place():
    with pytest.raises(ValueError, match="every topic"):
        free_place(["#"], "gw")


VALUES = st.recursive(
    st.one_of(
        st.floats(allow_nan=False, allow_infinity=False),
        st.integers(-(2**70), 2**70),
        st.booleans(),
        st.none(),
        NASTY,
        st.sampled_from(["21.5", "on", "2025-03-14T09:26:53Z"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NASTY, inner, max_size=4)),
    max_leaves=8,
)
TOPICS = st.one_of(
    NASTY,
    st.lists(
        st.one_of(
            st.sampled_from(
                [
                    *(
                        "site",
                        "pump-1",
                        "pump-2",
                        "line1",
                        "temperature",
                        "data",
                        "{device}",
                        "0a1b2c3d",
                        "set",
                    ),
                    *(
                        "spBv1.0",
                        "G",
                        "DDATA",
                        "homie",
                        "$datatype",
                        "zigbee2mqtt",
                        "bridge",
                        "devices",
                        "tele",
                    ),
                    *(
                        "SENSOR",
                        "status",
                        "switch:0",
                        "sensor",
                        "state",
                        "homeassistant",
                        "config",
                        "v3",
                        "up",
                    ),
                    *("gatewayd", "gw", "results"),
                ]
            ),
            NASTY,
        ),
        min_size=1,
        max_size=5,
    ).map("/".join),
)
PAYLOADS = st.one_of(
    st.binary(max_size=40),
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.floats(-1e6, 1e6).map(lambda value: str(value).encode()),
    st.sampled_from([payload for _, _, payload, _ in plant.talk(plant.ALL, 2)]),
)
SAID = st.tuples(st.floats(0, 100), TOPICS, PAYLOADS, st.booleans())


@settings(max_examples=100, deadline=None)
@given(st.lists(SAID, max_size=12), st.integers(1, 3))
def test_any_messages_give_a_configuration_that_check_accepts(tmp_path_factory, said, repeats):
    findings = discover(overhear(said * repeats))
    if findings.streams:
        prepared, _ = configured(findings, tmp_path_factory.mktemp("any"))
        assert len(prepared.settings.streams) == len(findings.streams)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_what_real_sensors_say_and_any_noise_beside_it_gives_a_configuration(tmp_path_factory, data):
    makes = data.draw(st.lists(st.sampled_from(plant.ALL), min_size=1, max_size=4, unique=True))
    said = plant.talk(makes, 6) + data.draw(st.lists(SAID, max_size=10))
    findings = discover(overhear(data.draw(st.permutations(said))))
    if findings.streams:
        configured(findings, tmp_path_factory.mktemp("noise"))
