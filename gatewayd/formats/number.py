"""Plain-text payloads that hold one number: ``23.5``."""

import math
from collections.abc import Sequence

import numpy as np

from gatewayd.domain.arrays import Int64
from gatewayd.errors import RejectedInputError
from gatewayd.formats.decoded import NO_TIME, Decoded
from gatewayd.formats.scalar import text_number


class NumberFormat:
    """One channel, one number per payload, no time stamp."""

    def decode(self, payloads: Sequence[bytes], arrived_at: Int64 | None = None) -> Decoded:  # noqa: ARG002  # the Protocol's
        """Decode payloads; see ``Format``.

        Rejected: ``not_text`` (not UTF-8), ``not_a_number``, ``absent`` (it says that there's no value).
        """
        source: list[int] = []
        values: list[float] = []
        rejected: list[tuple[int, str]] = []
        for index, payload in enumerate(payloads):
            try:
                value = text_number(payload.decode())
            except UnicodeDecodeError:
                rejected.append((index, "not_text"))
                continue
            except RejectedInputError as error:
                rejected.append((index, error.reason))
                continue
            if math.isnan(value):
                rejected.append((index, "absent"))
                continue
            source.append(index)
            values.append(value)
        return Decoded(
            source=np.array(source, dtype=np.int64),
            taken_at=np.full(len(source), NO_TIME, dtype=np.int64),
            values=np.array(values, dtype=np.float64).reshape(-1, 1),
            rejected=tuple(rejected),
        )
