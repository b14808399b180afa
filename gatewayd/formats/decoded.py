"""What every format returns for a run of payloads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gatewayd.domain.arrays import Float64, Int64

NO_TIME = np.iinfo(np.int64).min  # a reading whose payload says nothing usable about when it was taken


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decoded:
    """Readings decoded from a run of payloads, and the payloads that gave none.

    Attributes:
        source: Shape ``(n,)``, rising: the index of the payload each reading came from.
        taken_at: Shape ``(n,)``, ns since the Unix epoch, or ``NO_TIME``.
        values: Shape ``(n, channels)``; NaN where the payload lacks the channel.
        rejected: ``(payload index, reason)`` of each payload that could not be used.
        untimed: How many readings have no usable time stamp although one was expected, by reason.
    """

    source: Int64
    taken_at: Int64
    values: Float64
    rejected: tuple[tuple[int, str], ...] = ()
    untimed: tuple[tuple[str, int], ...] = ()


class Format(Protocol):
    """Turns payloads into readings of one stream."""

    def decode(self, payloads: Sequence[bytes], arrived_at: Int64 | None = None) -> Decoded:
        """Decode each payload by itself; any bytes whatever give readings or a reason.

        Args:
            payloads: n payloads.
            arrived_at: Shape ``(n,)``, gateway clock, ns since the Unix epoch; None: nobody needs it.
        """
        ...
