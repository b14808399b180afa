"""MQTT topics: filters whose single levels may be named, and templates that topics are made from.

``site/{line}/{device}/telemetry`` is the filter ``site/+/+/telemetry`` with two names. A template has the
same placeholders and is filled with what the filter found. Rules of topic names and filters: MQTT 3.1.1, 4.7.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

_NAME = re.compile(r"\{([a-z][a-z0-9_]*)\}")
# Control characters and non-characters: brokers may close the connection on them (MQTT 3.1.1, 1.5.3).
_CONTROL = r"\x00-\x1f\x7f-\x9f\ufdd0-\ufdef" + "".join(
    chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF) for plane in range(17)
)
_FORBIDDEN = re.compile(f"[{_CONTROL}]")
_UNSAFE = re.compile(rf"[+#/%{_CONTROL}]|^\$")
MAX_TOPIC_BYTES = 65_535
# A filled template stays below MAX_TOPIC_BYTES: "{a}" is the shortest placeholder, 1024 // 3 * 128 < 65,535.
MAX_TEMPLATE_BYTES = 1024
MAX_LEVEL_BYTES = 128


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
        _check_text(pattern, MAX_TOPIC_BYTES)
        if pattern.startswith("$share/"):
            raise ValueError("a shared subscription would tear a device's readings apart")
        levels, names, positions = pattern.split("/"), [], []
        for position, level in enumerate(levels):
            match = _NAME.fullmatch(level)
            if match:
                names.append(match.group(1))
                positions.append(position)
                levels[position] = "+"
            else:
                _check_level(level, is_last=position == len(levels) - 1)
        if len(set(names)) != len(names):
            raise ValueError("a name occurs twice")
        return cls(pattern, "/".join(levels), tuple(names), tuple(positions))

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


def _check_text(text: str, max_bytes: int) -> None:
    if not text:
        raise ValueError("a topic must not be empty")
    if _FORBIDDEN.search(text):
        raise ValueError("a topic must not contain control characters")
    if len(text.encode()) > max_bytes:
        raise ValueError(f"a topic here has at most {max_bytes} bytes")


def _check_level(level: str, *, is_last: bool) -> None:
    if "{" in level or "}" in level:
        raise ValueError(f"'{level}' must be a name in braces on a level of its own, such as {{device}}")
    if level not in ("+", "#") and ("+" in level or "#" in level):
        raise ValueError(f"a wildcard stands on a level of its own, not as '{level}'")
    if level == "#" and not is_last:
        raise ValueError("'#' must be the last level")


def filters_overlap(first: str, second: str) -> bool:
    """Tell whether some topic is covered by both of two MQTT topic filters."""
    a, b = first.split("/"), second.split("/")
    for x, y in ((a[0], b[0]), (b[0], a[0])):
        if x in ("+", "#") and y.startswith("$"):  # MQTT 3.1.1, 4.7.2
            return False
    for x, y in zip(a, b, strict=False):
        if "#" in (x, y):
            return True
        if x != y and "+" not in (x, y):
            return False
    if len(a) == len(b):
        return True
    longer, shorter = (a, b) if len(a) > len(b) else (b, a)
    # "a/#" also covers its parent "a" (MQTT 3.1.1, 4.7.1.2); the parent of "/#" would be empty, which no topic is
    return len(longer) == len(shorter) + 1 and longer[-1] == "#" and longer[:-1] != [""]


def safe_level(name: str) -> str:
    """Turn any text into one level of a topic name; different texts give different levels.

    Wildcards, slashes, control characters, ``%`` and a leading ``$`` are percent-encoded byte by byte; an
    empty text becomes ``%``, which encodes nothing else. What is longer than ``MAX_LEVEL_BYTES`` then ends in
    ``%`` and a hash of the whole: a device may not choose topics that no broker takes.
    """
    if not name:
        return "%"
    level = _UNSAFE.sub(lambda m: "".join(f"%{byte:02X}" for byte in m.group().encode()), name)
    data = level.encode()
    if len(data) <= MAX_LEVEL_BYTES:
        return level
    digest = hashlib.sha256(name.encode()).hexdigest()[:32]
    return data[: MAX_LEVEL_BYTES - 33].decode(errors="ignore") + "%" + digest


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
        _check_text(template, MAX_TEMPLATE_BYTES)
        rest = _NAME.sub("", template)
        if "{" in rest or "}" in rest:
            raise ValueError("a brace must belong to a name such as {device}")
        if "+" in rest or "#" in rest:
            raise ValueError("a topic to publish on has no wildcard")
        if template.startswith("$"):
            raise ValueError("topics that begin with '$' belong to the broker")
        return cls(template, tuple(_NAME.findall(template)))

    def render(self, values: Mapping[str, str]) -> str:
        """Fill in the placeholders, each made safe for one level.

        Raises:
            KeyError: A placeholder has no value.
        """
        return _NAME.sub(lambda m: safe_level(values[m.group(1)]), self.template)

    def as_filter(self, known: Mapping[str, str] | None = None) -> str:
        """Return an MQTT filter that covers every topic the template can give.

        Args:
            known: Values of placeholders that are certain already, which make the filter narrower.
        """
        values = known or {}
        return "/".join(
            "+"
            if any(name not in values for name in _NAME.findall(level))
            else _NAME.sub(lambda m: safe_level(values[m.group(1)]), level)
            for level in self.template.split("/")
        )
