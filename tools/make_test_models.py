"""Makes the model bundles under tests/golden/models, small enough to be committed and real enough to test with.

They are trained on sines and a little noise, and find nothing: what matters is that their tensors, operations and
quantisation are those of real models. Only camera_int8 knows something, a belt with a parcel on it, and finds what is
no such parcel. Needs the extra ``train``; run it as ``python tools/make_test_models.py``. The same machine and
TensorFlow give the same bytes. TensorFlow and tflite-runtime clash inside one process, so the bundles are written by a
second one.

The two halves can also be run apart: ``... convert FOLDER`` needs TensorFlow alone, ``... bundle FOLDER`` gatewayd.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tests" / "golden" / "models"
SEED = 7
# name -> length, channels
SIZES = {
    "dense_int8": (32, 4),
    "dense_float32": (32, 4),
    "conv_int8": (64, 8),
    "classifier_int8": (16, 3),
    "gru_float32": (16, 3),
    "camera_int8": (16 * 24, 3),
}
PICTURE = (16, 24)  # rows and columns of what camera_int8 looks at
# of 2,000 of them, by colour
PICTURE_MEAN, PICTURE_STD = np.array([83.7, 92.8, 62.0]), np.array([44.8, 21.3, 12.7])


def pictures(count: int, seed: int) -> npt.NDArray[np.float64]:
    """Return belts that get lighter downwards, an orange parcel somewhere on each: (count, 16, 24, 3), 0 to 255.

    ``tests/support/pictures.py`` draws the same, as a camera would send it.
    """
    random = np.random.default_rng(seed)
    rows = np.arange(PICTURE[0])[:, None]
    belt = np.concatenate([40 + 4 * rows, 60 + 4 * rows, 50 + 2 * rows], axis=1)[:, None, :]
    found = np.empty((count, *PICTURE, 3))
    for index in range(count):
        found[index] = belt
        left = random.integers(1, 17)
        found[index, 5:12, left : left + 6] = (200, 120, 40)
        found[index] *= random.uniform(0.9, 1.1)
    return np.clip(np.rint(found + random.normal(0, 2, found.shape)), 0, 255)


def z_scores(name: str, windows: int, seed: int = SEED) -> npt.NDArray[np.float32]:
    """Return sines of random phase, one frequency a channel, with noise; float32 (windows, length, channels).

    Of camera_int8 it's ``pictures``, (windows, rows, columns, channels).
    """
    length, channels = SIZES[name]
    if name == "camera_int8":
        return ((pictures(windows, seed) - PICTURE_MEAN) / PICTURE_STD).astype(np.float32)
    random = np.random.default_rng(seed)
    phase = random.uniform(0, 2 * np.pi, (windows, 1, channels))
    time = np.arange(length)[None, :, None]
    wave = np.sin(2 * np.pi * time * (1 + np.arange(channels)) / 32 + phase)
    return (wave * np.sqrt(2) * 0.95 + random.normal(0, 0.3, wave.shape)).astype(np.float32)


def layers(tf: ModuleType, name: str) -> list[object]:
    """Return the layers of one model, input not included."""
    length, channels = SIZES[name]
    layer = tf.keras.layers
    if name.startswith("dense"):
        dense = [layer.Dense(8, activation="relu"), layer.Dense(length * channels)]
        return [layer.Flatten(), *dense, layer.Reshape((length, channels))]
    if name == "conv_int8":
        down = [
            layer.Conv1D(6, 5, 2, "same", activation="relu"),
            layer.Conv1D(4, 5, 2, "same", activation="relu"),
        ]
        return [*down, layer.UpSampling1D(4), layer.Conv1D(channels, 5, padding="same")]
    if name == "camera_int8":
        down = [layer.Conv2D(count, 5, 2, "same", activation="relu") for count in (8, 3)]
        up = [
            layer.Conv2D(8, 5, padding="same", activation="relu"),
            layer.Conv2D(channels, 5, padding="same"),
        ]
        # Not UpSampling2D: as "nearest" it is made of reshapes, in which the converter forgets the height; as
        # "bilinear" the two runtimes differ by up to six steps.
        return [*down, layer.Resizing(*PICTURE, interpolation="nearest"), *up]
    if name == "classifier_int8":
        return [layer.Flatten(), layer.Dense(6, activation="relu"), layer.Dense(3, activation="softmax")]
    # Unrolled: a loop cannot run in the small runtime
    return [layer.GRU(4, unroll=True, reset_after=False), layer.Dense(1, activation="sigmoid")]


def convert(folder: Path) -> None:
    """Train and convert with TensorFlow; write one file a model."""
    import tensorflow as tf  # noqa: PLC0415  # never in the process that runs the interpreter

    for name in SIZES:
        tf.keras.utils.set_random_seed(SEED)
        windows = z_scores(name, 512)
        model = tf.keras.Sequential([tf.keras.Input(windows.shape[1:]), *layers(tf, name)])
        if name == "classifier_int8":
            labels = np.arange(len(windows)) % 3
            windows *= (1 + labels)[:, None, None] / 2  # the amplitude tells the classes apart
            model.compile("adam", "sparse_categorical_crossentropy")
            model.fit(windows, labels, epochs=20, verbose=0)
        elif name == "gru_float32":
            model.compile("adam", "mse")
            model.fit(windows, (windows[:, -1, 0] > 0).astype(np.float32), epochs=5, verbose=0)
        else:
            model.compile("adam", "mse")
            model.fit(windows, windows, epochs=150 if name == "camera_int8" else 20, verbose=0)
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if name.endswith("int8"):
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda windows=windows: ([window[None]] for window in windows)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.int8
        (folder / f"{name}.tflite").write_bytes(converter.convert())


def bundle(folder: Path) -> None:
    """Write the bundles, with golden vectors from the runtime that is installed."""
    from gatewayd.domain.model import ChannelSpec, ImageSpec, ModelSpec  # noqa: PLC0415  # absent where TensorFlow stands alone
    from gatewayd.model.bundle import Golden, write_bundle  # noqa: PLC0415  # same
    from gatewayd.model.interpreter import Interpreter  # noqa: PLC0415  # same
    from gatewayd.pipeline.normalise import z_scores as normalise  # noqa: PLC0415  # same
    from gatewayd.pipeline.quantise import quantise  # noqa: PLC0415  # same

    for name, (length, channels) in SIZES.items():
        hop, names, unit, interval_s = length // 4, [f"c{index}" for index in range(channels)], "mm/s", 0.05
        mean, std = 20.0 + 10.0 * np.arange(channels), 1.0 / (1 + np.arange(channels))
        options = {"task": "reconstruction", "threshold": 0.5}
        if name == "classifier_int8":
            options = {
                "task": "classification",
                "threshold": 0.5,
                "labels": ("calm", "busy", "wild"),
                "alert_on": ("busy", "wild"),
            }
        elif name == "gru_float32":
            options = {"task": "score", "threshold": None}
        elif name == "camera_int8":
            # some four times the greatest of 1,000 other pictures
            options |= {"threshold": 0.1, "image": ImageSpec(height=PICTURE[0], width=PICTURE[1])}
            hop, names, unit, interval_s = length, ["red", "green", "blue"], "", None
            mean, std = PICTURE_MEAN, PICTURE_STD
        spec = ModelSpec(
            name=name,
            version="1",
            channels=tuple(ChannelSpec(name=channel, unit=unit) for channel in names),
            length=length,
            hop=hop,
            interval_s=interval_s,
            mean=mean,
            std=std,
            **options,
        )
        model = (folder / f"{name}.tflite").read_bytes()
        interpreter = Interpreter(model)
        windows = np.round(z_scores(name, 3, seed=SEED + 1) * std + mean, 3).reshape(3, length, channels)
        raw, _ = quantise(normalise(windows, mean, std), interpreter.input)
        outputs = interpreter.invoke(raw.reshape(len(raw), *interpreter.input.shape))
        golden = Golden(windows=windows, outputs=outputs, runtime=interpreter.runtime)
        training = {"by": "tools/make_test_models.py", "seed": SEED, "rows": 512 * length}
        write_bundle(FOLDER / name, spec=spec, model=model, golden=golden, training=training)


def main() -> None:
    if len(sys.argv) == 3:
        {"convert": convert, "bundle": bundle}[sys.argv[1]](Path(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory() as folder:
        for step in ("convert", "bundle"):
            subprocess.run([sys.executable, __file__, step, folder], check=True, cwd=ROOT)


if __name__ == "__main__":
    main()
