"""Alerts of a stream: held to a plain table of ISA-18.2's states, and to what somebody who only listens believes."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gatewayd.pipeline.alarm import Alarms
from gatewayd.pipeline.lifecycle import AlarmRule, Seen

LIMIT = 10.0
SEVERITIES = (("low", 1.0), ("high", 2.0))
KEYS = [(0, "anomaly", None), (0, "stuck", "flow"), (1, "silent", None)]
# The edges of ISA-18.2's diagram, with what is published when one is taken.
EDGES = {
    "raised": {
        ("normal", "unacknowledged"),
        ("returned_unacknowledged", "unacknowledged"),
        ("latched_unacknowledged", "unacknowledged"),
        ("latched_acknowledged", "unacknowledged"),
    },
    "escalated": {("unacknowledged", "unacknowledged"), ("acknowledged", "unacknowledged")},
    "acknowledged": {
        ("unacknowledged", "acknowledged"),
        ("returned_unacknowledged", "normal"),
        ("latched_unacknowledged", "latched_acknowledged"),
    },
    "cleared": {
        ("unacknowledged", "normal"),
        ("acknowledged", "normal"),
        ("unacknowledged", "returned_unacknowledged"),
        ("acknowledged", "returned_unacknowledged"),  # escalated while shelved
        ("shelved", "normal"),
        ("out_of_service", "normal"),
        ("shelved", "returned_unacknowledged"),
        ("out_of_service", "returned_unacknowledged"),
    },
    "latched": {
        ("unacknowledged", "latched_unacknowledged"),
        ("acknowledged", "latched_acknowledged"),
        ("shelved", "latched_unacknowledged"),
        ("shelved", "latched_acknowledged"),
        ("out_of_service", "latched_unacknowledged"),
        ("out_of_service", "latched_acknowledged"),
    },
    "reset": {("latched_unacknowledged", "normal"), ("latched_acknowledged", "normal")},
}
ENDED = {"returned_unacknowledged", "latched_unacknowledged", "latched_acknowledged"}


def identify(device, condition, channel, first_out_at):
    return f"{device}/{condition}/{channel}@{first_out_at}"


def seen(at, value=LIMIT, **others):
    return Seen(**{"at": at, "first_out_at": at, "value": value, "peak": value, "limit": LIMIT, **others})


def alarms_of(**options):
    return Alarms(AlarmRule(**options), identify)


class Expected:
    """One key, by the book: its state and whether it is hidden, without a thought of messages."""

    def __init__(self):
        self.is_on, self.status, self.is_high = False, "normal", False
        self.held_until, self.is_waiting = 0, False
        self.hidden, self.until = None, None

    def go_on(self):
        self.status, self.is_waiting = "unacknowledged", False


class AlarmsMachine(RuleBasedStateMachine):
    """Whatever is seen and said, listeners believe what the table says, and ids are raised before they are cleared."""

    @initialize(needs=st.booleans(), latch=st.booleans(), hold_off=st.sampled_from([0, 5]))
    def begin(self, needs, latch, hold_off):
        self.needs, self.latch, self.hold_off = needs, latch, hold_off
        self.rule = AlarmRule(
            needs_acknowledge=needs, is_latching=latch, hold_off_ns=hold_off, severities=SEVERITIES
        )
        self.alarms = Alarms(self.rule, identify)
        self.expected = {key: Expected() for key in KEYS}
        self.believed = {}  # by id: the latest that was published
        self.standing = set()  # ids that were raised and not cleared, to somebody who knows only that
        self.now = 100

    def publish(self, changes):
        for alert in changes:
            before = self.believed.get(alert.id)
            status = "normal" if before is None else before.status
            if alert.state in EDGES:
                assert (status, alert.status) in EDGES[alert.state]
            elif alert.state in ("shelved", "out_of_service"):
                assert alert.status == alert.state
                assert before is not None
            else:
                assert alert.state in ("unshelved", "in_service")
                assert before is None or status in ("shelved", "out_of_service")
            assert alert.status != "normal" or alert.cleared_at is not None
            if alert.state == "raised":
                assert alert.id not in self.standing
            elif alert.state == "cleared":
                assert alert.id in self.standing
            if alert.cleared_at is None:
                self.standing.add(alert.id)
            else:
                self.standing.discard(alert.id)
            self.believed[alert.id] = alert

    @rule(key=st.sampled_from(KEYS), is_high=st.booleans())
    def show(self, key, is_high):
        self.now += 1
        value = LIMIT * (2 if is_high else 1)
        self.publish(self.alarms.track(key, seen(self.now, value), is_on=True))
        state = self.expected[key]
        if not state.is_on or state.is_waiting:
            state.is_on = True
            state.is_waiting = self.now < state.held_until
            if not state.is_waiting:
                state.is_high = is_high or (state.is_high and state.status != "normal")
                state.go_on()
        elif is_high and not state.is_high:
            state.is_high = True
            state.status = "unacknowledged"

    @rule(key=st.sampled_from(KEYS))
    def end(self, key):
        self.now += 1
        self.publish(self.alarms.track(key, seen(self.now, 0.0), is_on=False))
        state = self.expected[key]
        if state.is_on and not state.is_waiting:
            state.held_until = self.now + self.hold_off
            if self.latch:
                state.status = f"latched_{state.status}"
            elif self.needs and state.status == "unacknowledged":
                state.status = "returned_unacknowledged"
            else:
                state.status = "normal"
        state.is_on = state.is_waiting = False

    @rule(key=st.sampled_from(KEYS), by_id=st.booleans())
    def acknowledge(self, key, by_id):
        self.now += 1
        state = self.expected[key]
        if state.status == "normal":
            reason = "not_standing"
        else:
            reason = state.hidden or (
                "already_acknowledged" if state.status.endswith("ed_acknowledged") else None
            )
            reason = "already_acknowledged" if reason is None and state.status == "acknowledged" else reason
        self.say("acknowledge", key, reason, by_id=by_id)
        if reason is None:
            state.status = {
                "unacknowledged": "acknowledged",
                "returned_unacknowledged": "normal",
                "latched_unacknowledged": "latched_acknowledged",
            }[state.status]

    @rule(key=st.sampled_from(KEYS), by_id=st.booleans())
    def reset(self, key, by_id):
        self.now += 1
        state = self.expected[key]
        reason = None if state.status.startswith("latched") else "not_latched"
        reason = reason or state.hidden
        if reason is None and self.needs and state.status == "latched_unacknowledged":
            reason = "not_acknowledged"
        self.say("reset", key, reason, by_id=by_id)
        if reason is None:
            state.status = "normal"

    @rule(key=st.sampled_from(KEYS), length=st.sampled_from([3, 10]))
    def shelve(self, key, length):
        self.now += 1
        state = self.expected[key]
        reason = "out_of_service" if state.hidden == "out_of_service" else None
        self.say("shelve", key, reason, for_ns=length)
        if reason is None:
            state.hidden, state.until = "shelved", self.now + length

    @rule(key=st.sampled_from(KEYS), verb=st.sampled_from(["unshelve", "out_of_service", "in_service"]))
    def serve(self, key, verb):
        self.now += 1
        state = self.expected[key]
        reason = {
            "unshelve": None if state.hidden == "shelved" else "not_shelved",
            "out_of_service": "out_of_service" if state.hidden == "out_of_service" else None,
            "in_service": None if state.hidden == "out_of_service" else "not_out_of_service",
        }[verb]
        self.say(verb, key, reason)
        if reason is None:
            state.hidden, state.until = ("out_of_service" if verb == "out_of_service" else None), None

    def say(self, verb, key, reason, *, by_id=False, for_ns=None):
        target = key
        if by_id:
            ids = [alert.id for alert in self.alarms.standing if (alert.device, alert.condition) == key[:2]]
            target = ids[0] if ids else key
        answer = self.alarms.command(verb, target, at=self.now, by="anna", for_ns=for_ns)
        assert answer.refusal == reason
        assert reason is None or answer.changes == ()
        self.publish(answer.changes)

    @rule(length=st.integers(1, 12))
    def wait(self, length):
        self.now += length
        for device in (0, 1):
            self.publish(self.alarms.advance(device, self.now))
        deadline = self.alarms.deadline()
        changes = self.alarms.expire(self.now)
        assert not changes or deadline <= self.now
        self.publish(changes)
        for key, state in self.expected.items():
            if state.is_waiting and state.held_until <= self.now and key[1] != "anomaly":
                state.go_on()
                # the value that waited was seen on the way in
                state.is_high = self.severity(key) == "high"
            if state.until is not None and state.until <= self.now:
                state.hidden = state.until = None

    def severity(self, key):
        return next(a["alert"]["severity"] for a in self.alarms.state()["alarms"] if a["key"] == list(key))

    @precondition(lambda self: self.alarms.standing)
    @rule()
    def restart(self):
        old, self.alarms = self.alarms, Alarms(self.rule, identify)
        self.alarms.restore(old.state())
        assert self.alarms.state() == old.state()
        assert self.alarms.standing == old.standing
        assert self.alarms.deadline() == old.deadline()
        assert self.alarms.is_holding == old.is_holding

    @invariant()
    def listeners_believe_what_is(self):
        for key, state in self.expected.items():
            mine = [a for a in self.believed.values() if (a.device, a.condition, a.channel) == key]
            statuses = [alert.status for alert in mine if alert.status != "normal"]
            if state.hidden is not None:
                assert set(statuses) <= {state.hidden}
            else:
                assert statuses == [state.status] * (state.status != "normal")
            assert self.alarms.is_on(key) == state.is_on

    @invariant()
    def what_stands_is_listed_as_it_was_published(self):
        listed = {alert.id: alert.status for alert in self.alarms.standing}
        believed = {alert.id: alert.status for alert in self.believed.values() if alert.status != "normal"}
        for identity, status in believed.items():
            if identity in listed:
                assert listed[identity] == status
            else:  # ended while nobody was to be told
                assert status in ("shelved", "out_of_service")
        assert listed.keys() <= believed.keys()


TestAlarms = AlarmsMachine.TestCase
TestAlarms.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


KEY = (3, "anomaly", None)


def states(changes):
    return [(alert.state, alert.status) for alert in changes]


def test_an_unknown_id_is_refused():
    assert alarms_of().command("acknowledge", "no such", at=1).refusal == "unknown_alert"


def test_a_shelving_needs_a_time():
    alarms = alarms_of()
    for length in (None, 0, -1):
        assert alarms.command("shelve", KEY, at=1, for_ns=length).refusal == "no_duration"
    assert alarms.state() == alarms_of().state()


def test_a_shelving_for_ever_ends_with_time_itself():
    alarms = alarms_of()
    alarms.command("shelve", KEY, at=2**62, for_ns=2**63)
    assert alarms.deadline() == 2**63 - 1


def test_who_acknowledged_and_when_is_told():
    alarms = alarms_of(needs_acknowledge=True)
    [raised] = alarms.track(KEY, seen(1), is_on=True)
    [acknowledged] = alarms.command("acknowledge", raised.id, at=7, by="anna").changes
    assert (acknowledged.acknowledged_at, acknowledged.acknowledged_by) == (7, "anna")
    assert (acknowledged.changed_at, acknowledged.state) == (7, "acknowledged")
    [cleared] = alarms.track(KEY, seen(9, 0.0), is_on=False)
    assert (cleared.status, cleared.acknowledged_by, cleared.cleared_at) == ("normal", "anna", 9)


def test_what_is_raised_and_ends_while_shelved_is_counted_not_told():
    alarms = alarms_of()
    alarms.command("shelve", KEY, at=1, for_ns=100)
    assert alarms.track(KEY, seen(2), is_on=True) == ()
    assert alarms.standing == []
    assert alarms.track(KEY, seen(3, 0.0), is_on=False) == ()
    assert alarms.command("unshelve", KEY, at=4).changes == ()
    assert alarms.withheld == {"shelved": 1}


def test_what_stands_when_its_shelving_ends_is_told_with_its_status():
    alarms = alarms_of()
    alarms.command("shelve", KEY, at=1, for_ns=100)
    alarms.track(KEY, seen(2), is_on=True)
    assert alarms.deadline() == 101
    assert alarms.expire(100) == ()
    [alert] = alarms.expire(500)
    assert (alert.state, alert.status, alert.changed_at) == ("unshelved", "unacknowledged", 101)
    assert (alert.raised_at, alert.shelved_until) == (2, None)
    assert alarms.deadline() is None


def test_a_raise_that_was_told_is_cleared_once_its_shelving_ends():
    alarms = alarms_of()
    [raised] = alarms.track(KEY, seen(1), is_on=True)
    [shelved] = alarms.command("shelve", raised.id, at=2, for_ns=100).changes
    assert (shelved.state, shelved.status, shelved.shelved_until) == ("shelved", "shelved", 102)
    assert alarms.track(KEY, seen(3, 0.0), is_on=False) == ()
    assert alarms.track(KEY, seen(4), is_on=True) == ()
    cleared, unshelved = alarms.expire(102)
    assert (cleared.id, cleared.state, cleared.status) == (raised.id, "cleared", "normal")
    assert (cleared.cleared_at, cleared.changed_at) == (3, 102)
    assert (unshelved.state, unshelved.raised_at) == ("unshelved", 4)
    assert unshelved.id != raised.id


def test_shelvings_end_in_the_order_of_their_time():
    alarms = alarms_of()
    for device, length in ((5, 30), (6, 10), (4, 10)):
        alarms.track((device, "stuck", "flow"), seen(1), is_on=True)
        alarms.command("shelve", (device, "stuck", "flow"), at=1, for_ns=length)
    assert [alert.device for alert in alarms.expire(100)] == [4, 6, 5]


def test_no_raise_within_the_hold_off():
    alarms = alarms_of(hold_off_ns=10)
    alarms.track(KEY, seen(1), is_on=True)
    alarms.track(KEY, seen(5, 0.0), is_on=False)
    assert alarms.track(KEY, seen(8), is_on=True) == ()
    assert alarms.track(KEY, seen(9, 0.0), is_on=False) == ()
    assert alarms.withheld == {"hold_off": 1}
    assert alarms.track(KEY, seen(12, 30.0), is_on=True) == ()
    assert alarms.track(KEY, seen(15, 1.0), is_on=True) == ()  # not at a value that is no reason
    [raised] = alarms.track(KEY, seen(16), is_on=True)
    assert (raised.first_out_at, raised.raised_at, raised.peak_score) == (12, 16, 30.0)
    assert alarms.withheld == {"hold_off": 1}


def test_a_condition_that_outlasts_its_hold_off_is_raised_as_its_device_goes_on():
    alarms = alarms_of(hold_off_ns=10)
    keys = [(3, "stuck", "flow"), (3, "silent", None), (4, "stuck", "flow"), KEY]
    for is_on, at in ((True, 1), (False, 2), (True, 3)):
        for key in keys:
            alarms.track(key, seen(at), is_on=is_on)
    assert alarms.deadline() == 12
    assert alarms.advance(3, 11) == ()
    assert [alert.condition for alert in alarms.advance(3, 13)] == ["silent", "stuck"]
    assert alarms.expire(20) == ()
    assert [(a.device, a.raised_at) for a in alarms.advance(4, 14)] == [(4, 14)]
    assert alarms.is_holding  # the anomaly


def test_silence_that_outlasts_its_hold_off_is_raised_by_the_clock():
    alarms = alarms_of(hold_off_ns=10)
    key = (3, "silent", None)
    for is_on, at in ((True, 1), (False, 2), (True, 3)):
        alarms.track(key, seen(at), is_on=is_on)
    [raised] = alarms.expire(alarms.deadline())
    assert (raised.state, raised.raised_at, raised.first_out_at) == ("raised", 12, 3)


def test_a_key_without_anything_to_remember_is_forgotten():
    alarms = alarms_of()
    alarms.track(KEY, seen(1), is_on=True)
    alarms.track(KEY, seen(2, 0.0), is_on=False)
    alarms.command("shelve", KEY, at=3, for_ns=5)
    alarms.command("unshelve", KEY, at=4)
    alarms.command("acknowledge", KEY, at=5)
    assert alarms.state() == {"alarms": [], "withheld": {}}


def test_the_numbers_of_a_change_are_those_of_its_window():
    alarms = alarms_of(severities=SEVERITIES)
    alarms.track(KEY, seen(1, 11.0, contributions={"a": 0.3, "b": 0.7}), is_on=True)
    [alert] = alarms.track(KEY, seen(2, 20.0, contributions={"a": 0.6, "b": 0.4}), is_on=True)
    assert (alert.state, alert.severity, alert.score, alert.peak_score) == ("escalated", "high", 20.0, 20.0)
    assert alert.causes == (("a", 0.6), ("b", 0.4))
    assert alarms.track(KEY, seen(3, 50.0), is_on=True) == ()
    [alert] = alarms.track(KEY, seen(4, 1.0, limit=12.0), is_on=False)
    assert (alert.score, alert.peak_score, alert.threshold, alert.severity) == (1.0, 50.0, 12.0, "high")
    assert alert.causes == ()


@pytest.mark.parametrize("verb", ["acknowledge", "reset"])
def test_what_nobody_is_shown_nobody_acknowledges(verb):
    alarms = alarms_of(is_latching=True)
    alarms.track(KEY, seen(1), is_on=True)
    alarms.track(KEY, seen(2, 0.0), is_on=False)
    alarms.command("shelve", KEY, at=3, for_ns=5)
    assert alarms.command(verb, KEY, at=4).refusal == "shelved"
    alarms.command("out_of_service", KEY, at=5)
    assert alarms.deadline() is None
    assert alarms.command(verb, KEY, at=6).refusal == "out_of_service"


def test_conditions_that_nobody_watches_any_more_end():
    alarms = alarms_of(hold_off_ns=5)
    keys = [(1, "stuck", "flow"), (1, "silent", None), (0, "stuck", "flow"), (1, "anomaly", None)]
    for key in keys:
        alarms.track(key, seen(1, 12.0, contributions={"a": 1.0}), is_on=True)
    alarms.track((2, "stuck", "flow"), seen(1), is_on=True)
    alarms.track((2, "stuck", "flow"), seen(2), is_on=False)
    alarms.track((2, "stuck", "flow"), seen(3), is_on=True)
    changes = alarms.withdraw({("anomaly", None), ("stuck", "level")})
    assert [(a.device, a.condition, a.state) for a in changes] == [
        (0, "stuck", "cleared"),
        (1, "silent", "cleared"),
        (1, "stuck", "cleared"),
    ]
    assert {(a.cleared_at, a.score, a.causes) for a in changes} == {(1, 12.0, (("a", 1.0),))}
    assert alarms.withheld == {"hold_off": 1}
    assert [alert.condition for alert in alarms.standing] == ["anomaly"]
    assert not alarms.is_holding
