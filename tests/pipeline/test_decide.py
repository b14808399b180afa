"""Decisions: held to a plain reference with lists."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.pipeline.alarm import Alarms
from gatewayd.pipeline.decide import Decider, Rule
from gatewayd.pipeline.lifecycle import AlarmRule
from gatewayd.pipeline.threshold import PeaksOverThreshold

N_OF_M = st.integers(1, 6).flatmap(lambda m: st.tuples(st.integers(1, m), st.just(m)))
SCORES = st.lists(st.sampled_from([0.0, 0.7, 0.79, 0.8, 0.9, 1.0, 1.5]), max_size=60)


def told(raise_=(1, 1), clear=(1, 1), threshold=1.0, clear_below=0.8, peaks=None, **options):
    rule = Rule.of(threshold=threshold, raise_=raise_, clear=clear, clear_below=clear_below)
    alarms = Alarms(AlarmRule(**options), lambda *parts: "/".join(map(str, parts)))
    return Decider(rule, alarms, peaks)


def judge(decider, scores, *, device=0, begin=0):
    return [
        decider.judge(device=device, end=at, score=score, contributions=None)
        for at, score in enumerate(scores, start=begin)
    ]


def changes_of(decisions):
    return [(alert.state, alert.changed_at) for decision in decisions for alert in decision.changes]


def make(raise_=(1, 1), clear=(1, 1), threshold=1.0, clear_below=0.8):
    return told(raise_, clear, threshold, clear_below)


def go_on(old, new, *, keeps_history):
    new.restore(old.state(), keeps_history=keeps_history)


def feed(decider, scores, *, device=0, begin=0, contributions=None):
    """Return (position, alert) of each change."""
    return [
        (position, alert)
        for position, score in enumerate(scores, start=begin)
        for alert in decider.judge(
            device=device, end=position, score=score, contributions=contributions
        ).changes
    ]


def reference(scores, raise_, clear):
    changes, history, calm, first_out = [], [], [], None
    for position, score in enumerate(scores):
        history.append((position, score >= 1.0))
        calm.append(score < 0.8)
        if first_out is None:
            latest = [p for p, is_bad in history[-raise_[1] :] if is_bad]
            if score >= 1.0 and len(latest) >= raise_[0]:
                first_out, calm = latest[0], []
                changes.append((position, "raised", first_out))
        elif sum(calm[-clear[1] :]) >= clear[0]:
            changes.append((position, "cleared", first_out))
            first_out, history = None, []
    return changes


@given(scores=SCORES, raise_=N_OF_M, clear=N_OF_M)
def test_alerts_equal_the_reference(scores, raise_, clear):
    found = feed(make(raise_, clear), scores)
    assert [(p, a.state, a.first_out_at) for p, a in found] == reference(scores, raise_, clear)


@given(scores=SCORES, raise_=N_OF_M, clear=N_OF_M)
def test_raised_and_cleared_take_turns_and_share_their_id_and_peak(scores, raise_, clear):
    found = [alert for _, alert in feed(make(raise_, clear), scores)]
    assert [alert.state for alert in found] == ["raised", "cleared"] * (len(found) // 2) + ["raised"] * (
        len(found) % 2
    )
    for raised, cleared in zip(found[::2], found[1::2], strict=False):
        assert raised.id == cleared.id == f"0/anomaly/None/{raised.first_out_at}"
        assert raised.raised_at == cleared.raised_at
        assert cleared.peak_score == max(scores[raised.first_out_at : cleared.cleared_at + 1])
        assert raised.peak_score == max(scores[raised.first_out_at : raised.raised_at + 1])


def test_case_20_a_score_that_trembles_around_the_threshold_rings_once():
    scores = [3.9, 4.1, 3.9, 4.1, 3.9, 4.1, 3.5, 4.2, 2.5, 4.5]
    found = feed(make(threshold=4.0, clear_below=0.75), scores)
    assert [(alert.state, alert.score) for _, alert in found] == [
        ("raised", 4.1),
        ("cleared", 2.5),
        ("raised", 4.5),
    ]


def test_devices_don_t_know_of_each_other():
    decider = make(raise_=(2, 2))
    assert feed(decider, [1.0], device=0) == []
    assert feed(decider, [1.0], device=1) == []
    assert len(feed(decider, [1.0], device=0, begin=1)) == 1
    assert decider.standing == 1


def test_causes_are_sorted_by_contribution():
    parts = {"current": 0.1, "vibration": 0.7, "pressure": 0.1, "temperature": 0.1}
    [(_, alert)] = feed(make(), [2.0], contributions=parts)
    assert [name for name, _ in alert.causes] == ["vibration", "current", "pressure", "temperature"]


def test_another_rule_goes_on_with_standing_alerts():
    old, new = make(raise_=(1, 1)), make(raise_=(3, 5), clear=(2, 2))
    [(_, raised)] = feed(old, [2.0])
    go_on(old, new, keeps_history=True)
    assert new.standing == 1
    [(position, cleared)] = feed(new, [0.1, 0.1], begin=1)
    assert (position, cleared.state, cleared.id) == (2, "cleared", raised.id)


@pytest.mark.parametrize(("threshold", "calm_below"), [(2.0, 1.6), (-2.0, -2.4), (0.0, 0.0)])
def test_hysteresis_lies_below_any_threshold(threshold, calm_below):
    rule = Rule.of(threshold=threshold, raise_=(1, 1), clear=(1, 1), clear_below=0.8)
    assert math.isclose(rule.calm_below(threshold), calm_below)


def test_another_measure_keeps_standing_alerts_but_not_what_counted_towards_one():
    """Scores of another model mean something else: they don't add up with the old one's."""
    old = make(raise_=(3, 5))
    feed(old, [300.0, 300.0], device=0)
    feed(old, [2.0, 2.0, 2.0], device=1)
    new = make(raise_=(3, 5))
    go_on(old, new, keeps_history=False)
    assert new.standing == 1
    assert feed(new, [1.0, 1.0], device=0, begin=2) == []
    [(_, raised)] = feed(new, [1.0], device=0, begin=4)
    assert (raised.peak_score, raised.first_out_at) == (1.0, 2)


def test_the_peak_is_that_of_the_windows_that_count():
    scores = [100.0, *[0.0, 0.0, 0.0, 1.1] * 50, 1.2, 1.2]
    [(_, raised)] = feed(make(raise_=(3, 5)), scores)
    assert raised.peak_score == 1.2


@given(scores=SCORES, raise_=N_OF_M, clear=N_OF_M, data=st.data())
def test_a_reload_without_change_changes_nothing(scores, raise_, clear, data):
    cut = data.draw(st.integers(0, len(scores)))
    first, second = make(raise_, clear), make(raise_, clear)
    found = feed(first, scores[:cut])
    go_on(first, second, keeps_history=True)
    found += feed(second, scores[cut:], begin=cut)
    assert found == feed(make(raise_, clear), scores)


@given(
    rows=st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0.0, 0.8, 0.9, 1.0, 1.5])), max_size=60),
    raise_=N_OF_M,
    clear=N_OF_M,
)
def test_interleaved_devices_are_decided_as_each_alone(rows, raise_, clear):
    together = make(raise_, clear)
    found = []
    for position, (device, score) in enumerate(rows):
        found += feed(together, [score], device=device, begin=position)
    expected = []
    for device in range(3):
        alone = make(raise_, clear)
        for position, (owner, score) in enumerate(rows):
            if owner == device:
                expected += feed(alone, [score], device=device, begin=position)
    assert sorted(found, key=lambda change: change[0]) == sorted(expected, key=lambda change: change[0])
    raised = [alert.state for _, alert in found].count("raised")
    assert together.standing == raised - (len(found) - raised)


@given(before=SCORES, after=SCORES, rules=st.tuples(N_OF_M, N_OF_M, N_OF_M, N_OF_M))
def test_whatever_the_rule_was_before_only_anomalous_windows_raise_and_only_calm_ones_clear(
    before, after, rules
):
    old, new = make(rules[0], rules[1]), make(rules[2], rules[3])
    feed(old, before)
    go_on(old, new, keeps_history=True)
    for _, alert in feed(new, after, begin=len(before)):
        assert alert.score >= 1.0 if alert.state == "raised" else alert.score < 0.8


def test_a_shorter_rule_does_not_clear_at_an_anomalous_window():
    old, new = make(clear=(3, 5)), make(clear=(1, 5))
    feed(old, [2.0, 0.0, 0.0])
    go_on(old, new, keeps_history=True)
    assert feed(new, [9.0], begin=3) == []
    [(_, cleared)] = feed(new, [0.0], begin=4)
    assert (cleared.state, cleared.peak_score) == ("cleared", 9.0)


def test_only_calm_windows_after_the_raising_one_clear():
    found = feed(make(clear=(2, 3)), [0.0, 1.0, 0.0, 0.9, 0.0])
    assert [(position, alert.state) for position, alert in found] == [(1, "raised"), (4, "cleared")]


def test_a_shorter_rule_does_not_raise_at_a_calm_window():
    old, new = make(raise_=(3, 5)), make(raise_=(1, 5))
    feed(old, [2.0, 2.0])
    go_on(old, new, keeps_history=True)
    assert feed(new, [0.0], begin=2) == []
    [(_, raised)] = feed(new, [1.0], begin=3)
    assert (raised.first_out_at, raised.peak_score) == (0, 2.0)


@given(scores=SCORES, raise_=N_OF_M, clear=N_OF_M)
def test_a_decision_is_anomalous_at_its_threshold(scores, raise_, clear):
    decisions = judge(told(raise_, clear), scores)
    assert [decision.is_anomalous for decision in decisions] == [score >= 1.0 for score in scores]
    assert {decision.threshold for decision in decisions} <= {1.0}
    found = [(at, state) for state, at in changes_of(decisions)]
    assert found == [(at, state) for at, state, _ in reference(scores, raise_, clear)]


@given(
    rows=st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0.0, 0.8, 0.9, 1.0, 1.5, 2.5])), max_size=80),
    options=st.fixed_dictionaries(
        {
            "raise_": N_OF_M,
            "clear": N_OF_M,
            "needs_acknowledge": st.booleans(),
            "hold_off_ns": st.sampled_from([0, 7]),
            "severities": st.just((("low", 1.0), ("high", 2.0))),
        }
    ),
    cut=st.integers(0, 80),
)
def test_a_restart_and_neighbours_change_nothing(rows, options, cut):
    together, found = told(**options), []
    for at, (device, score) in enumerate(rows):
        if at == cut:
            state, together = together.state(), told(**options)
            together.restore(state)
            assert together.state() == state
        found += judge(together, [score], device=device, begin=at)
    for device in range(3):
        alone = told(**options)
        for at, (owner, score) in enumerate(rows):
            if owner == device:
                assert judge(alone, [score], device=device, begin=at) == [found[at]]


def test_a_calm_device_is_not_remembered():
    decider = told(raise_=(3, 5))
    judge(decider, [0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert decider.state()["devices"] == {}
    judge(decider, [1.0, 1.0, 1.0, 0.0], begin=8)
    assert decider.state() == told().state()


def test_only_as_many_windows_are_remembered_as_may_count():
    decider = told(raise_=(3, 4))
    judge(decider, [1.0, 1.0, 0.0, 0.0] * 50)
    assert len(decider.state()["devices"]["0"]["recent"]) <= 4


def test_severity_rises_with_the_score_and_stays():
    decider = told(severities=(("low", 1.0), ("high", 2.0)))
    decisions = judge(decider, [1.0, 1.9, 2.0, 1.0, 5.0, 0.0])
    alerts = [alert for decision in decisions for alert in decision.changes]
    assert [(a.state, a.severity, a.score) for a in alerts] == [
        ("raised", "low", 1.0),
        ("escalated", "high", 2.0),
        ("cleared", "high", 0.0),
    ]
    assert alerts[-1].peak_score == 5.0


def test_an_anomaly_that_outlasts_its_hold_off_is_raised_by_an_anomalous_window():
    decider = told(hold_off_ns=5)
    decisions = judge(decider, [1.0, 0.0, 1.5, 0.9, 0.9, 0.9, 0.9, 0.9, 1.0, 0.0])
    assert changes_of(decisions) == [("raised", 0), ("cleared", 1), ("raised", 8), ("cleared", 9)]
    [raised] = decisions[8].changes
    assert (raised.first_out_at, raised.peak_score) == (2, 1.5)


def test_conditions_live_beside_anomalies():
    decider = told(hold_off_ns=100)
    condition = {"device": 0, "condition": "stuck", "channel": "flow", "limit": 60.0}
    judge(decider, [1.0])
    [raised] = decider.condition(is_on=True, at=1, value=60.0, **condition)
    assert (raised.id, raised.condition, raised.channel) == ("0/stuck/flow/1", "stuck", "flow")
    assert (raised.score, raised.peak_score, raised.threshold, raised.causes) == (60.0, 60.0, 60.0, ())
    assert decider.condition(is_on=True, at=2, value=90.0, **condition) == ()
    assert decider.standing == 2
    [cleared] = decider.condition(is_on=False, at=3, value=0.0, **condition)
    assert (cleared.id, cleared.peak_score, cleared.score) == (raised.id, 90.0, 0.0)
    # again at once: held off, and raised by the device's next window after that
    assert decider.condition(is_on=True, at=4, value=60.0, **condition) == ()
    assert changes_of(judge(decider, [0.9], begin=102)) == []
    assert changes_of(judge(decider, [0.9], begin=103, device=7)) == []
    assert changes_of(judge(decider, [0.0], begin=103)) == [("raised", 103), ("cleared", 103)]


def noisy(seed, count):
    return np.random.default_rng(seed).exponential(size=count).tolist()


def test_an_adapted_threshold_decides_once_it_is_calibrated():
    decider = told(threshold=None, peaks=PeaksOverThreshold(risk=1e-4, calibrate=200))
    decisions = judge(decider, [*noisy(1, 199), 1e9, *noisy(2, 300), 1e12, 0.0])
    assert {decision.threshold for decision in decisions[:200]} == {None}
    assert not any(decision.is_anomalous for decision in decisions[:200])
    assert None not in {decision.threshold for decision in decisions[200:]}
    assert decisions[-2].is_anomalous
    assert changes_of(decisions[-2:]) == [("raised", 500), ("cleared", 501)]
    [raised] = decisions[-2].changes
    assert raised.threshold == decisions[-2].threshold


def test_an_adapted_threshold_is_that_of_the_peaks_alone():
    scores = noisy(3, 400)
    decisions = judge(told(threshold=None, peaks=PeaksOverThreshold(risk=1e-2, calibrate=100)), scores)
    alone = PeaksOverThreshold(risk=1e-2, calibrate=100)
    for decision, score in zip(decisions, scores, strict=True):
        threshold = alone.threshold(0)
        assert (decision.threshold, decision.is_anomalous) == (
            threshold,
            threshold is not None and score >= threshold,
        )
        alone.learn(0, score)


@pytest.mark.parametrize("keeps_history", [True, False])
def test_an_adapted_threshold_goes_on_where_scores_mean_the_same(keeps_history):
    old, new = (told(threshold=None, peaks=PeaksOverThreshold(risk=1e-3, calibrate=100)) for _ in range(2))
    judge(old, [*noisy(4, 150), 1e9])
    new.restore(old.state(), keeps_history=keeps_history)
    assert new.standing == 1
    [decision] = judge(new, [0.0], begin=151)
    assert (decision.threshold is not None) == keeps_history
    assert changes_of([decision]) == ([("cleared", 151)] if keeps_history else [])
    if not keeps_history:  # it stands until there is a threshold again
        later = judge(new, noisy(5, 100), begin=152)
        assert changes_of(later) == [("cleared", 251)]


def test_a_threshold_is_either_fixed_or_adapted():
    peaks = PeaksOverThreshold(risk=1e-3, calibrate=100)
    for threshold, given_peaks in ((None, None), (1.0, peaks)):
        with pytest.raises(ValueError, match="either"):
            told(threshold=threshold, peaks=given_peaks)
