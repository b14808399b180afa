"""What a step remembers, in a form that can be written down and read again.

Every step with a memory has ``state()``, which copies it out, and ``restore(state)``, which makes a new step go on
where that one stopped. A reload, a restart and a replay that was cut in two all go this one way.
"""

from collections.abc import Mapping, Sequence

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
