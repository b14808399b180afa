"""Options that contradict each other are all found, each at its own place."""

import pytest

from gatewayd.config.consistency import find_problems
from gatewayd.config.settings import OutboxSettings, Settings


def settings(brokers=None, **stream):
    pump = {
        "from": "local",
        "topic": "site/{line}/{device}/telemetry",
        "channels": {"t": {}},
        "model": "m",
        "publish": {"to": "cloud"},
    }
    return Settings.model_validate(
        {
            "gateway": {"id": "g"},
            "brokers": {"local": {"host": "a"}, "cloud": {"host": "b"}} | (brokers or {}),
            "streams": {"pump": pump | stream},
        }
    )


def test_a_consistent_file_has_no_problem():
    assert find_problems(settings()) == []
    camera = settings(
        format="image",
        format_options={"fit": "crop"},
        channels={"grey": {"unit": "", "resolution": 1.0}},
        alert={"silent_after_s": 60.0},
    )
    assert find_problems(camera) == []
    lanes = settings(topic="road/#", format="json_list", format_options={"list": "lanes", "device": "id"})
    assert find_problems(lanes) == []
    watched = settings(channels={"t": {"max": 5.0}}, alert={"out_of_range": True})
    assert find_problems(watched) == []


@pytest.mark.parametrize(
    ("changes", "loc", "words"),
    [
        ({"from": "locl"}, "streams.pump.from", "did you mean 'local'?"),
        ({"publish": {"to": "zz"}}, "streams.pump.publish.to", "known: local, cloud"),
        ({"device": "p"}, "streams.pump.device", "leave this out"),
        ({"topic": "site/+/t"}, "streams.pump.topic", "tells devices apart"),
        ({"topic": "site/+/t", "format": "flat_json"}, "streams.pump.topic", "tells devices apart"),
        ({"topic": "site/#", "format": "json_list"}, "streams.pump.topic", "tells devices apart"),
        ({"alert": {"out_of_range": True}}, "streams.pump.alert.out_of_range", "no channel has min or max"),
        ({"topic": "site/{kind}/{device}"}, "streams.pump.topic", "gatewayd's own name"),
        ({"max_age_s": 1e300}, "streams.pump.max_age_s", "must be at least 0.000001 and at most 1000000000"),
        ({"window": {"duration_s": 1e-10}}, "streams.pump.window.duration_s", "must be at least 0.000001"),
        ({"alert": {"flood": {"within_s": 1e-9}}}, "streams.pump.alert.flood.within_s", "at least 0.000001"),
        (
            {"publish": {"to": "cloud", "topic": "x/{lime}"}},
            "streams.pump.publish.topic",
            "did you mean {line}?",
        ),
        ({"format": "number", "channels": {"a": {}, "b": {}}}, "streams.pump.channels", "one channel, not 2"),
        ({"format": "number", "time": {"field": "ts"}}, "streams.pump.time", "no time stamp"),
        (
            {"format": "number", "channels": {"a": {"field": "x"}}},
            "streams.pump.channels.a.field",
            "no fields",
        ),
        (
            {"format": "image", "channels": {"grey": {"denoise": {"median": 3}}}},
            "streams.pump.channels.grey.denoise",
            "format image has no use for it",
        ),
        ({"format": "image", "window": {"hop": 3}}, "streams.pump.window.hop", "no use for it"),
        ({"format": "image", "lateness_s": 1.0}, "streams.pump.lateness_s", "no use for it"),
        ({"format": "image", "time": {"field": "ts"}}, "streams.pump.time", "no use for it"),
        ({"format": "image", "alert": {"out_of_range": True}}, "streams.pump.alert.out_of_range", "no use"),
        ({"format": "image", "model": None}, "streams.pump.format", "needs a model of pictures"),
        (
            {"channels": {"a": {"min": 2.0, "max": 2.0}}},
            "streams.pump.channels.a.min",
            "less than 2 (max), not 2",
        ),
        (
            {"topic": "plant/g/#", "device": "d", "publish": {"to": "local"}},
            "streams.pump.publish.topic",
            "stream 'pump' subscribes to what this publishes",
        ),
        ({"topic": "#", "device": "d"}, "streams.pump.topic", "covers the status topic of broker 'local'"),
        (
            {"brokers": {"x": {"host": "h", "password_file": "p"}}},
            "brokers.x.password_file",
            "needs a username",
        ),
        (
            {"brokers": {"x": {"host": "h", "reconnect_min_s": 9.0, "reconnect_max_s": 8.0}}},
            "brokers.x.reconnect_max_s",
            "at least 9 (reconnect_min_s), not 8",
        ),
        (
            {"brokers": {"x": {"host": "h", "tls": {"key_file": "k"}}}},
            "brokers.x.tls.key_file",
            "needs cert_file",
        ),
        (
            {"brokers": {"x": {"host": "h", "status_topic": "{device}"}}},
            "brokers.x.status_topic",
            "{gateway}",
        ),
        (
            {"brokers": {n: {"host": "h", "client_id": "same"} for n in "xy"}},
            "brokers.y.client_id",
            "broker 'x' uses this id",
        ),
    ],
)
def test_a_contradiction_is_found_at_the_option_that_is_wrong(changes, loc, words):
    found = [(".".join(finding.loc), finding.message) for finding in find_problems(settings(**changes))]
    assert len(found) == 1, found
    assert found[0][0] == loc
    assert words in found[0][1]


def test_several_contradictions_are_found_at_once():
    found = find_problems(
        settings(device="p", publish={"to": "zz"}, channels={"a": {"min": 2.0, "max": 1.0}})
    )
    assert {".".join(f.loc) for f in found} == {
        "streams.pump.device",
        "streams.pump.publish.to",
        "streams.pump.channels.a.min",
    }
    assert all(f.reads for f in found)


def test_streams_of_two_source_brokers_are_refused():
    raw = settings().model_dump(by_alias=True)
    raw["streams"]["fan"] = raw["streams"]["pump"] | {"from": "cloud", "publish": {"to": "local"}}
    found = find_problems(Settings.model_validate(raw))
    assert [f.loc for f in found if "all streams come from one broker" in f.message] == [
        ("streams", "fan", "from")
    ]


def test_results_on_a_shared_broker_are_no_loop_when_nobody_subscribes_to_them():
    """The gateway's and the stream's own names are known: ``+`` in their place would refuse this."""
    assert (
        find_problems(settings(publish={"to": "local", "topic": "{gateway}/{stream}/{device}/{kind}"})) == []
    )


@pytest.mark.parametrize(("option", "values"), [("group", ("a", "b")), ("qos", (0, 1))])
def test_streams_that_are_one_edge_node_say_the_same_of_it(option, values):
    def problems(second):
        streams = {
            name: {
                "from": "local",
                "topic": f"{name}/{{device}}",
                "channels": {"t": {}},
                "publish": {"to": "cloud", "encoding": encoding, option: value},
            }
            for name, encoding, value in (
                ("json", "json", values[1]),
                ("pump", "sparkplug_b", values[0]),
                ("fan", "sparkplug_b", second),
            )
        }
        document = {"gateway": {"id": "g"}, "brokers": {"local": {"host": "a"}, "cloud": {"host": "b"}}}
        return find_problems(Settings.model_validate({**document, "streams": streams}))

    assert problems(values[0]) == []
    [problem] = problems(values[1])
    assert problem.loc == ("streams", "fan", "publish", option)
    assert "stream 'pump'" in problem.message


def test_sparkplug_keeps_its_order():
    """Its messages are numbered: a host that gets them out of order asks for a rebirth."""
    given = settings(publish={"to": "cloud", "group": "plant", "encoding": "sparkplug_b"})
    live = given.model_copy(update={"outbox": OutboxSettings(order="live_first")})
    assert find_problems(given) == []
    found = find_problems(live)
    assert [(finding.loc, "use oldest_first" in finding.message) for finding in found] == [
        (("outbox", "order"), True)
    ]
