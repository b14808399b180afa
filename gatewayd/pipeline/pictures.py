"""Pictures → windows: each is one by itself, whatever came before.

A picture is one reading of one message. Its pixels stand where other windows have readings, its colours are the
channels, so that all that comes after (statistics by colour, quantisation, score) takes it for a window like any other.
"""

import numpy as np

from gatewayd.domain.model import COLOURS, ModelSpec
from gatewayd.domain.reading import Batch
from gatewayd.domain.state import State, as_int
from gatewayd.domain.window import WindowBatch

MOST_BYTES = (
    4 * 1024 * 1024
)  # of values that are held at once; models of pictures gain little from greater batches
_VALUE_BYTES = 8


class Pictures:
    """Makes windows of pictures. Owned by the line; remembers how many.

    Args:
        spec: The model's numbers; it looks at pictures.

    Attributes:
        scored: Pictures given out.
        waiting: None ever waits.
        abandoned: None is ever given up.
    """

    waiting = abandoned = 0

    def __init__(self, spec: ModelSpec) -> None:
        self._shape = (spec.length, len(spec.channels))
        names = [channel.name for channel in spec.channels]
        order = [COLOURS.index(name) for name in names] if len(names) > 1 else [0]
        self._order = None if order == sorted(order) else order
        self.scored = 0

    @property
    def most(self) -> int:
        """Pictures to take in at once, so that a burst doesn't fill the memory; at least 1."""
        length, channels = self._shape
        return max(1, MOST_BYTES // (length * channels * _VALUE_BYTES))

    def add(self, batch: Batch) -> WindowBatch:
        """Make pictures windows.

        Args:
            batch: Each reading a picture: row by row, for each pixel its colours, red first.

        Returns:
            As many windows in the same order, colours in the model's order.
        """
        values = batch.values.reshape(len(batch), *self._shape)
        if self._order is not None:
            values = values[:, :, self._order]
        self.scored += len(batch)
        return WindowBatch(
            device=batch.device,
            start=batch.taken_at,
            end=batch.taken_at,
            values=values,
            samples=np.ones(len(batch), dtype=np.int64),
        )

    def state(self) -> State:
        """Copy out how many there were."""
        return {"scored": self.scored}

    def restore(self, state: State) -> None:
        """Go on where another one stopped."""
        self.scored = as_int(state["scored"])
