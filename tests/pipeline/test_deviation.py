"""A stream without a model: what stands where the model would."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gatewayd.config.settings import StreamSettings
from gatewayd.pipeline.deviation import Deviation, deviation_spec
from gatewayd.pipeline.infer import infer
from gatewayd.pipeline.score import score


def settings(*names, length=1):
    return StreamSettings.model_validate(
        {
            "from": "local",
            "topic": "t/{device}",
            "channels": {name: {"unit": "bar"} for name in names},
            "baseline": {"length": length},
            "publish": {"to": "local"},
        }
    )


def test_the_numbers_are_the_configuration_s():
    spec = deviation_spec(settings("b", "a", length=4))
    assert [(channel.name, channel.unit) for channel in spec.channels] == [("b", "bar"), ("a", "bar")]
    assert (spec.length, spec.hop, spec.normalise, spec.task) == (4, 4, "running", "deviation")


@given(
    windows=arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.just(3), st.just(2)),
        elements=st.floats(-1e6, 1e6, width=32),
    )
)
def test_the_score_is_the_greatest_distance(windows):
    spec = deviation_spec(settings("a", "b", length=3))
    inference = infer(Deviation(spec), windows)
    scores = score(inference.outputs, windows, spec)
    for row, window in enumerate(windows):
        distances = np.abs(window.astype(np.float64))
        assert scores.score[row] == distances.max()
        total = distances.max(axis=0).sum()
        expected = distances.max(axis=0) / total if total else np.zeros(2)
        assert np.allclose(scores.contributions[row], expected)


def test_the_caller_s_windows_stay_its_own():
    windows = np.ones((1, 1, 1), dtype=np.float32)
    outputs = Deviation(deviation_spec(settings("a"))).invoke(windows)
    outputs[0] = 7
    assert windows[0, 0, 0] == 1
