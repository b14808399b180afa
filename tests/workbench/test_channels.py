"""What is worth a channel."""

import pytest

from gatewayd.workbench.channels import come_together, fields_of, judge
from gatewayd.workbench.sources import Series, Source

NOW_S = 1_764_000_000.0


def source(sets=(), **series):
    made = Source(device="d", is_named=False)
    made.series = {
        name: values if isinstance(values, Series) else Series(values=[float(value) for value in values])
        for name, values in series.items()
    }
    made.sets.update(sets)
    return made


def doubts(*sources):
    return {seen.field: seen.doubt for seen in judge(sources)}


@pytest.mark.parametrize(
    ("name", "values", "doubt"),
    [
        ("temp", [20.5, 21.0], None),
        ("temp", range(20, 30), "counter"),
        ("temp", [20, 21, 22], None),
        ("temp", [20.1, 20.2, 20.3, 20.4, 20.5, 20.6, 20.7, 20.8], None),
        ("energy_total", [1.5, 1.5, 1.6], "counter"),
        ("energy_total", [1.5, 1.4], None),
        ("temp", [3.0] * 8, "constant"),
        ("temp", [3.0] * 7, None),
        ("running", [0, 1, 1], "switch"),
        ("rssi", [-60, -61], "diagnostic"),
        ("serial_number", [5, 6], "identity"),
        ("sent_at", [NOW_S, NOW_S + 1], "time"),
    ],
)
def test_doubts(name, values, doubt):
    assert doubts(source(other=[1.5, 1.2], **{name: values}))[name] == doubt


def test_a_counter_counts_at_every_device():
    assert doubts(source(other=[1.5, 2], x=range(9)), source(x=[5, 4]))["x"] is None


def test_what_is_written_as_a_switch_is_one():
    assert doubts(source(other=[1.5, 2], x=Series(values=[1.0], is_switch=True)))["x"] == "switch"


def test_the_last_constants_stay_and_the_last_switches_do_not():
    assert fields_of(judge([source(temp=[3.0] * 9, rssi=[-60, -61], on=[0, 1])])) == ["temp", "rssi"]
    assert fields_of(judge([source(on=[0, 1], seq=[1, 2, 3])])) == []


def test_what_was_seen():
    celsius = Series(values=[20.0, 22.5], units={"°C"})
    (seen,) = judge([source(t=celsius), source(t=Series(values=[19.0], units={"Cel"}))])
    assert (seen.low, seen.high, seen.readings, seen.unit) == (19.0, 22.5, 3, "°C")
    (mixed,) = judge([source(t=celsius), source(t=Series(values=[70.0], units={"°F"}))])
    assert mixed.unit == ""
    (named,) = judge([source(temp_c=[20.0])])
    assert named.unit == "°C"


def test_channels_come_together_or_they_do_not():
    both, one, neither = frozenset({"x", "y"}), frozenset({"x"}), frozenset({"z"})
    assert come_together([source({both: 19, one: 1, neither: 50})], ["x", "y"])
    assert not come_together([source({both: 18, one: 2})], ["x", "y"])
    assert not come_together([source({one: 5}), source({frozenset({"y"}): 5})], ["x", "y"])
