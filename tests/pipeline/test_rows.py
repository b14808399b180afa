"""Messages of free shape become rows: devices, instants, columns, and what is told about the rest."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.topic import TopicFilter
from gatewayd.formats.registry import FORMATS
from gatewayd.formats.sample import Request, Sample, Samples
from gatewayd.pipeline.decode import Devices, Routed
from gatewayd.pipeline.flow import Flow
from gatewayd.pipeline.rows import Column, RowDecoder
from gatewayd.store import checkpoint
from tests.support.flows import assert_sums, plan
from tests.support.sparkplug import STEPS, double, heard, is_unbroken, node_birth, payload

NOW = 1_741_944_413 * 10**9
NODE_BIRTH = node_birth(4, double(1.0, name="a"))
DEVICE_BIRTH = payload(double(1.0, name="a"), seq=1)


class Scripted:
    """A format that answers as it is told, in turn."""

    def __init__(self, *answers):
        self._answers = list(answers)

    def decode(self, topic, payload, *, arrived_at):
        return self._answers.pop(0)


def sample(channel, value, *, device="d", unit=None, taken_at=None):
    return Sample(device=device, channel=channel, value=value, unit=unit, taken_at=taken_at)


def devices(pattern="#", *, limit=10):
    return Devices(TopicFilter.parse(pattern), name="stream", limit=limit, fits=lambda _device: True)


def routed(*topics, payloads=None, headers=None):
    count = len(topics)
    at = NOW + 1000 * np.arange(count)
    return Routed(
        device=np.zeros(count, np.int64),
        payloads=payloads or [b"x"] * count,
        arrived_at=at,
        steady_at=at + 5,
        topics=[topic.encode() for topic in topics],
        headers=headers or [0x30] * count,
    )


def decoder(*answers, pattern="#", columns=("a", "b"), limit=10):
    wanted = [Column(field=name, unit="") if isinstance(name, str) else name for name in columns]
    return RowDecoder(Scripted(*answers), devices(pattern, limit=limit), wanted)


def test_values_of_one_device_and_instant_make_one_row():
    rows = decoder(
        Samples(
            samples=(sample("a", 1.0, taken_at=5), sample("b", 2.0, taken_at=5), sample("a", 3.0, taken_at=6))
        )
    )
    batch = rows.decode(routed("t")).batch
    assert batch.taken_at.tolist() == [5, 6]
    assert np.array_equal(batch.values, [[1, 2], [3, np.nan]], equal_nan=True)


def test_devices_are_those_of_the_message_then_those_of_the_topic_then_the_stream_s():
    rows = decoder(
        *[Samples(samples=(sample("a", 1.0, device=name),)) for name in ("x", None)], pattern="+/{device}"
    )
    rows.decode(routed("t/y", "t/y"))
    assert [device.name for device in rows._devices.known] == ["x", "y"]
    rows = decoder(Samples(samples=(sample("a", 1.0, device=None),)), pattern="t")
    rows.decode(routed("t"))
    assert [device.name for device in rows._devices.known] == ["stream"]


def test_the_levels_of_the_topic_are_part_of_a_device():
    rows = decoder(*[Samples(samples=(sample("a", 1.0),))] * 3, pattern="{line}/#")
    readings = rows.decode(routed("l1/x", "l2/x", "l1/y"))
    assert readings.batch.device.tolist() == [0, 1, 0]
    assert [dict(device.levels) for device in rows._devices.known] == [
        {"line": "l1", "device": "d"},
        {"line": "l2", "device": "d"},
    ]


def test_readings_without_a_time_get_that_of_their_arrival_and_stay_apart():
    rows = decoder(
        Samples(samples=(sample("a", 1.0), sample("b", 2.0), sample("a", 3.0), sample("a", 4.0, device="e"))),
        Samples(samples=(sample("a", 5.0, taken_at=7),)),
    )
    readings = rows.decode(routed("t", "t"))
    assert readings.batch.taken_at.tolist() == [NOW, NOW + 1, NOW, 7]
    assert readings.has_own_time.tolist() == [False, False, False, True]
    assert readings.steady_at.tolist() == [NOW + 5] * 3 + [NOW + 1005]
    assert readings.arrived_at.tolist() == [NOW] * 3 + [NOW + 1000]


def test_a_message_without_any_use_is_rejected_and_its_other_faults_are_told():
    rows = decoder(
        Samples(errors=("not_a_number", "no_name")),
        Samples(samples=(sample("a", 1.0),), errors=("not_a_number",)),
    )
    readings = rows.decode(routed("t", "t"))
    assert readings.rejected == ((0, "not_a_number"),)
    assert rows.unread == {"no_name": 1, "not_a_number": 1}
    assert rows.examples == {"no_name": "t", "not_a_number": "t"}
    assert len(readings.batch) == 1


def test_what_nobody_asked_for_is_passed_over():
    rows = decoder(Samples(samples=(sample("c", 1.0, device="other"),)))
    assert len(rows.decode(routed("t")).batch) == 0
    assert rows.unread == {}
    assert rows._devices.known == []


def test_a_value_in_another_unit_is_not_used():
    rows = decoder(
        Samples(samples=(sample("a", 1.0, unit="mV"), sample("a", 2.0, unit="Volt"), sample("a", 3.0))),
        columns=(Column(field="a", unit="V"),),
    )
    assert rows.decode(routed("t")).batch.values.tolist() == [[2.0], [3.0]]
    assert rows.unread == {"unit_differs": 1}


def test_case_04_a_retained_value_without_a_time_is_no_fresh_reading():
    rows = decoder(*[Samples(samples=(sample("a", 1.0, taken_at=5), sample("b", 2.0)))] * 2)
    readings = rows.decode(routed("t", "t", headers=[0x31, 0x30]))
    assert len(readings.batch) == 3
    assert rows.unread == {"retained": 1}


def test_devices_beyond_the_limit_are_told():
    rows = decoder(*[Samples(samples=(sample("a", 1.0, device=name),)) for name in "xyx"], limit=1)
    assert rows.decode(routed("t", "t", "t")).batch.device.tolist() == [0, 0]
    assert rows.unread == {"too_many_devices": 1}


def test_requests_and_devices_that_have_gone_are_handed_on():
    request = Request(topic="spBv1.0/g/NCMD/n", payload=b"!")
    rows = decoder(
        Samples(samples=(sample("a", 1.0),), requests=(request,)), Samples(offline=("d",)), Samples()
    )
    rows.decode(routed("t", "t"))
    assert (rows.requests, rows.offline) == ([request], [(1, 0, NOW + 1005)])
    rows.decode(routed("t"))
    assert (rows.requests, rows.offline) == ([], [])


def test_a_device_that_was_never_heard_cannot_go():
    rows = decoder(Samples(offline=("d",)), Samples(samples=(sample("a", 1.0),), offline=("e",)))
    rows.decode(routed("t", "t"))
    assert rows.offline == []
    assert [device.name for device in rows._devices.known] == ["d"]


@pytest.mark.parametrize(
    ("pattern", "topic", "death"),
    [
        ("#", "x", "y"),
        ("{line}/#", "l1/x", "l1/y"),
        ("{line}/{device}", "l1/x", "l1/y"),
        ("+/{device}/+", "s/x/data", "s/d/gone"),
    ],
)
def test_devices_that_have_gone_are_found_as_they_were_named(pattern, topic, death):
    rows = decoder(Samples(samples=(sample("a", 1.0),)), Samples(offline=("d",)), pattern=pattern)
    rows.decode(routed(topic, death))
    assert rows.offline == [(1, 0, NOW + 1005)]


def test_a_device_of_another_line_has_not_gone():
    rows = decoder(Samples(samples=(sample("a", 1.0),)), Samples(offline=("d",)), pattern="{line}/#")
    rows.decode(routed("l1/x", "l2/x"))
    assert rows.offline == []


@pytest.mark.parametrize(
    ("name", "alive", "gone"),
    [
        ("zigbee2mqtt", ("z/hall/lamp", b'{"a":1}'), ("z/hall/lamp/availability", b"offline")),
        ("tasmota", ("tele/x/SENSOR", b'{"a":1}'), ("tele/x/LWT", b"Offline")),
        ("tasmota", ("home/x/tele/SENSOR", b'{"a":1}'), ("home/x/tele/LWT", b"Offline")),
        ("shelly_gen2", ("p/q/status/a", b'{"apower":1}'), ("p/q/online", b"false")),
        (
            "shelly_gen2",
            ("p/q/events/rpc", b'{"method":"NotifyStatus","params":{"a":{"apower":1}}}'),
            ("p/q/online", b"false"),
        ),
        ("homie", ("homie/d/a/apower", b"1"), ("homie/d/$state", b"lost")),
        ("esphome", ("x/y/sensor/apower/state", b"1"), ("x/y/status", b"offline")),
        ("sparkplug_b", ("spBv1.0/g/NBIRTH/n", NODE_BIRTH), ("spBv1.0/g/NDEATH/n", node_birth(4, seq=None))),
        ("sparkplug_b", ("spBv1.0/g/DBIRTH/n/d", DEVICE_BIRTH), ("spBv1.0/g/DDEATH/n/d", payload(seq=2))),
        (
            "sparkplug_b",
            ("spBv1.0/g/DBIRTH/n/d", DEVICE_BIRTH),
            ("spBv1.0/g/NDEATH/n", node_birth(4, seq=None)),
        ),
    ],
)
def test_every_format_names_the_devices_that_have_gone_as_it_names_those_it_hears(name, alive, gone):
    columns = [Column(field=field, unit="") for field in ("a", "a.apower", "sensor.apower")]
    rows = RowDecoder(FORMATS[name](), devices(), columns)
    messages = routed(alive[0], gone[0], payloads=[alive[1], gone[1]])
    assert len(rows.decode(messages).batch) == 1
    assert rows.offline == [(1, 0, NOW + 1005)]


def test_what_a_message_tells_of_others_is_counted():
    rows = decoder(
        Samples(samples=(sample("a", 1.0),), notices=("sequence_gap", "rebirth_requested")), Samples()
    )
    assert rows.decode(routed("n/d", "t")).rejected == ()
    assert rows.unread == {"sequence_gap": 1, "rebirth_requested": 1}
    assert rows.examples == {"sequence_gap": "n/d", "rebirth_requested": "n/d"}


def test_what_a_format_has_learnt_can_be_written_down():
    units = b'{"stat_t":"w/sensor/t/state","unit_of_meas":"V"}'

    def esphome():
        return RowDecoder(FORMATS["esphome"](), devices(), [Column(field="sensor.t", unit="mV")])

    before, after = esphome(), esphome()
    before.decode(routed("homeassistant/sensor/w/t/config", payloads=[units]))
    after.restore(before.state())
    assert len(after.decode(routed("w/sensor/t/state", payloads=[b"3"])).batch) == 0
    assert after.unread == {"unit_differs": 1}


def test_a_format_that_remembers_nothing_has_no_state():
    rows = RowDecoder(FORMATS["senml_json"](), devices(), [Column(field="a", unit="")])
    assert rows.state() is None
    rows.restore({"units": {}})
    assert rows.state() is None


def test_what_a_format_has_learnt_goes_on_in_another_stream():
    first, second = decoder(Samples(samples=(sample("a", 1.0),))), decoder()
    second.adopt(first)
    assert len(second.decode(routed("t")).batch) == 1


@pytest.mark.parametrize("name", sorted(FORMATS))
@given(
    messages=st.lists(
        st.tuples(
            st.sampled_from(
                [
                    "zigbee2mqtt/a",
                    "spBv1.0/g/DDATA/n/d",
                    "tele/a/SENSOR",
                    "homie/d/n/p",
                    "x/sensor/y/state",
                    "a/b",
                ]
            ),
            st.binary(max_size=40)
            | st.sampled_from([b'{"a": 1}', b"21.5", b'[{"n":"a","v":1}]', b"a,b\n1,2"]),
            st.sampled_from([0x30, 0x31]),
        ),
        max_size=6,
    )
)
def test_any_messages_whatever_give_rows_or_reasons(name, messages):
    rows = RowDecoder(FORMATS[name](), devices(), [Column(field="a", unit="")])
    readings = rows.decode(
        routed(
            *[topic for topic, _, _ in messages],
            payloads=[payload for _, payload, _ in messages],
            headers=[header for _, _, header in messages],
        )
    )
    assert (
        len(
            {
                len(readings.batch),
                len(readings.arrived_at),
                len(readings.steady_at),
                len(readings.has_own_time),
            }
        )
        == 1
    )
    assert not np.isinf(readings.batch.values).any()
    assert all(0 <= index < len(messages) for index, _ in readings.rejected)


def test_case_07_values_of_one_message_keep_their_own_times():
    """One message, several channels with their own time: each lands on the row of its instant."""
    payload = json.dumps(
        [{"bn": "p:", "n": "a", "v": 4.21, "t": 1741944412.25}, {"n": "b", "v": 3.98, "t": 1741944411.9}]
    ).encode()
    rows = RowDecoder(
        FORMATS["senml_json"](), devices(), [Column(field="a", unit=""), Column(field="b", unit="")]
    )
    readings = rows.decode(routed("t", payloads=[payload]))
    assert readings.batch.taken_at.tolist() == [1741944412_250_000_000, 1741944411_900_000_000]


# The whole flow behind formats that remember: cut, ticked, stopped anywhere.

SECOND = 10**9
SILENT = {"silent_after_s": 12.0, "raise": "1 of 1", "clear": "1 of 1"}
LAMPS = st.lists(
    st.tuples(
        st.sampled_from(["lamp", "hall/lamp"]),
        st.sampled_from(["units", "other units", "online", "offline", "state", "state", "state", "state"]),
        st.sampled_from([0, 1, 1, 2, 20]),  # seconds since the message before
    ),
    max_size=25,
)


def lamp_messages(steps):
    """Two lamps, the units of whose values change, and who come and go."""
    now, found = NOW, []
    for number, (name, kind, pause) in enumerate(steps):
        now += pause * SECOND
        topic, data = f"z/{name}", {"x": float(number), "y": -1.0, "last_seen": now // 10**6}
        if kind.endswith("units"):
            exposes = [{"property": "x", "unit": "V" if kind == "units" else "mV"}]
            topic, data = "z/bridge/devices", [{"friendly_name": name, "definition": {"exposes": exposes}}]
        elif kind != "state":
            topic, data = f"z/{name}/availability", {"state": kind}
        found.append(((topic.encode(), json.dumps(data).encode(), 0x31, number), now + number * 1000))
    return found


def node_messages(messages):
    return [
        ((one.topic.encode(), one.payload, 0x30, 0), NOW + number * (SECOND + 1000))
        for number, one in enumerate(messages)
    ]


def make_flow(name):
    channels = {"p": {}, "q": {}} if name == "sparkplug_b" else {"x": {"unit": "V"}, "y": {}}
    given = plan(
        topic="#", channels=tuple(channels), format=name, time=None, alert=SILENT, publish={"to": "cloud"}
    )
    settings = given.settings.model_validate(
        {**given.settings.model_dump(by_alias=True), "channels": channels}, strict=False
    )
    return Flow("gw", [dataclasses.replace(given, settings=settings, free_format=FORMATS[name]())])


def story(name, timed, cuts=(), ticks=(), stops=()):
    """Each device's publications, all requests, and the figures; cut, ticked and stopped before these messages."""
    flow, publications, requests, begin = make_flow(name), [], [], 0
    end = timed[-1][1] + 60 * SECOND if timed else NOW
    for cut in sorted({*cuts, *ticks, *stops, len(timed)}):
        outcomes = [feed(flow, timed[begin:cut])]
        now = timed[cut - 1][1] if cut else NOW
        outcomes += [flow.advance(now, now)] if cut in ticks else []
        if cut in stops:
            following = make_flow(name)
            assert following.restore(checkpoint.decode(checkpoint.encode(flow.state()))) == []
            flow = following
        outcomes += [flow.advance(end, end)] if cut == len(timed) else []
        for outcome in outcomes:
            publications += outcome.publications
            requests += outcome.requests
        begin = cut
    assert_sums(flow.figures())
    told = {}
    for publication in publications:
        told.setdefault(publication.topic, []).append(publication)
    return told, requests, dataclasses.replace(flow.figures(), examples={})


@given(steps=LAMPS, data=st.data())
def test_a_zigbee2mqtt_stream_that_is_cut_and_stopped_anywhere_says_the_same(steps, data):
    timed = lamp_messages(steps)
    places = st.lists(st.integers(0, len(timed)), max_size=3)
    cuts, ticks, stops = data.draw(places), data.draw(places), data.draw(places)
    assert story("zigbee2mqtt", timed, cuts, ticks, stops) == story("zigbee2mqtt", timed)


@given(steps=STEPS, data=st.data())
def test_a_sparkplug_stream_that_is_cut_and_stopped_anywhere_says_the_same(steps, data):
    """It may be stopped wherever nothing is lost meanwhile."""
    messages = heard(steps)
    timed = node_messages(messages)
    places = st.lists(st.integers(0, len(timed)), max_size=3)
    safe = [cut for cut in range(len(timed) + 1) if is_unbroken(messages, cut)]
    stops = data.draw(st.lists(st.sampled_from(safe), max_size=3))
    assert story("sparkplug_b", timed, data.draw(places), data.draw(places), stops) == story(
        "sparkplug_b", timed
    )


def test_a_device_that_dies_long_after_it_fell_silent_was_silent_from_then_on():
    """However late anybody asks: its death came in the same burst as its next state, or in one before."""
    timed = lamp_messages([("lamp", "state", 0), ("lamp", "offline", 20), ("lamp", "state", 0)])
    together, apart = story("zigbee2mqtt", timed), story("zigbee2mqtt", timed, cuts=[2])
    assert together == apart
    raised = json.loads(together[0]["plant/gw/pump/lamp/alert"][0].payload)
    assert (raised["condition"], raised["raised_at"]) == ("silent", "2025-03-14T09:27:05Z")


def test_a_device_that_dies_without_ever_having_sent_a_usable_value_is_silent_from_then_on():
    timed = lamp_messages(
        [("lamp", "other units", 0), ("lamp", "state", 0), ("lamp", "offline", 20), ("lamp", "offline", 1)]
    )
    text = timed[1][0][1].replace(b', "y": -1.0', b"")
    timed[1] = ((timed[1][0][0], text, 0x30, 0), timed[1][1])
    told, _, figures = story("zigbee2mqtt", timed)
    assert (figures.readings, figures.devices, figures.unread) == (0, 1, {"unit_differs": 1})
    (alert,) = told["plant/gw/pump/lamp/alert"]
    assert json.loads(alert.payload)["raised_at"] == "2025-03-14T09:27:13.000002Z"


def test_what_a_format_has_learnt_outlives_a_crash():
    timed = lamp_messages([("lamp", "other units", 0), ("lamp", "state", 1)])
    before, after = make_flow("zigbee2mqtt"), make_flow("zigbee2mqtt")
    feed(before, timed[:1])
    after.restore(checkpoint.decode(checkpoint.encode(before.alerts_state())))
    feed(after, timed[1:])
    assert after.figures().unread == {"unit_differs": 1}


def test_a_stream_of_another_format_does_not_go_on_with_it():
    before, after = make_flow("zigbee2mqtt"), make_flow("sparkplug_b")
    feed(before, lamp_messages([("lamp", "units", 0)]))
    after.restore(before.state())
    fresh = [decoder_state(make_flow(name)) for name in ("sparkplug_b", "zigbee2mqtt")]
    assert decoder_state(after) == fresh[0]
    assert decoder_state(before) != fresh[1]


def test_a_reload_costs_no_node_its_birth():
    """A restored node has to prove itself; one that goes on in the same process does not."""
    timed = node_messages(heard([("m", "NBIRTH", False), ("m", "NDATA", True), ("m", "NDATA", False)]))
    before, reloaded, restarted = (make_flow("sparkplug_b") for _ in range(3))
    feed(before, timed[:1])
    restarted.restore(before.state())
    reloaded.adopt(before)
    for flow in (reloaded, restarted):
        feed(flow, timed[1:])
    assert [flow.figures().readings for flow in (reloaded, restarted)] == [2, 1]
    assert reloaded.figures().unread == {"sequence_gap": 1, "rebirth_requested": 1}
    assert restarted.figures().unread == {
        "message_before_birth": 1,
        "unannounced_metric": 2,
        "rebirth_requested": 1,
    }


def feed(flow, timed):
    at = np.array([now for _, now in timed], dtype=np.int64)
    return flow.run([message for message, _ in timed], at, at)


def decoder_state(flow):
    return flow.state()["streams"]["pump"]["decoder"]


def test_channels_that_came_while_none_that_was_asked_for_did_are_named():
    rows = decoder(
        Samples(samples=(sample("x", 1.0), sample("y", 2.0))), Samples(), Samples(samples=(sample("a", 3.0),))
    )
    rows.decode(routed("t"))
    assert list(rows.unasked) == ["x", "y"]
    rows.decode(routed("t", "t"))
    assert rows.unasked == {}


def test_a_unit_that_differs_is_told_with_both():
    rows = decoder(Samples(samples=(sample("a", 1.0, unit="mV"),)), columns=(Column(field="a", unit="V"),))
    rows.decode(routed("t"))
    assert rows.examples == {"unit_differs": "t a: mV, not V"}
