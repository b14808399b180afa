"""The narrowest format that reads nearly all messages is it; what is no reading has a reason."""

import json
import struct

import cbor2
import pytest

from gatewayd.workbench import recognise as module
from gatewayd.workbench.families import Families, Kind
from gatewayd.workbench.recognise import recognise
from tests.support import plant
from tests.support.discovered import overhear

NOW_S = 1_764_000_000


def recognised(topic, *payloads):
    heard = [
        (float(index), topic, payload if isinstance(payload, bytes) else payload.encode(), False)
        for index, payload in enumerate(payloads)
    ]
    overheard = overhear(heard)
    (one,) = overheard
    return recognise(one, Families.among(overheard))


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        ('{"temp":21.5}', Kind(format="json")),
        ('{"ts":1764000000,"temp":21.5}', Kind(format="json", time="ts")),
        ('{"temp":"21.5"}', Kind(format="json")),
        ('{"motor.temp":21.5,"time":"2025-03-14T09:26:53Z"}', Kind(format="flat_json", time="time")),
        ("21.5", Kind(format="number")),
        (" 21.5\n", Kind(format="number")),
        ('[{"n":"t","u":"Cel","v":21.5}]', Kind(format="senml_json")),
        ("air,device=p7 t=41.5 1764000000000000000", Kind(format="influx_line")),
        ("air,device=p7 t=41.5 1764000000", Kind(format="influx_line", options=(("precision", "s"),))),
        ("time,temp\n1764000000,21.5", Kind(format="csv", time="time")),
        (cbor2.dumps({"t": NOW_S, "temp": 21.5}), Kind(format="flat_cbor", time="t")),
        (cbor2.dumps([{0: "t", 2: 21.5}]), Kind(format="senml_cbor")),
        (
            struct.pack(">xBBBHhhhH", 40, 20, 0, 1000, 1, 2, 3, 2900).replace(b"\x00", b"\x03", 1),
            Kind(format="ruuvi_raw"),
        ),
    ],
)
def test_formats(payload, kind):
    assert recognised("a/b", payload) == kind


@pytest.mark.parametrize(
    "make", [plant.edgex, plant.ttn, plant.cloudevents, plant.senml, plant.csv], ids=lambda m: m.__name__
)
def test_makes_that_stand_for_themselves(make):
    topic, payload, _ = next(iter(make(3.0)))
    found = recognised(topic, payload)
    assert isinstance(found, Kind)
    assert (
        found.format
        == {
            plant.edgex: "edgex",
            plant.ttn: "ttn_v3",
            plant.cloudevents: "cloudevents",
            plant.senml: "senml_json",
            plant.csv: "csv",
        }[make]
    )


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        ("$SYS/broker/uptime", "12 seconds", "broker_status"),
        ("a/set", "21.5", "command"),
        ("a/cmnd", '{"temp":1}', "command"),
        ("a/b", "hello, world", "text"),
        ("a/b", "state = good", "text"),
        ("a/b", "ON", "switch"),
        ("a/b", "true", "switch"),
        ("a/b", '{"name":"x"}', "unknown_json"),
        ("a/b", "[1,2]", "unknown_json"),
        ("a/b", b"\xff\xd8\xff\xe0", "image"),
        ("a/b", b"\x1f\x8b\x08\x00\xff", "compressed"),
        ("a/b", b"\xc1\xc1\x00", "unknown_binary"),
        ("a/\x01", "1", "unusable_topic"),
        ("a/+", "1", "unusable_topic"),
        ("ha/config", '{"stat_t":"x","uniq_id":"y","max":3}', "discovery"),
        ("ha/other", '{"stat_t":"x","uniq_id":"y","max":3}', "discovery"),
        (
            "g/x/prediction",
            json.dumps({"gateway": "g", "stream": "s", "device": "d", "model": "m", "score": 1}),
            "own_results",
        ),
    ],
)
def test_reasons(topic, payload, reason):
    assert recognised(topic, payload) == reason


def test_one_message_of_five_may_be_something_else():
    assert recognised("a", "1", "2", "3", "4", "n/a") == Kind(format="number")
    assert recognised("a", "1", "2", "3", "n/a", "n/a") == "text"


def test_a_format_whose_package_is_missing_is_named_as_such(monkeypatch):
    class Missing:
        def from_text(self, options, **_):
            raise ValueError(f"needs a package; {options}")

    monkeypatch.setattr(
        module, "FORMATS", {**module.FORMATS, "sparkplug_b": Missing(), "flat_cbor": Missing()}
    )
    module._reader.cache_clear()
    assert recognised("spBv1.0/G/DDATA/n/d", b"\x0a") == "needs_extra"
    assert recognised("a/b", cbor2.dumps({"temp": 21.5})) == "unknown_binary"
    module._reader.cache_clear()
