"""How long an outage is covered: the rate against the integral it stands for."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.store.coverage import Coverage


def fed(rate, *, lasts_s, step_s=1.0, coverage=None, start_s=100.0, total=0):
    coverage = coverage or Coverage()
    for step in range(round(lasts_s / step_s) + 1):
        coverage.note(total + round(rate * step * step_s), start_s + step * step_s)
    return coverage


def test_a_guess_is_not_told():
    assert Coverage().lasts_s(1000) is None
    assert fed(100, lasts_s=59).lasts_s(1000) is None
    assert fed(100, lasts_s=60).lasts_s(1000) == pytest.approx(10)


@given(rate=st.integers(1, 10**7), step_s=st.sampled_from([1.0, 1.5, 7.0, 60.0]), minutes=st.integers(2, 90))
def test_a_constant_rate_is_found_from_the_first_minute_on_however_often_one_looks(rate, step_s, minutes):
    coverage = fed(rate, lasts_s=minutes * 60, step_s=step_s)
    # half a byte of rounding at each look; the sums differ from the closed form by rounding alone
    assert coverage.bytes_per_s() == pytest.approx(rate, abs=1.0, rel=1e-9)


def test_a_change_is_followed_with_ten_minutes_of_memory():
    coverage = fed(1000, lasts_s=6000)
    fed(0, lasts_s=600, coverage=coverage, start_s=6100, total=6_000_000)
    # e^-1 of the old rate is left; the sum over 6,600 s has reached all but e^-11 of its limit
    assert coverage.bytes_per_s() == pytest.approx(1000 / math.e, rel=1e-3)


@given(st.lists(st.tuples(st.floats(0, 2000), st.integers(0, 10**6)), min_size=1, max_size=50))
def test_the_rate_never_leaves_what_was_seen(steps):
    """A weighted mean lies between the least and the greatest of the rates that it was made of."""
    coverage, now_s, total, seen = Coverage(), 0.0, 0, []
    coverage.note(0, 0.0)
    since_s, since = 0.0, 0
    for wait_s, count in steps:
        now_s += wait_s
        total += count
        coverage.note(total, now_s)
        if now_s - since_s >= 1:
            seen.append((total - since) / (now_s - since_s))
            since_s, since = now_s, total
    rate = coverage.bytes_per_s()
    assert (rate is None) == (since_s < 60)
    if rate is not None:
        assert min(seen) * (1 - 1e-9) <= rate <= max(seen) * (1 + 1e-9)


def test_nothing_that_comes_lasts_for_no_time_that_can_be_told():
    assert fed(0, lasts_s=600).lasts_s(1000) is None


def test_more_than_a_year_is_a_year_and_a_full_outbox_lasts_no_time():
    coverage = fed(1, lasts_s=600)
    assert coverage.lasts_s(1 << 50) == 365 * 86_400
    assert coverage.lasts_s(0) == coverage.lasts_s(-5) == 0
