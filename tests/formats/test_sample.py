"""A sample is a finite number."""

import math

import pytest

from gatewayd.formats.sample import Sample, Samples


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_no_sample(value):
    with pytest.raises(AssertionError):
        Sample(device=None, channel="t", value=value, unit=None, taken_at=None)


def test_a_message_may_hold_nothing():
    assert Samples() == Samples(samples=(), errors=(), requests=(), offline=())
