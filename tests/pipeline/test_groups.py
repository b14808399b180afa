"""Grouping rows by device keeps their order and finds where each device begins."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.pipeline.groups import by_device, grown


@given(st.lists(st.integers(0, 5), max_size=30))
def test_rows_are_grouped_in_order_of_arrival(devices):
    groups = by_device(np.array(devices, dtype=np.int64))
    expected = sorted(range(len(devices)), key=lambda row: (devices[row], row))
    assert groups.order.tolist() == expected
    assert groups.device.tolist() == sorted(devices)
    first = [i == 0 or groups.device[i] != groups.device[i - 1] for i in range(len(devices))]
    assert groups.is_first.tolist() == first


@given(size=st.integers(0, 1000), needed=st.integers(0, 100_000))
def test_capacity_suffices_and_at_most_doubles(size, needed):
    capacity = grown(size, needed)
    assert capacity >= max(size, needed)
    assert capacity <= max(16, size, 2 * needed)
