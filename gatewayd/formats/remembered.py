"""What a format remembers of earlier messages: at most so many entries, the oldest give way.

Units and data types travel in messages of their own (Homie's attributes, Home Assistant's discovery), from peers who
may send as many as they like. An entry that gave way costs a unit, never a reading.
"""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from gatewayd.domain.state import State, Value, as_state

MAX_ENTRIES = 4096
MAX_TEXT = 512  # characters of a key; the topic of a real sensor is far shorter

V = TypeVar("V")


class Remembered(Generic[V]):
    """A bounded dict by topic or name. Owned by its format, and so by the line."""

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self._max_entries = max_entries
        self._entries: dict[str, V] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> V | None:
        """Return what was stored last; None where that is nothing, or has given way."""
        return self._entries.get(key)

    def store(self, key: str, value: V) -> None:
        """Store an entry; the one stored longest ago gives way. A key of absurd length is not stored."""
        if len(key) > MAX_TEXT:
            return
        self._entries.pop(key, None)
        self._entries[key] = value
        if len(self._entries) > self._max_entries:
            del self._entries[next(iter(self._entries))]

    def discard(self, key: str) -> None:
        """Forget an entry, if there is one."""
        self._entries.pop(key, None)

    def state(self, pack: Callable[[V], Value]) -> State:
        """Copy out the entries, the one stored longest ago first; ``pack`` makes a value of a state of each."""
        return {key: pack(value) for key, value in self._entries.items()}

    def restore(self, state: Value, unpack: Callable[[Value], V]) -> None:
        """Remember the entries of a state instead, as many as this one may.

        Args:
            state: From ``state``.
            unpack: What ``pack`` did, backwards; raises ValueError where it can't.

        Raises:
            ValueError: It is no such state; nothing has changed then.
        """
        entries = [(as_text(key), unpack(value)) for key, value in as_state(state).items()]
        self._entries = {}
        for key, value in entries:
            self.store(key, value)


def as_text(value: Value) -> str:
    """Take a text of sane length out of a state. Raises ValueError where it is none."""
    if isinstance(value, str) and len(value) <= MAX_TEXT:
        return value
    raise ValueError(f"expected a text of at most {MAX_TEXT} characters, not {type(value).__name__}")


def as_text_or_none(value: Value) -> str | None:
    """Take a text, or its absence, out of a state. Raises ValueError where it is neither."""
    return None if value is None else as_text(value)


def as_list(value: Value, length: int | None = None) -> Sequence[Value]:
    """Take a list, of this length if one is given, out of a state. Raises ValueError where it is none."""
    if isinstance(value, list | tuple) and length in (None, len(value)):
        return value
    raise ValueError(f"expected a list of {'any length' if length is None else length}")
