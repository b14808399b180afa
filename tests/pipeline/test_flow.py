"""Same in, same out; and the counters add up, whatever comes."""

import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.domain.model import TensorSpec
from gatewayd.errors import RejectedInputError
from gatewayd.formats.registry import FORMATS
from gatewayd.pipeline.encode import make_edge_node
from gatewayd.pipeline.flow import Flow
from tests.support.flows import (
    ARRIVED,
    HalvingModel,
    assert_sums,
    bundle_messages,
    bundle_plan,
    make_flow,
    message,
    plan,
    run,
)
from tests.support.models import golden_bundle

TOPICS = ["site/l1/p1", "site/l1/p2", "site/l2/p1", "elsewhere/x", "site/l1/\xff"]
GOOD = st.builds(
    message,
    st.sampled_from(TOPICS[:3]),
    st.integers(0, 40),
    st.sampled_from([0.0, 1.0, 3.0, -4.0, 1e6]),
)
BAD = st.builds(
    lambda topic, payload, header: (topic, payload, header, 0),
    st.sampled_from([topic.encode("latin-1") for topic in TOPICS]),
    st.sampled_from(
        [b"", b"{", b"[]", b'{"a": "x"}', b'{"c": 1}', b'{"ts": "?", "a": 1, "b": 2}', b'{"a": 1}']
    ),
    st.sampled_from([0x30, 0x31, 0x32, 0x3B]),
)


def by_device(publications):
    result = {}
    for publication in publications:
        result.setdefault(publication.topic.rsplit("/", 1)[0], []).append(publication)
    return result


@given(messages=st.lists(GOOD | BAD, max_size=60), data=st.data())
def test_publications_don_t_depend_on_how_messages_are_cut_into_runs(messages, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(messages)), max_size=6)))
    whole, parts = make_flow(), make_flow()
    expected = run(whole, messages).publications
    found = []
    for begin, end in zip([0, *cuts], [*cuts, len(messages)], strict=True):
        found += run(parts, messages[begin:end]).publications
    # byte for byte; both lines share one device name here, so keep them apart by their documents' labels
    assert sorted(map(repr, found)) == sorted(map(repr, expected))
    for line in ("l1", "l2"):
        for device in ("p1", "p2"):

            def mine(publications, line=line, device=device):
                texts = [p.payload for p in publications]
                return [
                    t
                    for t in texts
                    if (d := json.loads(t))["device"] == device and d["labels"]["line"] == line
                ]

            assert mine(found) == mine(expected)
    assert whole.figures() == parts.figures()
    assert_sums(whole.figures())


@given(messages=st.lists(GOOD | BAD, max_size=40))
def test_counters_add_up_with_streams_that_share_topics(messages):
    flow = make_flow(
        plan("one"),
        plan("two", topic="site/l1/{device}", length=2, hop=1, time=None),
        plan("few", topic="site/{line}/{device}", window={"max_devices": 1, "max_gap_s": 2}),
    )
    run(flow, messages)
    assert_sums(flow.figures())


@given(
    messages=st.lists(GOOD | BAD, max_size=60),
    turns=st.lists(
        st.tuples(
            st.integers(0, 60),
            st.lists(st.integers(0, 8), min_size=1, max_size=3, unique_by=lambda index: max(index, 5)),
        ),
        max_size=4,
    ),
)
def test_counters_add_up_through_reloads_of_any_kind(messages, turns):
    """Streams come, go, and change their window, channels, time, topic, device limit and model as they like."""
    flow, begin = make_flow(), 0
    for end, chosen in sorted(turns):
        run(flow, messages[begin:end])
        begin = max(begin, end)
        before = flow.figures()
        flow = adopting(flow, make_flow(*[PLANS[index]() for index in chosen]))
        after = flow.figures()
        assert_sums(after)
        assert (after.messages, after.readings) == (before.messages, before.readings)
        assert after.alerts_raised - after.alerts_cleared == after.alerts_standing + abandoned(flow)
        assert all(after.dropped[reason] >= count for reason, count in before.dropped.items())
    run(flow, messages[begin:])
    figures = flow.figures()
    assert_sums(figures)
    assert figures.messages == len(messages)


def adopting(old, new):
    """Hand over as the line does; a new flow knows what all before it abandoned."""
    new.adopt(old)
    new.abandoned_so_far = abandoned(old) + sum(new.abandoned_alerts.values())
    return new


def abandoned(flow):
    return getattr(flow, "abandoned_so_far", 0)


# the first six have one name: at most one of them runs at a time
PLANS = [
    plan,
    lambda: plan("pump", length=4, hop=4),
    lambda: plan("pump", channels=("a",)),
    lambda: plan("pump", time=None),
    lambda: plan("pump", topic="site/l1/{device}"),
    lambda: plan(
        "pump", window={"max_devices": 1, "max_gap_s": 3.0}, alert={"raise": "2 of 3", "clear": "1 of 2"}
    ),
    lambda: plan("two", topic="site/l1/{device}", length=2, hop=1),
    lambda: plan(
        "three", topic="#", device="all", format="number", time=None, channels=("a",), length=1, hop=1
    ),
    lambda: plan("four", topic="site/+/+", length=1, hop=1, model=HalvingModel(1, 2, failing)),
]


@given(messages=st.lists(GOOD | BAD, max_size=60), cuts=st.lists(st.integers(0, 60), max_size=5))
def test_reloads_that_change_nothing_change_nothing(messages, cuts):
    """Nothing is lost, repeated, or told apart: the same bytes as of an undisturbed run."""
    whole = make_flow()
    expected = run(whole, messages).publications
    flow, found, begin = make_flow(), [], 0
    for end in sorted(cuts):
        found += run(flow, messages[begin:end]).publications
        begin = max(begin, end)
        following = make_flow()
        assert following.adopt(flow) == []
        assert following.abandoned_alerts == {}
        flow = following
    found += run(flow, messages[begin:]).publications
    assert streamed(found) == streamed(expected)
    assert flow.figures() == whole.figures()


def streamed(publications):
    """Publications by device, in order."""
    result = {}
    for publication in publications:
        document = json.loads(publication.payload)
        result.setdefault((document["stream"], document["device"], str(document["labels"])), []).append(
            publication
        )
    return result


@pytest.fixture(scope="module")
def bundles():
    """The real thing: three tasks, two dtypes, one of them without a batchable kernel."""
    return {name: golden_bundle(name) for name in ("dense_int8", "classifier_int8", "gru_float32")}


@pytest.fixture(scope="module")
def traffic(bundles):
    """Readings of two devices of each stream, as they mix on a broker."""
    runs = [
        bundle_messages(bundle, f"{name}/{device}", 120, seed=seed)
        for seed, (name, bundle) in enumerate(bundles.items())
        for device in ("a", "b")
    ]
    return [message for together in zip(*runs, strict=True) for message in together]


@pytest.fixture(scope="module")
def undisturbed(bundles, traffic):
    return streamed(run(real_flow(bundles), traffic).publications)


def real_flow(bundles):
    return make_flow(*[bundle_plan(name, bundle) for name, bundle in bundles.items()])


@given(cuts=st.lists(st.integers(0, 720), max_size=12))
@settings(max_examples=15, deadline=None)  # each runs three models on 720 readings
def test_real_models_give_the_same_bytes_however_readings_are_cut_into_runs(
    bundles, traffic, undisturbed, cuts
):
    flow, found = real_flow(bundles), []
    for begin, end in pairwise([0, *sorted(cuts), len(traffic)]):
        found += run(flow, traffic[begin:end]).publications
    assert streamed(found) == undisturbed
    assert_sums(flow.figures())


def test_real_models_give_the_same_bytes_reading_by_reading(bundles, traffic, undisturbed):
    flow = real_flow(bundles)
    found = [p for one in traffic for p in run(flow, [one]).publications]
    assert streamed(found) == undisturbed
    assert flow.figures().alerts_raised > 0
    assert flow.figures().alerts_cleared > 0
    # (120 - length) // hop + 1 windows of each of two devices: dense 12, classifier 27, gru 27
    assert flow.figures().predictions == 2 * (12 + 27 + 27)


def test_devices_are_told_apart_by_all_named_levels():
    flow = make_flow()
    run(flow, [message("site/l1/p1", 0, 0), message("site/l2/p1", 1, 0), message("site/l1/p1", 2, 0)])
    assert flow.figures().devices == 2
    assert flow.figures().windows == 0


def test_an_alert_follows_its_prediction_and_clears_with_the_same_id():
    flow = make_flow()
    outcome = run(flow, [message("site/l1/p1", s, a) for s, a in enumerate([9, 9, 9, 0, 0, 0, 0])])
    documents = [json.loads(p.payload) for p in outcome.publications]
    assert [d["kind"] for d in documents] == ["prediction", "alert", "prediction", "prediction", "alert"]
    raised, cleared = documents[1], documents[4]
    assert (raised["state"], cleared["state"]) == ("raised", "cleared")
    assert raised["id"] == cleared["id"]
    assert raised["causes"] == [{"channel": "a", "contribution": 1.0}, {"channel": "b", "contribution": 0.0}]
    assert [p.topic for p in outcome.publications[:2]] == ["out/pump/p1/prediction", "out/pump/p1/alert"]
    # mean over 3 samples and 2 channels of (9 / 2) ** 2
    assert documents[0]["score"] == pytest.approx(3 * 4.5**2 / 6)
    assert flow.figures().alerts_standing == 0


@pytest.mark.parametrize(("which", "kinds"), [("none", {"alert"}), ("anomalous", {"prediction", "alert"})])
def test_predictions_are_published_as_asked(which, kinds):
    flow = make_flow(plan(publish={"to": "cloud", "predictions": which}))
    outcome = run(flow, [message("site/l1/p1", s, a) for s, a in enumerate([9, 9, 9, 0, 0, 0, 0])])
    assert {p.kind for p in outcome.publications} == kinds
    anomalous = [json.loads(p.payload) for p in outcome.publications if p.kind == "prediction"]
    assert all(document["verdict"] == "anomalous" for document in anomalous)
    assert flow.figures().predictions == 3


def failing(inputs):
    if (inputs == 7).any():
        raise RejectedInputError("model_failed")
    return np.where(inputs == 5, np.float32(math.nan), inputs)


def test_a_window_that_fails_or_gives_nan_costs_itself_alone():
    flow = make_flow(plan(length=1, hop=1, model=HalvingModel(1, 2, failing)))
    outcome = run(flow, [message("site/l1/p1", s, a) for s, a in enumerate([1, 5, 7, 2])])
    assert len(outcome.publications) == 2
    assert flow.figures().unscored == {"model_output_not_finite": 1, "model_failed": 1}
    assert_sums(flow.figures())


def test_inputs_beyond_the_model_s_range_are_counted_per_channel():
    model = HalvingModel(1, 2)
    model.input = TensorSpec(shape=(1, 2), dtype="int8", scale=0.1, zero_point=0)
    flow = make_flow(plan(length=1, hop=1, model=model))
    run(flow, [message("site/l1/p1", 0, 1.0, 99.0), message("site/l1/p1", 1, 13.0, -99.0)])
    assert flow.figures().saturated == {"pump/a": 1, "pump/b": 2}


def test_case_03_a_bad_payload_between_two_good_ones_costs_nothing_else():
    flow = make_flow(plan(topic="t/{device}", format="number", time=None, channels=("a",), length=1, hop=1))
    outcome = run(flow, [(b"t/d", payload, 0x30, 0) for payload in (b"21.1", b"bad", b"21.2")])
    assert len([p for p in outcome.publications if p.kind == "prediction"]) == 2
    assert flow.figures().rejected == {"not_a_number": 1}


def fed(flow, seconds, a=0.0):
    return run(flow, [message("site/l1/p1", second, a) for second in seconds])


def test_another_flow_goes_on_with_windows_devices_and_alerts():
    old = make_flow()
    fed(old, range(3), a=9)
    new = Flow("gw", [plan(alert={"raise": "1 of 1", "clear": "1 of 1", "threshold": 2.0})])
    assert new.adopt(old) == []
    [prediction, alert] = fed(new, range(3, 7)).publications[-2:]
    assert json.loads(alert.payload)["state"] == "cleared"
    assert json.loads(prediction.payload)["window"]["end"] == "2023-11-14T22:13:26Z"
    figures = new.figures()
    assert (figures.messages, figures.windows, figures.alerts_raised, figures.alerts_cleared) == (7, 3, 1, 1)
    assert_sums(figures)


@pytest.mark.parametrize(
    "other",
    [plan(length=4), plan(channels=("a",)), plan(topic="site/+/{device}"), plan("another"), plan(time=None)],
)
def test_what_another_flow_cannot_go_on_with_is_counted(other):
    old = make_flow()
    fed(old, range(4))
    new = Flow("gw", [other])
    new.adopt(old)
    assert new.figures().dropped == {"reload": 1}
    fed(new, range(4, 30))
    assert_sums(new.figures())
    assert new.figures().readings == 30


@pytest.mark.parametrize("other", [plan(length=4), plan("another")])
def test_what_a_gap_took_before_a_reload_stays_counted(other):
    old = make_flow(plan(window={"max_gap_s": 2.0}))
    fed(old, [0, 1, 20, 21])
    new = Flow("gw", [other])
    new.adopt(old)
    assert new.figures().dropped == {"gap": 2, "reload": 2}
    assert_sums(new.figures())


def test_what_a_grid_and_windows_of_time_noted_before_a_reload_stays_counted():
    old = make_flow(
        plan(window={"duration_s": 10.0}, align={"every_s": 1.0, "max_gap_s": 2.0}, idle_timeout_s=100.0)
    )
    fed(old, [*range(25), 40, 41])
    before = old.figures()
    assert before.unfilled > 0
    assert before.marked["excess"] > 0
    for _ in range(2):  # it's not counted twice either
        new = make_flow()
        new.adopt(old)
        assert (new.figures().unfilled, new.figures().marked) == (before.unfilled, before.marked)
        again = make_flow()
        again.restore(new.state())
        assert (again.figures().unfilled, again.figures().marked) == (before.unfilled, before.marked)
        assert_sums(again.figures())
        old = again


def test_a_class_without_a_number_leaves_the_window_unscored():
    """Its score would be finite, since it is the other class that is alerted on; no JSON number holds the rest."""
    given = plan(length=1, hop=1, channels=("a", "b"), model=HalvingModel(1, 2, failing))
    spec = replace(given.spec, task="classification", labels=("x", "y"), alert_on=("x",))
    flow = make_flow(replace(given, spec=spec))
    assert run(flow, [message("site/l1/p1", 0, 0.5, 5)]).publications == []
    assert flow.figures().unscored == {"model_output_not_finite": 1}


def test_a_reload_names_the_alerts_that_nothing_will_clear_and_keeps_reasons():
    old = make_flow()
    fed(old, range(4), a=9)
    fed(old, [1])
    new = Flow("gw", [plan("another")])
    new.adopt(old)
    assert new.abandoned_alerts == {"pump": 1}
    assert new.figures().dropped == {"late": 1, "reload": 1}
    assert_sums(new.figures())


def test_the_first_device_or_topic_of_each_loss_is_remembered():
    flow = make_flow()
    run(flow, [(b"elsewhere/x", b"1", 0x30, 0), (b"site/l1/p1", b"{", 0x30, 0)])
    run(flow, [message("site/l1/p2", 5, 1), message("site/l1/p2", 4, 1)])
    assert flow.figures().examples == {
        "refused/unexpected_topic": "elsewhere/x",
        "rejected/not_json": "pump/l1/p1",
        "dropped/late": "pump/l1/p2",
    }


def test_a_format_that_names_its_devices_and_channels_is_scored_like_any_other():
    """One message per reading; the device is the friendly name, slashes and all."""
    zigbee = plan(
        topic="zigbee2mqtt/#",
        format="zigbee2mqtt",
        time=None,
        channels=("temperature", "humidity"),
    )
    flow = make_flow(replace(zigbee, free_format=FORMATS["zigbee2mqtt"](base="zigbee2mqtt")))
    outcome = run(
        flow,
        [
            (
                b"zigbee2mqtt/hall/climate",
                json.dumps(
                    {
                        "temperature": 20.0,
                        "humidity": 50,
                        "linkquality": 80,
                        "last_seen": 1_700_000_000_000 + row * 1000,
                    }
                ).encode(),
                0x30,
                0,
            )
            for row in range(5)
        ],
    )
    documents = [json.loads(p.payload) for p in outcome.publications if p.kind == "prediction"]
    assert [d["device"] for d in documents] == ["hall/climate"] * 2
    assert outcome.publications[0].topic == "out/pump/hall%2Fclimate/prediction"
    assert documents[0]["window"]["end"] == "2023-11-14T22:13:22Z"
    assert_sums(flow.figures())


def test_a_missed_sparkplug_birth_is_asked_for():
    plant = plan(topic="spBv1.0/g/#", format="sparkplug_b", time=None)
    flow = make_flow(replace(plant, free_format=FORMATS["sparkplug_b"]()))
    outcome = run(flow, [(b"spBv1.0/g/DDATA/n/d", b"\x18\x01", 0x30, 0)])
    assert [request.topic for request in outcome.requests] == ["spBv1.0/g/NCMD/n"]
    assert run(flow, []).requests == []


def test_what_was_retained_of_a_stream_that_is_gone_is_taken_back():
    def flow(name, **publish):
        options = {"to": "cloud", "topic": "out/{stream}/{device}", "alert_state": True, "home_assistant": {}}
        return make_flow(plan(name, length=1, hop=1, publish={**options, **publish}))

    old = flow("pump")
    told = run(old, [message("site/l/d", 0, 9.0)]).publications
    assert [p.kind for p in told] == ["discovery", "prediction", "alert", "alert_state"]
    same, gone = flow("pump"), flow("other")
    same.adopt(old)
    assert same.last_words.publications == []
    gone.adopt(old)
    words = {p.topic: p.payload for p in gone.last_words.publications}
    assert words == {p.topic: b"" for p in told if p.retain}


@pytest.mark.parametrize("goes_on", ["adopt", "restore"])
@pytest.mark.parametrize(
    "change",
    [
        {"publish": {"topic": "elsewhere/{device}"}},
        {"alert": {"silent_after_s": 60.0}},
    ],
)
def test_what_is_retained_is_told_again_where_it_stands_elsewhere_or_says_more(change, goes_on):
    def flow(**more):
        publish = {"to": "cloud", "topic": "out/{device}", "alert_state": True, "home_assistant": {}}
        alert = {"raise": "1 of 1", "clear": "1 of 1"}
        return make_flow(
            plan(
                length=1,
                hop=1,
                publish={**publish, **more.get("publish", {})},
                alert={**alert, **more.get("alert", {})},
            )
        )

    def standing(publications, retained):
        for one in publications:
            retained[one.topic] = one.payload
        return {topic: payload for topic, payload in retained.items() if payload}

    old, fresh = flow(), flow(**change)
    told = [one for one in run(old, [message("site/l/d", 0, 9.0)]).publications if one.retain]
    expected = [one for one in run(fresh, [message("site/l/d", 0, 9.0)]).publications if one.retain]
    new = flow(**change)
    if goes_on == "adopt":
        new.adopt(old)
    else:
        new.restore(old.state())
    seen = standing(new.last_words.publications, {one.topic: one.payload for one in told})
    for one in expected:
        assert seen[one.topic] == one.payload


@pytest.mark.parametrize("cut", range(9))
def test_a_clock_that_is_set_begins_the_windows_of_streams_without_time_anew(cut):
    """A gateway that starts in 1970 and is told the time after its fourth message."""
    untimed = plan("bare", topic="bare/{device}", time=None)
    timed = plan("own", topic="own/{device}")
    messages = [
        entry
        for second in range(4)
        for entry in (message("bare/d", second, 1.0), message("own/d", second, 1.0))
    ]
    steady = 5 * 10**9 + np.arange(8) * 10**9
    arrived = steady + np.where(np.arange(8) < 4, 0, 1_700_000_000 * 10**9)
    flow = make_flow(untimed, timed)
    for part in (slice(0, cut), slice(cut, 8)):
        flow.run(messages[part], arrived[part], steady[part])
    figures = flow.figures()
    assert figures.dropped == {"clock_set": 2}
    assert (figures.windows, figures.waiting) == (1, 3)
    assert_sums(figures)


def parts_of(value, path=()):
    """Yield the path of every part of a state."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in inner:
        yield from parts_of(part, (*path, name))


@pytest.mark.parametrize("instead", [None, 5, "x", [], {}, [1, 2], np.zeros(3)])
def test_a_state_with_parts_of_another_version_is_taken_or_refused_as_none(instead):
    """Whatever stands in it: the daemon begins anew instead of failing at every start."""

    def flow():
        alert = {"raise": "1 of 2", "clear": "1 of 1", "silent_after_s": 9.0, "drift": {}, "hold_off_s": 5.0}
        return make_flow(plan(lateness_s=2.0, alert=alert))

    old = flow()
    run(old, [message(f"site/l/d{second % 2}", second, 9.0 * (second % 3)) for second in range(20)])
    refused = 0
    for *above, last in list(parts_of(old.state())):
        state = old.state()
        part = state
        for name in above:
            part = part[name]
        if isinstance(part, tuple):
            continue
        part[last] = instead
        try:
            flow().restore(state)
        except ValueError:
            refused += 1
    assert refused


def test_commands_about_what_cannot_be_leave_nothing_behind():
    """Whoever may send commands could otherwise fill the memory with channels that there are not."""
    flow = Flow("gw", [plan(alert={"silent_after_s": 9.0})], commands=("cloud", "commands"))
    run(flow, [message("site/l/d", 0, 0.0)])
    fresh = flow.state()["streams"]["pump"]["verdicts"]["decider"]

    def say(condition, channel):
        command = {"command": "out_of_service", "stream": "pump", "device": "d", "condition": condition}
        payload = json.dumps({**command, "channel": channel}).encode()
        return json.loads(flow.hear("cloud", "commands", payload, ARRIVED).answer)

    for number in range(3):
        for condition, channel in (("stuck", f"no{number}"), ("anomaly", f"no{number}"), ("stuck", "a")):
            assert say(condition, channel)["reason"] == "unknown_alert"
    assert flow.state()["streams"]["pump"]["verdicts"]["decider"] == fresh
    assert say("silent", None)["result"] == "done"


@pytest.mark.parametrize("goes_on", ["adopt", "restore"])
def test_hosts_of_sparkplug_are_told_once_of_devices_whose_stream_is_gone(goes_on):
    publish = {"to": "cloud", "encoding": "sparkplug_b"}

    def flow(*names):
        node = make_edge_node(group="g", gateway="gw", broker="cloud", qos=1)
        plans = [plan(name, topic=f"{name}/{{device}}", length=1, hop=1, publish=publish) for name in names]
        return make_flow(*(replace(one, edge_node=node) for one in plans))

    old, new = flow("pump", "fan"), flow("fan")
    run(old, [message("pump/d", 0, 0.0), message("fan/d", 0, 0.0)])
    if goes_on == "adopt":
        new.adopt(old)
    else:
        new.restore(old.state())
    assert [one.topic for one in new.last_words.publications] == ["spBv1.0/g/DDEATH/gw/pump:d"]
    following = flow("fan")
    following.adopt(new)
    assert following.last_words.publications == []
    assert [one.topic for one in run(following, [message("fan/d", 1, 0.0)]).publications] == [
        "spBv1.0/g/DDATA/gw/fan:d"
    ]
