"""The one process with TensorFlow in it: windows in, a float32 and an int8 model out.

``python -m gatewayd.workbench.fit FOLDER`` reads ``job.json`` and ``job.npz`` there and writes ``float.tflite``,
``int8.tflite`` and ``fit.json``. A process of its own because TensorFlow and tflite-runtime clash in one, and because
threads, determinism and quiet logs must be set before TensorFlow is imported.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gatewayd.domain.arrays import Float32, Int64
from gatewayd.errors import StartupError

Recipe = Literal[
    "autoencoder-linear", "autoencoder-dense", "autoencoder-conv", "autoencoder-picture", "classifier-dense"
]
_REPRESENTATIVE = 512  # windows that calibrate the ranges; more change nothing but the time
# Calibrated on what is normal alone, an int8 input ends where normal ends, and a slow drift that the float model
# follows saturates and alarms: on SKAB, false alarms 38 % instead of 20 %. So the ranges reach this many times further.
_HEADROOM = 3.0
_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "PYTHONHASHSEED": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to fit; windows travel beside it.

    Attributes:
        recipe: Which network.
        classes: Outputs of a classifier; 0 for an autoencoder.
        epochs: At most; fitting stops earlier when the last loss has not fallen for a quarter of them.
        seed: Decides initial weights and order.
        image: Height and width where windows are pictures; None: they aren't.
    """

    recipe: Recipe
    classes: int
    epochs: int
    seed: int
    image: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What came out.

    Attributes:
        float32: The model as TensorFlow Lite, float32 throughout.
        int8: The same, quantised throughout after training.
        epochs: How many ran; 0 where the weights are known in closed form.
        loss: Over the windows it was fitted on.
        tensorflow: Version.
    """

    float32: bytes
    int8: bytes
    epochs: int
    loss: float
    tensorflow: str


def fit(job: Job, windows: Float32, labels: Int64) -> Fitted:
    """Fit in a process of its own.

    Args:
        job: What to fit.
        windows: Shape ``(k, length, channels)``, z-scores.
        labels: Shape ``(k,)``, class of each; not looked at by an autoencoder.

    Raises:
        StartupError: TensorFlow is not installed, or failed; the message carries its last line.
    """
    with tempfile.TemporaryDirectory(prefix="gatewayd-fit-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(asdict(job)))
        np.savez(folder / "job.npz", windows=windows, labels=labels)
        command = [sys.executable, "-m", "gatewayd.workbench.fit", str(folder)]
        done = subprocess.run(  # noqa: S603  # our own interpreter and module
            command, env={**os.environ, **_ENVIRONMENT}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            if "No module named 'tensorflow'" in lines[-1]:
                raise StartupError("training needs TensorFlow: pip install '.[train]'")
            raise StartupError(f"training failed: {lines[-1]}")
        facts = json.loads((folder / "fit.json").read_text())
        return Fitted(
            float32=(folder / "float.tflite").read_bytes(),
            int8=(folder / "int8.tflite").read_bytes(),
            epochs=facts["epochs"],
            loss=facts["loss"],
            tensorflow=facts["tensorflow"],
        )


def _work(folder: Path) -> None:
    import tensorflow as tf  # noqa: PLC0415  # fit() must be importable without it

    from gatewayd.workbench import recipes  # noqa: PLC0415  # imports TensorFlow

    job = Job(**json.loads((folder / "job.json").read_text()))
    with np.load(folder / "job.npz") as arrays:
        windows, labels = arrays["windows"], arrays["labels"]
    tf.keras.utils.set_random_seed(job.seed)
    tf.config.experimental.enable_op_determinism()
    _, length, channels = windows.shape
    model = recipes.build(job.recipe, length=length, channels=channels, classes=job.classes, image=job.image)
    inputs = windows.reshape(len(windows), *model.input_shape[1:])
    is_classifier = job.recipe == "classifier-dense"
    target = labels if is_classifier else windows.reshape(len(windows), *model.output_shape[1:])
    if job.recipe == "autoencoder-linear":
        recipes.solve_linear(model, inputs)
        losses = []
    else:
        stop = tf.keras.callbacks.EarlyStopping("loss", min_delta=1e-4, patience=max(3, job.epochs // 4))
        history = model.fit(
            inputs,
            target,
            epochs=job.epochs,
            batch_size=min(256, max(16, len(windows) // 16)),
            callbacks=[stop],
            verbose=0,
        )
        losses = history.history["loss"]
    loss = float(model.evaluate(inputs, target, batch_size=256, verbose=0))
    (folder / "float.tflite").write_bytes(_convert(model, None))
    (folder / "int8.tflite").write_bytes(_convert(model, inputs))
    facts = {"epochs": len(losses), "loss": loss, "tensorflow": tf.__version__}
    (folder / "fit.json").write_text(json.dumps(facts))


def _convert(model: Any, representative: Float32 | None) -> bytes:  # noqa: ANN401  # Keras has no types
    """Convert to TensorFlow Lite; int8 throughout where representative inputs are given."""
    import tensorflow as tf  # noqa: PLC0415  # as in _work

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if representative is not None:
        chosen = np.linspace(0, len(representative) - 1, min(_REPRESENTATIVE, len(representative)), dtype=int)

        def samples() -> Iterator[list[Float32]]:
            for index in chosen:
                for factor in (1.0, _HEADROOM, -_HEADROOM):
                    yield [representative[index : index + 1] * np.float32(factor)]

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = samples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    _work(parser.parse_args().folder)
