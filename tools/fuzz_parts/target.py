"""One format as a target: how an input becomes messages, and what is asked of the answers.

::

    input      byte 0: the target's number, modulo how many there are; then at most 8 messages
    message    topic's number (1), length of the payload (2, big-endian), payload; what is cut off is as long as it is

Any bytes are an input, and an input says all that there is to an outcome: a format begins without memory. From 252 on,
a topic's number also says that the payload is to be repeated up to 16 KiB: what takes time that grows with the square
of the length is found so, by inputs that are short themselves.
"""

import importlib
import math
import re
import struct
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from gatewayd.formats.decoded import Decoded, Format
from gatewayd.formats.registry import FORMATS
from gatewayd.formats.sample import Samples

Messages = Sequence[tuple[int, bytes]]  # topic's number, payload

ARRIVAL_NS = 1_741_944_413 * 10**9  # 2025-03-14T09:26:53Z
MAX_MESSAGES = 8
SWOLLEN_FROM, SWOLLEN_BYTES = 252, 16_384
MAX_INPUT_S = 1.0  # CPU time
MAX_PARTS = 50_000  # samples and errors of one message: no format promises more than 10,000 of each

_COLUMN_FORMATS = {
    "json": ("json_object", "JsonObjectFormat"),
    "number": ("number", "NumberFormat"),
    "image": ("image", "ImageFormat"),
}
_HEAD = struct.Struct(">BH")
_REASON = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One format with one set of options.

    Attributes:
        name: As in the configuration.
        options: The format's.
        topics: Some that fit, and where there are several one that doesn't.
        seeds: Runs of good messages.
        kind: ``columns``: of channels that the configuration points out; the registry doesn't make these.
        mend: Makes a payload's checksums right, which no mutation would; None: there are none.
    """

    name: str
    options: Mapping[str, object] = field(default_factory=dict)
    topics: tuple[str, ...] = ("plant/p1",)
    seeds: tuple[Messages, ...]
    kind: Literal["samples", "columns"] = "samples"
    mend: Callable[[bytes], bytes] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """An input whose answer breaks a promise.

    Attributes:
        target: The format's name and options.
        problem: Constant for one kind of problem, so that it's told once.
        detail: More about this one.
        data: The input.
    """

    target: str
    problem: str
    detail: str
    data: bytes


def packed(number: int, messages: Messages) -> bytes:
    """Write messages as an input of the target with this number."""
    return bytes([number]) + b"".join(
        _HEAD.pack(topic, len(payload)) + payload for topic, payload in messages
    )


def unpacked(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Read an input's messages."""
    position = 1
    for _ in range(MAX_MESSAGES):
        if position + _HEAD.size > len(data):
            return
        topic, length = _HEAD.unpack_from(data, position)
        position += _HEAD.size
        payload = data[position : position + length]
        if topic >= SWOLLEN_FROM and payload:
            payload *= SWOLLEN_BYTES // len(payload) or 1
        yield topic, payload
        position += length


def chosen(data: bytes, targets: Sequence[Target]) -> Target:
    """Return the target that an input, which isn't empty, is for."""
    return targets[data[0] % len(targets)]


def make(target: Target) -> Callable[[str, bytes], Samples | Decoded]:
    """Make a format without memory of earlier messages; return what decodes one message."""
    if target.kind == "columns":
        columns = _column_format(target)
        return lambda _, payload: columns.decode([payload])
    decoder = FORMATS[target.name](**target.options)
    return lambda topic, payload: decoder.decode(topic, payload, arrived_at=ARRIVAL_NS)


def examine(
    data: bytes, target: Target, decoder: Callable[[str, bytes], Samples | Decoded]
) -> Finding | None:
    """Give an input's messages to a format; None where all answers are as promised."""
    started = time.process_time()
    found: tuple[str, str] | None = None
    try:
        for topic, payload in unpacked(data):
            whole = payload if target.mend is None else target.mend(payload)
            found = found or _complaint(decoder(target.topics[topic % len(target.topics)], whole))
    except Exception as error:  # noqa: BLE001  # whatever it is: none was promised
        place = traceback.extract_tb(error.__traceback__)[-1]
        found = f"{type(error).__name__} at {place.filename.rpartition('/')[2]}:{place.lineno}", str(error)
    spent_s = time.process_time() - started
    if found is None and spent_s > MAX_INPUT_S:
        found = f"more than {MAX_INPUT_S} s", f"{spent_s:.2f} s"
    if found is None:
        return None
    options = f" {dict(target.options)}" if target.options else ""
    return Finding(target=target.name + options, problem=found[0], detail=found[1][:200], data=data)


def _column_format(target: Target) -> Format:
    # imported now and not before, so that atheris watches
    module, kind = _COLUMN_FORMATS[target.name]
    made: Format = getattr(importlib.import_module(f"gatewayd.formats.{module}"), kind)(**target.options)
    return made


def _complaint(answer: Samples | Decoded) -> tuple[str, str] | None:
    """Say which promise an answer breaks, and how; None: none."""
    if isinstance(answer, Decoded):
        reasons = [reason for _, reason in answer.rejected] + [reason for reason, _ in answer.untimed]
        if np.isinf(answer.values).any() or len(answer.source) != len(answer.values):
            return "values are not finite or not as many as readings", str(answer.values)
    else:
        reasons = list(answer.errors)
        if len(answer.samples) + len(answer.errors) > MAX_PARTS:
            return "too many samples", str(len(answer.samples))
        for sample in answer.samples:
            if not math.isfinite(sample.value):
                return "a value is not finite", repr(sample)
            if sample.taken_at is not None and not 10**18 <= sample.taken_at < 2**63:
                return "a time is out of range", repr(sample)
            if not isinstance(sample.channel, str) or not isinstance(sample.device, str | None):
                return "a name is no text", repr(sample)
    wrong = next((reason for reason in reasons if not _REASON.fullmatch(reason)), None)
    return None if wrong is None else ("a reason is not in snake_case", wrong)
