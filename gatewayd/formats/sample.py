"""What a format of free shape returns for one message: values of channels that it names itself.

``decoded.py`` is for formats whose channels the configuration points out; here the payload says what it holds, and
perhaps of which device.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from gatewayd.domain.state import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One value of one channel.

    Attributes:
        device: As the message names it; None: the topic's.
        channel: As the message names it; nested names are joined by dots.
        value: Finite; booleans are 1.0 and 0.0.
        unit: As the message states it; None where it doesn't.
        taken_at: Nanoseconds since the Unix epoch; None: when it arrived.
    """

    device: str | None
    channel: str
    value: float
    unit: str | None
    taken_at: int | None

    def __post_init__(self) -> None:
        """Hold the value to be finite."""
        assert math.isfinite(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Something that the sender should be asked for, such as a Sparkplug rebirth."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What one message holds.

    Attributes:
        samples: In message order.
        errors: A reason, constant and in snake_case, for each part that could not be used.
        notices: What the message tells of others, such as that some were missed; constant and in snake_case. Nothing
            in it is wrong.
        requests: To be sent to where the message came from.
        offline: Devices that the message says have gone.
    """

    samples: tuple[Sample, ...] = ()
    errors: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    requests: tuple[Request, ...] = ()
    offline: tuple[str, ...] = ()


class SampleFormat(Protocol):
    """Decodes messages of free shape. May keep something between them (``RememberingFormat``); owned by the line."""

    def decode(self, topic: str, payload: bytes, *, arrived_at: int) -> Samples:
        """Decode one message; any bytes whatever give samples or errors, never an exception.

        Args:
            topic: Of the message.
            payload: Of the message.
            arrived_at: Gateway clock, ns since the Unix epoch.
        """
        ...


@runtime_checkable
class RememberingFormat(SampleFormat, Protocol):
    """A format that reads a message by earlier ones: units, aliases, numbers that count on."""

    def state(self) -> State:
        """Copy out what it remembers."""
        ...

    def restore(self, state: State) -> None:
        """Go on where one with the same options stopped; messages may have been missed since, bounds be others.

        Raises:
            ValueError: The state is none of this format; nothing has changed then.
        """
        ...
