"""JSON with many samples in one message, perhaps of several devices; where everything stands is configured by paths.

``{"sent":…,"values":[{"id":"press.in","v":4.21,"q":true,"t":1741944412250},…]}`` with ``list: values, channel: id,
value: v, good: q, time: t`` gives ``press.in`` 4.21 at its own time. The long form, with ``channel`` and ``value``, has
one value per element; in the wide form, without them, every number of an element is a channel called by its path.

A path is keys (of lists: indices) joined by dots; the empty one stays where it is. In ``list``, a level ``*`` goes
through all values of an object or all elements of a list, so ``*.samples`` reads ``{"p1":{"samples":[…]},"p2":…}``;
where it is the last level, what it goes through are the elements: ``*`` with ``channel: @key`` and ``value: v`` reads
``{"temp":{"v":21.5},"rh":{"v":48}}``.

The other paths start at the element; or, with ``/``, at the document's root, where ``*`` follows the one in ``list``:
``list: devices.*.samples`` with ``device: /devices.*.id``. Or they are ``@key``, the key that the last ``*`` is at;
where there are several, ``@key.1`` is that of the first.

An element counts as a whole or not at all; a bad one costs nothing but itself.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from gatewayd.errors import RejectedInputError
from gatewayd.formats.leaves import ABSENT, MAX_DEPTH, MAX_LEAVES, Path, follow, leaves, parse_json
from gatewayd.formats.local_time import Stamps
from gatewayd.formats.quality import is_usable
from gatewayd.formats.sample import Sample, Samples
from gatewayd.formats.scalar import number
from gatewayd.formats.timestamp import Unit

MAX_ELEMENTS = MAX_LEAVES  # of one message, and what ``*`` goes through on the way to them

_STAR = "*"
_KEY = re.compile(r"@key(?:\.([1-9]))?")
_NAME_BITS = 64  # of an integer that names something; Python refuses to print one of 5,000 digits


class _Element(NamedTuple):
    value: object
    keys: Path  # that each * of the list's path is at
    root: object


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where something stands that belongs to an element."""

    start: Literal["element", "root", "key"]
    path: Path = ()
    star: int = -1  # whose key, for ``key``

    def find(self, element: _Element) -> object:
        """Return what stands there; ``ABSENT``: nothing."""
        if self.start == "key":
            return element.keys[self.star]
        if self.start == "element":
            return follow(element.value, self.path)
        keys = iter(element.keys)
        return follow(element.root, [next(keys) if level == _STAR else level for level in self.path])


class JsonListFormat:
    """Reads lists of samples. Keeps nothing between messages.

    Args:
        list: Path of the list of elements; empty: the document itself.
        device: Path of what names an element's device; None: it's the topic's.
        channel: Path of what names an element's channel; None: the wide form.
        value: Path of its value; with ``channel`` only.
        time: Path of its time stamp; None: there is none.
        time_unit: See ``timestamp.to_ns``.
        timezone: Of time stamps that are texts without an offset; None: UTC.
        good: Path of its quality flag; see ``quality.is_usable``. None: all are good.
        unit: Path of its unit; with ``channel`` only.

    Raises:
        ValueError: These paths can't be, or not together.
    """

    def __init__(
        self,
        *,
        list: str = "",  # noqa: A002  # the option's name
        device: str | None = None,
        channel: str | None = None,
        value: str | None = None,
        time: str | None = None,
        time_unit: Unit = "auto",
        timezone: str | None = None,
        good: str | None = None,
        unit: str | None = None,
    ) -> None:
        if (channel is None) != (value is None):
            raise ValueError(
                "channel and value go together: neither, and each number of an element is a channel"
            )
        if unit is not None and channel is None:
            raise ValueError("unit is for the form with channel and value")
        self._list = _levels("list", list)
        stars = self._list.count(_STAR)
        self._device, self._channel, self._value, self._time, self._good, self._unit = (
            None if path is None else _place(name, path, stars)
            for name, path in (
                ("device", device),
                ("channel", channel),
                ("value", value),
                ("time", time),
                ("good", good),
                ("unit", unit),
            )
        )
        self._stamps = Stamps(time_unit, timezone)
        # what an element says of itself is no reading of it
        places = (self._device, self._time, self._good)
        self._no_readings = {place.path for place in places if place is not None and place.start == "element"}

    def decode(self, topic: str, payload: bytes, *, arrived_at: int) -> Samples:  # noqa: ARG002  # the Protocol's
        """Decode one message; see ``SampleFormat``.

        Errors: of a message ``not_json``, ``too_large``, ``too_deep``, ``no_list`` (the path leads nowhere),
        ``too_many_elements`` and ``too_many_values`` (what's before is kept); for each end of the path
        ``not_an_array``; per element ``bad_quality``, ``unknown_quality``, ``no_device``, ``no_channel``, ``no_value``,
        ``not_a_number``, ``not_an_object`` (wide form), ``too_deep``; with an element's samples that have no time,
        although one was expected: ``no_time``, ``invalid_time``, ``unbelievable_time``; with a local time that clocks
        skip: ``skipped_time``.
        """
        if not payload:
            return Samples()  # a cleared topic
        samples: list[Sample] = []
        errors: list[str] = []
        try:
            self._read(parse_json(payload), samples, errors, arrived_at)
        except RejectedInputError as error:
            errors.append(error.reason)
        return Samples(samples=tuple(samples), errors=tuple(errors))

    def _read(self, root: object, samples: list[Sample], errors: list[str], arrived_at: int) -> None:
        for element in _elements(root, self._list, errors):
            try:
                samples.extend(self._samples(element, errors, arrived_at))
            except RejectedInputError as error:
                errors.append(error.reason)
            if len(samples) > MAX_LEAVES:
                del samples[MAX_LEAVES:]
                raise RejectedInputError("too_many_values")

    def _samples(self, element: _Element, errors: list[str], arrived_at: int) -> list[Sample]:
        """Read one element.

        Raises:
            RejectedInputError: It can't be used.
        """
        if (
            self._good is not None
            and (flag := self._good.find(element)) is not ABSENT
            and not is_usable(flag)
        ):
            raise RejectedInputError("bad_quality")
        device = None if self._device is None else _name(self._device.find(element), "no_device")
        unit = None if self._unit is None else self._unit.find(element)
        found = self._found(element)
        taken_at: int | None = None
        if self._time is not None and found:
            try:
                stamp = self._time.find(element)
                found_at = self._stamps.read(None if stamp is ABSENT else stamp, arrived_at=arrived_at)
            except RejectedInputError as error:
                errors.append(error.reason)
            else:
                taken_at = found_at.taken_at
                errors += [] if found_at.exists else ["skipped_time"]
        return [
            Sample(
                device=device,
                channel=channel,
                value=value,
                unit=unit if isinstance(unit, str) and unit else None,
                taken_at=taken_at,
            )
            for channel, value in found
        ]

    def _found(self, element: _Element) -> list[tuple[str, float]]:
        """Return an element's values by channel."""
        if self._channel is None or self._value is None:
            if not isinstance(element.value, dict):
                raise RejectedInputError("not_an_object")
            found = leaves(element.value)
            return [(".".join(path), value) for path, value in found if path not in self._no_readings]
        channel = _name(self._channel.find(element), "no_channel")
        stated = self._value.find(element)
        if stated is ABSENT:
            raise RejectedInputError("no_value")
        value = number(stated)
        return [] if math.isnan(value) else [(channel, value)]  # null says: absent


def _name(value: object, reason: str) -> str:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= _NAME_BITS:
        return str(value)
    raise RejectedInputError(reason)


def _levels(option: str, path: str) -> Path:
    levels = tuple(path.split(".")) if path else ()
    if len(levels) > MAX_DEPTH:
        raise ValueError(f"{option} must have at most {MAX_DEPTH} levels, not {len(levels)}")
    return levels


def _place(option: str, path: str, stars: int) -> _Place:
    if key := _KEY.fullmatch(path):
        star = int(key[1] or 0) - 1
        if star >= stars or not stars:
            raise ValueError(f"{option} is {path}, but list goes through {stars} {_STAR}")
        return _Place(start="key", star=star)
    if not path.startswith("/"):
        return _Place(start="element", path=_levels(option, path))
    levels = _levels(option, path[1:])
    if levels.count(_STAR) > stars:
        raise ValueError(f"{option} goes through more {_STAR} than list")
    return _Place(start="root", path=levels)


def _elements(root: object, path: Path, errors: list[str]) -> Iterator[_Element]:
    """Go through the elements, in document order.

    Raises:
        RejectedInputError: ``no_list`` or ``too_many_elements``.
    """
    walk = _Walk(root, errors)
    yield from walk.elements(root, path, ())
    if not walk.is_found:
        raise RejectedInputError("no_list")


class _Walk:
    """One way through one document, and what was met on it."""

    def __init__(self, root: object, errors: list[str]) -> None:
        self._root = root
        self._errors = errors
        self._left = MAX_ELEMENTS
        self.is_found = False

    def elements(self, node: object, path: Path, keys: Path) -> Iterator[_Element]:
        """Go through the elements below a node. Recursion ends with the path, which the configuration limits."""
        if _STAR in path:
            cut = path.index(_STAR)
            yield from self._starred(follow(node, path[:cut]), path[cut + 1 :], keys)
            return
        found = follow(node, path)
        if found is ABSENT:
            return
        self.is_found = True
        if isinstance(found, list):
            for value in found:
                yield self._next(value, keys)
        elif found is not None:  # as above
            self._errors.append("not_an_array")

    def _starred(self, node: object, rest: Path, keys: Path) -> Iterator[_Element]:
        """Go through a node's children."""
        if isinstance(node, dict):
            children = iter(node.items())
        elif isinstance(node, list):
            children = ((str(index), value) for index, value in enumerate(node))
        else:
            self.is_found |= node is None  # null is how some write an empty list
            return
        self.is_found |= not node or not rest
        for key, value in children:
            child = self._next(value, (*keys, key))
            if rest:
                yield from self.elements(value, rest, child.keys)
            else:
                yield child

    def _next(self, value: object, keys: Path) -> _Element:
        if not self._left:
            raise RejectedInputError("too_many_elements")
        self._left -= 1
        return _Element(value, keys, self._root)
