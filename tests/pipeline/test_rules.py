"""Rules: held to a plain reference that judges each series by itself, and to themselves however batches are cut."""

import math
import re
import statistics
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.reading import Batch
from gatewayd.pipeline.judge import ChannelRules
from gatewayd.pipeline.rules import Rules

S = 1_000_000_000
ACTIONS = st.sampled_from(["drop", "clip", "mark"])
VALUES = st.sampled_from([20.0, 20.0, 20.1, 20.3, 19.8, 24.0, 30.0, 30.0, 85.0, -127.0, 1000.0, 0.0, -0.0])
EDGES = st.sampled_from([1.7e308, -1.7e308, 5e-324, 84.0])
RULES = st.builds(
    ChannelRules,
    least=st.none() | st.sampled_from([-40.0, 19.9]),
    greatest=st.none() | st.sampled_from([25.0, 125.0]),
    range_action=ACTIONS,
    sentinels=st.sampled_from([(), (85.0,), (85.0, -127.0)]),
    sentinel_jump=st.sampled_from([0.0, 10.0, 60.0]),
    spike_window=st.none() | st.integers(3, 5),
    spike_deviations=st.sampled_from([1.0, 3.0, 6.0]),
    spike_floor=st.sampled_from([0.0, 0.1]),
    spike_action=ACTIONS,
    rate=st.none() | st.sampled_from([0.1, 1.0, 5.0]),
    rate_action=ACTIONS,
    stuck_readings=st.none() | st.integers(2, 4),
    stuck_action=st.sampled_from(["drop", "mark"]),
)


@st.composite
def rows_of(draw, channels, *, is_sparse):
    """Rows of (device, time, values), times rising for most."""
    value = VALUES | EDGES | st.just(math.nan) if is_sparse else VALUES | EDGES
    steps = st.tuples(
        st.integers(0, 2), st.sampled_from([1, S // 3, S, 20 * S, 0, -S]), st.tuples(*[value] * channels)
    )
    clocks, rows = {}, []
    for device, step, values in draw(st.lists(steps, max_size=60)):
        clocks[device] = clocks.get(device, 1_700_000_000 * S) + step
        rows.append((device, clocks[device], values))
    return rows


@st.composite
def calm_rows(draw, *, is_sparse):
    """Rows of which few rules say anything, but for some: most devices are then told at once."""
    count = draw(st.integers(0, 60))
    devices = draw(st.integers(1, 6))
    rows = [[place % devices, place * S // 4, [20 + place % 7 / 32, 21.0]] for place in range(count)]
    odd = VALUES | st.just(math.nan) if is_sparse else VALUES
    for place, channel, value in draw(
        st.lists(st.tuples(st.integers(0, 59), st.integers(0, 1), odd), max_size=3)
    ):
        if place < count:
            rows[place][2][channel] = value
    return [(device, at, tuple(values)) for device, at, values in rows]


CASES = st.tuples(st.lists(RULES, min_size=2, max_size=2), st.booleans()).flatmap(
    lambda case: st.tuples(
        st.just(case[0]),
        st.just(case[1]),
        rows_of(2, is_sparse=case[1]) | calm_rows(is_sparse=case[1]),
    )
)


def as_batch(rows, channels=2):
    return Batch(
        device=np.array([row[0] for row in rows], dtype=np.int64),
        taken_at=np.array([row[1] for row in rows], dtype=np.int64),
        values=np.array([row[2] for row in rows], dtype=np.float64).reshape(len(rows), channels),
    )


def series_batch(values, *, step_ns=S, device=0, first_at=0):
    """One device, one channel, one value a step."""
    return as_batch([(device, first_at + place * step_ns, (value,)) for place, value in enumerate(values)], 1)


def listed(batch):
    """Rows as bytes, so that NaN equals NaN and 0 differs from -0."""
    return [
        (device, at, values.tobytes())
        for device, at, values in zip(
            batch.device.tolist(), batch.taken_at.tolist(), batch.values, strict=True
        )
    ]


def added(into, counts):
    for key, count in counts.items():
        into[key] = into.get(key, 0) + count


def run(rules, batches):
    """Everything that comes out of some batches, per device, and the counts in all."""
    kept, transitions, counts = {}, {}, {"dropped": {}, "clipped": {}, "marked": {}, "removed": {}}
    for batch in batches:
        result = rules.apply(batch)
        for row in listed(result.batch):
            kept.setdefault(row[0], []).append(row)
        for transition in rules.transitions:
            transitions.setdefault(transition.device, []).append(transition)
        added(counts["dropped"], result.dropped)
        added(counts["clipped"], result.clipped)
        added(counts["marked"], result.marked)
        added(counts["removed"], rules.removed)
    return kept, transitions, counts


def cut(rows, data):
    """The same rows in some number of batches."""
    places = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=5), label="cuts"))
    return [rows[a:b] for a, b in zip([0, *places], [*places, len(rows)], strict=True)]


def reference(rules, values):
    """Judge one channel's (time, value)s of one device by the rules' words; (what goes on, found, transitions) each."""
    good, spikes, outside, run, run_at, is_stuck, took, left_at = [], [], None, [], 0, False, 0, 0
    results = []
    for at, sent in values:
        found, changes = [], []

        def verdict(value, instead, rule, action, found=found):
            found.append((rule, action))
            return {"drop": None, "clip": instead, "mark": value}[action]

        value, is_good, last = sent, True, good[-1] if good else None
        if sent in rules.sentinels and not (last and abs(sent - last[1]) < rules.sentinel_jump):
            results.append((None, [("sentinel", "drop")], []))
            continue
        passed = (
            rules.least
            if rules.least is not None and sent < rules.least
            else rules.greatest
            if rules.greatest is not None and sent > rules.greatest
            else None
        )
        if passed is not None:
            if outside is None:
                left_at = at
                changes.append(("out_of_range", True, at, at, sent, passed))
            value = verdict(value, passed, "out_of_range", rules.range_action)
        elif outside is not None:
            changes.append(("out_of_range", False, at, left_at, sent, outside))
        outside = passed
        if rules.spike_window and value is not None:
            latest = [entry[1] for entry in good[-rules.spike_window :]]
            far = None
            if len(latest) == rules.spike_window:
                median = _median(latest)
                mad = max(_median([abs(entry - median) for entry in latest]), rules.spike_floor)
                reach = rules.spike_deviations * (1.4826 * mad)
                if mad > 0 and abs(value - median) > reach:
                    far = median + reach if value > median else median - reach
            if far is None:
                spikes = []
            else:
                spikes.append((at, value))
                is_good = False
                value = verdict(value, far, "spike", rules.spike_action)
        if rules.rate and value is not None and last:
            allowed = rules.rate * ((at - last[0]) / 1e9)
            if at > last[0] and abs(value - last[1]) > allowed:
                is_good = False
                nearest = last[1] + (allowed if value > last[1] else -allowed)
                value = verdict(value, nearest, "rate", rules.rate_action)
        if rules.stuck_readings and value is not None:
            if run and run[-1] != sent:
                if is_stuck:
                    changes.append(("stuck", False, at, run_at, (at - run_at) / 1e9, took))
                run, is_stuck = [], False
            if not run:
                run_at = at
            run.append(sent)
            if len(run) >= rules.stuck_readings:
                if not is_stuck:
                    took = (at - run_at) / 1e9
                    changes.append(("stuck", True, at, run_at, took, took))
                is_stuck = True
                value = verdict(value, value, "stuck", rules.stuck_action)
        if value is not None and is_good:
            good.append((at, value))
        elif rules.spike_window and len(spikes) == rules.spike_window:
            good, spikes = [(at, entry[1]) for entry in spikes], []
        results.append((value, found, changes))
    return results


def _median(values):
    middle = statistics.median_low(values), statistics.median_high(values)
    return middle[0] if middle[0] == middle[1] else middle[0] / 2 + middle[1] / 2


def expected(channels, rows, *, is_sparse):
    """What the reference keeps per device, its transitions per device, and its counts."""
    judged = [[(value, [], []) for value in row[2]] for row in rows]
    for channel, rules in enumerate(channels):
        for device in {row[0] for row in rows}:
            places = [
                place
                for place, row in enumerate(rows)
                if row[0] == device and not math.isnan(row[2][channel])
            ]
            found = reference(rules, [(rows[place][1], rows[place][2][channel]) for place in places])
            for place, result in zip(places, found, strict=True):
                judged[place][channel] = result
    kept, transitions, counts = {}, {}, {"dropped": {}, "clipped": {}, "marked": {}, "removed": {}}
    names = {"clip": "clipped", "mark": "marked"}
    for (device, at, sent), results in zip(rows, judged, strict=True):
        for channel, (_, _, changes) in enumerate(results):
            transitions.setdefault(device, []).extend((channel, *change) for change in changes)
        drops = [found[-1][0] for value, found, _ in results if value is None]
        left = [value for value, _, _ in results if value is not None and not math.isnan(value)]
        if drops and (not is_sparse or not left):
            added(counts["dropped"], {drops[0]: 1})
            continue
        for reason in drops:
            added(counts["removed"], {reason: 1})
        for value, found, _ in results:
            for rule, action in found if value is not None else ():
                added(counts[names[action]], {rule: 1})
        values = [math.nan if value is None else value for value, _, _ in results]
        kept.setdefault(device, []).append((device, at, np.array(values).tobytes()))
        assert len(values) == len(sent)
    return kept, {device: found for device, found in transitions.items() if found}, counts


def plain(transitions):
    return {
        device: [
            (one.channel, one.kind, one.is_begin, one.at, one.since, one.value, one.limit) for one in found
        ]
        for device, found in transitions.items()
    }


@given(case=CASES, few=st.sampled_from([0, 10_000]), data=st.data())
def test_rules_equal_the_reference_however_the_readings_are_cut_into_batches(case, few, data):
    channels, is_sparse, rows = case
    batches = [as_batch(part) for part in cut(rows, data)]
    kept, transitions, counts = run(Rules(channels, sparse=is_sparse, few=few), batches)
    assert (kept, plain(transitions), counts) == expected(channels, rows, is_sparse=is_sparse)


@given(case=CASES, data=st.data())
def test_both_ways_of_judging_remember_the_same_and_a_restart_changes_nothing(case, data):
    """Whole batches, value by value, and with the state moved into a fresh object between batches."""
    channels, is_sparse, rows = case
    one_by_one, at_once = (
        Rules(channels, sparse=is_sparse, few=10_000),
        Rules(channels, sparse=is_sparse, few=0),
    )
    for part in cut(rows, data):
        batch = as_batch(part)
        results = [listed(rules.apply(batch).batch) for rules in (one_by_one, at_once)]
        assert results[0] == results[1]
        assert one_by_one.transitions == at_once.transitions
        states = [rules.state() for rules in (one_by_one, at_once)]
        assert _bytes(states[0]) == _bytes(states[1])
        at_once = Rules(channels, sparse=is_sparse, few=0)
        at_once.restore(states[1])
        assert _bytes(at_once.state()) == _bytes(states[1])


def _bytes(state):
    return {
        key: (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else _bytes(value)
        for key, value in state.items()
    }


@given(case=CASES)
def test_a_device_is_judged_as_if_it_were_alone(case):
    channels, is_sparse, rows = case
    together, transitions, _ = run(Rules(channels, sparse=is_sparse, few=0), [as_batch(rows)])
    for device in range(3):
        own = [row for row in rows if row[0] == device]
        alone, own_transitions, _ = run(Rules(channels, sparse=is_sparse, few=0), [as_batch(own)])
        assert alone.get(device) == together.get(device)
        assert own_transitions.get(device) == transitions.get(device)


@given(case=CASES)
def test_every_reading_goes_on_or_has_one_reason(case):
    channels, is_sparse, rows = case
    kept = Rules(channels, sparse=is_sparse).apply(as_batch(rows))
    assert len(kept.batch) + sum(kept.dropped.values()) == len(rows)
    assert set(kept.examples) >= set(kept.dropped) | set(kept.clipped) | set(kept.marked)


@given(case=CASES)
def test_what_goes_on_was_sent_or_is_finite(case):
    channels, is_sparse, rows = case
    values = Rules(channels, sparse=is_sparse).apply(as_batch(rows)).batch.values
    assert not np.isinf(values).any()
    assert is_sparse or np.isfinite(values).all()


@pytest.mark.parametrize("few", [0, 10_000])
@pytest.mark.parametrize(
    ("rules", "value", "reason"),
    [
        ({"least": 0.0}, -1.0, "out_of_range"),
        ({"greatest": 30.0}, 31.0, "out_of_range"),
        ({"sentinels": (85.0, -127.0)}, -127.0, "sentinel"),
        ({"sentinels": (85.0, -127.0), "sentinel_jump": 50.0}, 85.0, "sentinel"),
        ({"spike_window": 5}, 25.0, "spike"),
        ({"rate": 0.5}, 25.0, "rate"),
        ({"stuck_readings": 2, "stuck_action": "drop"}, 20.0, "stuck"),
    ],
)
def test_one_value_among_good_ones_is_found_by_each_rule(few, rules, value, reason):
    """Four seconds apart by device: each of the values before is good."""
    calm = [(place % 4, place * S, (20 + place // 4 % 3 / 10,)) for place in range(40)]
    odd = [(0, 41 * S, (value,)), (1, 41 * S, (20.05,))]
    kept = Rules([ChannelRules(**rules)], sparse=False, few=few).apply(as_batch([*calm, *odd], 1))
    assert kept.dropped == {reason: 1}
    assert kept.examples == {reason: 0}
    assert len(kept.batch) == 41


PROBE = ChannelRules(least=-40, greatest=125, sentinels=(85.0, -127.0), sentinel_jump=10.0)


def test_case_08_error_codes_are_dropped_and_a_boiler_passes_85():
    kept = Rules([PROBE], sparse=False).apply(
        series_batch([21.1, 21.2, 85.0, 21.2, -127.0, 21.3, 1000.0, 21.3])
    )
    assert kept.batch.values[:, 0].tolist() == [21.1, 21.2, 21.2, 21.3, 21.3]
    assert kept.dropped == {"sentinel": 2, "out_of_range": 1}
    boiler = Rules([PROBE], sparse=False).apply(series_batch([83.9, 84.6, 85.0, 85.4, 86.0]))
    assert boiler.batch.values[:, 0].tolist() == [83.9, 84.6, 85.0, 85.4, 86.0]
    assert boiler.dropped == {}


def test_an_error_code_as_the_first_value_is_one():
    kept = Rules([PROBE], sparse=False).apply(series_batch([85.0, 85.0, 84.0, 85.0]))
    assert kept.batch.values[:, 0].tolist() == [84.0, 85.0]


def test_case_09_equal_values_are_readings():
    rules = Rules([ChannelRules(least=0, spike_window=3, rate=1.0, stuck_readings=60)], sparse=False)
    kept = rules.apply(series_batch([5.0] * 50))
    assert len(kept.batch) == 50
    assert (kept.dropped, kept.marked, rules.transitions) == ({}, {}, [])


@pytest.mark.parametrize("few", [0, 10_000])
def test_case_20_a_stuck_sensor_is_told_once_at_the_60th_equal_value_and_once_when_it_moves(few):
    moving = [50 + 0.5 * math.sin(1.7 * i) for i in range(6, 201)]
    rules = Rules([ChannelRules(stuck_readings=60)], sparse=False, few=few)
    batch = series_batch([*moving, *[50.25] * 120, *moving])
    marked, seen = 0, []
    for part in np.array_split(np.arange(len(batch)), 40):
        kept = rules.apply(
            Batch(device=batch.device[part], taken_at=batch.taken_at[part], values=batch.values[part])
        )
        assert len(kept.batch) == len(part)
        marked += kept.marked.get("stuck", 0)
        seen += rules.transitions
    first = len(moving)
    assert marked == 61
    assert [(one.is_begin, one.at, one.since, one.value, one.limit) for one in seen] == [
        (True, (first + 59) * S, first * S, 59, 59),
        (False, (first + 120) * S, first * S, 120, 59),
    ]


def test_a_stuck_value_can_be_dropped_and_moving_ends_it():
    rules = Rules([ChannelRules(stuck_readings=3, stuck_action="drop")], sparse=False)
    kept = rules.apply(series_batch([1, 2, 2, 2, 2, 3, 2]))
    assert kept.batch.values[:, 0].tolist() == [1, 2, 2, 3, 2]
    assert kept.dropped == {"stuck": 2}


NOISE = [20.0, 20.1, 19.9, 20.2, 20.0]  # median 20, MAD 0.1


@pytest.mark.parametrize(
    ("action", "expected_value"), [("drop", None), ("clip", 20 + 6 * (1.4826 * 0.1)), ("mark", 30.0)]
)
def test_a_spike_is_dropped_clipped_or_marked_and_forgotten(action, expected_value):
    rules = Rules([ChannelRules(spike_window=5, spike_action=action)], sparse=False)
    kept = rules.apply(series_batch([*NOISE, 30.0, 20.8]))
    values = kept.batch.values[5:, 0].tolist()
    assert values == pytest.approx([20.8] if expected_value is None else [expected_value, 20.8], rel=1e-12)
    counts = {"drop": kept.dropped, "clip": kept.clipped, "mark": kept.marked}
    assert counts == {"drop": {}, "clip": {}, "mark": {}} | {action: {"spike": 1}}


def test_a_new_level_is_accepted_after_a_window_of_spikes():
    rules = Rules([ChannelRules(spike_window=5)], sparse=False)
    kept = rules.apply(series_batch([*NOISE, *[value + 30 for value in NOISE], 50.1, 20.0]))
    assert kept.batch.values[5:, 0].tolist() == [50.1]
    assert kept.dropped == {"spike": 6}


def test_a_flat_channel_has_spikes_only_where_a_floor_says_so():
    flat = [7.0] * 5 + [7.5]
    assert len(Rules([ChannelRules(spike_window=5)], sparse=False).apply(series_batch(flat)).batch) == 6
    floored = Rules([ChannelRules(spike_window=5, spike_floor=0.05)], sparse=False).apply(series_batch(flat))
    assert floored.dropped == {"spike": 1}


@pytest.mark.parametrize(
    ("action", "expected_values"),
    [("drop", [10, 10, 14]), ("clip", [10, 12, 10, 12, 14, 14]), ("mark", [10, 14, 10, 14, 14, 14])],
)
def test_too_fast_a_change_is_held_back_until_time_allows_it(action, expected_values):
    """2 units a second: 14 is reached two seconds after the last good 10."""
    rules = Rules([ChannelRules(rate=2.0, rate_action=action)], sparse=False)
    kept = rules.apply(series_batch([10, 14, 10, 14, 14, 14][: 5 if action == "drop" else 6]))
    assert kept.batch.values[:, 0].tolist() == expected_values


def test_a_range_can_clip_and_tells_when_it_is_left_and_met_again():
    rules = Rules([ChannelRules(least=0, greatest=100, range_action="clip")], sparse=False)
    kept = rules.apply(series_batch([5, -0.3, -0.1, 101, 100, 50]))
    assert kept.batch.values[:, 0].tolist() == [5, 0, 0, 100, 100, 50]
    assert kept.clipped == {"out_of_range": 3}
    assert [(one.is_begin, one.at, one.since, one.value, one.limit) for one in rules.transitions] == [
        (True, 1 * S, 1 * S, -0.3, 0),
        (False, 4 * S, 1 * S, 100, 100),
    ]


def test_a_sparse_reading_goes_on_while_anything_is_left_of_it():
    nan = math.nan
    rules = Rules([ChannelRules(greatest=10), ChannelRules(greatest=10)], sparse=True)
    kept = rules.apply(as_batch([(0, 1, (1, 99)), (0, 2, (99, nan)), (0, 3, (nan, 2)), (0, 4, (99, 98))]))
    assert kept.batch.taken_at.tolist() == [1, 3]
    assert kept.batch.values.tolist()[0][0] == 1
    assert np.isnan(kept.batch.values).tolist() == [[False, True], [True, False]]
    assert kept.dropped == {"out_of_range": 2}
    assert rules.removed == {"out_of_range": 1}
    rules.apply(as_batch([(0, 5, (1, 1))]))
    assert rules.removed == {}


def test_a_channel_without_rules_and_an_empty_batch_pass():
    rules = Rules([ChannelRules()], sparse=False)
    assert len(rules.apply(series_batch([1, 1000, -1])).batch) == 3
    assert len(Rules([PROBE], sparse=False).apply(series_batch([])).batch) == 0


def test_a_state_of_other_channels_is_refused():
    rules = Rules([PROBE, PROBE], sparse=False)
    with pytest.raises(ValueError, match="channels"):
        rules.restore(Rules([PROBE], sparse=False).state())


def test_a_longer_window_goes_on_with_what_a_shorter_one_remembers():
    rules, longer = (
        Rules([ChannelRules(spike_window=5)], sparse=False),
        Rules([ChannelRules(spike_window=6)], sparse=False),
    )
    rules.apply(series_batch(NOISE))
    longer.restore(rules.state())
    kept = longer.apply(series_batch([20.1, 30.0], first_at=10 * S))
    assert kept.dropped == {"spike": 1}


PAGE = Path(__file__).resolve().parents[2] / "docs" / "cleaning.md"
EXAMPLES = re.findall(
    r"```yaml\n(.*?)```.*?counted \|\n\|[-|]+\n(.*?)\n\n", PAGE.read_text("utf-8"), re.DOTALL
)


def _rules_of(options):
    """A channel's options as rules."""
    names = {
        "min": "least",
        "max": "greatest",
        "out_of_range": "range_action",
        "resolution": "spike_floor",
    }
    arguments = {}
    for option, value in options.items():
        if isinstance(value, dict):
            for name, inner in value.items():
                key = "rate" if name == "per_s" else f"{option}_{name}"
                arguments[key] = inner
        else:
            arguments[names.get(option, option)] = tuple(value) if isinstance(value, list) else value
    return ChannelRules(**arguments)


@pytest.mark.parametrize(("options", "table"), EXAMPLES)
def test_the_pages_examples_hold(options, table):
    """Readings one second apart, as docs/cleaning.md says what becomes of each."""
    rules = Rules([_rules_of(yaml.safe_load(options))], sparse=False)
    for second, line in enumerate(table.splitlines()):
        reading, goes_on, counted = (cell.strip() for cell in line.strip("|").split("|"))
        kept = rules.apply(series_batch([float(reading)], first_at=second * S))
        assert kept.batch.values[:, 0].tolist() == ([float(goes_on)] if goes_on else [])
        counts = {"dropped": kept.dropped, "clipped": kept.clipped, "marked": kept.marked}
        found = [f"{kind}: {reason}" for kind, reasons in counts.items() for reason in reasons]
        assert found == ([counted] if counted else [])


def test_the_page_has_an_example_of_each_rule():
    assert len(EXAMPLES) == 5
