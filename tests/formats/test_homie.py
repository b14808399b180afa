"""Beyond the recorded messages (test_payload_samples.py): edges, and any bytes whatever."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.formats.homie import HomieFormat
from gatewayd.formats.remembered import MAX_ENTRIES
from tests.support.any_message import check, topics
from tests.support.readings import ARRIVAL, decode, rows

TOPICS = [
    "homie/d/n/p",
    "homie/d/n/p/$datatype",
    "homie/d/n/p/$format",
    "homie/d/n/p/$unit",
    "homie/d/$state",
    "homie/d/n/p/set",
]
TEXTS = [
    b"float",
    b"integer",
    b"boolean",
    b"enum",
    b"0:100",
    b":5",
    b"a:b",
    b"true",
    b"12",
    b"1e400",
    b"nan",
    b"lost",
]


def known(**attributes):
    decoder = HomieFormat()
    for name, text in attributes.items():
        assert decode(decoder, f"homie/d/n/p/${name}", text).errors == ()
    return decoder


@pytest.mark.parametrize(
    ("datatype", "payload", "value"),
    [
        ("float", "1.5e1", 15.0),
        ("float", "nan", None),
        ("integer", "-7", -7.0),
        ("percent", "40", 40.0),
        ("boolean", "false", 0.0),
        ("enum", "1", None),
        ("string", "12", None),
        ("color", "255,0,0", None),
        ("datetime", "2025", None),
    ],
)
def test_a_value_is_read_by_its_type(datatype, payload, value):
    got = rows(decode(known(datatype=datatype, unit="x"), "homie/d/n/p", payload))
    assert got == ([] if value is None else [("d", "n.p", value, "x")])


@pytest.mark.parametrize(
    ("datatype", "payload", "reason"),
    [
        ("float", "7,7", "not_a_number"),
        ("float", b"\xff", "not_text"),
        ("integer", "1.0", "not_an_integer"),
        ("boolean", "True", "not_a_boolean"),
    ],
)
def test_a_value_that_its_type_does_not_have_is_counted(datatype, payload, reason):
    assert decode(known(datatype=datatype), "homie/d/n/p", payload).errors == (reason,)


@pytest.mark.parametrize(
    ("announced", "inside", "outside"),
    [
        ("0:100", "100", "100.5"),
        ("-5:5", "-5", "-6"),
        (":5", "-999", "6"),
        ("5:", "999", "4"),
        ("0:10:2", "8", "-1"),
    ],
)
def test_the_announced_range_is_held_where_it_can_be_read(announced, inside, outside):
    decoder = known(datatype="float", format=announced)
    assert len(rows(decode(decoder, "homie/d/n/p", inside))) == 1
    # a step, as Homie 5 has it, makes the upper bound unreadable: then it doesn't limit
    assert decode(decoder, "homie/d/n/p", outside).errors == ("out_of_range",)
    assert len(rows(decode(known(datatype="float", format="what"), "homie/d/n/p", outside))) == 1


def test_before_its_type_is_known_a_plain_number_or_boolean_is_read():
    got = [rows(decode(HomieFormat(), "homie/d/n/p", text)) for text in ("12", "true", "heat", "nan", "7,7")]
    assert got == [[("d", "n.p", 12.0, None)], [("d", "n.p", 1.0, None)], [], [], []]


def test_an_attribute_that_is_cleared_is_forgotten():
    decoder = known(datatype="float", unit="°C")
    decode(decoder, "homie/d/n/p/$unit", "")
    assert rows(decode(decoder, "homie/d/n/p", "1")) == [("d", "n.p", 1.0, None)]


def test_the_base_may_have_levels():
    decoder = HomieFormat(base="site/homie")
    assert rows(decode(decoder, "site/homie/d/n/p", "1")) == [("d", "n.p", 1.0, None)]
    assert decode(decoder, "homie/d/n/p", "1").errors == ("unknown_topic",)


@pytest.mark.parametrize(
    "topic", ["d/n/p/set", "d/$stats/uptime", "d/n/$name", "d/$nodes", "$broadcast/a", "d", "d/n"]
)
def test_meta_topics_and_commands_are_no_values(topic):
    samples = decode(HomieFormat(), f"homie/{topic}", "12")
    assert (samples.samples, samples.errors) == ((), ())


@pytest.mark.parametrize(
    ("state", "offline"), [("lost", True), ("disconnected", True), ("sleeping", False), ("ready", False)]
)
def test_a_device_goes_offline_by_its_state(state, offline):
    assert decode(HomieFormat(), "homie/d/$state", state).offline == (("d",) if offline else ())


def test_memory_is_bounded():
    decoder = HomieFormat()
    for number in range(MAX_ENTRIES + 10):
        decode(decoder, f"homie/d/n/p{number}/$unit", "°C")
    assert len(decoder._properties) == MAX_ENTRIES


@given(st.lists(st.tuples(topics(TOPICS), st.sampled_from(TEXTS) | st.binary(max_size=20)), max_size=8))
def test_any_messages_give_samples_or_a_reason(messages):
    decoder = HomieFormat()
    for topic, payload in messages:
        check(decoder.decode(topic, payload, arrived_at=ARRIVAL))


def test_what_the_attributes_said_can_be_written_down():
    before, after = known(datatype="integer", format="0:30"), HomieFormat()
    assert before.state() == {"properties": {"d/n/p": ["integer", None, "0:30"]}}
    after.restore(before.state())
    assert decode(after, "homie/d/n/p", "31").errors == ("out_of_range",)


@pytest.mark.parametrize("entry", [["integer", None], ["integer", None, 7], {"datatype": "integer"}, None])
def test_a_property_of_a_state_has_three_texts(entry):
    decoder = known(unit="V")
    with pytest.raises(ValueError, match="expected"):
        decoder.restore({"properties": {"d/n/p": entry}})
    assert rows(decode(decoder, "homie/d/n/p", "31")) == [("d", "n.p", 31.0, "V")]
