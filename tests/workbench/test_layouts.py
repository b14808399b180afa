"""Tables and lists are laid out as their options say: their formats read them with these."""

import json

import pytest

from gatewayd.formats.registry import FORMATS
from gatewayd.workbench.families import Kind
from gatewayd.workbench.layouts import csv_kind, list_kind

NOW_S = 1_764_000_000


def read(kind, payload):
    given = {} if kind.time is None else {"time": kind.time}
    found = FORMATS[kind.format].from_text(dict(kind.options), **given)
    samples = found.decode("a", payload.encode(), arrived_at=NOW_S * 10**9)
    assert not samples.errors
    return [(one.device, one.channel, one.value) for one in samples.samples]


@pytest.mark.parametrize(
    ("text", "options", "time", "rows"),
    [
        ("t,rh\n21.5,48", {}, None, [("t", 21.5), ("rh", 48.0)]),
        (
            "ts;t;rh\n1764000000;21,5;48",
            {"delimiter": ";", "decimal": ","},
            "ts",
            [("t", 21.5), ("rh", 48.0)],
        ),
        ("1764000000,21.5", {"columns": "column_1,column_2"}, "column_1", [("column_2", 21.5)]),
        (
            "2025-03-14T09:26:53Z\t1\t2",
            {"columns": "column_1,column_2,column_3", "delimiter": "\t"},
            "column_1",
            None,
        ),
        ("id,t\nx7,21.5\nx8,22", {"text": "id"}, None, [("t", 21.5), ("t", 22.0)]),
        ("a,b\n1,\n2,3", {}, None, [("a", 1.0), ("a", 2.0), ("b", 3.0)]),
    ],
)
def test_tables(text, options, time, rows):
    kind = csv_kind([text])
    assert kind == Kind(format="csv", options=tuple(options.items()), time=time)
    found = read(kind, text)
    assert rows is None or [(channel, value) for _, channel, value in found] == rows


@pytest.mark.parametrize(
    "text", ["", "hello", "hello, world", "hello, 3", "a,b", "a,b\nc,d", "1,2\n3", "x,x\n1,2\n", "\n"]
)
def test_what_is_no_table(text):
    kind = csv_kind([text])
    assert kind is None or read(kind, text)


@pytest.mark.parametrize(
    ("document", "options", "time", "rows"),
    [
        (
            {"sent": NOW_S, "values": [{"id": "in", "v": 4.2, "q": True, "t": NOW_S}]},
            {"list": "values", "channel": "id", "value": "v", "good": "q"},
            "t",
            [(None, "in", 4.2)],
        ),
        (
            [{"name": "t1", "value": 21.5, "unit": "°C"}, {"name": "t2", "value": 22}],
            {"channel": "name", "value": "value"},
            None,
            [(None, "t1", 21.5), (None, "t2", 22.0)],
        ),
        (
            [{"device": "p1", "ts": NOW_S, "temp": 21.5}],
            {"device": "device"},
            "ts",
            [("p1", "temp", 21.5)],
        ),
        (
            {
                "machine": "press",
                "data": {"samples": [{"time": NOW_S, "x": 1.0}, {"time": NOW_S + 1, "x": 2.0}]},
            },
            {"list": "data.samples", "device": "/machine"},
            "time",
            [("press", "x", 1.0), ("press", "x", 2.0)],
        ),
        (
            {"ts": NOW_S, "d": [{"tag": "a", "value": 1}]},
            {"list": "d", "channel": "tag", "value": "value"},
            "/ts",
            [(None, "a", 1.0)],
        ),
    ],
)
def test_lists(document, options, time, rows):
    kind = list_kind("a", [document])
    assert kind is not None
    assert (kind.format, dict(kind.options), kind.time) == ("json_list", options, time)
    assert read(kind, json.dumps(document)) == rows


def test_a_device_that_the_topic_names_is_not_named_again():
    document = {"device": "p1", "list": [{"ts": NOW_S, "x": 1}]}
    assert dict(list_kind("site/p1", [document]).options) == {"list": "list"}
    assert dict(list_kind("site", [document]).options) == {"list": "list", "device": "/device"}


@pytest.mark.parametrize(
    "document",
    [
        {"a": 1},
        [],
        [1, 2],
        {"a": [1]},
        {"a": [{"x": 1}], "b": [{"x": 1}]},
        [{"x": 1}],
        {"a.b": [{"ts": NOW_S, "x": 1}]},
    ],
)
def test_what_is_no_list_of_samples(document):
    assert list_kind("a", [document]) is None
