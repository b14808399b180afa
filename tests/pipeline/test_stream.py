"""A stream is built from its settings and its model, columns in the model's order."""

import numpy as np
import pytest

from gatewayd.domain.reading import Batch
from gatewayd.pipeline.decode import Routed
from gatewayd.pipeline.stream import Stream
from tests.support.flows import ARRIVED, plan


def decoded(stream, payload):
    now = np.array([ARRIVED])
    routed = Routed(device=np.zeros(1, np.int64), payloads=[payload], arrived_at=now, steady_at=now)
    return stream.decode(routed).batch.values.tolist()


def test_columns_stand_in_the_model_s_order_whatever_the_file_s():
    given = plan(channels=("a", "b"))
    channels = {"b": {"field": "deep.b"}, "a": {}}
    settings = given.settings.model_validate(
        {**given.settings.model_dump(by_alias=True), "channels": channels}, strict=False
    )
    stream = Stream(
        type(given)(name="s", settings=settings, spec=given.spec, model=given.model), gateway="gw"
    )
    assert decoded(stream, b'{"ts": 1700000000.5, "deep": {"b": 2}, "a": 1}') == [[1.0, 2.0]]


def test_ranges_are_those_of_the_channels():
    stream, limited = Stream(plan(channels=("a",)), gateway="gw"), Stream(ranged(), gateway="gw")
    batch = Batch(
        device=np.zeros(3, np.int64), taken_at=ARRIVED + np.arange(3), values=np.array([[-1.0], [0.0], [5.1]])
    )
    arrived = np.full(3, ARRIVED, np.int64)
    assert len(stream.steps.cleaner.clean(batch, arrived)[0]) == 3
    assert limited.steps.cleaner.clean(batch, arrived)[0].values.tolist() == [[0.0]]


def ranged():
    given = plan(channels=("a",))
    settings = given.settings.model_validate(
        {**given.settings.model_dump(by_alias=True), "channels": {"a": {"min": 0.0, "max": 5.0}}}
    )
    return type(given)(name="s", settings=settings, spec=given.spec, model=given.model)


def test_the_configuration_s_threshold_comes_before_the_model_s():
    assert Stream(plan(), gateway="gw").verdicts.decider.threshold == 1.0
    assert Stream(plan(alert={"threshold": 7.5}), gateway="gw").verdicts.decider.threshold == 7.5


def test_a_stream_without_any_threshold_is_a_mistake():
    given = plan()
    object.__setattr__(given.spec, "threshold", None)
    with pytest.raises(ValueError, match="no threshold"):
        Stream(given, gateway="gw")


def test_hop_and_gap_are_the_configuration_s_where_it_says_so():
    stream = Stream(plan(length=4, hop=4, window={"hop": 1, "max_gap_s": 0.5}), gateway="gw")
    assert stream.steps.windower.max_gap_ns == 500_000_000
    batch = Batch(
        device=np.zeros(5, np.int64), taken_at=ARRIVED + np.arange(5), values=np.zeros((5, 2), np.float64)
    )
    assert len(stream.steps.windower.add(batch)) == 2


def test_a_changed_gap_takes_effect_on_windows_that_go_on():
    old, new = Stream(plan(), gateway="gw"), Stream(plan(window={"max_gap_s": 1.0}), gateway="gw")
    assert new.adopt(old, old.state())
    assert new.steps.windower.max_gap_ns == 10**9


def test_a_changed_limit_on_the_future_takes_effect_on_sensors_that_go_on():
    old, new = Stream(plan(), gateway="gw"), Stream(plan(max_future_s=5.0), gateway="gw")
    assert new.adopt(old, old.state())
    batch = Batch(
        device=np.zeros(2, np.int64), taken_at=ARRIVED + np.array([4, 6]) * 10**9, values=np.zeros((2, 2))
    )
    _, dropped = new.steps.cleaner.clean(batch, np.full(2, ARRIVED, np.int64))
    assert dropped == {"future": 1}
