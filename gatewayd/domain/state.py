"""What a step remembers, in a form that can be written down and read again.

Every step with a memory has ``state()``, which copies it out, and ``restore(state)``, which makes a new step go on
where that one stopped. A reload, a restart and a replay that was cut in two all go this one way.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from gatewayd.domain.arrays import Bool, Float64, Int64

# None, numbers, texts, bytes, arrays, and lists and mappings of them, to any depth.
Value = (
    None
    | bool
    | int
    | float
    | str
    | bytes
    | Int64
    | Float64
    | Bool
    | Sequence["Value"]
    | Mapping[str, "Value"]
)
State = Mapping[str, Value]


def as_int(value: Value) -> int:
    """Take a number out of a state. Raises ValueError where it is none."""
    if isinstance(value, int):
        return int(value)
    raise ValueError(f"expected a whole number, not {type(value).__name__}")


def as_state(value: Value) -> State:
    """Take a state out of a state. Raises ValueError where it is none."""
    if isinstance(value, Mapping):
        return value
    raise ValueError(f"expected a mapping, not {type(value).__name__}")


def as_counts(value: Value) -> dict[str, int]:
    """Take counters out of a state. Raises ValueError where they are none."""
    return {name: as_int(count) for name, count in as_state(value).items()}


def as_int64(value: Value, *shape: int) -> Int64:
    """Take an array of integers, one of its own, out of a state.

    Args:
        value: From the state.
        shape: What it must have behind its first axis.

    Raises:
        ValueError: It is no such array.
    """
    return cast("Int64", _array(value, np.int64, shape))


def as_float64(value: Value, *shape: int) -> Float64:
    """Take an array of numbers, as ``as_int64`` does."""
    return cast("Float64", _array(value, np.float64, shape))


def as_bool(value: Value, *shape: int) -> Bool:
    """Take an array of truth values, as ``as_int64`` does."""
    return cast("Bool", _array(value, np.bool_, shape))


def _array(value: Value, dtype: type[np.generic], shape: tuple[int, ...]) -> object:
    if isinstance(value, np.ndarray) and value.dtype == dtype and value.shape[1:] == shape:
        return value.copy()
    raise ValueError(f"expected an array of {dtype.__name__} with {shape} behind its first axis")
