r"""Influx line protocol: ``air,device=press7 temperature=41.5,humidity=38i 1741944413590000000``.

With the tag that names the device, the channels are ``air.temperature`` and ``air.humidity`` of ``press7``; without it,
the measurement is the device: ``temperature`` and ``humidity`` of ``air``. Other tags are not looked at: where they
tell two series apart, one of them should be the device's. A line counts as a whole or not at all; a bad one costs
nothing but itself. Text fields are no readings.

A backslash escapes comma and space, in tags and field keys also the equals sign; before anything else it is itself. In
a quoted text it escapes the quote and itself, and a line may end there without ending the text.

Reference:
    https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
"""

import math
import re
from typing import Final, Literal

from gatewayd.errors import RejectedInputError
from gatewayd.formats.leaves import MAX_BYTES, MAX_LEAVES
from gatewayd.formats.sample import Sample, Samples
from gatewayd.formats.timestamp import to_ns

MAX_LINES: Final = MAX_LEAVES

# Possessive throughout: nothing is tried twice, so time is linear whatever the bytes. A text that never ends is
# scanned to where it would, the next quote, which no line after that one scans again.
_BLANK = re.compile(r"[ \t]*+(?:#[^\n]*+)?+\r?+(?:\n|\Z)")
_MEASUREMENT = re.compile(r"[ \t]*+((?:[^, \t\r\n\\]|\\[^\r\n])++)")
_NAME = r"((?:[^,= \t\r\n\\]|\\[^\r\n])++)"
_TAG = re.compile(rf",{_NAME}={_NAME}")
_FIELD = re.compile(rf'{_NAME}=(?:("[^"\\]*+(?:\\.[^"\\]*+)*+")|([^", \t\r\n]++))(,?+)', re.DOTALL)
_SPACE = re.compile(r"[ \t]++")
_TIME = re.compile(r"[ \t]++(-?+[0-9]{1,20})(?=[ \t\r\n]|\Z)")
_END = re.compile(r"[ \t]*+\r?+(?:\n|\Z)")

_FLOAT = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_INTEGER = re.compile(r"(-?[0-9]{1,20})([iu])")
_BOOLEANS = {
    **dict.fromkeys(("t", "T", "true", "True", "TRUE"), 1.0),
    **dict.fromkeys(("f", "F", "false", "False", "FALSE"), 0.0),
}
_RANGES = {"i": range(-(2**63), 2**63), "u": range(2**64)}
_ESCAPED_IN_MEASUREMENT = re.compile(r"\\([, ])")
_ESCAPED = re.compile(r"\\([,= ])")


class InfluxLineFormat:
    """Reads lines of the Influx line protocol. Keeps nothing between messages.

    Args:
        precision: The unit of time stamps.
        device_tag: The tag that names the device.
    """

    def __init__(
        self, *, precision: Literal["ns", "us", "ms", "s"] = "ns", device_tag: str = "device"
    ) -> None:
        if precision not in ("ns", "us", "ms", "s"):
            raise ValueError(f"precision must be ns, us, ms or s, not {precision!r}")
        self._precision: Literal["ns", "us", "ms", "s"] = precision
        self._device_tag = device_tag

    def decode(self, topic: str, payload: bytes, *, arrived_at: int) -> Samples:  # noqa: ARG002  # the Protocol's
        """Decode one message; see ``SampleFormat``.

        Errors: ``too_large``, ``not_text``; per line: ``invalid_line``, ``invalid_value``, ``unbelievable_time`` (the
        readings are kept, without time); ``too_many_values`` and ``too_many_lines`` for all that is beyond the limit.
        """
        if len(payload) > MAX_BYTES:
            return Samples(errors=("too_large",))
        try:
            text = payload.decode()
        except UnicodeDecodeError:
            return Samples(errors=("not_text",))
        samples: list[Sample] = []
        errors: list[str] = []
        start = lines = 0
        while start < len(text):
            if lines == MAX_LINES or len(samples) > MAX_LEAVES:
                errors.append("too_many_lines" if lines == MAX_LINES else "too_many_values")
                break
            lines += 1
            blank = _BLANK.match(text, start)
            if blank:
                start = blank.end()
                continue
            try:
                start = self._line(text, start, samples, errors)
            except RejectedInputError as error:
                errors.append(error.reason)
                start = text.find("\n", start) + 1 or len(text)
        return Samples(samples=tuple(samples[:MAX_LEAVES]), errors=tuple(errors))

    def _line(self, text: str, start: int, samples: list[Sample], errors: list[str]) -> int:
        """Append one line's samples; return where the next line starts."""
        measurement = _expect(_MEASUREMENT, text, start)
        position = measurement.end()
        name = _ESCAPED_IN_MEASUREMENT.sub(r"\1", measurement[1])
        device: str | None = None
        while tag := _TAG.match(text, position):
            position = tag.end()
            if device is None and _unescaped(tag[1]) == self._device_tag:
                device = _unescaped(tag[2])
        found, position = _fields(text, _expect(_SPACE, text, position).end())
        time = _TIME.match(text, position)
        end = _expect(_END, text, time.end() if time else position)
        taken_at: int | None = None
        if time:
            try:
                taken_at = to_ns(int(time[1]), self._precision)
            except RejectedInputError as error:
                errors.append(error.reason)
        prefix = "" if device is None else f"{name}."
        samples.extend(
            Sample(device=device or name, channel=prefix + key, value=value, unit=None, taken_at=taken_at)
            for key, value in found
        )
        return end.end()


def _fields(text: str, position: int) -> tuple[list[tuple[str, float]], int]:
    """Read the fields from here on; return those that are readings, and where they end."""
    found: list[tuple[str, float]] = []
    while True:
        field = _expect(_FIELD, text, position)
        position = field.end()
        if field[2] is None:  # not a text
            found.append((_unescaped(field[1]), _value(field[3])))
        if not field[4]:
            return found, position


def _expect(pattern: re.Pattern[str], text: str, position: int) -> re.Match[str]:
    match = pattern.match(text, position)
    if match is None:
        raise RejectedInputError("invalid_line")
    return match


def _unescaped(name: str) -> str:
    return _ESCAPED.sub(r"\1", name)


def _value(literal: str) -> float:
    boolean = _BOOLEANS.get(literal)
    if boolean is not None:
        return boolean
    integer = _INTEGER.fullmatch(literal)
    if integer:
        whole = int(integer[1])
        if whole in _RANGES[integer[2]]:
            return float(whole)
    elif _FLOAT.fullmatch(literal):
        value = float(literal)
        if math.isfinite(value):
            return value
    raise RejectedInputError("invalid_value", literal[:40])
