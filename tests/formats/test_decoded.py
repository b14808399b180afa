"""The mark of a reading without time can't be taken for a time."""

import numpy as np
import pytest

from gatewayd.errors import RejectedInputError
from gatewayd.formats.decoded import NO_TIME, Decoded
from gatewayd.formats.timestamp import to_ns


def test_no_time_is_no_believable_time():
    with pytest.raises(RejectedInputError, match="unbelievable_time"):
        to_ns(int(NO_TIME), "ns")


def test_reasons_are_empty_unless_there_are_some():
    none = np.empty(0, np.int64)
    decoded = Decoded(source=none, taken_at=none, values=np.empty((0, 1)))
    assert decoded.rejected == decoded.untimed == ()
