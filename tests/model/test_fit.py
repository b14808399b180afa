"""A stream must fit its model: channels by name in any order, units, hop, gap and threshold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.config.settings import StreamSettings
from gatewayd.domain.model import ChannelSpec, ImageSpec, ModelSpec
from gatewayd.model.fit import channel_order, fit_problems


def spec(**changes):
    channels = (ChannelSpec(name="temperature", unit="°C"), ChannelSpec(name="vibration", unit="g"))
    numbers = {
        "name": "pump",
        "version": "1",
        "task": "reconstruction",
        "channels": channels,
        "length": 32,
        "hop": 8,
        "interval_s": 0.5,
        "mean": np.array([45.0, 1.0]),
        "std": np.array([1.0, 1.0]),
        "threshold": 2.0,
    }
    return ModelSpec(**(numbers | changes))


def stream(**changes):
    options = {
        "from": "local",
        "topic": "a/{device}",
        "channels": {"temperature": {"unit": "°C"}, "vibration": {}},
        "model": "m",
        "publish": {"to": "local"},
    }
    return StreamSettings.model_validate(options | changes)


@given(st.permutations(["temperature", "vibration"]))
def test_channels_are_mapped_by_name_whatever_their_order(names):
    settings = stream(channels={name: {} for name in names})
    assert fit_problems(settings, spec()) == []
    assert [names[i] for i in channel_order(settings, spec())] == ["temperature", "vibration"]


@pytest.mark.parametrize("unit", ["°C", "℃", " °C"])
def test_a_unit_may_be_typed_in_any_way(unit):
    assert fit_problems(stream(channels={"vibration": {}, "temperature": {"unit": unit}}), spec()) == []


@pytest.mark.parametrize(
    ("changes", "model", "expected"),
    [
        (
            {"channels": {"temprature": {}, "vibration": {}}},
            {},
            [("channels.temprature", "the model has no such channel; did you mean 'temperature'?")],
        ),
        (
            {"channels": {"vibration": {}, "zz": {}}},
            {},
            [
                ("channels.zz", "the model has no such channel; it has temperature, vibration"),
                ("channels", "the model needs the channel 'temperature' too"),
            ],
        ),
        (
            {"channels": {"temperature": {"unit": "K"}, "vibration": {}}},
            {},
            [("channels.temperature.unit", "the model was trained on °C, not K")],
        ),
        (
            {"channels": {"temperature": {"min": 50.0}, "vibration": {"max": 0.5}}},
            {},
            [
                (
                    "channels.temperature.min",
                    "would drop what is normal to the model: its training mean is 45",
                ),
                ("channels.vibration.max", "would drop what is normal to the model: its training mean is 1"),
            ],
        ),
        (
            {"window": {"hop": 33}},
            {},
            [("window.hop", "must lie in 1..32 (the model's window length), not 33")],
        ),
        ({"window": {"hop": 32, "max_gap_s": 0.5}}, {}, []),
        (
            {"window": {"max_gap_s": 0.4}},
            {},
            [
                (
                    "window.max_gap_s",
                    "must be at least 0.5 (the model's interval), not 0.4: no window would fill",
                )
            ],
        ),
        ({}, {"threshold": None}, [("alert.threshold", "the model brings no threshold: give one here")]),
        ({"alert": {"threshold": 1.0}}, {"threshold": None}, []),
        (
            {"alert": {"threshold": 0.0}},
            {},
            [("alert.threshold", "must be greater than 0 (an error has no sign), not 0")],
        ),
        (
            {"alert": {"threshold": 1.5}},
            {"task": "classification"},
            [("alert.threshold", "must be a probability, greater than 0 and at most 1, not 1.5")],
        ),
        (
            {"alert": {"threshold": -1.0}},
            {"task": "score"},
            [
                (
                    "alert.clear_below",
                    "must be 1 where the threshold is not positive: a part of it lies above it",
                )
            ],
        ),
        ({"alert": {"threshold": -1.0, "clear_below": 1.0}}, {"task": "score"}, []),
    ],
)
def test_what_does_not_fit_is_named_at_its_option(changes, model, expected):
    found = [(".".join(loc), message) for loc, message in fit_problems(stream(**changes), spec(**model))]
    assert found == expected


def test_a_stream_of_pictures_needs_a_model_of_pictures_and_the_other_way_round():
    picture = {
        "channels": (ChannelSpec(name="grey", unit=""),),
        "mean": np.array([99.0]),
        "std": np.array([9.0]),
        "length": 12,
        "hop": 12,
        "image": ImageSpec(height=3, width=4),
    }
    camera = stream(format="image", channels={"grey": {}})
    assert fit_problems(camera, spec(**picture)) == []
    assert fit_problems(camera, spec()) == [
        (("model",), "looks at readings in time, and format image brings pictures")
    ]
    message = "must be image: the model looks at pictures of 4 x 3 pixels, not json"
    assert fit_problems(stream(), spec(**picture)) == [(("format",), message)]
    assert fit_problems(stream(format="image", channels={"red": {}}), spec(**picture))[0] == (
        ("channels", "red"),
        "the model has no such channel; it has grey",
    )
