"""Messages of free shape become rows: devices, instants, columns, and what is told about the rest."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.topic import TopicFilter
from gatewayd.formats.registry import FORMATS
from gatewayd.formats.sample import Request, Sample, Samples
from gatewayd.pipeline.decode import Devices, Routed
from gatewayd.pipeline.rows import Column, RowDecoder

NOW = 1_741_944_413 * 10**9


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
