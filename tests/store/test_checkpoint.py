"""A state comes back as it was written, to the bit; a damaged one never does."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from gatewayd.errors import StartupError, TransientError
from gatewayd.store.checkpoint import Checkpoint, DamagedError, decode, encode

ARRAYS = st.sampled_from([np.int64, np.float64, np.bool_]).flatmap(
    lambda dtype: arrays(dtype, array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4))
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | ARRAYS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.just("$array"), inner, max_size=4)
    ),
    max_leaves=12,
)
STATES = st.dictionaries(st.text(), VALUES, max_size=4)


def same(first, second):
    if isinstance(first, np.ndarray):
        return (
            isinstance(second, np.ndarray)
            and (first.dtype, first.shape) == (second.dtype, second.shape)
            and first.tobytes() == second.tobytes()
        )
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))
    if isinstance(first, float) and math.isnan(first):
        return isinstance(second, float) and math.isnan(second)
    return type(first) is type(second) and repr(first) == repr(second)


@given(state=STATES)
def test_what_is_read_is_what_was_written(state):
    data = encode(state)
    assert same(state, decode(data))
    assert encode(decode(data)) == data


@settings(max_examples=300)
@given(state=STATES, data=st.data())
def test_a_changed_or_cut_file_is_never_taken_for_whole(state, data):
    whole = encode(state)
    at = data.draw(st.integers(0, len(whole) - 1))
    broken = bytearray(whole)
    broken[at] ^= data.draw(st.integers(1, 255))
    is_version = 8 <= at < 12  # another version is refused in its own way
    if not is_version:
        with pytest.raises(DamagedError):
            decode(bytes(broken))
    with pytest.raises(DamagedError):
        decode(whole[:at])


@given(data=st.binary(max_size=200))
def test_any_bytes_whatever_are_told_from_a_state(data):
    with pytest.raises(DamagedError):
        decode(data)


def test_the_latest_state_is_the_one_that_is_read(tmp_path):
    checkpoint = Checkpoint(tmp_path / "flow.state")
    assert checkpoint.load() is None
    checkpoint.save({"a": 1})
    size = checkpoint.save({"a": 2})
    assert checkpoint.load() == {"a": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["flow.state"]
    assert (tmp_path / "flow.state").stat().st_size == size
    assert (tmp_path / "flow.state").stat().st_mode & 0o777 == 0o600


def test_a_damaged_file_is_set_aside_and_said_so(tmp_path):
    path = tmp_path / "flow.state"
    Checkpoint(path).save({"a": 1})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedError, match=r"set aside as .*flow\.state\.damaged-1"):
        Checkpoint(path).load()
    assert Checkpoint(path).load() is None


def test_a_newer_file_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "flow.state"
    Checkpoint(path).save({"a": 1})
    data = bytearray(path.read_bytes())
    data[8] = 2
    path.write_bytes(data)
    with pytest.raises(StartupError, match="newer gatewayd"):
        Checkpoint(path).load()
    assert path.read_bytes() == data


def test_a_disk_that_takes_nothing_leaves_the_state_before(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    checkpoint = Checkpoint(folder / "flow.state")
    checkpoint.save({"a": 1})
    (folder / "flow.state.new").mkdir()  # stands where the new file would
    with pytest.raises(TransientError, match=r"flow\.state"):
        checkpoint.save({"a": 2})
    assert checkpoint.load() == {"a": 1}
