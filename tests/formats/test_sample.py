"""A sample is a finite number; a format that remembers goes on where another one stopped, and trusts no state."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.formats.registry import FORMATS
from gatewayd.formats.sample import RememberingFormat, Sample, Samples
from gatewayd.store import checkpoint
from tests.support.any_message import check, damaged
from tests.support.readings import ARRIVAL
from tests.support.sparkplug import STEPS, double, heard, is_unbroken, metric, node_birth, payload

SECOND = 10**9
DEFINITIONS = json.dumps(
    [
        {
            "friendly_name": name,
            "definition": {"exposes": [{"property": "$x", "unit": unit}, {"property": "voltage"}]},
        }
        for name, unit in (("a", "mV"), ("b/c", "°F"), ("$a", None))
    ]
).encode()
# For each format that remembers: topics, and good payloads for some of them.
MESSAGES = {
    "esphome": (
        [
            "homeassistant/sensor/w/t/config",
            "w/sensor/t/state",
            "w/light/l/state",
            "w/sensor/\U0001f600/state",
        ],
        [
            b"7.62",
            b'{"~":"w/sensor/t","stat_t":"~/state","unit_of_meas":"\xc2\xb0C"}',
            b'{"state_topic":"w/sensor/\xf0\x9f\x98\x80/state","unit_of_measurement":"$"}',
        ],
    ),
    "homie": (
        [f"homie/d/n/p{end}" for end in ("", "/$datatype", "/$unit", "/$format")] + ["homie/d/$state"],
        [b"21", b"21.5", b"true", b"integer", b"float", b"boolean", b"20:30", b"lost", b""],
    ),
    "sparkplug_b": (
        [f"spBv1.0/g/{kind}/n" for kind in ("NBIRTH", "NDATA", "NDEATH")]
        + [f"spBv1.0/g/{kind}/n/d" for kind in ("DBIRTH", "DDATA", "DDEATH")],
        [
            node_birth(2**64 - 1, double(20.0, name="t", alias=2**64 - 1, unit="°C")),
            node_birth(4, double(1.0, name="$a", alias=1), double(2.0, name="b", alias=1), metric("")),
            payload(double(3.0, name="t", alias=1, unit="bar"), double(3.0, name="t", alias=2), seq=1),
            payload(double(1.5, alias=1, datatype=None), seq=2),
        ],
    ),
    "zigbee2mqtt": (
        ["zigbee2mqtt/bridge/devices", "zigbee2mqtt/a", "zigbee2mqtt/b/c", "zigbee2mqtt/$a"],
        [DEFINITIONS, DEFINITIONS.replace(b"mV", b"V"), b'{"$x":1,"voltage":3,"battery":7}'],
    ),
}


def messages_of(name):
    topics, payloads = MESSAGES[name]
    return st.lists(
        st.tuples(st.sampled_from(topics), st.sampled_from(payloads) | damaged(payloads)), max_size=12
    )


def filed(decoder):
    """What a file of the state gives back."""
    return checkpoint.decode(checkpoint.encode(decoder.state()))


def restored(name, decoder):
    following = FORMATS[name]()
    following.restore(filed(decoder))
    return following


def answers(name, messages, cuts=()):
    """What a format says to messages, one second apart, with a stop before some of them."""
    decoder, found = FORMATS[name](), []
    for number, (topic, data) in enumerate(messages):
        for _ in range(list(cuts).count(number)):
            decoder = restored(name, decoder)
        found.append(decoder.decode(topic, data, arrived_at=ARRIVAL + number * SECOND))
    return found


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_no_sample(value):
    with pytest.raises(AssertionError):
        Sample(device=None, channel="t", value=value, unit=None, taken_at=None)


def test_a_message_may_hold_nothing():
    assert Samples() == Samples(samples=(), errors=(), notices=(), requests=(), offline=())


def test_formats_that_remember_are_those_that_are_tested_here():
    assert {name for name in FORMATS if isinstance(FORMATS[name](), RememberingFormat)} == MESSAGES.keys()


@pytest.mark.parametrize("name", sorted(MESSAGES.keys() - {"sparkplug_b"}))
@given(data=st.data())
def test_any_messages_and_a_stop_at_any_point_give_the_same(name, data):
    messages = data.draw(messages_of(name))
    cuts = data.draw(st.lists(st.integers(0, len(messages)), max_size=3))
    assert answers(name, messages, cuts) == answers(name, messages)


@given(steps=STEPS, data=st.data())
def test_a_stop_at_any_point_at_which_sparkplug_loses_nothing_gives_the_same(steps, data):
    messages = heard(steps)
    safe = [cut for cut in range(len(messages) + 1) if is_unbroken(messages, cut)]
    cuts = data.draw(st.lists(st.sampled_from(safe), max_size=3))
    pairs = [(message.topic, message.payload) for message in messages]
    assert answers("sparkplug_b", pairs, cuts) == answers("sparkplug_b", pairs)


@pytest.mark.parametrize("name", sorted(MESSAGES))
@given(data=st.data())
def test_what_is_restored_is_what_was_remembered(name, data):
    decoder = FORMATS[name]()
    for topic, payload_ in data.draw(messages_of(name)):
        decoder.decode(topic, payload_, arrived_at=ARRIVAL)
    assert checkpoint.encode(restored(name, decoder).state()) == checkpoint.encode(decoder.state())


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.binary(max_size=4)
    | st.just("x" * 600)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def changed(draw, value):
    """The same with something else at one place, or without it."""
    if not value or not isinstance(value, dict | list) or draw(st.integers(0, 3)) == 0:
        return draw(VALUES)
    where = draw(st.sampled_from(list(value) if isinstance(value, dict) else range(len(value))))
    copy = value.copy()
    if draw(st.integers(0, 3)) == 0:
        del copy[where]
    else:
        copy[where] = changed(draw, value[where])
    return copy


@pytest.mark.parametrize("name", sorted(MESSAGES))
@given(data=st.data())
def test_no_state_whatever_is_trusted_and_what_is_refused_changes_nothing(name, data):
    learnt = FORMATS[name]()
    messages = data.draw(messages_of(name))
    for topic, payload_ in messages:
        learnt.decode(topic, payload_, arrived_at=ARRIVAL)
    state = filed(learnt)
    where = data.draw(st.sampled_from(sorted(state)))
    state = {**state, where: changed(data.draw, state[where])}
    decoder = restored(name, learnt)
    before = checkpoint.encode(decoder.state())
    try:
        decoder.restore(state)
    except ValueError:
        assert checkpoint.encode(decoder.state()) == before
    for topic, payload_ in messages:
        check(decoder.decode(topic, payload_, arrived_at=ARRIVAL))


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_a_state_of_another_kind_is_refused(name):
    with pytest.raises(ValueError, match="expected"):
        FORMATS[name]().restore({})
