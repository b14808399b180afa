import inspect
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.config.settings import FormatName
from gatewayd.formats.registry import FORMATS, Factory
from tests.support.any_message import check

PAYLOADS = [
    b"",
    b"21.5",
    b'{"a":{"b":[1,true]},"t":1741944413}',
    b"a,b\n1,2\n",
    b"air,d=x t=1 5",
    b"\x81\xa1\x00\x01",
]


def test_the_configuration_knows_every_format_and_no_other():
    assert set(get_args(FormatName)) == {*FORMATS, "json", "number", "image"}


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


def test_options_as_text_become_what_the_format_takes():
    made = FORMATS["csv"].from_text({"columns": "a, ,b", "delimiter": ";", "text": ""}, time="a")
    found = made.decode("t", b"1741944413;x;2.5", arrived_at=0)  # the column without name isn't read
    assert [(one.channel, one.value, one.taken_at) for one in found.samples] == [
        ("b", 2.5, 1_741_944_413 * 10**9)
    ]
    assert FORMATS["esphome"].from_text({"only": "sensor,switch"})
    for text in ("yes", "on", "true", "No", "off", "false"):
        assert FORMATS["sparkplug_b"].from_text({"with_group": text})


@pytest.mark.parametrize(
    ("name", "options", "given", "message"),
    [
        ("sparkplug_b", {"with_group": "maybe"}, {}, "expected true or false, not 'maybe'"),
        ("zigbee2mqtt", {"output": "xml"}, {}, "expected json, attribute, attribute_and_json, not 'xml'"),
        ("zigbee2mqtt", {"bas": "x"}, {}, "format zigbee2mqtt has no option 'bas'; did you mean 'base'?"),
        ("homie", {"xyz": "x"}, {}, "format homie has no option 'xyz'; it has base"),
        ("edgex", {"xyz": "x"}, {}, "format edgex has no option 'xyz'; it has none"),
        (
            "flat_json",
            {"time": "x"},
            {"time": "y"},
            "format flat_json has no option 'time'; did you mean 'timezone'?",
        ),
    ],
)
def test_an_option_as_text_that_cannot_be_is_refused_by_name(name, options, given, message):
    with pytest.raises(ValueError) as caught:
        FORMATS[name].from_text(options, **given)
    assert caught.value.args == (message, next(iter(options)))


@given(st.data(), st.sampled_from(sorted(FORMATS)))
def test_any_text_for_an_option_makes_a_format_that_decodes_or_is_refused(data, name):
    factory = FORMATS[name]
    texts = st.text(max_size=8) | st.sampled_from(
        ["*", "a.*", "/*.b", "@key", "\x00", ";", ",", "no", "Europe/Berlin", "s"]
    )
    given_text = data.draw(st.dictionaries(st.sampled_from([*factory.options, "other"]), texts, max_size=4))
    try:
        made = factory.from_text(given_text)
    except ValueError as error:
        refused = str(error)
    else:
        check(made.decode("a/b/c", data.draw(st.sampled_from(PAYLOADS)), arrived_at=10**18))
        refused = None
    assert refused is None or "\n" not in refused
