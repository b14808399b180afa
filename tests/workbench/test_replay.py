"""A replay is the daemon without its sockets: same results, timers by recorded time, whatever the batches."""

import json
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gatewayd.workbench.replay
from gatewayd.config.settings import Settings
from gatewayd.domain.verdict import Publication
from gatewayd.pipeline.flow import Flow, Outcome
from gatewayd.workbench.replay import Clock, OwnTimes, Replay, written
from tests.support.flows import plan

SECOND = 10**9
BEGIN = 1_700_000_000 * SECOND
TIMED = {
    "lateness_s": 1.0,
    "idle_timeout_s": 2.05,  # no multiple of the readings' distance: no reading comes at the very instant
    "alert": {"raise": "1 of 1", "clear": "1 of 1", "silent_after_s": 3.05},
}

KINDS = [
    {},
    {"window": {"max_gap_s": 1.5}},
    {"window": {"duration_s": 2.0, "hop_s": 1.0, "partial": "hold"}},
    {"align": {"every_s": 0.5, "method": "linear", "max_gap_s": 2.0}},
]


def all_settings(*plans):
    return Settings(
        gateway={"id": "gw"},
        brokers={"local": {"host": "h"}, "cloud": {"host": "h"}},
        streams={one.name: one.settings for one in plans},
    )


def make(*plans, **options):
    plans = plans or (plan(**{**TIMED, **options}),)
    return Replay(Flow("gw", plans), all_settings(*plans))


def message(device, at_s, value, *, arrived_s=None):
    """A reading taken at ``at_s``; arrived then, or later."""
    payload = json.dumps({"ts": (BEGIN // SECOND) + at_s, "a": value, "b": 0.0}).encode()
    arrived = at_s if arrived_s is None else arrived_s
    return ((f"site/l/{device}".encode(), payload, 0x30, 0), BEGIN + round(arrived * SECOND))


def publications(replay, arrivals, *, drains=True):
    return [p for outcome in replay.run(arrivals, drains=drains) for p in outcome.publications]


def by_device(found):
    result = defaultdict(list)
    for publication in found:
        result[json.loads(publication.payload)["device"]].append(publication)
    return dict(result)


def as_the_daemon_would(one, arrivals, *, until):
    """Turn by turn, eight a second: take what has come, then do what is due."""
    flow = Flow("gw", [one])
    found, waiting = [], list(arrivals)
    for now in range(BEGIN, BEGIN + until, SECOND // 8):
        come = [arrived for arrived in waiting if arrived[1] <= now]
        waiting = waiting[len(come) :]
        if come:
            at = np.array([at for _, at in come])
            found += flow.run([m for m, _ in come], at, at).publications
        if any(due is not None and due <= now for due in flow.deadlines()):
            found += flow.advance(now, now).publications
    assert not waiting
    return found


steps = st.lists(
    st.tuples(
        st.sampled_from(["p", "q", "r"]),
        st.integers(1, 40).map(lambda n: n / 8),  # since the message before
        st.sampled_from([0.0, 0.5, 9.0]),
    ),
    max_size=25,
)


def arrivals_of(found):
    now, arrivals = 0.0, []
    for device, wait, value in found:
        now += wait
        arrivals.append(message(device, now, value))
    return arrivals


@settings(max_examples=80)
@given(steps, st.sampled_from(KINDS))
def test_timers_are_the_daemons(found, kind):
    """With idle devices and silences: the same results for each device as by asking at every turn."""
    arrivals = arrivals_of(found)
    until = (arrivals[-1][1] - BEGIN if arrivals else 0) + 2 * SECOND + SECOND // 8
    live = as_the_daemon_would(plan(**TIMED, **kind), arrivals, until=until + SECOND // 8)
    assert by_device(publications(make(**kind), arrivals)) == by_device(live)


@settings(max_examples=60)
@given(steps, st.integers(1, 5))
def test_the_size_of_batches_changes_nothing(found, size):
    arrivals = arrivals_of(found)
    whole = publications(make(), arrivals)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gatewayd.workbench.replay, "_BATCH", size)
        assert publications(make(), arrivals) == whole


def test_messages_go_in_together_as_long_as_nothing_can_become_due():
    replay = make()
    runs = []
    run = replay._flow.run
    replay._flow.run = lambda batch, *at: runs.append(len(batch)) or run(batch, *at)
    publications(replay, [message("p", n / 8, 0.0) for n in range(40)])
    assert sum(runs) == 40
    assert max(runs) == 17  # two seconds' worth: idle_timeout_s


def test_without_timers_batches_are_full(monkeypatch):
    monkeypatch.setattr(gatewayd.workbench.replay, "_BATCH", 30)
    replay = make(plan())
    assert replay.tally.lasted_s == 0.0
    outcomes = list(replay.run([message("p", n, 0.0) for n in range(100)], drains=True))
    assert len(outcomes) == 4
    assert replay.tally.messages == 100
    assert replay.tally.lasted_s == 99.0


def test_what_waits_goes_on_at_the_end_unless_told_otherwise():
    """The last reading waits for later ones until its device is idle."""
    arrivals = [message("p", n, 9.0) for n in range(3)]
    drained, kept = make(), make()
    assert [json.loads(p.payload)["kind"] for p in publications(drained, arrivals)] == ["prediction", "alert"]
    assert publications(kept, arrivals, drains=False) == []
    assert drained.tally.alerts == {("pump", "p", "raised"): 1}


def test_an_end_is_no_silence():
    """A recording that ends must not look as though every sensor had died: silent_after_s isn't waited for."""
    found = publications(make(), [message("p", 0, 0.0)])
    assert found == []


def test_a_flood_is_over_at_the_end():
    flood = {"raise": "1 of 1", "clear": "1 of 1", "flood": {"most": 1, "within_s": 60}}
    arrivals = [message(f"d{n % 3}", n, 9.0) for n in range(9)]
    alerts = [p for p in publications(make(plan(alert=flood)), arrivals) if p.kind == "alert"]
    assert [json.loads(p.payload)["device"] for p in alerts] == ["d0", "d1", "d2"]
    kept = [p for p in publications(make(plan(alert=flood)), arrivals, drains=False) if p.kind == "alert"]
    assert len(kept) == 1


def test_what_stays_due_is_done_once_before_each_message():
    """As the daemon does at each turn: without end it may not be asked."""

    class Stubborn:
        advanced = 0

        def run(self, *_):
            return Outcome()

        def advance(self, *_):
            self.advanced += 1
            return Outcome()

        def deadlines(self):
            return 0, None

    replay = make()
    replay._flow = flow = Stubborn()
    assert publications(replay, [message("p", 3 * n, 0.0) for n in range(3)]) == []
    assert flow.advanced == 3  # between them, and at the end


class TestClock:
    def test_arrivals_stay_apart(self):
        clock = Clock()
        found = []
        for at in (BEGIN, BEGIN, BEGIN + 500, BEGIN + 10_000):
            clock.wall, clock.steady = clock.arrive(at, None)
            found.append(clock.wall - BEGIN)
        assert found == [0, 1000, 2000, 10_000]
        assert clock.steady == clock.wall

    def test_one_that_trembles_waits_and_one_that_was_set_back_is_believed(self):
        clock = Clock()
        for at, wall, steady in (
            (100 * SECOND, 100 * SECOND, 100 * SECOND),
            (99 * SECOND, 100 * SECOND + 1000, 100 * SECOND + 1000),
            (50 * SECOND, 50 * SECOND, 100 * SECOND + 2000),
            (51 * SECOND, 51 * SECOND, 101 * SECOND + 2000),
        ):
            clock.wall, clock.steady = clock.arrive(at, None)
            assert (clock.wall, clock.steady) == (wall, steady)

    def test_without_a_recorded_arrival_it_is_when_the_reading_was_taken(self):
        clock = Clock()
        for taken, wall in (
            (None, 0),
            (BEGIN, BEGIN),
            (None, BEGIN + 1000),
            (BEGIN - 9 * SECOND, BEGIN + 2000),
        ):
            clock.wall, clock.steady = clock.arrive(None, taken)
            assert clock.wall == wall


def test_a_payloads_own_time_is_found_where_the_stream_says(monkeypatch):
    monkeypatch.setattr(gatewayd.workbench.replay, "_TOPICS_REMEMBERED", 2)
    times = OwnTimes(
        all_settings(
            plan(time={"field": "head.when", "unit": "ms"}),
            plan("other", topic="plain/{device}", time=None),
        )
    )

    def taken(topic, payload):
        return times((topic, payload, 0x30, 0))

    assert taken(b"site/l/p", b'{"head": {"when": 1700000000500}}') == BEGIN + SECOND // 2
    assert taken(b"site/l/p", b'{"head": 5}') is None
    assert taken(b"site/l/p", b"\xff") is None
    assert (
        taken(b"site/l/p", b'{"head": {"when": 9223372036000}}') is None
    )  # too near the end of time for timers
    assert taken(b"plain/p", b'{"head": {"when": 1700000000500}}') is None
    assert taken(b"elsewhere", b"{}") is None


def test_without_recorded_arrivals_timers_go_by_the_readings():
    arrivals = [(m, None) for m, _ in (message("p", 0, 9.0), message("p", 1, 9.0), message("p", 9, 0.0))]
    found = [json.loads(p.payload) for p in publications(make(), arrivals, drains=False)]
    assert [(f["kind"], f.get("condition"), f.get("state")) for f in found] == [
        ("alert", "silent", "raised"),
        ("alert", "silent", "cleared"),
    ]
    assert found[0]["raised_at"] == "2023-11-14T22:13:24.050Z"


class TestWritten:
    def line(self, payload, **changes):
        publication = Publication(
            **{"broker": "b", "kind": "alert", "topic": "t/ü", "qos": 1, "retain": False, **changes},
            payload=payload,
        )
        found = written(publication)
        assert found.endswith(b"\n")
        assert found.count(b"\n") == 1
        return found

    def test_json_stands_as_it_is(self):
        payload = b'{"score":0.10,"x":[1, 2]}'
        for content_type in ("application/json", None):
            found = self.line(payload, content_type=content_type)
            assert found == '{"topic":"t/ü","qos":1,"retain":false,"payload":'.encode() + payload + b"}\n"

    @given(st.binary(max_size=50))
    def test_any_payload_can_be_had_back(self, payload):
        found = json.loads(self.line(payload, retain=True))
        if "payload" in found:
            assert found["payload"] == json.loads(payload)
        else:
            assert bytes.fromhex(found["payload_hex"]) == payload

    def test_an_empty_payload_takes_a_retained_message_away(self):
        assert json.loads(self.line(b"", retain=True))["payload_hex"] == ""
        assert json.loads(self.line(b"", content_type="application/json"))["payload_hex"] == ""

    def test_json_of_several_lines_keeps_to_one(self):
        assert json.loads(self.line(b'{"a":\n1}'))["payload_hex"] == b'{"a":\n1}'.hex()
