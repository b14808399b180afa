"""Filters cover their topics and nothing foreign, whatever the topics; and they read as a person would write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.topic import TopicFilter
from gatewayd.workbench.generalise import by_quantity, cover, looks_like_id

TOPICS = st.sets(
    st.lists(st.sampled_from(["a", "b", "p1", "p2", "{x}", "temp"]), min_size=1, max_size=4).map("/".join),
    max_size=14,
)


@given(TOPICS, TOPICS, st.booleans())
def test_filters_cover_their_topics_once_and_nothing_foreign(topics, foreign, names):
    foreign -= topics
    patterns = cover(topics, foreign, names=names)
    covered = [topic for pattern in patterns for topic in pattern.topics]
    assert len(set(covered)) == len(covered)
    assert set(covered) <= topics
    for pattern in patterns:
        parsed = TopicFilter.parse(pattern.pattern)
        assert all(parsed.match(topic) is not None for topic in pattern.topics)
        assert all(parsed.match(topic) is None for topic in foreign)
        assert ("device" in parsed.names) == (names and "+" in parsed.filter)
    # only a topic that can't be written, and whose general form covers a foreign one, may be missing
    assert all("{" in topic for topic in topics - set(covered))


@given(TOPICS, TOPICS)
def test_the_order_of_topics_does_not_matter(topics, foreign):
    foreign -= topics
    one, other = sorted(topics), sorted(topics, reverse=True)
    assert cover(one, sorted(foreign), names=True) == cover(other, sorted(foreign, reverse=True), names=True)


def patterns(*topics, foreign=(), names=True):
    return [pattern.pattern for pattern in cover(topics, foreign, names=names)]


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        (["site/p1/t", "site/p2/t"], ["site/{device}/t"]),
        (["site/line1/p1/t", "site/line1/p2/t", "site/line2/p3/t"], ["site/{line}/{device}/t"]),
        (["w/lines/3/p1", "w/lines/4/p2", "w/lines/4/p3"], ["w/lines/{line}/{device}"]),
        (["w/north/p1", "w/south/p1", "w/south/p2"], ["w/{level2}/{device}"]),
        (["north/p1", "north/p2", "south/p3"], ["north/{device}", "south/{device}"]),
        (["s/device1/p1", "s/device1/p2", "s/device2/p3"], ["s/{level2}/{device}"]),
        (["boiler/telemetry", "mixer/telemetry"], ["{device}/telemetry"]),
        (["plant/boiler"], ["plant/boiler"]),
        (["plant/0a1b2c3d/up"], ["plant/{device}/up"]),
        (["plant/pump-7/up"], ["plant/{device}/up"]),
        (["pump-7/up"], ["pump-7/up"]),
        (["pump-0a1b2c3d/up"], ["{device}/up"]),
        (["rtl_433/events"], ["rtl_433/events"]),
        (["N/c0619ab9929a/battery/512/Dc/0/I"], ["N/{device}/battery/512/Dc/0/I"]),
        (["e/cell3/press-08/temperature"], ["e/cell3/{device}/temperature"]),
        (
            ["e/press-7/vib/x", "e/press-7/vib/y", "e/press-7/vib/z", "e/press-8/vib/x"],
            ["e/{device}/vib/{level4}"],
        ),
        (["v1/devices/me"], ["v1/devices/me"]),
        (["plant/temperature2"], ["plant/temperature2"]),
        (["a/{b}/c"], ["a/{device}/c"]),
        (["a/p1", "a/b/p1", "a/p2", "a/b/p2"], ["a/b/{device}", "a/{device}"]),
    ],
)
def test_topics_are_generalised(topics, expected):
    assert sorted(patterns(*topics)) == sorted(expected)


def test_one_topic_is_generalised_as_a_guess_and_not_over_others():
    (guess,) = cover(["plant/pump-7"], (), names=True)
    assert (guess.pattern, guess.is_guess) == ("plant/{device}", True)
    (sure,) = cover(["plant/pump-7"], ["plant/fan-1"], names=True)
    assert (sure.pattern, sure.is_guess) == ("plant/pump-7", False)


def test_a_foreign_topic_splits_at_the_level_that_sets_it_apart():
    topics = ["s/a/p1", "s/a/p2", "s/b/p3", "s/b/p4"]
    assert patterns(*topics, foreign=["s/c/x"]) == ["s/a/{device}", "s/b/{device}"]
    assert patterns(*topics, foreign=["s/a/p9"]) == ["s/a/p1", "s/a/p2", "s/b/{device}"]


def test_what_is_guessed_after_a_split_covers_nothing_foreign_either():
    assert patterns("a/b/p1", "c/d/p1", foreign=["a/b/x"]) == ["a/b/p1", "c/d/{device}"]


def test_without_names_levels_are_wild():
    assert patterns("a/p1/x", "a/p2/x", names=False) == ["a/+/x"]


def test_what_looks_like_an_id():
    assert all(
        map(
            looks_like_id,
            [
                "0x00158d0001a2b3c4",
                "a8:03:2a:b1:00:01",
                "pump-3",
                "p1",
                "12",
                "cbb8334c884f",
                "6f1c2b52-7a0e-4c1b-9c4d-0123456789ab",
                "SN-2024-0042",
            ],
        )
    )
    assert not any(
        map(looks_like_id, ["telemetry", "v3", "zigbee2mqtt", "temperature2", "facade", "spBv1.0", ""])
    )


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        (["h/b1/temperature", "h/b2/temperature"], {"temperature": ["h/b1/temperature", "h/b2/temperature"]}),
        (["h/temperature/b1", "h/temperature/b2"], {"temperature": ["h/temperature/b1", "h/temperature/b2"]}),
        (["h/b1/xx", "h/b2/xx", "h/b1/yy"], {"xx": ["h/b1/xx", "h/b2/xx"], "yy": ["h/b1/yy"]}),
        (["h/s1", "h/s2"], {"": ["h/s1", "h/s2"]}),
        (["h/k/xx", "h/k/yy"], {"xx": ["h/k/xx"], "yy": ["h/k/yy"]}),
        (["value"], {"": ["value"]}),
    ],
)
def test_topics_of_single_values_are_parted_by_what_they_measure(topics, expected):
    assert by_quantity(topics) == expected
