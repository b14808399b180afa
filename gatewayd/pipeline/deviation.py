"""A stream without a model: how far the readings are from the device's own running mean.

The score is the greatest distance of the window, in standard deviations, over channels and readings; a spike in one
channel counts in full, however many others are calm. It stands in where nobody has trained anything yet, and the
numbers around it (window, threshold, baseline) are the configuration's, as there is no bundle that they could
contradict.
"""

import numpy as np

from gatewayd.config.settings import StreamSettings
from gatewayd.domain.arrays import Raw
from gatewayd.domain.model import ChannelSpec, ModelSpec, TensorSpec

NAME, VERSION = "deviation", "1"
_THRESHOLD = 5.0  # beyond what a normal distribution gives in a million readings; real ones have longer tails


def deviation_spec(settings: StreamSettings) -> ModelSpec:
    """Return the numbers of a stream that has no model; channels in the order of the configuration."""
    count = len(settings.channels)
    length = settings.baseline.length
    return ModelSpec(
        name=NAME,
        version=VERSION,
        task="deviation",
        channels=tuple(
            ChannelSpec(name=name, unit=channel.unit) for name, channel in settings.channels.items()
        ),
        length=length,
        hop=length,
        interval_s=None,
        mean=np.zeros(count),
        std=np.ones(count),
        threshold=_THRESHOLD,
        normalise="running",
    )


class Deviation:
    """Stands where a model would, and passes z-scores through. Keeps the promises of ``infer.Model``.

    Args:
        spec: From ``deviation_spec``.
    """

    runtime = "none"

    def __init__(self, spec: ModelSpec) -> None:
        self.input = self.output = TensorSpec(
            shape=(spec.length, len(spec.channels)), dtype="float32", scale=0.0, zero_point=0
        )

    def invoke(self, inputs: Raw) -> Raw:
        """Return a copy of the inputs, shape ``(n, length, channels)``."""
        return inputs.copy()
