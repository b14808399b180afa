"""Whatever peers call their things, the file is YAML that reads back as it was meant, and that check accepts."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.config.document import Items, Scalar, Table, read_document
from gatewayd.config.parse import load_config
from gatewayd.config.settings import BrokerSettings, TlsSettings
from gatewayd.domain.topic import filters_overlap
from gatewayd.workbench.discover import discover
from gatewayd.workbench.findings import Findings
from gatewayd.workbench.first_config import Listened, free_place, remark, scalar, write_config
from tests.support import plant
from tests.support.discovered import LISTENED, configured, found, overhear

PUMPS = """\
# A first configuration, from 30 s of listening to 127.0.0.1:1883: 45 messages on 9 topics.
# Ranges and intervals are what was seen, not what is possible. There is no model yet: a stream is scored by
# how far its readings are from their own running mean. Check a change with `gatewayd check -c FILE`.
#
# Left out:
#   2 topics: text, such as heat/b1/mode

gateway:
  id: gw

brokers:
  local:
    host: 127.0.0.1
    port: 1883

streams:
  # 2 devices: b1, b2; 10 messages, each device every 1 s
  # e.g. on heat/b1/flow_temperature
  heat-flow_temperature:
    from: local
    topic: heat/{device}/flow_temperature
    format: number
    channels:
      # 55 .. 59.927 in 10 readings
      flow_temperature:
        unit: ""
        #min: 49
        #max: 66
    publish:
      to: local
      topic: gatewayd/{gateway}/{stream}/{device}

  # 2 devices: b1, b2; 10 messages, each device every 1 s
  # e.g. on heat/b1/pressure_bar
  heat-pressure_bar:
    from: local
    topic: heat/{device}/pressure_bar
    format: number
    channels:
      # 1.5 .. 1.993 in 10 readings
      pressure_bar:
        unit: bar
        #min: 1
        #max: 2.5
    publish:
      to: local
      topic: gatewayd/{gateway}/{stream}/{device}

  # 3 devices: pump-1, pump-2, pump-3; 15 messages, each device every 1 s
  # e.g. on site/line1/pump-1/telemetry
  pump:
    from: local
    topic: site/{line}/{device}/telemetry
    format: json
    time:
      field: ts
    channels:
      # 47.206 .. 59.699 in 15 readings
      temperature:
        unit: ""
        #min: 30
        #max: 80
      # 0.158 .. 0.399 in 15 readings
      vibration:
        unit: ""
        #min: 0
        #max: 0.7
      # 3.004 .. 4.909 in 15 readings
      motor.current_a:
        unit: A
        #min: 1
        #max: 7
      # not running: on or off, no measurement (1 .. 1)
      # not cycles: a counter: it only grows (100 .. 104)
    publish:
      to: local
      topic: gatewayd/{gateway}/{stream}/{line}/{device}
"""


def test_the_file_reads_as_a_person_would_write_it():
    findings = discover(overhear(plant.talk([plant.pumps, plant.numbers], 5)))
    assert write_config(findings, LISTENED) == PUMPS


def test_how_the_broker_was_reached_stands_in_the_file(tmp_path):
    findings = found(("a/p1", "1"), ("a/p1", "3"))
    for name in ("password", "ca.pem"):
        (tmp_path / name).write_text("secret")
    broker = BrokerSettings(
        host="broker.example",
        username="no",
        password_file=str(tmp_path / "password"),
        tls=TlsSettings(ca_file="ca file.pem", insecure_skip_verify=True),
    )
    text = write_config(findings, Listened(broker=broker, gateway="gw", seconds=1))
    path = tmp_path / "first.yaml"
    path.write_text(text)
    assert load_config(path).settings.brokers["local"] == broker.model_copy(update={"port": 8883})
    plain = write_config(
        findings, Listened(broker=BrokerSettings(host="h", tls=TlsSettings()), gateway="gw", seconds=1)
    )
    path.write_text(plain)
    assert load_config(path).settings.brokers["local"].tls == TlsSettings()


def test_results_keep_out_of_the_way_of_sensors_that_publish_there(tmp_path):
    said = [
        one
        for n in range(9)
        for one in (("gatewayd/gw/a/p1/x", f"{n % 4}"), ("gatewayd/gw/a/p2/x", f"{n % 3}"))
    ]
    prepared, text = configured(found(*said), tmp_path)
    (stream,) = prepared.settings.streams.values()
    assert stream.topic == "gatewayd/gw/a/{device}/x"
    assert stream.publish.topic == "gatewayd-results/{gateway}/{stream}/{device}"
    assert prepared.settings.brokers["local"].status_topic == "gatewayd-results/{gateway}/status", text


def test_without_a_stream_there_is_no_file():
    with pytest.raises(ValueError, match="no stream"):
        write_config(Findings(streams=(), left_out=(), messages=0, topics=0), LISTENED)


def test_slow_channels_may_be_as_old_as_they_are_slow(tmp_path):
    said = [(second * 30, *rest) for second, *rest in plant.talk([plant.homie], 9)]
    prepared, _ = configured(discover(overhear(said)), tmp_path)
    (stream,) = prepared.settings.streams.values()
    assert (stream.align.every_s, stream.align.max_gap_s) == (30.0, 90.0)


def test_at_the_ends_of_what_numbers_can_be(tmp_path):
    many = {f"on{n}": True for n in range(30)}
    said = [("a", json.dumps({"x": (-1) ** n * 1.7e308, "y": n % 2 * 5e-324, **many})) for n in range(9)]
    _, text = configured(found(*said), tmp_path)
    assert "        #min: -1.7e+308\n" in text
    assert "      # nor 6 more\n" in text


def test_a_file_of_any_size_is_cut_where_check_would_refuse_it(tmp_path, monkeypatch):
    monkeypatch.setattr("gatewayd.workbench.first_config.MAX_TEXT_BYTES", 900)
    prepared, text = configured(discover(overhear(plant.talk([plant.pumps, plant.numbers], 5))), tmp_path)
    assert list(prepared.settings.streams) == ["heat-flow_temperature", "heat-pressure_bar"]
    assert "# More was found than fits into one file" in text


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
    st.sampled_from(["+", "gatewayd", "gw", "results", "status", "gatewayd-results"]),
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
