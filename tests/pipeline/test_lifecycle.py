"""One alert's life, step by step; tests of ``alarm`` hold any order of steps to ISA-18.2's diagram."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.pipeline.lifecycle import Alarm, AlarmRule, Seen

THREE = (("low", 1.0), ("medium", 1.5), ("high", 3.0))
FINITE = st.floats(-1e6, 1e6)


def make(rule, condition="anomaly"):
    return Alarm((0, condition, None), rule, lambda *parts: "/".join(map(str, parts)), Counter())


def seen(at, value, limit=10.0):
    return Seen(at, at, value, value, limit)


@pytest.mark.parametrize(
    ("limit", "is_low", "bounds"),
    [
        (10.0, False, [10.0, 15.0, 30.0]),
        (-10.0, False, [-10.0, -5.0, 10.0]),
        (-10.0, True, [-10.0, -15.0, -30.0]),
        (10.0, True, [10.0, 5.0, -10.0]),
    ],
)
def test_a_factor_takes_as_much_magnitude_of_any_limit(limit, is_low, bounds):
    rule = AlarmRule(severities=THREE)
    step = -1e-9 if is_low else 1e-9
    for level, bound in enumerate(bounds):
        assert rule.level(bound, limit, is_low=is_low) == level
        assert rule.level(bound - step, limit, is_low=is_low) == max(level - 1, 0)


@given(limit=FINITE, values=st.tuples(FINITE, FINITE), is_low=st.booleans())
def test_what_lies_farther_out_is_at_least_as_severe(limit, values, is_low):
    near, far = sorted(values, reverse=is_low)
    rule = AlarmRule(severities=THREE)
    assert rule.level(near, limit, is_low=is_low) <= rule.level(far, limit, is_low=is_low)


@pytest.mark.parametrize("severities", [(), (("a", 1.0), ("b", 1.0)), (("a", 2.0), ("b", 1.0))])
def test_severities_must_ascend(severities):
    with pytest.raises(ValueError, match="ascending"):
        AlarmRule(severities=severities)


@given(values=st.lists(st.floats(10, 100), min_size=1, max_size=20))
def test_severity_and_peak_only_rise(values):
    rule = AlarmRule(severities=THREE)
    alarm = make(rule)
    changes = list(alarm.begin(seen(0, values[0])))
    for at, value in enumerate(values[1:], start=1):
        changes += alarm.observe(seen(at, value))
    levels = [dict(THREE)[alert.severity] for alert in changes]
    assert levels == sorted(set(levels))
    assert levels[-1] == THREE[rule.level(max(values), 10.0, is_low=False)][1]
    assert [alert.state for alert in changes] == ["raised"] + ["escalated"] * (len(changes) - 1)
    [cleared] = alarm.end(seen(99, 0.0))
    assert cleared.peak_score == max(values)
    assert cleared.severity == changes[-1].severity


def test_below_a_lower_limit_the_peak_is_the_least():
    alarm = make(AlarmRule(), "input_drift")
    [raised] = alarm.begin(seen(1, -3.5, -3.0))
    alarm.observe(seen(2, -5.0, -3.0))
    alarm.observe(seen(3, -4.0, -3.0))
    [cleared] = alarm.end(seen(4, 0.0, -3.0))
    assert (raised.peak_score, cleared.peak_score) == (-3.5, -5.0)


def test_a_reading_out_of_range_has_the_least_severity():
    """A minimum of 0 would make each negative reading the most severe."""
    alarm = make(AlarmRule(severities=THREE), "out_of_range")
    [raised] = alarm.begin(seen(1, -0.1, 0.0))
    assert raised.severity == "low"


def test_another_rule_goes_on_with_a_severity_that_it_does_not_know():
    old, new = make(AlarmRule(severities=(("dire", 1.0),))), make(AlarmRule(severities=THREE))
    old.begin(seen(1, 10.0))
    new.restore(old.state())
    assert new.observe(seen(2, 10.0)) == ()
    [escalated] = new.observe(seen(3, 15.0))
    assert escalated.severity == "medium"


def test_another_rule_goes_on_with_the_severity_reached():
    old, new = make(AlarmRule(severities=THREE)), make(AlarmRule(severities=THREE))
    old.begin(seen(1, 15.0))
    new.restore(old.state())
    assert new.observe(seen(2, 29.0)) == ()
    [escalated] = new.observe(seen(3, 30.0))
    assert escalated.severity == "high"


def test_what_waits_for_somebody_waits_under_another_rule_too():
    latched, returned = make(AlarmRule(is_latching=True)), make(AlarmRule(needs_acknowledge=True))
    for alarm in (latched, returned):
        alarm.begin(seen(1, 10.0))
        alarm.end(seen(2, 0.0))
    plain = make(AlarmRule())
    plain.restore(latched.state())
    assert [alert.status for alert in plain.reset(3)] == ["normal"]
    plain = make(AlarmRule())
    plain.restore(returned.state())
    assert [alert.status for alert in plain.acknowledge(3, None)] == ["normal"]
    assert plain.is_idle


def test_a_raise_while_waiting_for_somebody_keeps_id_first_out_and_peak():
    alarm = make(AlarmRule(needs_acknowledge=True, severities=THREE))
    [first] = alarm.begin(seen(1, 40.0))
    alarm.end(seen(2, 0.0))
    [again] = alarm.begin(seen(3, 12.0))
    assert (again.id, again.first_out_at, again.raised_at) == (first.id, 1, 3)
    assert (again.cleared_at, again.peak_score, again.severity) == (None, 40.0, "high")


def told(changes):
    return [(alert.state, alert.status) for alert in changes]


def test_acknowledged_and_cleared():
    alarm = make(AlarmRule())
    assert told(alarm.begin(seen(1, 10.0))) == [("raised", "unacknowledged")]
    assert told(alarm.acknowledge(2, "anna")) == [("acknowledged", "acknowledged")]
    assert told(alarm.end(seen(3, 0.0))) == [("cleared", "normal")]
    assert alarm.is_idle


def test_latched_acknowledged_and_reset():
    alarm = make(AlarmRule(is_latching=True, needs_acknowledge=True))
    alarm.begin(seen(1, 10.0))
    assert told(alarm.end(seen(2, 0.0))) == [("latched", "latched_unacknowledged")]
    assert told(alarm.acknowledge(3, None)) == [("acknowledged", "latched_acknowledged")]
    [reset] = alarm.reset(4)
    assert (reset.state, reset.status, reset.cleared_at, reset.changed_at) == ("reset", "normal", 2, 4)
    assert alarm.is_idle


def test_a_latched_alert_whose_condition_returns_is_latched_no_more():
    alarm = make(AlarmRule(is_latching=True))
    [first] = alarm.begin(seen(1, 10.0))
    alarm.end(seen(2, 0.0))
    [again] = alarm.begin(seen(3, 10.0))
    assert (again.id, again.state, again.status) == (first.id, "raised", "unacknowledged")
    assert not alarm.is_latched


def test_of_what_nobody_was_told_nobody_is_told_that_it_is_hidden():
    alarm = make(AlarmRule())
    alarm.shelve(1, 50)
    alarm.begin(seen(2, 10.0))
    assert alarm.shelve(3, 60) == ()
    assert alarm.take_out(4) == ()


def test_an_escalation_takes_back_an_acknowledgement():
    alarm = make(AlarmRule(severities=THREE))
    alarm.begin(seen(1, 10.0))
    alarm.acknowledge(2, "anna")
    [escalated] = alarm.observe(seen(3, 15.0))
    assert (escalated.status, escalated.acknowledged_at, escalated.acknowledged_by) == (
        "unacknowledged",
        None,
        None,
    )


def test_a_shelved_alert_goes_on_in_silence():
    alarm = make(AlarmRule(needs_acknowledge=True, severities=THREE))
    alarm.begin(seen(1, 10.0))
    [shelved] = alarm.shelve(2, 50)
    assert (shelved.state, shelved.status, shelved.shelved_until) == ("shelved", "shelved", 50)
    assert alarm.observe(seen(3, 40.0)) == ()
    assert alarm.end(seen(4, 0.0)) == ()
    [cleared] = alarm.reveal("unshelved", 50)
    assert (cleared.state, cleared.status) == ("cleared", "returned_unacknowledged")
    assert (cleared.severity, cleared.peak_score, cleared.shelved_until) == ("high", 40.0, None)


def test_a_shelved_latched_alert_is_latched_afterwards():
    alarm = make(AlarmRule(is_latching=True))
    alarm.begin(seen(1, 10.0))
    alarm.shelve(2, 50)
    alarm.end(seen(3, 0.0))
    assert told(alarm.reveal("unshelved", 50)) == [("latched", "latched_unacknowledged")]


def test_out_of_service_takes_a_shelving_over():
    alarm = make(AlarmRule())
    assert alarm.shelve(1, 50) == ()
    assert alarm.take_out(2) == ()
    assert (alarm.quiet, alarm.shelved_until) == ("out_of_service", None)
    assert alarm.begin(seen(3, 10.0)) == ()
    assert told(alarm.reveal("in_service", 4)) == [("in_service", "unacknowledged")]
    assert alarm.quiet is None


def test_the_end_of_a_told_alert_is_owed_until_it_may_be_told():
    alarm = make(AlarmRule())
    [raised] = alarm.begin(seen(1, 10.0))
    alarm.take_out(2)
    alarm.end(seen(3, 0.0))
    alarm.begin(seen(4, 11.0))
    alarm.end(seen(5, 0.0))  # of this one nobody ever heard
    [cleared] = alarm.reveal("in_service", 6)
    assert (cleared.id, cleared.state, cleared.cleared_at, cleared.changed_at) == (raised.id, "cleared", 3, 6)
    assert alarm._withheld == {"out_of_service": 1}
    assert alarm.reveal("in_service", 7) == ()
    assert alarm.is_idle


def test_a_hold_off_holds_the_next_raise_back():
    alarm = make(AlarmRule(hold_off_ns=10))
    alarm.begin(seen(1, 10.0))
    alarm.end(seen(2, 0.0))
    assert alarm.begin(seen(5, 30.0)) == ()
    assert alarm.release(11) == ()
    assert alarm.begin(seen(12, 9.0)) == ()
    assert alarm.last_seen(13).value == 9.0
    [raised] = alarm.release(13)
    assert (raised.raised_at, raised.first_out_at, raised.peak_score) == (13, 5, 30.0)
    assert alarm.release(14) == ()
    assert alarm.last_seen(15) == Seen(15, 15, 9.0, 30.0, 10.0, None)
    alarm.end(seen(16, 0.0))
    alarm.begin(seen(17, 10.0))
    assert alarm.end(seen(18, 0.0)) == ()
    assert alarm._withheld == {"hold_off": 1}


@pytest.mark.parametrize("rule", [AlarmRule(hold_off_ns=10), AlarmRule(is_latching=True)])
def test_every_part_of_its_memory_goes_on(rule):
    alarm = make(rule)
    alarm.begin(seen(1, 10.0))
    alarm.shelve(2, 50)
    alarm.end(seen(3, 0.0))
    alarm.begin(Seen(5, 4, 10.0, 12.0, 10.0, {"a": 1.0}))
    other = make(rule)
    other.restore(alarm.state())
    assert other.state() == alarm.state()
    for one in (alarm, other):
        one.take_out(6)
    assert other.reveal("in_service", 20) == alarm.reveal("in_service", 20)
    assert other.release(30) == alarm.release(30)
    assert other.end(seen(31, 0.0)) == alarm.end(seen(31, 0.0))
    assert other.state() == alarm.state()
