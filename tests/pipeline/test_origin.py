"""Ids stand for what they are made of, and for nothing else."""

import json
from hashlib import blake2b
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.verdict import Condition, Kind
from gatewayd.pipeline.origin import Device, Origin
from tests.support.verdicts import DEVICES, INSTANTS, TEXT

KINDS = st.sampled_from(get_args(Kind))
ABOUT = st.fixed_dictionaries(
    {"condition": st.sampled_from(get_args(Condition)), "channel": st.none() | TEXT}
)


def origin(**changes):
    parts = {"gateway": "gw", "stream": "pump", "model": "m", "version": "1", "runtime": "r 1"}
    return Origin(**{**parts, **changes})


@given(first=st.tuples(KINDS, DEVICES, INSTANTS, ABOUT), second=st.tuples(KINDS, DEVICES, INSTANTS, ABOUT))
def test_ids_are_the_same_exactly_for_the_same(first, second):
    ids = [origin().identify(*one[:3], **one[3]) for one in (first, second)]
    assert (ids[0] == ids[1]) == (first == second)


@given(device=DEVICES, at=INSTANTS, gateway=TEXT, model=TEXT)
def test_an_id_is_a_hash_of_a_json_list(device, at, gateway, model):
    """Ids outlive versions of this program: what a consumer has stored stays true."""
    parts = ["prediction", gateway, "pump", *device.levels.values(), device.name, str(at), model, "1"]
    key = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    id_ = origin(gateway=gateway, model=model).identify("prediction", device, at)
    assert id_ == blake2b(key.encode(), digest_size=16).hexdigest()


@pytest.mark.parametrize("change", ["gateway", "stream", "model", "version"])
def test_ids_differ_between_streams_and_models(change):
    device = Device(name="d", levels={"device": "d"})
    assert origin().identify("alert", device, 1) != origin(**{change: "x"}).identify("alert", device, 1)


def test_ids_do_not_depend_on_the_runtime():
    device = Device(name="d", levels={"device": "d"})
    assert origin().identify("alert", device, 1) == origin(runtime="x").identify("alert", device, 1)


def test_ids_differ_by_what_an_alert_is_about():
    device = Device(name="d", levels={"device": "d"})
    about = [(condition, channel) for condition in get_args(Condition) for channel in (None, "", "t", "u")]
    ids = {origin().identify("alert", device, 1, condition=one, channel=channel) for one, channel in about}
    assert len(ids) == len(about)
    assert origin().identify("alert", device, 1) == origin().identify("alert", device, 1, condition="anomaly")


def test_labels_are_the_levels_beside_the_device():
    device = Device(name="p3", levels={"line": "l1", "device": "p3"})
    assert device.labels == {"line": "l1"}
    assert device == Device(name="p3", levels={"line": "l1", "device": "p3"})
