"""What one message holds, by plain JSON, plain numbers and the registry's formats."""

import pytest

from gatewayd.workbench.families import Kind
from gatewayd.workbench.overheard import Heard
from gatewayd.workbench.values import LONGEST_LIST, Reader

NOW_NS = 1_764_000_000 * 10**9


def read(kind, payload, topic="a"):
    data = payload if isinstance(payload, bytes) else payload.encode()
    heard = Heard(order=1, number=1, payload=data, arrived_at=NOW_NS, is_retained=False)
    return Reader(kind)(topic, heard)


def by_channel(payload, **options):
    values, error = read(Kind(format="json", **options), payload)
    assert error is None
    return {value.channel: value for value in values}


def test_numbers_and_switches_of_json_by_their_paths():
    big = "1" + "0" * 400
    found = by_channel(
        '{"temp":21.5,"text":"x","none":null,"n":"3.5","on":true,"s":"OFF","l":[1,2],"m":{"x":1},"big":'
        + big
        + "}"
    )
    assert {name: (value.value, value.is_switch) for name, value in found.items()} == {
        "temp": (21.5, False),
        "n": (3.5, False),
        "on": (1.0, True),
        "s": (0.0, True),
        "l.0": (1.0, False),
        "l.1": (2.0, False),
        "m.x": (1.0, False),
    }
    assert {value.device for value in found.values()} == {None}


@pytest.mark.parametrize(
    ("payload", "units"),
    [
        ('{"value":21.5,"seq":3,"unit":"°C"}', {"value": "°C", "seq": ""}),
        ('{"temp":21.5,"uom":"°C"}', {"temp": "°C"}),
        ('{"temp":21.5,"hum":40,"unit":"°C"}', {"temp": "", "hum": ""}),
        ('{"oil":{"v":3,"unit":"bar"},"t":20}', {"oil.v": "bar", "t": ""}),
        ('{"value":[1,2],"unit":"g"}', {"value.0": "g", "value.1": "g"}),
        ('{"temp":21.5,"unit":3}', {"temp": "", "unit": ""}),
    ],
)
def test_a_unit_that_stands_beside_is_that_of_the_value_that_has_no_other_name(payload, units):
    assert {name: value.unit for name, value in by_channel(payload).items()} == units


def test_the_time_is_no_channel_and_may_be_missing():
    assert by_channel('{"m":{"ts":1764000000},"x":1}', time="m.ts")["x"].taken_at == NOW_NS
    assert list(by_channel('{"m":{"ts":1764000000},"x":1}', time="m.ts")) == ["x"]
    assert by_channel('{"m":3,"x":1}', time="m.ts")["x"].taken_at is None
    assert by_channel('{"x":1}')["x"].taken_at is None


@pytest.mark.parametrize(
    ("kind", "payload", "error"),
    [
        ("json", "[1]", "not_an_object"),
        ("json", "{", "not_json"),
        ("json", '{"w":[' + "1," * LONGEST_LIST + "1]}", None),
        ("json", '{"a":' * 20 + "1" + "}" * 20, None),
        ("json", '{"a":' + "[" * 20 + "1" + "]" * 20 + "}", None),
        ("number", "x", "not_a_number"),
        ("number", b"\xff", "not_text"),
        ("number", "nan", None),
        ("senml_json", "{", "not_json"),
    ],
)
def test_what_gives_no_values(kind, payload, error):
    assert read(Kind(format=kind), payload) == ([], error)


def test_numbers():
    (value,), error = read(Kind(format="number"), "21.5")
    assert (value.channel, value.value, value.is_switch, error) == ("value", 21.5, False, None)
    (value,), _ = read(Kind(format="number"), "on")
    assert value.is_switch


@pytest.mark.parametrize(
    ("payload", "switches"),
    [
        (
            '{"on":true,"l":[{"x":1,"up":false}],"s":"ON","n":3}',
            {"on": True, "l.0.x": False, "l.0.up": True, "n": False},
        ),
        ("{}", {}),
    ],
)
def test_the_registrys_formats_are_told_what_is_a_switch(payload, switches):
    values, _ = read(Kind(format="flat_json"), payload)
    assert {value.channel: value.is_switch for value in values} == switches


def test_a_payload_that_is_a_switch_as_a_whole():
    (value,), _ = read(Kind(format="homie", root="homie"), "true", topic="homie/d/n/p")
    assert (value.device, value.channel, value.is_switch) == ("d", "n.p", True)
    (value,), _ = read(Kind(format="homie", root="homie"), "5", topic="homie/d/n/p")
    assert not value.is_switch
