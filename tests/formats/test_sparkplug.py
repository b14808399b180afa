"""Beyond the recorded messages (test_payload_samples.py): sessions, gaps, deaths, and any bytes whatever."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.formats import sparkplug, sparkplug_nodes
from gatewayd.formats.leaves import MAX_BYTES
from gatewayd.formats.sparkplug import SETTLED, SparkplugFormat
from gatewayd.formats.sparkplug_rebirth import FIRST_PAUSE_NS
from gatewayd.formats.sparkplug_schema import new_payload
from tests.support.any_message import check, damaged, topics
from tests.support.readings import ARRIVAL, decode, rows
from tests.support.sparkplug import (
    AT_MS,
    BOOLEAN,
    DOUBLE,
    INT16,
    INT64,
    STRING,
    double,
    metric,
    node_birth,
    payload,
)

NODE = "spBv1.0/g/{}/n"
DEVICE = "spBv1.0/g/{}/n/d"


def to_node(decoder, kind, data, **more):
    return decode(decoder, NODE.format(kind), data, **more)


def to_device(decoder, kind, data, **more):
    return decode(decoder, DEVICE.format(kind), data, **more)


@pytest.fixture
def born():
    """A decoder that has seen the births of node n (session 4) and of its device d."""
    decoder = SparkplugFormat()
    assert to_node(decoder, "NBIRTH", node_birth(4, double(20.0, name="t", alias=1, unit="°C"))).samples
    assert to_device(decoder, "DBIRTH", payload(double(3.0, name="p", alias=2, unit="bar"), seq=1)).samples
    return decoder


def test_a_birth_gives_its_values_and_what_data_by_alias_or_name_mean(born):
    assert rows(to_device(born, "DDATA", payload(double(1.5, alias=2, datatype=None), seq=2))) == [
        ("n/d", "p", 1.5, "bar")
    ]
    by_name = to_node(born, "NDATA", payload(double(21.0, name="t", datatype=None), seq=3))
    assert rows(by_name) == [("n", "t", 21.0, "°C")]
    assert (by_name.notices, by_name.requests) == ((), ())


def test_aliases_of_one_device_are_not_those_of_another(born):
    samples = to_node(born, "NDATA", payload(double(1.0, alias=2), seq=2))
    assert (samples.samples, samples.errors, len(samples.requests)) == ((), (), 1)
    assert samples.notices == ("unannounced_metric", "rebirth_requested")


def test_a_unit_in_the_data_goes_first(born):
    assert rows(to_node(born, "NDATA", payload(double(70.0, alias=1, unit="°F"), seq=2)))[0][3] == "°F"
    assert rows(to_node(born, "NDATA", payload(double(20.0, alias=1), seq=3)))[0][3] == "°C"


def test_a_named_and_typed_metric_that_nobody_announced_is_read(born):
    got = to_node(
        born, "NDATA", payload(double(1.0, name="new"), double(2.0, name="?", datatype=None), seq=2)
    )
    assert rows(got) == [("n", "new", 1.0, None)]
    assert len(got.requests) == 1


def test_a_gap_costs_no_value_and_asks_once(born):
    first = to_node(born, "NDATA", payload(double(1.0, alias=1), seq=9))
    second = to_node(born, "NDATA", payload(double(2.0, alias=1), seq=20))
    assert [len(one.samples) for one in (first, second)] == [1, 1]
    assert [one.topic for one in (*first.requests, *second.requests)] == ["spBv1.0/g/NCMD/n"]
    assert (first.notices, second.notices) == (("sequence_gap", "rebirth_requested"), ("sequence_gap",))
    later = ARRIVAL + FIRST_PAUSE_NS
    assert to_node(born, "NDATA", payload(double(2.0, alias=1), seq=30), arrived_at=later).requests


def test_messages_in_order_make_a_node_worth_the_same_haste_again(born):
    now = ARRIVAL
    for _ in range(4):  # 10, 20, 40 s
        now += 100 * FIRST_PAUSE_NS
        assert to_node(born, "NDATA", payload(seq=99), arrived_at=now).requests
    for number in range(SETTLED):
        assert not to_node(born, "NDATA", payload(seq=(100 + number) % 256), arrived_at=now).requests
    now += 100 * FIRST_PAUSE_NS
    assert to_node(born, "NDATA", payload(seq=7), arrived_at=now).requests
    assert to_node(born, "NDATA", payload(seq=7), arrived_at=now + FIRST_PAUSE_NS).requests


def test_a_devices_birth_without_the_nodes_is_read_and_asks_for_the_nodes():
    decoder = SparkplugFormat()
    birth = to_device(decoder, "DBIRTH", payload(double(3.0, name="p", alias=2), seq=1))
    data = to_device(decoder, "DDATA", payload(double(4.0, alias=2), seq=2))
    assert [rows(one) for one in (birth, data)] == [[("n/d", "p", 3.0, None)], [("n/d", "p", 4.0, None)]]
    assert (len(birth.requests), len(data.requests)) == (1, 0)
    assert all("message_before_birth" in one.notices for one in (birth, data))


def test_a_new_birth_of_the_node_ends_what_its_devices_announced(born):
    assert not to_node(born, "NBIRTH", node_birth(5)).requests
    assert to_device(born, "DDATA", payload(double(1.0, alias=2), seq=1)).samples == ()


@pytest.mark.parametrize(
    ("session", "offline"), [(4, ("n", "n/d")), (3, ()), (255, ()), (5, ("n", "n/d")), (None, ("n", "n/d"))]
)
def test_the_death_of_the_session_takes_the_node_and_its_devices(born, session, offline):
    samples = to_node(born, "NDEATH", node_birth(session, seq=None))
    assert (samples.offline, samples.samples, samples.errors, samples.requests) == (offline, (), (), ())
    assert samples.notices == (() if offline else ("stale_death",))
    usable = to_device(born, "DDATA", payload(double(1.0, alias=2), seq=2)).samples
    assert bool(usable) == (offline == ())


def test_a_node_that_nobody_knows_may_die():
    assert to_node(SparkplugFormat(), "NDEATH", node_birth(1, seq=None)).offline == ("n",)


def test_a_session_number_may_stand_in_either_width():
    decoder = SparkplugFormat()
    to_node(decoder, "NBIRTH", payload(metric("bdSeq", datatype=INT64, value=("int_value", 4)), seq=0))
    assert to_node(decoder, "NDEATH", node_birth(3, seq=None)).offline == ()
    assert to_node(decoder, "NDEATH", node_birth(4, seq=None)).offline == ("n",)


def test_the_death_of_a_device_takes_the_device_alone(born):
    assert to_device(born, "DDEATH", payload(seq=2)).offline == ("n/d",)
    assert to_node(born, "NDATA", payload(double(1.0, alias=1), seq=3)).requests == ()
    assert to_device(born, "DDATA", payload(double(1.0, alias=2), seq=4)).requests


def test_values_of_old_and_passing_values_are_readings_at_their_own_time(born):
    old = double(1.0, alias=1, timestamp=AT_MS - 600_000, is_historical=True)
    passing = double(2.0, alias=1, is_transient=True)
    undated = double(3.0, alias=1, is_historical=True)
    samples = to_node(born, "NDATA", payload(old, passing, undated, seq=2))
    assert [one.taken_at for one in samples.samples] == [(AT_MS - 600_000) * 10**6, AT_MS * 10**6]
    assert samples.errors == ("no_historical_time",)


def test_control_metrics_null_and_text_say_nothing_and_others_stay():
    metrics = [
        metric("Node Control/Rebirth", datatype=BOOLEAN, value=("boolean_value", False)),
        metric("Device Control/Reset", datatype=BOOLEAN, value=("boolean_value", False)),
        metric("null", datatype=INT16, is_null=True),
        metric("text", datatype=STRING, value=("string_value", "12")),
        metric("Control/Valve", datatype=INT16, value=("int_value", 2**32 - 1)),
    ]
    assert rows(to_node(SparkplugFormat(), "NBIRTH", node_birth(0, *metrics))) == [
        ("n", "Control/Valve", -1.0, None)
    ]


def test_a_bad_metric_does_not_spoil_the_others():
    metrics = [
        metric("a", datatype=INT16, value=("int_value", 70_000)),
        metric(None, datatype=DOUBLE, value=("double_value", 1.0)),
        double(2.0, name="b"),
    ]
    samples = to_node(SparkplugFormat(), "NBIRTH", node_birth(0, *metrics))
    assert samples.errors == ("out_of_range", "invalid_name")
    assert [one.channel for one in samples.samples] == ["b"]


def test_groups_are_kept_apart_and_named_if_wanted():
    decoder = SparkplugFormat(with_group=True)
    for group, session in (("g", 1), ("h", 2)):
        decode(decoder, f"spBv1.0/{group}/NBIRTH/n", node_birth(session, double(1.0, name=group, alias=1)))
    got = [rows(decode(decoder, f"spBv1.0/{g}/NDATA/n", payload(double(2.0, alias=1), seq=1))) for g in "gh"]
    assert got == [[("g/n", "g", 2.0, None)], [("h/n", "h", 2.0, None)]]


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
@pytest.mark.parametrize("seqs", [(0, None), (None, 0)])
def test_compressed_payloads_are_read(compress, seqs):
    outer = new_payload()
    outer.uuid = "SPBV1.0_COMPRESSED"
    if seqs[0] is not None:
        outer.seq = seqs[0]
    outer.body = compress(node_birth(0, double(1.0, name="t", alias=1), seq=seqs[1]))
    decoder = SparkplugFormat()
    assert rows(to_node(decoder, "NBIRTH", outer.SerializeToString())) == [("n", "t", 1.0, None)]
    assert not to_node(decoder, "NDATA", payload(double(2.0, alias=1), seq=1)).requests
    assert to_node(decoder, "NDATA", payload(double(2.0, alias=1), seq=3)).requests


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"x", "not_compressed"),
        (b"not deflated", "not_compressed"),
        (gzip.compress(bytes(2 * MAX_BYTES)), "too_large"),
    ],
)
def test_a_body_that_cannot_be_inflated_is_rejected(body, reason):
    outer = new_payload()
    outer.uuid, outer.body = "SPBV1.0_COMPRESSED", body
    assert to_node(SparkplugFormat(), "NBIRTH", outer.SerializeToString()).errors == (reason,)


@pytest.mark.parametrize(
    "topic",
    ["spBv1.0/STATE/host", "STATE/host", "spBv1.0/g/NCMD/n", "spBv1.0/g/DCMD/n/d", NODE.format("NBIRTH")],
)
def test_other_hosts_commands_and_cleared_topics_do_not_concern_us(topic):
    samples = decode(SparkplugFormat(), topic, b"" if "BIRTH" in topic else b"ONLINE")
    assert (samples.samples, samples.errors, samples.requests) == ((), (), ())


@pytest.mark.parametrize(
    "topic",
    ["spBv1.0/g/NDATA", "spBv1.0/g/NDATA/n/d", "spBv1.0/g/DDATA/n", "spAv1.0/g/NDATA/n", "spBv1.0//NDATA/n", "x",
     "spBv1.0/g/NDATA/+", "spBv1.0/g/NDATA/" + "n" * 600],
)  # fmt: skip
def test_other_topics_are_unknown(topic):
    assert decode(SparkplugFormat(), topic, payload(seq=0)).errors == ("unknown_topic",)


def test_more_metrics_than_can_be_are_refused_or_not_kept(monkeypatch):
    monkeypatch.setattr(sparkplug, "MAX_METRICS", 3)
    monkeypatch.setattr(sparkplug_nodes, "MAX_NODE_METRICS", 2)
    decoder = SparkplugFormat()
    metrics = [double(1.0, name=f"m{number}", alias=number) for number in range(4)]
    assert to_node(decoder, "NBIRTH", payload(*metrics, seq=0)).errors == ("too_many_metrics",)
    samples = to_node(decoder, "NBIRTH", payload(*metrics[:3], seq=0))
    assert (len(samples.samples), samples.errors) == (3, ("too_many_metrics",))
    assert to_node(decoder, "NDATA", payload(double(1.0, alias=0), seq=1)).requests


def restored(decoder):
    following = SparkplugFormat()
    following.restore(decoder.state())
    return following


def test_after_a_stop_the_very_next_message_is_read_by_what_was_announced(born):
    samples = to_device(restored(born), "DDATA", payload(double(1.5, alias=2, datatype=None), seq=2))
    assert (rows(samples), samples.notices) == ([("n/d", "p", 1.5, "bar")], ())


@pytest.mark.parametrize("seq", [1, 3, 200, None])
def test_after_a_stop_that_missed_something_no_alias_is_read_before_the_next_birth(born, seq):
    """In between the node may have given its aliases to other metrics."""
    decoder = restored(born)
    data = double(1.5, alias=2, datatype=None)
    for number in range(2):
        samples = to_device(decoder, "DDATA", payload(data, seq=None if seq is None else seq + number))
        assert (samples.samples, len(samples.requests)) == ((), 1 - number)
    assert to_node(decoder, "NBIRTH", node_birth(5)).notices == ()
    to_device(decoder, "DBIRTH", payload(double(3.0, name="other", alias=2), seq=1))
    assert rows(to_device(decoder, "DDATA", payload(data, seq=2))) == [("n/d", "other", 1.5, None)]


def test_after_a_stop_a_named_metric_and_a_birth_are_read_whatever_was_missed(born):
    birth = to_device(restored(born), "DBIRTH", payload(double(3.0, name="p", alias=2), seq=77))
    assert rows(birth) == [("n/d", "p", 3.0, None)]
    data = to_device(restored(born), "DDATA", payload(double(3.0, name="p"), seq=77))
    assert rows(data) == [("n/d", "p", 3.0, None)]
    assert (len(birth.requests), len(data.requests)) == (1, 1)


def test_a_stop_that_missed_something_ends_the_pause_before_the_next_request(born):
    """The node was asked just before; whatever it answered, nobody heard it."""
    assert to_node(born, "NDATA", payload(seq=9)).requests
    assert not to_node(restored(born), "NDATA", payload(seq=10)).requests
    assert to_node(restored(born), "NDATA", payload(seq=20)).requests


def test_a_node_that_went_through_a_session_unheard_is_gone_by_its_death(born):
    assert to_node(restored(born), "NDEATH", node_birth(5, seq=None)).offline == ("n", "n/d")
    assert to_node(restored(born), "NDEATH", node_birth(3, seq=None)).offline == ()


KINDS = ["NBIRTH", "NDATA", "NDEATH"], ["DBIRTH", "DDATA", "DDEATH"]
TOPICS = [NODE.format(kind) for kind in KINDS[0]] + [DEVICE.format(kind) for kind in KINDS[1]]
PAYLOADS = [
    node_birth(
        4, double(20.0, name="t", alias=1, unit="°C"), metric("i", datatype=INT16, value=("int_value", 3))
    ),
    payload(double(3.0, name="p", alias=2, unit="bar", timestamp=AT_MS, is_historical=True), seq=1),
    payload(double(1.5, alias=2, datatype=None), seq=2),
]


@given(
    st.lists(
        st.tuples(topics(TOPICS), st.sampled_from(PAYLOADS) | damaged(PAYLOADS) | st.binary(max_size=40)),
        max_size=8,
    )
)
def test_any_messages_give_samples_or_a_reason(messages):
    decoder, requests = SparkplugFormat(), 0
    for topic, data in messages:
        samples = decoder.decode(topic, data, arrived_at=ARRIVAL)
        check(samples)
        requests += len(samples.requests)
        assert len(samples.requests) == samples.notices.count("rebirth_requested")
    assert requests <= len(messages)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=300))
def test_a_session_without_loss_gives_every_value_and_asks_for_nothing(values):
    decoder = SparkplugFormat()
    to_node(decoder, "NBIRTH", node_birth(0, metric("t", alias=1, datatype=DOUBLE, is_null=True)))
    got = [
        to_node(decoder, "NDATA", payload(double(value, alias=1, datatype=None), seq=(number + 1) % 256))
        for number, value in enumerate(values)
    ]
    assert [one.samples[0].value for one in got] == values
    assert not any(one.notices or one.requests for one in got)
