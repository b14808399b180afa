"""Streams and messages for tests of the flow."""

import json

import numpy as np

from gatewayd.config.settings import StreamSettings
from gatewayd.domain.model import ChannelSpec, ModelSpec, TensorSpec
from gatewayd.model.interpreter import open_model
from gatewayd.pipeline.flow import Flow
from gatewayd.pipeline.stream import StreamPlan

ARRIVED = 1_700_000_100 * 10**9


class HalvingModel:
    """Reconstructs half of each window, in float32. Keeps ``Model``'s promises."""

    runtime = "fake 1"

    def __init__(self, length, channels, answer=None):
        self.input = self.output = TensorSpec(
            shape=(length, channels), dtype="float32", scale=0.0, zero_point=0
        )
        self._answer = answer or (lambda inputs: inputs / np.float32(2))

    def invoke(self, inputs):
        assert inputs.shape[1:] == self.input.shape
        return self._answer(inputs)


def plan(
    name="pump", *, topic="site/{line}/{device}", length=3, hop=2, model=None, channels=("a", "b"), **options
):
    spec = ModelSpec(
        name="fake",
        version="1",
        task="reconstruction",
        channels=tuple(ChannelSpec(name=channel, unit="") for channel in channels),
        length=length,
        hop=hop,
        interval_s=None,
        mean=np.zeros(len(channels)),
        std=np.ones(len(channels)),
        threshold=1.0,
    )
    settings = {
        "from": "local",
        "topic": topic,
        "time": {"field": "ts"},
        "channels": {channel: {} for channel in channels},
        "model": "m",
        "alert": {"raise": "1 of 1", "clear": "1 of 1"},
        "publish": {"to": "cloud", "topic": "out/{stream}/{device}"},
        **options,
    }
    return StreamPlan(
        name=name,
        settings=StreamSettings.model_validate(settings),
        spec=spec,
        model=model or HalvingModel(length, len(channels)),
    )


def bundle_plan(name, bundle):
    """A stream ``name`` of a bundle's own model, window and threshold; without one, above 0.5 is anomalous."""
    given = plan(
        name,
        topic=f"{name}/{{device}}",
        channels=tuple(channel.name for channel in bundle.spec.channels),
        alert={"threshold": bundle.spec.threshold or 0.5, "raise": "2 of 3", "clear": "1 of 1"},
        publish={"to": "cloud"},
    )
    return StreamPlan(name=name, settings=given.settings, spec=bundle.spec, model=open_model(bundle))


def bundle_messages(bundle, topic, count, *, seed, unusual=0.2):
    """Readings as the bundle's training data had them, some runs of them far off; as a sensor sends them."""
    rng = np.random.default_rng(seed)
    spread = np.where((rng.random(count // 8 + 1) < unusual)[np.arange(count) // 8], 9.0, 0.3)
    values = (
        bundle.spec.mean
        + bundle.spec.std * rng.standard_normal((count, len(bundle.spec.mean))) * spread[:, None]
    )
    names = [channel.name for channel in bundle.spec.channels]
    return [
        (
            topic.encode(),
            json.dumps({"ts": 1_700_000_000.0 + row / 20, **dict(zip(names, reading, strict=True))}).encode(),
            0x32,
            row + 1,
        )
        for row, reading in enumerate(values.round(6).tolist())
    ]


def message(topic, second, a, b=0.0, *, header=0x30):
    """One reading, ``second`` seconds after the test's epoch."""
    return (topic.encode(), json.dumps({"ts": 1_700_000_000.0 + second, "a": a, "b": b}).encode(), header, 0)


def run(flow, messages):
    """Run messages that arrived within one instant, as a burst does."""
    return flow.run(messages, np.full(len(messages), ARRIVED, dtype=np.int64))


def make_flow(*plans):
    return Flow("gw", plans or (plan(),))


def assert_sums(figures):
    """The two equations of LineFigures."""
    assert (
        figures.messages + figures.copies
        == sum(figures.refused.values()) + sum(figures.rejected.values()) + figures.accepted
    )
    assert (
        figures.readings + figures.grid_rows
        == sum(figures.dropped.values()) + figures.merged + figures.waiting + figures.scored
    )
