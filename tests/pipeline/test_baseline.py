"""The running estimate: held to exact weighted sums, and to the cases that other detectors fell for."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.window import WindowBatch
from gatewayd.pipeline.baseline import Baseline, rounds
from gatewayd.pipeline.estimate import Estimates
from gatewayd.pipeline.normalise import LIMIT

FINITE = st.floats(allow_nan=False, allow_infinity=False)
SECOND = 10**9


def new(*, readings=100, warm_up=2, floor=(0.0,), relearn_ns=None):
    return Baseline(
        channels=len(floor),
        readings=readings,
        warm_up=warm_up,
        floor=np.array(floor, dtype=np.float64),
        relearn_ns=relearn_ns,
    )


def windows(*values, device=None):
    """Windows of one channel, each given by its values."""
    count = len(values)
    return WindowBatch(
        device=np.array(device if device is not None else [0] * count, dtype=np.int64),
        start=np.arange(count, dtype=np.int64),
        end=np.arange(count, dtype=np.int64),
        values=np.array(values, dtype=np.float64).reshape(count, -1, 1),
    )


def column(values):
    return np.array(values, dtype=np.float64)[:, None]


def learn(baseline, device, values, at, *, is_anomalous):
    """Teach one window, all of whose readings are new."""
    when = np.array([at])
    window = WindowBatch(
        device=np.array([device]),
        start=when,
        end=when,
        values=np.array([values], dtype=np.float64),
        fresh=np.array([len(values)]),
    )
    return bool(baseline.learn_round(window, np.array([is_anomalous]))[0])


def taught(values, **options):
    baseline = new(**options)
    learn(baseline, 0, column(values), 0, is_anomalous=False)
    return baseline


def z(baseline, value):
    found, is_ready = baseline.z_scores(windows([value]))
    return float(found[0, 0, 0]) if is_ready[0] else None


def usual(baseline, device=0):
    """One device's estimates, shape ``(channels,)``."""
    found = baseline.estimates(np.array([device]))
    return Estimates(count=found.count[0], mean=found.mean[0], variance=found.variance[0])


def watch(baseline, values, *, threshold=4.0):
    """Score each value by itself, one a second, and teach it if it is calm; returns scores and when it was relearnt."""
    scores, anew = [], []
    for at, value in enumerate(values):
        score = z(baseline, value)
        scores.append(score)
        is_anomalous = score is not None and abs(score) >= threshold
        if learn(baseline, 0, column([value]), at * SECOND, is_anomalous=is_anomalous):
            anew.append(at)
    return scores, anew


ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.lists(FINITE | st.just(math.nan), min_size=2, max_size=2), st.booleans()),
    max_size=30,
)


@given(rows=ROWS, warm_up=st.integers(2, 6), relearn_ns=st.none() | st.integers(1, 5), data=st.data())
def test_neither_other_devices_nor_a_restart_change_a_bit(rows, warm_up, relearn_ns, data):
    options = {"warm_up": warm_up, "relearn_ns": relearn_ns, "floor": (0.0, 0.5), "readings": 5}
    restarts = data.draw(st.sets(st.integers(0, 30)))
    together, anew = new(**options), {}
    for at, (device, values, is_anomalous) in enumerate(rows):
        if at in restarts:
            before = together
            together = new(**options)
            together.restore(before.state())
        if learn(together, device, np.array([values]), at, is_anomalous=is_anomalous):
            anew.setdefault(device, []).append(at)
    totals = [0, 0, 0]
    probe = WindowBatch(
        device=np.arange(3),
        start=np.zeros(3, np.int64),
        end=np.zeros(3, np.int64),
        values=np.full((3, 1, 2), 7.5),
    )
    found, is_ready = together.z_scores(probe)
    for device in range(3):
        alone, alone_anew = new(**options), []
        for at, (owner, values, is_anomalous) in enumerate(rows):
            if owner == device and learn(alone, device, np.array([values]), at, is_anomalous=is_anomalous):
                alone_anew.append(at)
        assert alone_anew == anew.get(device, [])
        scores, ready = alone.z_scores(probe)
        assert scores[device].tobytes() == found[device].tobytes()
        assert ready[device] == is_ready[device]
        totals[0] += alone.relearned
        totals[1] += alone.missing
        totals[2] += alone.left_out
    assert [together.relearned, together.missing, together.left_out] == totals


@given(
    values=st.lists(FINITE | st.just(math.nan), min_size=1, max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=5),
    warm_up=st.integers(2, 8),
)
def test_how_calm_readings_are_cut_into_windows_changes_no_bit(values, cuts, warm_up):
    whole, parts = taught(values, warm_up=warm_up), new(warm_up=warm_up)
    bounds = sorted({0, len(values), *(cut for cut in cuts if cut < len(values))})
    for begin, end in pairwise(bounds):
        learn(parts, 0, column(values[begin:end]), end, is_anomalous=False)
    for name in ("count", "mean", "variance"):
        assert getattr(usual(parts), name).tobytes() == getattr(usual(whole), name).tobytes()
    assert (parts.missing, parts.left_out) == (whole.missing, whole.left_out)


@given(
    taught_by=st.lists(st.floats(), max_size=30),
    scored=st.lists(st.floats(), min_size=1, max_size=10),
    warm_up=st.integers(2, 6),
    readings=st.integers(2, 6),
)
def test_z_scores_are_finite_and_variances_not_negative_whatever_comes(taught_by, scored, warm_up, readings):
    baseline = taught(taught_by, warm_up=warm_up, readings=readings)
    found, _ = baseline.z_scores(windows(*([value] for value in scored)))
    assert found.dtype == np.float32
    assert (np.abs(found) <= LIMIT).all()
    estimate = usual(baseline)
    assert (estimate.variance >= 0).all()
    assert np.isfinite(estimate.mean).all()


@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 3), st.integers(1, 4), st.integers(0, 3), st.booleans(), st.integers(0, 2**32 - 1)
        ),
        max_size=20,
    ),
    warm_up=st.integers(2, 9),
    relearn_ns=st.none() | st.integers(1, 5),
)
def test_a_round_teaches_what_its_windows_teach_one_by_one(rows, warm_up, relearn_ns):
    """Windows of four samples, of which some are readings and some of these new."""
    options = {"warm_up": warm_up, "relearn_ns": relearn_ns, "floor": (0.0, 0.5), "readings": 7}
    one_by_one, together = new(**options), new(**options)
    device = np.array([row[0] for row in rows], dtype=np.int64)
    samples = np.array([row[1] for row in rows], dtype=np.int64)
    fresh = np.array([max(row[1] - row[2], 1) for row in rows], dtype=np.int64)
    is_anomalous = np.array([row[3] for row in rows], dtype=np.bool_)
    values = np.array([np.random.default_rng(row[4]).normal(size=(4, 2)) for row in rows]).reshape(-1, 4, 2)
    values[values > 2] = np.nan
    at = np.arange(len(rows), dtype=np.int64)
    expected = [
        learn(
            one_by_one,
            int(device[row]),
            values[row, samples[row] - fresh[row] : samples[row]],
            row,
            is_anomalous=bool(is_anomalous[row]),
        )
        for row in range(len(rows))
    ]
    found = np.zeros(len(rows), dtype=np.bool_)
    for part in rounds(device):
        batch = WindowBatch(
            device=device[part],
            start=at[part],
            end=at[part],
            values=values[part],
            samples=samples[part],
            fresh=fresh[part],
        )
        found[part] = together.learn_round(batch, is_anomalous[part])
    assert found.tolist() == expected
    for index in range(4):
        for name in ("count", "mean", "variance"):
            assert (
                getattr(usual(together, index), name).tobytes()
                == getattr(usual(one_by_one, index), name).tobytes()
            )
    for name in ("relearned", "missing", "left_out"):
        assert getattr(together, name) == getattr(one_by_one, name)


@given(st.lists(st.integers(0, 4), max_size=40))
def test_rounds_hold_each_row_once_and_each_device_once(device):
    found = rounds(np.array(device, dtype=np.int64))
    assert sorted(row for rows in found for row in rows.tolist()) == list(range(len(device)))
    for number, rows in enumerate(found):
        assert rows.tolist() == sorted(rows.tolist())
        for row in rows.tolist():
            assert device[:row].count(device[row]) == number


def test_case_12_a_constant_is_calm_and_marked_as_of_low_variance():
    baseline = new(warm_up=2)
    assert z(baseline, 14.62) is None  # n = 0
    learn(baseline, 0, column([14.62]), 0, is_anomalous=False)
    assert z(baseline, 14.62) is None  # n = 1
    assert baseline.is_low_variance(np.array([0])).tolist() == [[False]]
    learn(baseline, 0, column([14.62] * 999), 0, is_anomalous=False)
    found, is_ready = baseline.z_scores(windows([14.62, 14.63]))
    assert is_ready.tolist() == [True]
    assert found[0, 0, 0] == 0.0
    assert math.isclose(found[0, 1, 0], 0.01 / (1e-9 * 14.62), rel_tol=1e-6)
    assert baseline.is_low_variance(np.array([0])).tolist() == [[True]]


def test_case_12_a_floor_says_what_a_constant_sensor_may_do():
    baseline = taught([14.62] * 1000, floor=(0.01,))
    assert math.isclose(z(baseline, 14.63), 1.0, rel_tol=1e-6)
    assert baseline.is_low_variance(np.array([0])).tolist() == [[True]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_case_13_a_nan_is_skipped_and_counted(dtype):
    baseline = new()
    for value in [1, 2, math.nan, 3]:
        learn(baseline, 0, np.array([[value]], dtype=dtype), 0, is_anomalous=False)
    estimate = usual(baseline)
    assert (estimate.count[0], estimate.mean[0], baseline.missing) == (3, 2.0, 1)
    assert math.isclose(estimate.variance[0], 2 / 3, rel_tol=1e-12)
    assert math.isclose(estimate.variance[0] * 3 / 2, 1.0, rel_tol=1e-12)


@pytest.mark.parametrize("warm_up", [2, 3, 4])
def test_case_13_b_a_large_offset_cancels_nothing(warm_up):
    baseline = new(warm_up=warm_up)
    for value in [1000000004.0, 1000000007.0, 1000000013.0, 1000000016.0]:
        learn(baseline, 0, column([value]), 0, is_anomalous=False)
    estimate = usual(baseline)
    assert estimate.mean[0] == 1000000010.0
    assert math.isclose(estimate.variance[0], 22.5, rel_tol=1e-9)
    assert math.isclose(estimate.variance[0] * 4 / 3, 30.0, rel_tol=1e-9)


def test_case_19_an_anomaly_does_not_teach_the_detector_to_ignore_the_next_one():
    series = [20.0, 20.2] * 6 + [30.0, 20.0, 20.2, 30.0, 20.0, 20.2]
    for readings in (12, 100):
        scores, _ = watch(new(readings=readings, warm_up=12), series)
        assert scores[:12] == [None] * 12
        assert math.isclose(scores[12], 99.0, rel_tol=1e-6)
        assert math.isclose(
            scores[15], 99.0, rel_tol=1e-3
        )  # two values later the mean has moved by so little
        assert max(abs(scores[at]) for at in (13, 14, 16, 17)) < 4.0


def test_case_19_a_lasting_change_is_learnt_after_the_configured_time():
    series = [20.0, 20.2] * 6 + [30.0] * 100
    baseline = new(warm_up=12, relearn_ns=60 * SECOND)
    scores, anew = watch(baseline, series)
    assert anew == [72]  # anomalous since second 12
    assert all(score > 4.0 for score in scores[12:73])
    assert scores[73:84] == [None] * 11
    assert scores[84:] == [0.0] * 28
    assert baseline.relearned == 1
    assert z(baseline, 20.0) < -4.0
    never, none = watch(new(warm_up=12), series)
    assert (min(never[12:]), none) == (never[12], [])


def test_case_20_wild_values_in_the_warm_up_have_no_lasting_effect():
    series = [0.0, 100.0, 3.0, 97.0, 50.0] + [50 + 0.5 * math.sin(1.7 * i) for i in range(6, 201)]
    for readings in (30, 200):
        baseline = new(warm_up=30, readings=readings)
        scores, _ = watch(baseline, series)
        assert scores[:30] == [None] * 30
        assert max(abs(score) for score in scores[30:]) < 2.0
        assert baseline.left_out == 4
        assert math.isclose(usual(baseline).variance[0], 0.5**2 / 2, rel_tol=0.1)


def test_a_calm_window_breaks_what_goes_on_for_long():
    baseline = taught([1.0, 2.0, 3.0], relearn_ns=10)
    assert not learn(baseline, 0, column([9.0]), 0, is_anomalous=True)
    assert not learn(baseline, 0, column([2.0]), 9, is_anomalous=False)
    assert not learn(baseline, 0, column([9.0]), 10, is_anomalous=True)
    assert not learn(baseline, 0, column([9.0]), 19, is_anomalous=True)
    assert learn(baseline, 0, column([9.0]), 20, is_anomalous=True)
    assert usual(baseline).count.tolist() == [0]
    assert not learn(baseline, 0, column([9.5]), 21, is_anomalous=False)
    assert usual(baseline).mean.tolist() == [9.25]


def test_a_coarse_sensor_keeps_its_rarer_values():
    """20 of 30 equal: the MAD is 0, though the sensor is not constant."""
    baseline = taught([20.0, 20.0, 20.1] * 10, warm_up=30)
    assert baseline.left_out == 0
    assert abs(z(baseline, 20.1)) < 2.0
    wild = taught([14.62] * 25 + [0.0, 100.0, 3.0, 97.0, 50.0], warm_up=30)
    assert wild.left_out == 5


def test_each_channel_warms_up_by_itself_and_the_device_is_ready_with_the_last():
    baseline = new(floor=(0.0, 0.0))
    for first, second in [(1.0, 10.0), (3.0, math.nan), (1.0, math.nan)]:
        learn(baseline, 0, np.array([[first, second]]), 0, is_anomalous=False)
    probe = WindowBatch(
        device=np.array([0]), start=np.array([0]), end=np.array([0]), values=np.array([[[2.0, 14.0]]])
    )
    assert baseline.z_scores(probe)[1].tolist() == [False]
    assert baseline.z_scores(probe)[0].tolist() == [[[0.0, 0.0]]]
    learn(baseline, 0, np.array([[3.0, 12.0]]), 0, is_anomalous=False)
    scores, is_ready = baseline.z_scores(probe)
    assert is_ready.tolist() == [True]
    assert scores.tolist() == [[[0.0, 3.0]]]
    assert usual(baseline).count.tolist() == [4, 2]


def test_state_does_not_change_with_what_is_learnt_later():
    baseline = taught([1.0], warm_up=3)
    state = baseline.state()
    learn(baseline, 0, column([2.0, 3.0, 4.0]), 0, is_anomalous=False)
    after = new(warm_up=3)
    after.restore(state)
    assert z(after, 2.0) is None
    learn(after, 0, column([2.0, 3.0, 4.0]), 0, is_anomalous=False)
    assert z(after, 2.0) == z(baseline, 2.0)


def test_a_shorter_warm_up_takes_what_has_been_gathered():
    before = taught([1.0, 2.0, 3.0], warm_up=10)
    after = new(warm_up=2)
    after.restore(before.state())
    learn(after, 0, column([4.0]), 0, is_anomalous=False)
    assert usual(after).mean.tolist() == [2.5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"warm_up": 1}, "readings and warm_up must be at least 2, not 100 and 1"),
        ({"readings": 1}, "readings and warm_up must be at least 2, not 1 and 2"),
        ({"relearn_ns": 0}, "relearn_ns must be at least 1, not 0"),
    ],
)
def test_arguments_out_of_range_are_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        new(**options)


def test_a_state_of_other_channels_is_none():
    with pytest.raises(ValueError, match="expected an array of int64"):
        new(floor=(0.0, 0.0)).restore(new().state())


def test_an_absent_value_counts_as_usual():
    found, is_ready = taught([1.0, 2.0, 3.0]).z_scores(windows([math.nan, 2.0, math.inf, -math.inf]))
    assert is_ready.tolist() == [True]
    assert found[0, :, 0].tolist() == [0.0, 0.0, LIMIT, -LIMIT]


def test_a_device_that_is_learnt_anew_while_it_warms_up_forgets_what_it_has_gathered():
    """Its first channel is ready and the second is not."""
    baseline = new(floor=(0.0, 0.0), warm_up=3, relearn_ns=5)
    learn(baseline, 0, [[1.0, 10.0], [2.0, 11.0], [3.0, math.nan]], 0, is_anomalous=False)
    learn(baseline, 0, [[7.0, 70.0]], 1, is_anomalous=True)
    assert learn(baseline, 0, [[7.0, 70.0]], 6, is_anomalous=True)
    learn(baseline, 0, [[8.0, 80.0], [9.0, 90.0]], 7, is_anomalous=False)
    assert usual(baseline).mean.tolist() == [8.0, 80.0]
