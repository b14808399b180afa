"""Does a runtime reproduce a bundle's golden vectors, and how far may it differ?

The rule, measured in docs/models.md: each output of a quantised model lies within 2 steps, but of every 1,000 one may
lie up to 8 away (where many layers add up, as in models of pictures, a few always do); each of a float32 model lies
within 1e-5 relative to the largest output of the window or to 1. Also on the runtime that made the vectors: which
kernels a runtime takes, and so where they round, depends on the processor too (without ``/proc/cpuinfo``,
tflite-runtime takes others than with it).
"""

from dataclasses import dataclass

import numpy as np

from gatewayd.errors import ModelError, RejectedInputError
from gatewayd.model.bundle import Bundle
from gatewayd.pipeline.infer import Model
from gatewayd.pipeline.normalise import normalised
from gatewayd.pipeline.quantise import quantise

STEPS_TOLERANCE = 2
FEW_STEPS_TOLERANCE = 8
_FEW = 1000  # of so many outputs one is few
FLOAT_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenResult:
    """How a runtime compares with a bundle's golden vectors.

    Attributes:
        windows: How many were run.
        outputs: How many output values were compared.
        differing: How many of them are not exactly the same.
        greatest: Greatest difference: in steps for a quantised model; for float32 relative to the largest
            output of the window or to 1.
        allowed: What a difference may be at most, but for a few outputs of a quantised model.
        beyond: How many differ by more than that.
        utmost: What ``greatest`` may be at most.
        runtime: The runtime that was compared.
    """

    windows: int
    outputs: int
    differing: int
    greatest: float
    allowed: float
    beyond: int
    utmost: float
    runtime: str

    @property
    def is_met(self) -> bool:
        """Whether the runtime may run this bundle."""
        return self.greatest <= self.utmost and self.beyond <= self.outputs // _FEW


def compare_golden(bundle: Bundle, model: Model) -> GoldenResult:
    """Run the golden windows and compare raw outputs.

    Raises:
        ModelError: The model fails on them, or gives a number that is not finite; one line with the file's
            name.
    """
    spec, golden = bundle.spec, bundle.golden
    raw, _ = quantise(normalised(golden.windows, spec), model.input)
    try:
        found = model.invoke(raw.reshape(len(raw), *model.input.shape))
    except RejectedInputError as error:
        raise ModelError(f"{bundle.folder}: fails on its golden vectors: {error}") from error
    expected = golden.outputs.astype(np.float64)
    difference = np.abs(found.astype(np.float64) - expected)
    if not np.isfinite(difference).all():
        raise ModelError(f"{bundle.folder}: gives outputs for its golden vectors that are not finite")
    if model.output.dtype == "float32":
        largest = np.abs(expected).reshape(len(expected), -1).max(axis=1)
        scale = np.maximum(1.0, largest).reshape(-1, *[1] * len(model.output.shape))
        difference = difference / scale
        allowed = utmost = FLOAT_TOLERANCE
    else:
        allowed, utmost = float(STEPS_TOLERANCE), float(FEW_STEPS_TOLERANCE)
    return GoldenResult(
        windows=len(found),
        outputs=found.size,
        differing=int(np.count_nonzero(difference)),
        greatest=float(difference.max()),
        allowed=allowed,
        beyond=int(np.count_nonzero(difference > allowed)),
        utmost=utmost,
        runtime=model.runtime,
    )


def check_golden(bundle: Bundle, model: Model) -> GoldenResult:
    """Hold a runtime to a bundle's golden vectors.

    Raises:
        ModelError: It differs by more than is allowed, or fails; one line.
    """
    result = compare_golden(bundle, model)
    if not result.is_met:
        unit = "relative" if model.output.dtype == "float32" else "steps"
        raise ModelError(
            f"{bundle.folder}: {model.runtime} must give the golden outputs within {result.allowed:g} {unit} "
            f"(made with {bundle.golden.runtime}), but differs by {result.greatest:g}"
        )
    return result
