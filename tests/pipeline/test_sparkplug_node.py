"""Hosts understand every message: births first, numbers without a gap. Our own Sparkplug reader is the host."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.formats.sparkplug import SparkplugFormat
from gatewayd.formats.sparkplug_schema import parse_payload
from gatewayd.pipeline.sparkplug_node import EdgeNode
from gatewayd.pipeline.verdict_sparkplug import Metric, alert_metrics, device_id, prediction_metrics
from tests.support.schemas import shown
from tests.support.sparkplug import BOOLEAN, metric
from tests.support.sparkplug import payload as made
from tests.support.verdicts import ANOMALOUS, CLEARED, P3, PREDICTIONS, PUMP, RAISED, STUCK, alerts, at

NOW = at("2026-03-14T12:00:00Z")
RECENT = st.integers(0, 10**12).map(lambda offset: NOW + offset)  # times that a reader believes
ABOUT = st.sampled_from(["pump:p1", "pump:p2", "room:room"])
VERDICTS = st.lists(
    st.tuples(
        ABOUT,
        st.builds(lambda p, end: replace(p, end=end, start=end), PREDICTIONS, RECENT)
        | st.builds(lambda a, when: replace(a, changed_at=when), alerts(), RECENT),
    ),
    min_size=1,
    max_size=12,
)


def node():
    return EdgeNode(group="plant", gateway="line1-gw", broker="cloud", qos=1)


def metrics_of(verdict):
    is_alert = hasattr(verdict, "state")
    return alert_metrics(verdict) if is_alert else prediction_metrics(verdict, P3, PUMP)


def publish(edge, device, verdict):
    if hasattr(verdict, "state"):
        return edge.publish(device, metrics_of(verdict), kind="alert", at=verdict.changed_at)
    return edge.publish(device, metrics_of(verdict), kind="prediction", at=verdict.end)


def hear(host, publications):
    """What a host makes of some messages: nothing is amiss with any."""
    heard = []
    for publication in publications:
        found = host.decode(publication.topic, publication.payload, arrived_at=NOW)
        assert not found.errors
        assert not found.notices
        assert not found.requests
        heard += found.samples
    return heard


@given(verdicts=VERDICTS)
def test_a_host_reads_back_every_number_of_every_verdict(verdicts):
    edge, host = node(), SparkplugFormat()
    for device, verdict in verdicts:
        heard = {
            (sample.device, sample.channel): (sample.value, sample.taken_at)
            for sample in hear(host, publish(edge, device, verdict))
        }
        for one in metrics_of(verdict):
            if one.type in ("Double", "Boolean", "Int32") and one.value is not None:
                said = (float(one.value), one.at_ms * 10**6)
                assert heard[f"line1-gw/{device}", one.name] == said


def content(publication):
    """A message but for its number, which counts all devices of the node."""
    payload = parse_payload(publication.payload)
    payload.seq = 0
    return publication.topic, publication.kind, payload.SerializeToString()


@given(verdicts=VERDICTS)
def test_what_a_device_says_does_not_depend_on_the_others(verdicts):
    together = node()
    sent = [
        (device, content(one)) for device, verdict in verdicts for one in publish(together, device, verdict)
    ]
    for device in {device for device, _ in verdicts}:
        alone = node()
        mine = [verdict for name, verdict in verdicts if name == device]
        expected = [content(one) for verdict in mine for one in publish(alone, device, verdict)]
        found = [one for name, one in sent if name == device]
        assert found == expected[len(expected) - len(found) :]
        assert len(expected) - len(found) in (
            0,
            1,
        )  # the node's own birth, which another device may have caused


@given(verdicts=VERDICTS, data=st.data())
def test_a_restored_node_goes_on_byte_for_byte(verdicts, data):
    cut = data.draw(st.integers(0, len(verdicts)))
    whole, first, second = node(), node(), node()
    expected = [publish(whole, *one) for one in verdicts]
    found = [publish(first, *one) for one in verdicts[:cut]]
    second.restore(json.loads(json.dumps(first.state())))  # no more than state may hold
    found += [publish(second, *one) for one in verdicts[cut:]]
    assert found == expected
    assert second.rebirth(NOW) == whole.rebirth(NOW)


@settings(max_examples=5)
@given(start=st.integers(0, 3))
def test_numbers_run_from_0_to_255_and_again(start):
    edge = node()
    sent = [one for _ in range(start + 600) for one in publish(edge, "pump:p3", ANOMALOUS)]
    assert [parse_payload(one.payload).seq for one in sent] == [number % 256 for number in range(len(sent))]


def test_births_come_first_and_again_for_what_they_did_not_name():
    edge = node()
    kinds = []
    for device, verdict in [
        ("pump:p3", ANOMALOUS),
        ("pump:p3", ANOMALOUS),
        ("pump:p3", RAISED),
        ("pump:p3", CLEARED),
        ("pump:p4", ANOMALOUS),
        ("pump:p3", STUCK),
    ]:
        kinds += [(one.topic.split("/")[2], one.kind) for one in publish(edge, device, verdict)]
    assert kinds == [
        ("NBIRTH", "discovery"),
        ("DBIRTH", "discovery"),
        ("DDATA", "prediction"),
        ("DBIRTH", "discovery"),  # Alert/anomaly
        ("DDATA", "alert"),
        ("DBIRTH", "discovery"),
        ("DBIRTH", "discovery"),  # Alert/stuck/temperature
    ]


def test_a_birth_holds_all_that_is_known_of_a_device():
    edge = node()
    for verdict in (ANOMALOUS, RAISED, replace(ANOMALOUS, score=9.0, end=ANOMALOUS.end + 10**9)):
        publish(edge, "pump:p3", verdict)
    _, birth = edge.rebirth(NOW)
    values = {one.name: one.double_value for one in parse_payload(birth.payload).metrics}
    assert values["Prediction/Score"] == 9.0
    assert values["Alert/anomaly/PeakScore"] == 3.62
    assert all(one.datatype and one.timestamp for one in parse_payload(birth.payload).metrics)
    assert not any(one.is_historical for one in parse_payload(birth.payload).metrics)


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_host_that_missed_a_message_asks_and_gets_all_births(lost):
    """As when the outbox had to evict one: the gap is seen, the rebirth heals it."""
    edge, host = node(), SparkplugFormat()
    sent = [one for device in ("pump:p3", "pump:p4", "pump:p3") for one in publish(edge, device, ANOMALOUS)]
    requests = []
    for publication in sent[:lost] + sent[lost + 1 :] + publish(edge, "pump:p4", RAISED):
        found = host.decode(publication.topic, publication.payload, arrived_at=NOW)
        requests += found.requests
    assert [request.topic for request in requests] == [edge.command_topic]
    assert edge.asks_rebirth(requests[0].payload)
    for publication in [*edge.rebirth(NOW), *publish(edge, "pump:p3", ANOMALOUS)]:
        found = host.decode(publication.topic, publication.payload, arrived_at=NOW)
        assert (found.errors, found.notices, found.requests) == ((), (), ())


@given(st.binary())
def test_no_bytes_are_a_command_by_accident(data):
    assert not node().asks_rebirth(data)


def test_only_a_true_rebirth_asks_for_one():
    asked = metric("Node Control/Rebirth", datatype=BOOLEAN, value=("boolean_value", True))
    assert node().asks_rebirth(made(asked))
    assert not node().asks_rebirth(made({**asked, "value": ("boolean_value", False)}))
    assert not node().asks_rebirth(made({**asked, "name": "Node Control/Reboot"}))


def test_the_death_of_a_session_takes_its_devices_along_and_an_older_one_nothing():
    edge, host = node(), SparkplugFormat()
    edge.begin_session()
    old = edge.death()
    edge.begin_session()
    hear(host, publish(edge, "pump:p3", ANOMALOUS))
    assert host.decode(old.topic, old.payload, arrived_at=NOW).offline == ()
    death = edge.death()
    assert host.decode(death.topic, death.payload, arrived_at=NOW).offline == ("line1-gw", "line1-gw/pump:p3")
    assert not parse_payload(death.payload).HasField("seq")


def test_a_new_session_begins_with_births():
    edge = node()
    publish(edge, "pump:p3", ANOMALOUS)
    edge.begin_session()
    assert [one.topic.split("/")[2] for one in publish(edge, "pump:p3", ANOMALOUS)] == ["NBIRTH", "DBIRTH"]


def test_a_device_that_is_gone_is_told_of_once_and_forgotten():
    edge, host = node(), SparkplugFormat()
    for device in ("pump:p3", "room:room"):
        hear(host, publish(edge, device, ANOMALOUS))
    gone = edge.remove("pump:p3", NOW)
    assert host.decode(gone.topic, gone.payload, arrived_at=NOW).offline == ("line1-gw/pump:p3",)
    assert edge.devices == ("room:room",)
    assert "pump:p3" not in json.dumps(edge.state())
    hear(host, publish(edge, "room:room", ANOMALOUS))  # its number is the next one
    assert [one.topic.split("/")[-1] for one in edge.rebirth(NOW)] == ["line1-gw", "room:room"]
    assert publish(edge, "pump:p3", ANOMALOUS)[0].topic.split("/")[2] == "DBIRTH"


def test_names_that_no_topic_takes_are_made_safe():
    edge = EdgeNode(group="a/b", gateway="g#1", broker="b", qos=0)
    sent = edge.publish(
        "s:d", [Metric(name="m", type="Double", value=1.0, at_ms=0)], kind="prediction", at=NOW
    )
    assert [one.topic for one in sent] == ["spBv1.0/a%2Fb/NBIRTH/g%231", "spBv1.0/a%2Fb/DBIRTH/g%231/s:d"]
    assert {(one.qos, one.retain, one.broker) for one in sent} == {(0, False, "b")}


def written(publication):
    """A message as docs/payloads.md shows it."""
    payload = parse_payload(publication.payload)
    lines = [f"{publication.topic}  seq {payload.seq}"]
    for one in payload.metrics:
        value = "null" if one.is_null else getattr(one, one.WhichOneof("value"))
        lines.append(f"  {one.name} = {json.dumps(value) if isinstance(value, str | bool) else value}")
    return "\n".join(lines)


def test_the_documentation_shows_what_these_verdicts_give():
    edge = node()
    later = replace(ANOMALOUS, start=ANOMALOUS.start + 8 * 10**8, end=ANOMALOUS.end + 8 * 10**8, score=2.96)
    sent = [one for verdict in (ANOMALOUS, later) for one in publish(edge, device_id("pump", P3), verdict)]
    assert shown("text", "sparkplug") == ["\n".join(written(one) for one in sent)]
