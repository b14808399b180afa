"""What a format remembers of earlier messages: at most so many entries, the oldest give way.

Units and data types travel in messages of their own (Homie's attributes, Home Assistant's discovery), from peers who
may send as many as they like. An entry that gave way costs a unit, never a reading.
"""

from typing import Generic, TypeVar

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
