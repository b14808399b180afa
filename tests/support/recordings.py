"""Small recordings to train on: a machine that is normal, then not, as CSV."""

from importlib.util import find_spec

import numpy as np
import pytest

from gatewayd.workbench.simulate import BearingFault, Pump

needs_tensorflow = [
    pytest.mark.train,
    # found, not imported: in one process with tflite-runtime it clashes
    pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs the extra 'train' (TensorFlow)"),
]


def pump_csv(path, *, seed=1, rows=900, begins=700):
    """Write a pump's readings every 0.2 s, labelled 1 once its bearing has begun to wear."""
    fault = BearingFault(begins_s=begins * 0.2, lasts_s=1e9, ramp_s=2.0)
    pump = Pump(seed=seed, interval_s=0.2, fault=fault)
    lines = ["ts,temperature,vibration,pressure,current,anomaly"]
    for row in range(rows):
        numbers = ",".join(f"{value:.4f}" for value in pump.step())
        lines.append(f"{1_700_000_000_000 + 200 * row},{numbers},{int(row > begins)}")
    path.write_text("\n".join(lines) + "\n")
    return path


def random_windows(count, length, channels, seed=0):
    """Return smooth z-scored windows."""
    noise = np.random.default_rng(seed).standard_normal((count, length, channels))
    return np.cumsum(noise, axis=1).astype(np.float32) / np.float32(length**0.5)
