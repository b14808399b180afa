"""Counting alarms against the truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.workbench.metrics import Counts, count

pairs = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=50)


def counted(rows):
    truth, alarm = np.array(rows, bool).reshape(-1, 2).T
    return count(truth, alarm)


@given(pairs)
def test_every_row_is_counted_once_and_each_figure_is_its_definition(rows):
    counts = counted(rows)
    both = sum(truth and alarm for truth, alarm in rows)
    alarms = sum(alarm for _, alarm in rows)
    anomalous = sum(truth for truth, _ in rows)
    false = sum(alarm and not truth for truth, alarm in rows)
    assert counts.figures()["rows"] == len(rows)
    assert counts.precision == (both / alarms if alarms else 0.0)
    assert counts.recall == (both / anomalous if anomalous else 0.0)
    assert counts.false_alarm_rate == (false / (len(rows) - anomalous) if len(rows) > anomalous else 0.0)
    assert counts.accuracy == (sum(t == a for t, a in rows) / len(rows) if rows else 0.0)
    if counts.precision and counts.recall:
        assert counts.f1 == pytest.approx(2 / (1 / counts.precision + 1 / counts.recall))
    else:
        assert counts.f1 == 0.0


@given(pairs, pairs)
def test_counts_of_two_recordings_add_up(first, second):
    assert counted(first) + counted(second) == counted(first + second)


def test_a_figure_by_hand():
    counts = Counts(true_positive=6, false_positive=2, false_negative=4, true_negative=8)
    assert (counts.precision, counts.recall, counts.false_alarm_rate) == (0.75, 0.6, 0.2)
    assert counts.f1 == pytest.approx(2 / 3)
