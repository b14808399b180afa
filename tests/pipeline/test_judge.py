"""One value at a time. That whole series are judged as the rules' words say is held in test_rules.py."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.pipeline.judge import ChannelRules, Findings, Judge, Transition
from gatewayd.pipeline.past import Past

S = 1_000_000_000


def judged(rules, values, past=None):
    """What goes on of each value, a second apart, and which rules found something with it."""
    judge, past = Judge(rules, 3), past or Past()
    results = []
    for second, value in enumerate(values):
        findings = Findings()
        results.append((judge.judge(past, 7, value, second * S, findings), findings))
    return results


def going_on(rules, values):
    return [value for value, _ in judged(rules, values)]


def test_each_rule_sees_what_those_before_it_let_through():
    """1000 is clipped to the range, which is still a spike, which is clipped, which is still too fast."""
    rules = ChannelRules(
        greatest=100,
        range_action="clip",
        spike_window=3,
        spike_deviations=5,
        spike_floor=1,
        spike_action="clip",
        rate=2,
        rate_action="clip",
        stuck_readings=2,
    )
    value, findings = judged(rules, [20, 21, 20, 1000])[-1]
    assert findings.rules == [("out_of_range", "clip"), ("spike", "clip"), ("rate", "clip")]
    assert value == 22


def test_equal_is_what_was_sent_and_not_what_it_was_clipped_to():
    rules = ChannelRules(least=0, range_action="clip", stuck_readings=2)
    assert [findings.rules for _, findings in judged(rules, [-0.1, -0.3, -0.3])] == [
        [("out_of_range", "clip")],
        [("out_of_range", "clip")],
        [("out_of_range", "clip"), ("stuck", "mark")],
    ]


def test_a_dropped_value_ends_no_run_of_equal_ones():
    rules = ChannelRules(greatest=10, stuck_readings=3)
    found = judged(rules, [5, 5, 99, 5])
    assert found[-1][1].rules == [("stuck", "mark")]


def test_an_error_code_says_nothing_about_the_range():
    rules = ChannelRules(least=-40, sentinels=(-127.0,))
    value, findings = judged(rules, [-127.0])[0]
    assert value is None
    assert findings == Findings(rules=[("sentinel", "drop")])


def test_a_transition_names_device_channel_and_limit():
    findings = judged(ChannelRules(least=-40, range_action="mark"), [5, -41, -42, 5])
    assert [value for value, _ in findings] == [5, -41, -42, 5]
    assert [found.transitions for _, found in findings] == [
        [],
        [_left(is_begin=True, at=S, value=-41)],
        [],
        [_left(is_begin=False, at=3 * S, value=5)],
    ]


def _left(*, is_begin, at, value):
    return Transition(
        device=7,
        channel=3,
        kind="out_of_range",
        is_begin=is_begin,
        at=at,
        since=S,
        value=value,
        limit=-40,
    )


def test_from_below_the_range_to_above_is_one_stay_outside():
    rules = ChannelRules(least=0, greatest=10, range_action="mark")
    changes = [change for _, found in judged(rules, [-1, 11, 5]) for change in found.transitions]
    assert [(change.is_begin, change.limit) for change in changes] == [(True, 0), (False, 10)]


def test_a_value_at_the_limit_of_a_rule_is_good():
    assert going_on(ChannelRules(least=0, greatest=10), [0, 10]) == [0, 10]
    assert going_on(ChannelRules(rate=2.0), [0, 2, 0]) == [0, 2, 0]
    assert going_on(ChannelRules(sentinels=(85.0,), sentinel_jump=10), [75.5, 85.0]) == [75.5, 85.0]
    assert going_on(ChannelRules(sentinels=(85.0,), sentinel_jump=10), [75.0, 85.0]) == [75.0, None]
    just = 6 * (1.4826 * 1.0)
    rules = ChannelRules(spike_window=3, spike_floor=1.0)
    assert going_on(rules, [0.0, 0.0, 0.0, just]) == [0.0, 0.0, 0.0, just]
    assert going_on(rules, [0.0, 0.0, 0.0, math.nextafter(just, 100)])[-1] is None


def test_of_an_even_window_the_two_in_the_middle_are_halved():
    """0 1 3 9: median 2, distances 1 1 2 7, so the MAD is 1.5."""
    rules = ChannelRules(spike_window=4, spike_deviations=2.0, spike_action="clip")
    assert going_on(rules, [9.0, 0.0, 3.0, 1.0, 99.0])[-1] == 2 + 2 * (1.4826 * 1.5)


def test_a_good_value_ends_a_run_of_spikes():
    rules = ChannelRules(spike_window=3, spike_floor=0.1)
    spikes = [0, 0, 0, 50, 50, 0, 50, 50, 50, 50]
    assert going_on(rules, spikes) == [0, 0, 0, None, None, 0, None, None, None, 50]


@given(values=st.lists(st.sampled_from([1.0, 2.0, 3.0, 40.0, 41.0, -9.0]), max_size=40))
def test_what_is_a_spike_or_too_fast_does_not_depend_on_what_is_done_about_it(values):
    found = {}
    for action in ("drop", "clip", "mark"):
        for name, rules in (
            ("spike", ChannelRules(spike_window=3, spike_action=action)),
            ("rate", ChannelRules(rate=3.0, rate_action=action)),
        ):
            hits = tuple(bool(findings.rules) for _, findings in judged(rules, values))
            found.setdefault(name, set()).add(hits)
    assert all(len(ways) == 1 for ways in found.values())


def test_readings_of_one_instant_have_no_rate():
    judge, past, findings = Judge(ChannelRules(rate=1.0), 0), Past(), Findings()
    assert [judge.judge(past, 0, value, 5, findings) for value in (1.0, 99.0)] == [1.0, 99.0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"least": 2, "greatest": 1},
        {"least": math.nan, "greatest": 1},
        {"spike_window": 2},
        {"spike_deviations": 0},
        {"spike_floor": -1},
        {"sentinel_jump": -1},
        {"stuck_readings": 1},
        {"rate": 0},
        {"rate": math.nan},
    ],
)
def test_numbers_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).replace("least", "least .* is above")):
        ChannelRules(**wrong)


def test_rules_that_hold_nothing_are_empty():
    assert ChannelRules(spike_deviations=3, stuck_action="drop").is_empty
    assert not ChannelRules(sentinels=(85.0,)).is_empty
    assert not ChannelRules(rate=1.0).is_empty
