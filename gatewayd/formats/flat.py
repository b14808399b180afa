"""Documents of no known shape: every number and boolean in them is a channel, called by its path.

``{"motor":{"temp":21.5,"on":true},"amps":[1.2,3.4]}`` gives ``motor.temp`` 21.5, ``motor.on`` 1, ``amps.0`` 1.2 and
``amps.1`` 3.4, of the topic's device. Text, null and bytes are no readings. Here for JSON; ``cbor`` and ``messagepack``
documents have modules of their own, since each needs a package that only the extra brings.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gatewayd.errors import RejectedInputError
from gatewayd.formats.leaves import ABSENT, MAX_DEPTH, follow, leaves, parse_object
from gatewayd.formats.local_time import LocalInstant, Stamps
from gatewayd.formats.sample import Sample, Samples
from gatewayd.formats.timestamp import Unit, to_ns

_STAMP_BITS = 64  # of an integer that may be a time stamp; ns fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """A binary format's own time type: no reading, but may stand at the path of the time.

    Attributes:
        taken_at: Nanoseconds since the Unix epoch; any.
    """

    taken_at: int


class FlatFormat:
    """Reads documents. Keeps nothing between messages.

    Args:
        parse: Makes an object with text as keys of a payload, or raises RejectedInputError.
        time: Path of the time stamp, joined by dots; None: there is none.
        time_unit: See ``timestamp.to_ns``.
        timezone: Of time stamps that are texts without an offset; None: UTC.

    Raises:
        ValueError: There is no such zone.
    """

    def __init__(
        self,
        parse: Callable[[bytes], Mapping[str, object]],
        *,
        time: str | None = None,
        time_unit: Unit = "auto",
        timezone: str | None = None,
    ) -> None:
        self._parse = parse
        self._time = time
        self._stamps = Stamps(time_unit, timezone)

    def decode(self, topic: str, payload: bytes, *, arrived_at: int) -> Samples:  # noqa: ARG002  # the Protocol's
        """Decode one message; see ``SampleFormat``.

        Errors: those of parsing, ``too_deep``, ``too_many_values``; with samples that have no time, although one was
        expected: ``no_time``, ``invalid_time``, ``unbelievable_time``; with a local time that clocks skip:
        ``skipped_time``.
        """
        if not payload:
            return Samples()  # a cleared topic
        try:
            document = self._parse(payload)
            found = leaves(document)
        except RejectedInputError as error:
            return Samples(errors=(error.reason,))
        taken_at: int | None = None
        errors: tuple[str, ...] = ()
        if self._time is not None:
            try:
                found_at = self._taken_at(follow(document, self._time.split(".")), arrived_at)
            except RejectedInputError as error:
                errors = (error.reason,)
            else:
                taken_at = found_at.taken_at
                errors = () if found_at.exists else ("skipped_time",)
        channels = ((".".join(path), value) for path, value in found)
        samples = tuple(
            Sample(device=None, channel=channel, value=value, unit=None, taken_at=taken_at)
            for channel, value in channels
            if channel != self._time
        )
        return Samples(samples=samples, errors=errors if samples else ())

    def _taken_at(self, stamp: object, arrived_at: int) -> LocalInstant:
        if stamp is ABSENT:
            raise RejectedInputError("no_time")
        if isinstance(stamp, Instant):
            return LocalInstant(taken_at=to_ns(stamp.taken_at, "ns"), exists=True)
        if isinstance(stamp, int) and stamp.bit_length() > _STAMP_BITS:
            raise RejectedInputError("unbelievable_time")
        return self._stamps.read(stamp, arrived_at=arrived_at)


class FlatJsonFormat(FlatFormat):
    """Reads JSON objects; see ``FlatFormat``."""

    def __init__(
        self, *, time: str | None = None, time_unit: Unit = "auto", timezone: str | None = None
    ) -> None:
        super().__init__(parse_object, time=time, time_unit=time_unit, timezone=timezone)


def with_text_keys(document: object, convert: Callable[[object], object]) -> Mapping[str, object]:
    """Make of a binary document what ``FlatFormat`` takes.

    Args:
        document: As its parser made it. Integers as keys become text; other keys and what's below them are left out.
        convert: Makes an ``Instant`` of the parser's time type; returns all else as it is.

    Raises:
        RejectedInputError: ``not_an_object`` or ``too_deep``.
    """
    if not isinstance(document, dict):
        raise RejectedInputError("not_an_object")
    return _converted_map(document, convert, MAX_DEPTH)


def _converted_map(
    document: Mapping[object, object], convert: Callable[[object], object], levels: int
) -> dict[str, object]:
    return {
        str(key): _converted(value, convert, levels - 1)
        for key, value in document.items()
        if isinstance(key, str) or type(key) is int
    }


def _converted(value: object, convert: Callable[[object], object], levels: int) -> object:
    if not isinstance(value, dict | list):
        return convert(value)
    if levels == 0:
        raise RejectedInputError("too_deep")
    if isinstance(value, dict):
        return _converted_map(value, convert, levels)
    return [_converted(element, convert, levels - 1) for element in value]
