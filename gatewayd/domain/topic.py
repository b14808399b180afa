"""MQTT topics: filters whose single levels may be named, and templates that topics are made from.

``site/{line}/{device}/telemetry`` is the filter ``site/+/+/telemetry`` with two names. A template has the same
placeholders and is filled with what the filter found. Rules of topic names and filters: MQTT 3.1.1, 4.7.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_NAME = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_UNSAFE = re.compile(r"[+#/%\x00-\x1f\x7f]|^\$")
MAX_TOPIC_BYTES = 65_535


@dataclass(frozen=True, slots=True)
class TopicFilter:
    """A subscription whose ``+`` levels may carry names.

    Attributes:
        pattern: As configured, e.g. ``site/{line}/{device}/telemetry``.
        filter: As subscribed, e.g. ``site/+/+/telemetry``.
        names: The named levels in order, e.g. ``("line", "device")``.
    """

    pattern: str
    filter: str
    names: tuple[str, ...]
    _positions: tuple[int, ...]

    @classmethod
    def parse(cls, pattern: str) -> "TopicFilter":
        """Read a pattern.

        Raises:
            ValueError: The pattern is no valid topic filter; the message says why, in a few words.
        """
        if not pattern:
            raise ValueError("a topic must not be empty")
        levels, names, positions = pattern.split("/"), [], []
        for position, level in enumerate(levels):
            match = _NAME.fullmatch(level)
            if match:
                names.append(match.group(1))
                positions.append(position)
                levels[position] = "+"
            elif "{" in level or "}" in level:
                raise ValueError(
                    f"'{level}' must be a name in braces on a level of its own, such as {{device}}"
                )
            elif level not in ("+", "#") and ("+" in level or "#" in level):
                raise ValueError(f"a wildcard stands on a level of its own, not as '{level}'")
            elif level == "#" and position != len(levels) - 1:
                raise ValueError("'#' must be the last level")
        if len(set(names)) != len(names):
            raise ValueError("a name occurs twice")
        text = "/".join(levels)
        if "\x00" in text or len(text.encode()) > MAX_TOPIC_BYTES:
            raise ValueError("a topic has at most 65535 bytes and no NUL")
        return cls(pattern, text, tuple(names), tuple(positions))

    def match(self, topic: str) -> tuple[str, ...] | None:
        """Return the named levels of a topic, in order; None if the filter does not cover it."""
        wanted, found = self.filter.split("/"), topic.split("/")
        if topic.startswith("$") and wanted[0] in ("+", "#"):  # MQTT 3.1.1, 4.7.2
            return None
        if wanted[-1] == "#":
            wanted.pop()
            if len(found) < len(wanted):
                return None
        elif len(found) != len(wanted):
            return None
        if any(want not in ("+", have) for want, have in zip(wanted, found, strict=False)):
            return None
        return tuple(found[position] for position in self._positions)


def filters_overlap(first: str, second: str) -> bool:
    """Tell whether some topic is covered by both of two MQTT topic filters."""
    a, b = first.split("/"), second.split("/")
    for x, y in zip(a, b, strict=False):
        if "#" in (x, y):
            return True
        if x != y and "+" not in (x, y):
            return False
    if len(a) == len(b):
        return True
    longer, shorter = (a, b) if len(a) > len(b) else (b, a)
    # "a/#" also covers its parent "a" (MQTT 3.1.1, 4.7.1.2)
    return len(longer) == len(shorter) + 1 and longer[-1] == "#"


def safe_level(name: str) -> str:
    """Turn any text into one level of a topic name; different texts give different levels.

    Wildcards, slashes, control characters, ``%`` and a leading ``$`` are percent-encoded byte by byte; an empty
    text becomes ``%``, which encodes nothing else.
    """
    if not name:
        return "%"
    return _UNSAFE.sub(lambda m: "".join(f"%{byte:02X}" for byte in m.group().encode()), name)


@dataclass(frozen=True, slots=True)
class TopicTemplate:
    """A topic to publish on, with placeholders. ``names``: the placeholders in order of appearance."""

    template: str
    names: tuple[str, ...]

    @classmethod
    def parse(cls, template: str) -> "TopicTemplate":
        """Read a template; placeholders may stand anywhere in a level.

        Raises:
            ValueError: The template can never give a valid topic name; the message says why.
        """
        rest = _NAME.sub("", template)
        if "{" in rest or "}" in rest:
            raise ValueError("a brace must belong to a name such as {device}")
        if "+" in rest or "#" in rest or "\x00" in rest:
            raise ValueError("a topic to publish on has no wildcard")
        if not template:
            raise ValueError("a topic must not be empty")
        if template.startswith("$"):
            raise ValueError("topics that begin with '$' belong to the broker")
        return cls(template, tuple(_NAME.findall(template)))

    def render(self, values: Mapping[str, str]) -> str:
        """Fill in the placeholders, each made safe for one level.

        Raises:
            KeyError: A placeholder has no value.
        """
        return _NAME.sub(lambda m: safe_level(values[m.group(1)]), self.template)

    def as_filter(self) -> str:
        """Return an MQTT filter that covers every topic the template can give."""
        return "/".join("+" if _NAME.search(level) else level for level in self.template.split("/"))
