"""Networks that quantise well and run on both runtimes in any batch size. Imports TensorFlow.

No recurrent layer (a fused LSTM cannot be resized to a batch), no reshape over the batch dimension.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from gatewayd.domain.arrays import Float32

_layers = tf.keras.layers
# Keras has no types for models and layers; they end in this module and fit.py
KerasModel = Any


def autoencoder_linear(length: int, channels: int) -> KerasModel:
    """Build flat window → one code value per channel → flat window, without an activation."""
    given = _layers.Input((length * channels,))
    return tf.keras.Model(given, _layers.Dense(length * channels)(_layers.Dense(channels)(given)))


def solve_linear(model: KerasModel, windows: Float32) -> None:
    """Set a linear autoencoder's weights to the optimum: the principal components of its windows.

    Args:
        model: From ``autoencoder_linear``.
        windows: Shape ``(k, length * channels)``, z-scores, k at least the number of channels.

    Reference:
        Baldi & Hornik, Neural networks and principal component analysis, 1989: the squared error of a linear
        autoencoder has no minimum but this one.
    """
    flat = windows.astype(np.float64)
    mean = flat.mean(axis=0)
    _, _, components = np.linalg.svd(flat - mean, full_matrices=False)
    code = components[: model.layers[1].units]
    model.layers[1].set_weights([code.T, -mean @ code.T])
    model.layers[2].set_weights([code, mean])


def autoencoder_dense(length: int, channels: int) -> KerasModel:
    """Build flat window → 64 → one code value per channel → 64 → flat window.

    The code is narrow enough that noise does not pass, wide enough for each channel's level.
    """
    given = _layers.Input((length * channels,))
    hidden = _layers.Dense(64, activation="relu")(given)
    code = _layers.Dense(max(2, channels))(hidden)
    hidden = _layers.Dense(64, activation="relu")(code)
    return tf.keras.Model(given, _layers.Dense(length * channels)(hidden))


def autoencoder_conv(length: int, channels: int) -> KerasModel:
    """Build dilated 1-D convolutions around a code of half the channels per time step."""
    given = hidden = _layers.Input((length, channels))
    hidden = _conv(hidden, 16, dilation=1)
    hidden = _conv(hidden, 16, dilation=2)
    hidden = _layers.Conv1D(max(1, channels // 2), 1)(hidden)
    hidden = _conv(hidden, 16, dilation=2)
    hidden = _conv(hidden, 16, dilation=1)
    return tf.keras.Model(given, _layers.Conv1D(channels, 1)(hidden))


def _conv(given: KerasModel, filters: int, *, dilation: int) -> KerasModel:
    layer = _layers.Conv1D(filters, 3, padding="same", dilation_rate=dilation, activation="relu")
    return layer(given)


def autoencoder_picture(height: int, width: int, channels: int) -> KerasModel:
    """Build 2-D convolutions down to an eighth of each side and 8 values a place, and up again.

    Args:
        height: In pixels, a multiple of 8.
        width: Likewise.
        channels: Colours.
    """
    given = hidden = _layers.Input((height, width, channels))
    for filters in (16, 16, 8):
        hidden = _layers.Conv2D(filters, 3, 2, "same", activation="relu")(hidden)
    for part in (4, 2, 1):
        # Not UpSampling2D: as "nearest" it is made of reshapes, in which the converter forgets the height; as
        # "bilinear" the two runtimes differ by up to six steps.
        hidden = _layers.Resizing(height // part, width // part, interpolation="nearest")(hidden)
        hidden = _layers.Conv2D(16, 3, padding="same", activation="relu")(hidden)
    return tf.keras.Model(given, _layers.Conv2D(channels, 3, padding="same")(hidden))


def classifier_dense(length: int, channels: int, classes: int) -> KerasModel:
    """Build flat window → 16 → one logit per class; the daemon applies the softmax, in full precision.

    Small and held back (L2): recordings are long but of few days, and a larger network learns the days.
    """
    held_back = tf.keras.regularizers.L2(1e-2)
    given = _layers.Input((length * channels,))
    hidden = _layers.Dense(16, activation="relu", kernel_regularizer=held_back)(given)
    return tf.keras.Model(given, _layers.Dense(classes, kernel_regularizer=held_back)(hidden))


def build(
    recipe: str, *, length: int, channels: int, classes: int, image: tuple[int, int] | None = None
) -> KerasModel:
    """Build a recipe's network by its name, with the loss that fits it; ``image`` is a picture's height and width."""
    if recipe == "classifier-dense":
        model = classifier_dense(length, channels, classes)
        loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    elif image is not None:
        model, loss = autoencoder_picture(*image, channels), tf.keras.losses.MeanSquaredError()
    else:
        make = {
            "autoencoder-linear": autoencoder_linear,
            "autoencoder-dense": autoencoder_dense,
            "autoencoder-conv": autoencoder_conv,
        }[recipe]
        model, loss = make(length, channels), tf.keras.losses.MeanSquaredError()
    model.compile(tf.keras.optimizers.Adam(2e-3), loss)
    return model
