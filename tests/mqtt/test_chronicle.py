"""Each thing is said once, and again when it is news again."""

import pytest
from structlog.testing import capture_logs

from gatewayd.config.settings import BrokerSettings
from gatewayd.mqtt.chronicle import Chronicle
from gatewayd.mqtt.outgoing import Limits


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def written():
    with capture_logs() as logs:
        yield logs


@pytest.fixture
def chronicle(clock, written):
    return Chronicle(BrokerSettings(host="b"), client_id="gw", clock=clock)


def events(logs, level=None):
    return [entry["event"] for entry in logs if level in (None, entry["log_level"])]


def failed(chronicle, reason, **facts):
    facts = {"was_refused": False, "is_other_protocol": False, "attempt": 1, "retry_in_s": 1.25} | facts
    chronicle.not_opened(reason, **facts)


def lost(chronicle, **facts):
    facts = {
        "lasted_s": 1.0,
        "retry_in_s": 2.0,
        "failures": 1,
        "was_taken_over": False,
        "is_explained": False,
    } | facts
    chronicle.lost("gone", **facts)


def opened(chronicle, **limits):
    chronicle.opened(connection=1, session_present=False, limits=Limits(**limits), max_inflight=64)


def test_a_reason_is_repeated_after_a_minute(chronicle, written, clock):
    for clock.now in (0.0, 30.0, 59.0, 60.0, 61.0):
        failed(chronicle, "no route")
    failed(chronicle, "no name")
    assert [entry["reason"] for entry in written] == ["no route", "no route", "no name"]


def test_who_refused_is_told(chronicle, written):
    failed(chronicle, "a", was_refused=True)
    failed(chronicle, "b", was_refused=True, is_other_protocol=True)
    failed(chronicle, "c")
    assert [(entry["event"], entry["log_level"]) for entry in written] == [
        ("link_refused", "warning"),
        ("protocol_refused", "error"),
        ("link_failed", "warning"),
    ]


def test_a_take_over_that_is_told_is_passed_on_at_once_and_once(chronicle, written):
    for failures in (1, 2, 3):
        lost(chronicle, failures=failures, was_taken_over=True)
    lost(chronicle, lasted_s=100.0)
    lost(chronicle, was_taken_over=True)
    assert events(written, "error") == ["session_taken_over"] * 2
    assert events(written, "warning") == ["link_lost"] * 5


def test_a_take_over_that_is_not_told_is_guessed_after_a_few_times(chronicle, written):
    for failures in (1, 2):
        lost(chronicle, failures=failures)
    assert events(written, "error") == []
    lost(chronicle, failures=3, is_explained=True)  # by the broker, or by ourselves
    assert events(written, "error") == []
    for failures in (4, 5):
        lost(chronicle, failures=failures)
    assert events(written, "error") == ["session_taken_over"]


def test_limits_are_told_when_they_change(chronicle, written):
    for limits in ({}, {"max_qos": 0, "retain_available": False}, {"max_qos": 0, "retain_available": False}):
        opened(chronicle, **limits)
    opened(chronicle, receive_maximum=20)
    told = [entry for entry in written if entry["event"] != "link_opened"]
    assert [(entry["event"], entry["log_level"]) for entry in told] == [
        ("broker_limited", "warning"),
        ("inflight_limited", "info"),
    ]
    assert (told[0]["max_qos"], told[0]["retain_available"]) == (0, False)
    assert (told[1]["receive_maximum"], told[1]["max_inflight"]) == (20, 64)


def test_refused_publications_are_summed_up_once_a_minute_for_each_reason(chronicle, written, clock):
    """A broker that refuses a thousand topics gets no thousand lines."""
    denied = [(number, "not_authorized", b"a/%d\xff" % number, "no") for number in range(1000)]
    chronicle.refused([*denied, (None, "quota_exceeded", b"b", None)])
    clock.now = 60.0
    chronicle.refused(denied[7:8])
    assert [(entry["reason"], entry["count"], entry["topic"], entry["words"]) for entry in written] == [
        ("not_authorized", 1, "a/0\\xff", "no"),
        ("quota_exceeded", 1, "b", None),
        ("not_authorized", 1000, "a/7\\xff", "no"),
    ]
    assert events(written, "error") == ["publication_refused"] * 3


def test_denied_and_lowered_subscriptions(chronicle, written):
    subscriptions = [("a", 1), ("b", 1), ("c", 1)]
    assert chronicle.granted(subscriptions, [1, 0, "Not authorized"]) == ["c"]
    assert chronicle.granted(subscriptions, [1, 0, "Not authorized"]) == ["c"]
    assert chronicle.granted(subscriptions, [1, 1, 1]) == []
    assert [(entry["event"], entry["topics"]) for entry in written] == [
        ("subscription_refused", {"c": "Not authorized"}),
        ("qos_granted_lower", {"b": {"wanted": 1, "granted": 0}}),
    ]


def test_lines_name_broker_and_client(chronicle, written):
    chronicle.unverified()
    chronicle.closed(lasted_s=1.26)
    assert [(entry["event"], entry["broker"], entry["client_id"]) for entry in written] == [
        ("certificate_not_verified", "b:1883", "gw"),
        ("link_closed", "b:1883", "gw"),
    ]
    assert written[1]["lasted_s"] == 1.3
