"""Adapted thresholds: their false alarms on known distributions, and what they hold out against."""

import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.pipeline.threshold import MOST_PEAKS, PeaksOverThreshold, fit_tail

DRAWS = {
    "exponential": lambda rng, n: rng.exponential(size=n),
    "normal": lambda rng, n: rng.normal(size=n),
    "uniform": lambda rng, n: rng.random(n),
}


def run(peaks, scores, device=0):
    """Return the threshold in force for each score; NaN while calibrating."""
    found = []
    for score in scores:
        threshold = peaks.threshold(device)
        found.append(math.nan if threshold is None else threshold)
        peaks.learn(device, score)
    return np.array(found)


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("risk", [1e-2, 1e-3])
def test_false_alarms_come_as_often_as_asked_for(name, risk):
    """Within a factor of 2 either way, over 3 runs of 20,000 independent scores."""
    alarms = judged = 0
    for seed in range(3):
        scores = DRAWS[name](np.random.default_rng(seed), 20_000)
        thresholds = run(PeaksOverThreshold(risk=risk, calibrate=1000), scores.tolist())
        alarms += int((scores >= thresholds).sum())
        judged += int(np.isfinite(thresholds).sum())
    assert judged == 3 * 19_000
    assert risk / 2 < alarms / judged < risk * 2


def test_the_threshold_is_the_distribution_s_quantile():
    """Of an exponential distribution the quantile is -ln(risk); 500 peaks give it to some 15 %."""
    scores = np.random.default_rng(5).exponential(size=25_000)
    threshold = run(PeaksOverThreshold(risk=1e-4, calibrate=1000), scores.tolist())[-1]
    assert threshold == pytest.approx(-math.log(1e-4), rel=0.15)


def test_a_wandering_score_is_followed_by_its_moving_average():
    """DSPOT: the noise is small against the way that its mean goes; SPOT is lost."""
    rng = np.random.default_rng(7)
    scores = 20 * np.sin(np.arange(20_000) / 3000) + rng.normal(size=20_000)
    drifting = run(PeaksOverThreshold(risk=1e-3, calibrate=1000, depth=20), scores.tolist())
    fixed = run(PeaksOverThreshold(risk=1e-3, calibrate=1000), scores.tolist())
    judged = np.isfinite(drifting)
    assert np.flatnonzero(judged)[0] == 1020
    assert (scores >= drifting)[judged].mean() < 2e-3
    assert (drifting - scores)[judged].mean() < 5
    assert (scores >= fixed).mean() > 0.1


def test_anomalies_do_not_teach():
    """Three windows in 300 are anomalous, of any size: each is found, for as long as it goes on."""
    scores = np.random.default_rng(3).exponential(size=40_000)
    is_bad = np.zeros(len(scores), dtype=bool)
    for start in range(2000, len(scores), 300):
        is_bad[start : start + 3] = True
    ends = []
    for size in (15.0, 1e3, 1e30):
        found = run(PeaksOverThreshold(risk=1e-4, calibrate=1000), np.where(is_bad, size, scores).tolist())
        assert (size >= found[is_bad]).all()
        ends.append(found[-1])
    assert ends[1] == ends[2] < 1.1 * ends[0]  # how far out they lay made hardly a difference


def test_a_run_of_anomalies_moves_the_threshold_once_and_little():
    peaks = PeaksOverThreshold(risk=1e-3, calibrate=1000)
    run(peaks, np.random.default_rng(11).exponential(size=5000).tolist())
    before = peaks.threshold(0)
    run(peaks, [1e6] * 1000)
    assert before < peaks.threshold(0) < before * 1.5


@pytest.mark.parametrize("constant", [0.0, 0.25, -3.0, 1e30, -1e30, 5e-324])
def test_scores_that_never_vary_are_normal_and_anything_above_is_not(constant):
    peaks = PeaksOverThreshold(risk=1e-4, calibrate=100, depth=0)
    thresholds = run(peaks, [constant] * 300)
    assert np.isnan(thresholds[:100]).all()
    assert (thresholds[100:] > constant).all()
    assert peaks.threshold(0) <= constant + max(abs(constant) * 1e-5, 1e-11)


def test_the_threshold_is_visibly_above_a_score_that_hardly_varies():
    """A peak in the last digit makes no tail; what is normal mostly must not reach the threshold."""
    scores = ([1.0] * 99 + [math.nextafter(1.0, 2.0)]) * 3
    thresholds = run(PeaksOverThreshold(risk=1e-3, calibrate=100), scores)
    assert (thresholds[100:] >= 1.0 + 1e-6).all()


def test_the_heaviest_tail_and_the_least_risk_give_a_number():
    peaks = PeaksOverThreshold(risk=1e-300, calibrate=100, level=0.5)
    thresholds = run(peaks, [0.0] * 50 + [1e-270, 1e30] * 25 + [0.0])
    assert thresholds[-1] == sys.float_info.max


@given(
    scores=st.lists(
        st.sampled_from([0.0, 1.0, 2.0]) | st.floats(-1e30, 1e30) | st.sampled_from([1e-300, 5e-324]),
        min_size=100,
        max_size=160,
    ),
    depth=st.sampled_from([0, 7]),
)
@settings(max_examples=60, deadline=None)
def test_any_scores_give_a_finite_threshold(scores, depth):
    thresholds = run(PeaksOverThreshold(risk=1e-3, calibrate=100, depth=depth), scores)
    assert np.isnan(thresholds[: 100 + depth]).all()
    assert np.isfinite(thresholds[100 + depth :]).all()


@given(cut=st.integers(0, 700), seed=st.integers(0, 5), depth=st.sampled_from([0, 10]))
@settings(max_examples=40, deadline=None)
def test_a_restart_and_neighbours_change_nothing(cut, seed, depth):
    rng = np.random.default_rng(seed)
    scores = np.where(rng.random(700) < 0.02, 9.0, rng.exponential(size=700)).tolist()
    expected = run(PeaksOverThreshold(risk=1e-2, calibrate=150, depth=depth), scores)
    first, second = (PeaksOverThreshold(risk=1e-2, calibrate=150, depth=depth) for _ in range(2))
    found = []
    for score in scores[:cut]:
        found.append(first.threshold(4))
        first.learn(2, -score)
        first.learn(4, score)
    second.restore(first.state())
    assert str(second.state()) == str(first.state())
    rest = run(second, scores[cut:], device=4)
    both = np.concatenate([np.array(found, dtype=np.float64), rest])
    np.testing.assert_array_equal(both, expected)


def test_only_the_newest_peaks_are_kept():
    peaks = PeaksOverThreshold(risk=1e-3, calibrate=100, level=0.5)
    scores = np.random.default_rng(1).random(2200)
    run(peaks, scores.tolist())
    kept = peaks.state()["0"]
    assert len(kept["peaks"]) == MOST_PEAKS < kept["exceeded"]
    above = scores[scores > kept["level"]] - kept["level"]
    np.testing.assert_array_equal(kept["peaks"][:-5], above[-MOST_PEAKS:][:-5])


@pytest.mark.parametrize("shape", [-0.4, -0.1, 0.0, 0.2, 0.6])
def test_a_tail_is_found_again(shape):
    """2,000 draws by inversion of the distribution: the estimates' standard deviation is about 0.03 each."""
    u = np.random.default_rng(2).random(2000)
    peaks = 3.0 * (-np.log(u) if shape == 0 else (u**-shape - 1) / shape)
    found, scale = fit_tail(peaks)
    assert found == pytest.approx(shape, abs=0.1)
    assert scale == pytest.approx(3.0, rel=0.1)


@given(seed=st.integers(0, 50), shape=st.floats(-0.6, 0.8), count=st.integers(10, 300))
@settings(max_examples=50, deadline=None)
def test_a_tail_explains_its_peaks_as_well_as_the_one_they_come_from(seed, shape, count):
    """The likelihood of the fit is that of the truth, or better; being an average over a grid may cost it one unit."""
    shape = shape if abs(shape) > 1e-3 else 0.5
    peaks = 3.0 * (np.random.default_rng(seed).random(count) ** -shape - 1) / shape

    def likelihood(shape, scale):
        return -count * math.log(scale) - (1 + 1 / shape) * np.log1p(shape * peaks / scale).sum()

    assert likelihood(*fit_tail(peaks)) >= likelihood(shape, 3.0) - 1


def test_few_peaks_make_an_exponential_tail():
    assert fit_tail(np.array([1.0, 2.0, 6.0])) == (0.0, 3.0)


@pytest.mark.parametrize("options", [{"risk": 0.0}, {"risk": 0.02}, {"calibrate": 99}, {"level": 1.0}])
def test_settings_that_mean_nothing_are_refused(options):
    with pytest.raises(ValueError, match="must"):
        PeaksOverThreshold(**{"risk": 1e-4, "calibrate": 100, **options})
