"""What the line has to know of a model: its tensors, and the bundle's numbers that belong to it."""

from dataclasses import dataclass
from typing import Literal

from gatewayd.domain.arrays import Float64

BundleTask = Literal["reconstruction", "classification", "score"]
Task = Literal["reconstruction", "classification", "score", "deviation"]  # the last one: without a model
# What z-scores are distances from: the training data, the window itself, its median, or a running mean.
Normalise = Literal["training", "window", "robust", "running"]
Activation = Literal["none", "softmax", "sigmoid"]
DType = Literal["int8", "uint8", "int16", "float32"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output tensor, without its batch dimension.

    Attributes:
        shape: Without the batch dimension, e.g. ``(64, 4)``.
        dtype: As the model declares it.
        scale: ``real = scale * (raw - zero_point)``; positive. 0.0 for float32.
        zero_point: Within the dtype's range; 0 for float32.
    """

    shape: tuple[int, ...]
    dtype: DType
    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSpec:
    """One channel that a model was trained on. ``unit`` may be empty: dimensionless or not stated."""

    name: str
    unit: str


# The channels of a model of pictures: either the one, or the three in any order.
GREY = "grey"
COLOURS = ("red", "green", "blue")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """The pictures that a model looks at: each is a window, its pixels the readings, row by row from the top left.

    Attributes:
        height: In pixels.
        width: In pixels.
    """

    height: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelSpec:
    """A bundle's numbers: everything about a model but its weights.

    Attributes:
        name: The model's name, as published.
        version: Free text, as published.
        task: What the output means; see ``pipeline/score.py``.
        channels: In the order of the model's last input axis.
        length: Readings in a window; pixels of a picture.
        hop: Readings between the starts of two windows, 1..length.
        interval_s: Nominal seconds between readings (pictures) of one device; None where not stated.
        mean: Shape ``(channels,)``, training mean in each channel's unit.
        std: Shape ``(channels,)``, training standard deviation, positive.
        threshold: Score at and above which a window is anomalous; None where the bundle has none.
        normalise: What z-scores are taken against; ``mean`` and ``std`` are those of ``training``.
        error: Reconstruction only: mean squared or mean absolute error, of z-scores.
        labels: Classification only: one name per output.
        alert_on: Classification only: the labels whose probabilities add up to the score.
        activation: What turns the output into probabilities (classification) or the score (score).
        image: The pictures that it looks at, ``height * width == length == hop``; None: it looks at readings in time.
    """

    name: str
    version: str
    task: Task
    channels: tuple[ChannelSpec, ...]
    length: int
    hop: int
    interval_s: float | None
    mean: Float64
    std: Float64
    threshold: float | None
    normalise: Normalise = "training"
    error: Literal["mse", "mae"] = "mse"
    labels: tuple[str, ...] = ()
    alert_on: tuple[str, ...] = ()
    activation: Activation = "none"
    image: ImageSpec | None = None

    def __post_init__(self) -> None:
        """Make the statistics read-only."""
        self.mean.setflags(write=False)
        self.std.setflags(write=False)
