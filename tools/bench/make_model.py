"""Makes ``models/dense64x4``, the bundle that the benchmark runs: an int8 dense autoencoder of 64 readings by 4.

It is trained on the load's own noise and finds nothing: what matters here is that it is as large as a real one.
Needs the extra ``train``; run it as ``python tools/bench/make_model.py``. TensorFlow and tflite-runtime clash inside
one process, so the golden vectors are computed in a second one, in which TensorFlow isn't imported.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from gatewayd.domain.arrays import Float32
from gatewayd.domain.model import ChannelSpec, ModelSpec
from gatewayd.model.bundle import Golden, write_bundle
from gatewayd.model.interpreter import Interpreter
from gatewayd.pipeline.quantise import quantise

_FOLDER = Path(__file__).resolve().parent / "models" / "dense64x4"
_LENGTH, _CHANNELS = 64, (("temperature", "°C"), ("vibration", "g"), ("pressure", "kPa"), ("current", "A"))
_MEAN = np.array([21.5, 0.05, 310.0, 17.5])  # of the load, see frames.py
_STD = np.array([0.8, 0.01, 4.0, 0.3])
_SEED = 12_345


def _z_scores(windows: int) -> Float32:
    rng = np.random.default_rng(_SEED)
    return rng.standard_normal((windows, _LENGTH * len(_CHANNELS))).astype(np.float32)


def train() -> bytes:
    """Train with TensorFlow and quantise fully to int8."""
    import tensorflow as tf  # noqa: PLC0415  # never in the process that runs the interpreter

    tf.keras.utils.set_random_seed(_SEED)
    size = _LENGTH * len(_CHANNELS)
    layers = [tf.keras.layers.Dense(units, activation="relu") for units in (32, 8, 32)]
    model = tf.keras.Sequential([tf.keras.Input((size,)), *layers, tf.keras.layers.Dense(size)])
    model.compile(optimizer="adam", loss="mse")
    windows = _z_scores(4096)
    model.fit(windows, windows, epochs=5, batch_size=64, verbose=0)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([window[None]] for window in windows[:512])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    converted: bytes = converter.convert()
    return converted


def bundle(model: bytes) -> None:
    """Write the bundle with golden vectors from the runtime that is installed."""
    interpreter = Interpreter(model)
    scores = _z_scores(4)
    windows = scores.reshape(-1, _LENGTH, len(_CHANNELS)).astype(np.float64) * _STD + _MEAN
    raw, _ = quantise(
        ((windows - _MEAN) / _STD).reshape(len(windows), -1).astype(np.float32), interpreter.input
    )
    spec = ModelSpec(
        name="dense64x4",
        version="1",
        task="reconstruction",
        channels=tuple(ChannelSpec(name=name, unit=unit) for name, unit in _CHANNELS),
        length=_LENGTH,
        hop=16,
        interval_s=0.05,
        mean=_MEAN,
        std=_STD,
        threshold=4.0,
    )
    golden = Golden(windows=windows, outputs=interpreter.invoke(raw), runtime=interpreter.runtime)
    _FOLDER.parent.mkdir(exist_ok=True)
    write_bundle(
        _FOLDER,
        spec=spec,
        model=model,
        golden=golden,
        training={"data": "noise of the benchmark's load", "seed": _SEED, "windows": 4096, "epochs": 5},
    )


def main() -> None:
    """Train here, write the bundle in a process of its own."""
    if len(sys.argv) == 2:
        bundle(Path(sys.argv[1]).read_bytes())
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(train())
        subprocess.run([sys.executable, __file__, str(path)], check=True)


if __name__ == "__main__":
    main()
