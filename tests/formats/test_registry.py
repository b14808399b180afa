import inspect

import pytest

from gatewayd.formats.registry import FORMATS, Factory


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_can_be_made_and_answers(name):
    made = FORMATS[name]()
    assert FORMATS[name].name == name
    assert made.decode("a/b", b"\xff\x00", arrived_at=0).samples == ()
    assert list(inspect.signature(made.decode).parameters) == ["topic", "payload", "arrived_at"]
    assert made is not FORMATS[name]()  # state is one stream's own


def test_options_are_named_and_an_unknown_one_is_refused():
    assert FORMATS["zigbee2mqtt"].options == ("base", "output")
    with pytest.raises(ValueError, match=r"^format 'tasmota': .*'time_zone'"):
        FORMATS["tasmota"](time_zone="Europe/Berlin")


def test_an_option_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="no time zone 'Berlin'"):
        FORMATS["tasmota"](timezone="Berlin")
    with pytest.raises(ValueError, match="'text_sensor'"):
        FORMATS["esphome"](only=["sensor", "text_sensor"])


def test_a_missing_extra_is_named(monkeypatch):
    def absent(module):
        raise ModuleNotFoundError(name="cbor2")

    monkeypatch.setattr("importlib.import_module", absent)
    with pytest.raises(ValueError, match=r"'some' needs the package 'cbor2'; pip install '\.\[formats\]'"):
        Factory(name="some", module="some", kind="Some", extra="formats")()


def test_a_module_of_ours_that_is_missing_is_a_bug_and_not_the_operators():
    with pytest.raises(ModuleNotFoundError):
        Factory(name="some", module="no_such_module", kind="Some", extra="formats")()
