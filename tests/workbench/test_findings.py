"""What streams and channels are called, and how often they come."""

import pytest

from gatewayd.workbench.channels import Seen
from gatewayd.workbench.families import Kind
from gatewayd.workbench.findings import Findings, LeftOut, grid_s, interval_s, level_of, named, stream_name
from gatewayd.workbench.sources import Series, Source


def seen(field):
    return Seen(field=field, unit="", low=0.0, high=1.0, readings=2, doubt=None)


def source(device, *, is_named=False, seconds=0.0, **live):
    made = Source(device=device, is_named=is_named, first_at=10**9, last_at=round((1 + seconds) * 10**9))
    made.series = {name: Series(live=float(count)) for name, count in live.items()}
    return made


def test_channels_are_named_by_their_fields_or_by_what_the_topic_says():
    assert [name for name, _ in named([seen("a:b"), seen("a_b"), seen("a.c")], "")] == ["a_b", "a_b-2", "a.c"]
    assert [name for name, _ in named([seen("value")], "oil temperature")] == ["oil_temperature"]
    assert [name for name, _ in named([seen("value"), seen("v")], "oil")] == ["value", "v"]
    assert [name for name, _ in named([seen("rpm")], "speed")] == ["rpm"]


@pytest.mark.parametrize(
    ("kind", "pattern", "devices", "channel", "name"),
    [
        ("json", "site/{device}/telemetry", ["site/pump-1/telemetry", "site/pump-2/telemetry"], "t", "pump"),
        ("json", "site/{device}/telemetry", ["site/a/telemetry", "site/b/telemetry"], "t", "site"),
        ("json", "{device}/data", ["a/data", "b/data"], "t", "json"),
        ("json", "node/{device}", ["node/cbb8334c884f"], "t", "node"),
        ("number", "heat/{device}/flow", ["heat/b1/flow"], "flow", "heat-flow"),
        ("number", "rtl/Tower/A/{device}/12/flow", ["rtl/Tower/A/b/12/flow"], "flow", "Tower-flow"),
        ("number", "lab/temperature", ["lab/temperature"], "temperature", "lab-temperature"),
    ],
)
def test_streams_are_named_by_devices_or_topics(kind, pattern, devices, channel, name):
    found = [source(device) for device in devices]
    assert stream_name(Kind(format=kind), pattern, found, channel, ()) == name
    assert stream_name(Kind(format=kind), pattern, found, channel, (name,)) == f"{name}-2"


def test_a_stream_of_single_values_is_also_named_by_what_they_measure():
    made = stream_name(Kind(format="json"), "a/{device}/oil", [source("a/p1/oil")], "oil", (), quantity="oil")
    assert made == "json-oil"


def test_streams_of_named_devices_are_named_by_these_or_by_their_format():
    sparkplug = Kind(format="sparkplug_b", root="spBv1.0/G")
    assert stream_name(sparkplug, "spBv1.0/G/#", [source("n/Press7", is_named=True)], "p", ()) == "press"
    assert (
        stream_name(sparkplug, "spBv1.0/G/#", [source("n", is_named=True)], "Oil.Temp", ())
        == "sparkplug-temp"
    )


def test_what_was_heard_and_left_out_in_words():
    assert Findings(streams=(), left_out=(), messages=1, topics=2).summary == "1 message on 2 topics"
    assert LeftOut(reason="text", count=1, example="a/b").text == "1 topic: text, such as a/b"
    assert (
        LeftOut(reason="too_much", count=3, example="").text
        == "3 messages: payloads beyond the memory for them"
    )
    assert (
        LeftOut(reason="not_csv", count=2, example="a").text == "2 topics: not readable: not csv, such as a"
    )


def test_the_device_level():
    assert level_of("a/p1/x", "a/{device}/x") == "p1"
    assert level_of("a/p1/x", "a/+/x") == "a/p1/x"


def test_intervals():
    sources = [
        source("a", seconds=10, x=11, y=3),
        source("b", seconds=20, x=11, y=3),
        source("c", seconds=9, x=1),
    ]
    assert interval_s(sources, ["x", "y"], slowest=False) == 1.5
    assert interval_s(sources, ["x", "y"], slowest=True) == 7.5
    assert interval_s(sources[2:], ["x"], slowest=False) is None
    unknown = [source("a", seconds=10, x=11, y=1)]
    assert interval_s(unknown, ["x", "y"], slowest=False) == 1.0
    assert interval_s(unknown, ["x", "y"], slowest=True) is None


@pytest.mark.parametrize(
    ("slowest_s", "step_s"), [(0.03, 0.1), (1.0, 1.0), (1.01, 1.0), (1.1, 2.0), (9e9, 3600.0), (None, 60.0)]
)
def test_grids_are_round(slowest_s, step_s):
    assert grid_s(slowest_s) == step_s
