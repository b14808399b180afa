"""What channels are judged by: what goes in comes out."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.reading import Batch
from gatewayd.pipeline.groups import by_device
from gatewayd.pipeline.history import Series
from gatewayd.pipeline.past import Past, Pasts

NS = st.integers(-(2**63), 2**63 - 1)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
PASTS = st.builds(
    Past,
    good=st.lists(FINITE, max_size=4),
    good_at=NS,
    spikes=st.lists(FINITE, max_size=4),
    equal=FINITE,
    equal_count=st.integers(0, 10**9),
    equal_since=NS,
    is_stuck=st.booleans(),
    stuck_at=NS,
    side=st.sampled_from([-1, 0, 1]),
    outside_since=NS,
)


@given(
    stored=st.dictionaries(st.tuples(st.integers(0, 40), st.integers(0, 1)), PASTS, max_size=6),
    asked=st.tuples(st.integers(0, 40), st.integers(0, 1)),
)
def test_what_is_stored_is_loaded_also_by_who_goes_on(stored, asked):
    pasts = Pasts(depth=4, channels=2)
    pasts.grow(1)
    for (device, channel), past in stored.items():
        pasts.grow(device + 1)
        pasts.store(device, channel, past)
    fresh = Pasts(depth=4, channels=2)
    fresh.restore(pasts.state())
    for keeper in (pasts, fresh):
        keeper.grow(41)
        for (device, channel), past in stored.items():
            assert keeper.load(device, channel) == past
        if asked not in stored:
            loaded = keeper.load(*asked)
            assert math.isnan(loaded.equal)
            loaded.equal = 0.0
            assert loaded == Past(equal=0.0)


def test_good_values_end_a_run_of_spikes():
    pasts = Pasts(depth=2, channels=1)
    pasts.grow(2)
    for device in range(2):
        pasts.store(device, 0, Past(good=[1.0], spikes=[9.0, 9.5], equal=1.0))
    batch = Batch(
        device=np.array([0, 1, 0], dtype=np.int64),
        taken_at=np.array([5, 6, 7], dtype=np.int64),
        values=np.array([[2.0], [2.0], [3.0]]),
    )
    series = next(Series.each(batch, by_device(batch.device), [0]))
    taken = np.array([True, False])
    pasts.extend(series, 0, pasts.good.trail(series, 0), taken)
    pasts.repeat(series, 0, np.array([1, 1, 1]), series.taken_at, taken)
    assert pasts.load(0, 0) == Past(good=[2.0, 3.0], good_at=7, equal=3.0, equal_count=1, equal_since=7)
    assert pasts.load(1, 0) == Past(good=[1.0], spikes=[9.0, 9.5], equal=1.0)
