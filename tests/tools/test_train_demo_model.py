"""The demo's model: it finds a bad bearing within seconds, forgets it after the repair, and is silent otherwise."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gatewayd.model.bundle import load_bundle
from gatewayd.model.interpreter import open_model
from gatewayd.workbench.evaluate import score_windows
from gatewayd.workbench.simulate import CHANNELS, BearingFault, Pump
from tests.support.recordings import needs_tensorflow

ROOT = Path(__file__).resolve().parents[2]
INTERVAL_S = 0.05
BEGINS_S, LASTS_S = 8.0, 10.0


@pytest.fixture(scope="module")
def scorer():
    """Score a pump's readings, in thresholds, with the time of each window's last reading."""
    bundle = load_bundle(ROOT / "config" / "models" / "pump")
    model, spec = open_model(bundle), bundle.spec

    def score(pump, seconds):
        readings = np.array([pump.step() for _ in range(round(seconds / INTERVAL_S))])
        cut = np.lib.stride_tricks.sliding_window_view(readings, spec.length, axis=0)
        windows = np.ascontiguousarray(cut.transpose(0, 2, 1)[:: spec.hop])
        at_s = (np.arange(len(windows)) * spec.hop + spec.length - 1) * INTERVAL_S
        return at_s, score_windows(model, spec, windows).scores / spec.threshold

    return score


def test_the_bundle_is_for_the_simulated_pump():
    spec = load_bundle(ROOT / "config" / "models" / "pump").spec
    assert tuple((channel.name, channel.unit) for channel in spec.channels) == CHANNELS
    assert (spec.length, spec.hop, spec.interval_s) == (32, 8, INTERVAL_S)


@pytest.mark.parametrize("seed", range(8))
def test_a_bad_bearing_is_raised_within_3_s_and_cleared_within_6_s_of_the_repair(scorer, seed):
    fault = BearingFault(begins_s=BEGINS_S, lasts_s=LASTS_S)
    at_s, scores = scorer(Pump(seed=seed, interval_s=INTERVAL_S, fault=fault), 30.0)
    is_anomalous, is_calm = scores >= 1.0, scores < 0.8
    raised = [t for i, t in enumerate(at_s) if is_anomalous[max(0, i - 4) : i + 1].sum() >= 3]
    assert BEGINS_S < raised[0] < BEGINS_S + 3.0
    repaired = BEGINS_S + LASTS_S
    cleared = [t for i, t in enumerate(at_s) if t > repaired and is_calm[i - 2 : i + 1].all()]
    assert cleared[0] < repaired + 6.0
    assert (scores[at_s < BEGINS_S] < 1.0).all()


@pytest.mark.parametrize("seed", range(20))
def test_a_healthy_pump_never_has_one_anomalous_window(scorer, seed):
    """10 minutes each, 3 h 20 min of running in all, and not even near."""
    _, scores = scorer(Pump(seed=seed, interval_s=INTERVAL_S), 600.0)
    assert scores.max() < 0.95


class TestReproduction:
    """The repository's script gives the shipped model."""

    pytestmark = needs_tensorflow

    def test_training_again_gives_the_shipped_model(self):
        command = [sys.executable, "tools/train_demo_model", "--check"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
