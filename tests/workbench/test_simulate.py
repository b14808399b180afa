"""The simulated pump: physics that holds, and a fault that shows where it should."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.workbench.simulate import CHANNELS, BearingFault, Pump

TEMPERATURE, VIBRATION, PRESSURE, CURRENT = range(len(CHANNELS))


def run(pump, steps):
    return np.array([pump.step() for _ in range(steps)])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**63), interval_s=st.floats(0.01, 0.2))
def test_readings_are_finite_and_physically_possible(seed, interval_s):
    rows = run(Pump(seed=seed, interval_s=interval_s), 300)
    assert np.isfinite(rows).all()
    assert (rows[:, TEMPERATURE] > 20).all()
    assert (rows[:, TEMPERATURE] < 65).all()
    assert (rows[:, VIBRATION] >= 0).all()
    assert (rows[:, PRESSURE] > 0).all()
    assert (rows[:, CURRENT] > 3).all()


def test_the_same_seed_gives_the_same_readings_and_another_seed_others():
    assert np.array_equal(run(Pump(seed=3), 200), run(Pump(seed=3), 200))
    assert not np.array_equal(run(Pump(seed=3), 200), run(Pump(seed=4), 200))


def test_pressure_and_current_follow_the_affinity_laws():
    """Pressure is speed², current above idle speed³: log current over log pressure has slope 1.5."""
    rows = run(Pump(seed=1), 20_000)
    smooth = rows.reshape(-1, 20, 4).mean(axis=1)
    slope = np.polyfit(np.log(smooth[:, PRESSURE]), np.log(smooth[:, CURRENT] - 4.0), 1)[0]
    assert slope == pytest.approx(1.5, abs=0.08)  # the pump's own gains and the sensors' noise


def test_a_fault_raises_vibration_at_once_and_temperature_with_a_lag_then_both_recover():
    fault = BearingFault(begins_s=10.0, lasts_s=15.0, ramp_s=4.0)
    ill, healthy = run(Pump(seed=5, fault=fault), 1000), run(Pump(seed=5), 1000)
    assert np.array_equal(ill[:200], healthy[:200])
    extra = (ill - healthy).reshape(-1, 20, 4).mean(axis=1)  # one row per second
    assert (extra[14:25, VIBRATION] > 0.08).all()
    assert (extra[14:25, CURRENT] > 0.3).all()
    assert np.abs(extra[:, PRESSURE]).max() == 0.0
    assert extra[12, TEMPERATURE] < 0.5 * extra[22, TEMPERATURE]
    assert extra[22, TEMPERATURE] > 4.0
    assert np.abs(extra[25:, VIBRATION]).max() == pytest.approx(0.0, abs=1e-12)
    assert 0.0 < extra[32, TEMPERATURE] < 0.2 * extra[24, TEMPERATURE]


def test_impacts_have_a_heavier_tail_than_healthy_vibration():
    fault = BearingFault(begins_s=0.0, lasts_s=1e9, ramp_s=0.01)

    def kurtosis(rows):
        change = np.diff(rows[:, VIBRATION])
        return float(((change - change.mean()) ** 4).mean() / change.var() ** 2)

    assert kurtosis(run(Pump(seed=2, fault=fault), 10_000)) > 1.2 * kurtosis(run(Pump(seed=2), 10_000))


@given(
    begins_s=st.floats(0, 100),
    lasts_s=st.floats(0.1, 100),
    ramp_s=st.floats(0.01, 50),
    at_s=st.floats(0, 300),
)
def test_damage_lies_in_0_to_1_and_never_shrinks_before_the_repair(begins_s, lasts_s, ramp_s, at_s):
    fault = BearingFault(begins_s=begins_s, lasts_s=lasts_s, ramp_s=ramp_s)
    assert 0.0 <= fault.damage(at_s) <= 1.0
    assert fault.damage(begins_s + lasts_s + 1e-6) == 0.0
    during = [fault.damage(begins_s + lasts_s * part / 10) for part in range(10)]
    assert all(earlier <= later for earlier, later in itertools.pairwise(during))
