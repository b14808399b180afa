"""Cleaning: held to a plain reference; every reading is kept or counted."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.reading import Batch
from gatewayd.pipeline.clean import Cleaner

EPOCH = 1_700_000_000 * 10**9
ARRIVED = EPOCH + 100
VALUE = st.sampled_from([0.0, 1.0, 5.0, 5.5, -1.0, math.nan, math.inf, -math.inf])
ROWS = st.lists(st.tuples(st.integers(0, 2), st.integers(EPOCH + 90, EPOCH + 115), VALUE, VALUE), max_size=40)


def make(*, is_timed=True, is_reordered=False):
    return Cleaner(
        least=[0.0, -math.inf],
        greatest=[5.0, math.inf],
        max_future_ns=10,
        is_timed=is_timed,
        is_reordered=is_reordered,
    )


def as_batch(rows):
    return Batch(
        device=np.array([row[0] for row in rows], dtype=np.int64),
        taken_at=np.array([row[1] for row in rows], dtype=np.int64),
        values=np.array([row[2:] for row in rows], dtype=np.float64).reshape(len(rows), 2),
    )


def clean(cleaner, rows):
    return cleaner.clean(as_batch(rows), np.full(len(rows), ARRIVED, dtype=np.int64))


def listed(batch):
    return [
        (device, time, *values)
        for device, time, values in zip(
            batch.device.tolist(), batch.taken_at.tolist(), batch.values.tolist(), strict=True
        )
    ]


def reference(rows, *, is_timed):
    kept, dropped, newest = [], {}, {}
    for row in rows:
        device, time, first, second = row
        last = newest.get(device)
        if not math.isfinite(first) or not math.isfinite(second):
            reason = "missing"
        elif not 0 <= first <= 5:
            reason = "out_of_range"
        elif is_timed and time - ARRIVED > 10:
            reason = "future"
        elif is_timed and last is not None and row == last:
            reason = "duplicate"
        elif is_timed and last is not None and time <= last[1]:
            reason = "late"
        else:
            newest[device] = row
            kept.append(row)
            continue
        dropped[reason] = dropped.get(reason, 0) + 1
    return kept, dropped


@given(rows=ROWS, is_timed=st.booleans(), data=st.data())
def test_what_is_kept_and_counted_equals_the_reference_in_any_batches(rows, is_timed, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    cleaner = make(is_timed=is_timed)
    kept, dropped = [], {}
    for begin, end in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        batch, reasons = clean(cleaner, rows[begin:end])
        kept += listed(batch)
        for reason, count in reasons.items():
            dropped[reason] = dropped.get(reason, 0) + count
    assert (kept, dropped) == reference(rows, is_timed=is_timed)
    assert len(kept) + sum(dropped.values()) == len(rows)


def reference_with_borrowed_times(rows):
    """Rows of (device, own time or None, arrival, value); the sensor's clock goes on while it says no time."""
    kept, dropped, newest = [], {}, {}
    for device, own, arrived, value in rows:
        last = newest.get(device)
        if own is None:
            is_told = last is not None and not last[1] < 10**18 <= arrived
            time = last[0] + max(0, arrived - last[1]) if is_told else arrived
            kept.append((device, min(time, 2**63 - 1), value, value))
            continue
        if arrived >= 10**18 and own - arrived > 10:
            reason = "future"
        elif last is not None and (own, value) == (last[0], last[2]):
            reason = "duplicate"
        elif last is not None and own <= last[0]:
            reason = "late"
        else:
            newest[device] = (own, arrived, value)
            kept.append((device, own, value, value))
            continue
        dropped[reason] = dropped.get(reason, 0) + 1
    return kept, dropped


ARRIVALS = st.sampled_from([ARRIVED, ARRIVED + 5, ARRIVED + 60, 7, 50, 10**18])
OWN = st.none() | st.integers(EPOCH + 90, EPOCH + 170) | st.just(2**63 - 1)


@given(
    rows=st.lists(st.tuples(st.integers(0, 2), OWN, ARRIVALS, st.sampled_from([1.0, 2.0])), max_size=40),
    data=st.data(),
)
def test_borrowed_times_equal_the_reference_in_any_batches(rows, data):
    """The gateway's clock may be unset, be set in between, and jump."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    cleaner = make()
    kept, dropped = [], {}
    for begin, end in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        part = rows[begin:end]
        batch = as_batch([(d, arrived if own is None else own, v, v) for d, own, arrived, v in part])
        arrived_at = np.array([row[2] for row in part], dtype=np.int64)
        own = np.array([row[1] is not None for row in part], dtype=np.bool_)
        batch, reasons = cleaner.clean(batch, arrived_at, own)
        kept += listed(batch)
        for reason, count in reasons.items():
            dropped[reason] = dropped.get(reason, 0) + count
    assert (kept, dropped) == reference_with_borrowed_times(rows)


def test_case_09_a_redelivered_message_is_not_a_second_reading_but_an_equal_value_is():
    """The decision looks at device, time and values: not at DUP, the packet id, or the value alone."""
    times = [10, 11, 11, 12, 13]
    batch, dropped = clean(make(), [(0, time, 5.0, 5.0) for time in times])
    assert batch.taken_at.tolist() == [10, 11, 12, 13]
    assert dropped == {"duplicate": 1}


def test_a_clean_batch_is_passed_on_as_it_is():
    batch = as_batch([(0, 1, 1.0, 1.0), (1, 1, 1.0, 1.0)])
    assert make().clean(batch, np.full(2, ARRIVED, dtype=np.int64))[0] is batch


def test_readings_stamped_on_arrival_may_share_an_instant():
    batch, dropped = clean(make(is_timed=False), [(0, 100, 1.0, 1.0), (0, 100, 1.0, 1.0), (0, 99, 1.0, 1.0)])
    assert len(batch) == 3
    assert dropped == {}


def test_a_reading_stamped_on_arrival_does_not_make_a_slow_sensor_late():
    """A sensor whose clock is an hour slow sends one reading without a time among good ones."""
    cleaner = make()
    arrived = np.full(3, ARRIVED, dtype=np.int64)
    own = np.array([True, False, True])
    batch, dropped = cleaner.clean(
        as_batch([(0, 10, 1.0, 1.0), (0, 100, 2.0, 2.0), (0, 11, 3.0, 3.0)]), arrived, own
    )
    assert batch.taken_at.tolist() == [10, 10, 11]  # its newest own time, plus what has passed since
    assert dropped == {}
    assert len(clean(cleaner, [(0, 12, 1.0, 1.0)])[0]) == 1


def test_each_reason_names_a_device_that_it_happened_to():
    cleaner = make()
    rows = [(0, 95, 1.0, 1.0), (1, 95, math.nan, 0.0), (2, 115, 1.0, 1.0), (0, 94, 1.0, 1.0)]
    clean(cleaner, [(device, EPOCH + time, *values) for device, time, *values in rows])
    assert cleaner.examples == {"missing": 1, "future": 2, "late": 0}
    clean(cleaner, [(0, EPOCH + 96, 1.0, 1.0)])
    assert cleaner.examples == {}


def test_readings_without_a_time_of_their_own_stay_on_the_sensor_s_clock():
    """A sensor an hour behind: its untimed readings must not look like a gap of an hour."""
    cleaner, hour = make(), 3600 * 10**9
    first = ARRIVED - hour
    rows = [(0, first, 1.0, 1.0), (0, ARRIVED + 5, 2.0, 2.0), (0, first + 9, 3.0, 3.0)]
    arrived = np.array([ARRIVED, ARRIVED + 5, ARRIVED + 9], dtype=np.int64)
    batch, _ = cleaner.clean(as_batch(rows), arrived, np.array([True, False, True]))
    assert batch.taken_at.tolist() == [first, first + 5, first + 9]
    fresh, _ = make().clean(as_batch(rows[1:2]), arrived[1:2], np.array([False]))
    assert fresh.taken_at.tolist() == [ARRIVED + 5]  # nothing is known of its clock yet


@pytest.mark.parametrize("is_reordered", [False, True])
def test_readings_of_one_message_without_a_time_of_their_own_stay_apart(is_reordered):
    cleaner, hour = make(is_reordered=is_reordered), 3600 * 10**9
    first = ARRIVED - hour
    rows = [(0, first, 1.0, 1.0), (0, ARRIVED + 5, 2.0, 2.0), (0, ARRIVED + 6, 3.0, 3.0)]
    arrived = np.array([ARRIVED, ARRIVED + 5, ARRIVED + 5], dtype=np.int64)
    batch, _ = cleaner.clean(as_batch(rows), arrived, np.array([True, False, False]))
    assert batch.taken_at.tolist() == [first, first + 5, first + 6]


def test_a_gateway_whose_clock_was_never_set_drops_nothing_as_future():
    rows = [(0, EPOCH + second, 1.0, 1.0) for second in range(5)]
    batch, dropped = make().clean(as_batch(rows), np.arange(5, dtype=np.int64) + 60 * 10**9)
    assert len(batch) == 5
    assert dropped == {}


def test_newest_times_are_gone_on_with_where_channels_differ():
    old, new = make(), Cleaner(least=[0.0], greatest=[5.0], max_future_ns=10, is_timed=True)
    clean(old, [(3, EPOCH + 50, 1.0, 1.0)])
    new.restore(old.state())
    batch = Batch(
        device=np.array([3, 3]), taken_at=EPOCH + np.array([50, 51]), values=np.array([[1.0], [1.0]])
    )
    kept, dropped = new.clean(batch, np.full(2, ARRIVED, dtype=np.int64))
    assert kept.taken_at.tolist() == [EPOCH + 51]
    assert dropped == {"late": 1}


def test_a_borrowed_time_ends_where_time_does():
    """A sensor that claims the year 2262 to a gateway without a clock."""
    last = 2**63 - 1
    batch, _ = make().clean(
        as_batch([(0, last, 1.0, 1.0), (0, 50, 1.0, 1.0)]),
        np.array([7, 50], dtype=np.int64),
        np.array([True, False]),
    )
    assert batch.taken_at.tolist() == [last, last]


def test_a_clock_that_is_set_between_two_readings_puts_no_decades_between_them():
    rows = [(0, EPOCH, 1.0, 1.0), (0, ARRIVED, 1.0, 1.0), (0, EPOCH + 120, 1.0, 1.0)]
    batch, dropped = make().clean(
        as_batch(rows), np.array([7, ARRIVED, ARRIVED + 20], dtype=np.int64), np.array([True, False, True])
    )
    assert batch.taken_at.tolist() == [EPOCH, ARRIVED, EPOCH + 120]
    assert dropped == {}
