"""What comes out of a state is what was asked for, or an error that says so."""

import numpy as np
import pytest

from gatewayd.domain.state import as_bool, as_counts, as_float64, as_int, as_int64, as_state


def test_what_fits_is_taken_out():
    assert as_int(7) == 7
    assert as_state({"a": 1}) == {"a": 1}
    assert as_counts({"a": 1, "b": 2}) == {"a": 1, "b": 2}
    assert as_int64(np.array([1, 2])).tolist() == [1, 2]
    assert as_float64(np.ones((2, 3)), 3).shape == (2, 3)
    assert as_bool(np.array([True])).tolist() == [True]


def test_arrays_are_the_caller_s_own():
    kept = np.array([1, 2])
    as_int64(kept)[0] = 9
    assert kept[0] == 1


@pytest.mark.parametrize(
    ("take", "value"),
    [
        (as_int, "7"),
        (as_int, 7.0),
        (as_state, [1]),
        (as_counts, {"a": "b"}),
        (as_int64, np.array([1.0])),
        (as_float64, np.array([1])),
        (as_bool, [True]),
        (lambda value: as_float64(value, 3), np.ones((2, 4))),
        (lambda value: as_float64(value, 3), np.ones(3)),
    ],
)
def test_what_does_not_fit_is_an_error(take, value):
    with pytest.raises(ValueError, match="expected"):
        take(value)
