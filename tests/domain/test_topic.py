"""Topics: filters, templates and levels, held to MQTT's own rules."""

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gatewayd.domain.topic import MAX_TOPIC_BYTES, TopicFilter, TopicTemplate, filters_overlap, safe_level

LEVEL = st.sampled_from(["", "a", "b", "$s"])
TOPIC = st.lists(LEVEL, min_size=1, max_size=4).map("/".join).filter(bool)
FILTER = st.tuples(
    st.lists(st.one_of(LEVEL, st.just("+")), max_size=3), st.sampled_from(["a", "+", "#", "", "$s"])
).map(lambda parts: "/".join([*parts[0], parts[1]]))
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


def covers(pattern, topic):
    """MQTT 3.1.1, 4.7, level by level: the independent source."""
    if topic[0] == "$" and pattern[0] in "+#":
        return False

    def rest(wanted, found):
        if not wanted:
            return not found
        if wanted[0] == "#":
            return True
        return bool(found) and wanted[0] in ("+", found[0]) and rest(wanted[1:], found[1:])

    return rest(pattern.split("/"), topic.split("/"))


@given(pattern=FILTER.filter(bool), topic=TOPIC)
def test_a_filter_matches_what_the_standard_says(pattern, topic):
    assert (TopicFilter.parse(pattern).match(topic) is not None) == covers(pattern, topic)


@given(first=FILTER.filter(bool), second=FILTER.filter(bool), topic=TOPIC)
def test_filters_that_share_a_topic_overlap(first, second, topic):
    if covers(first, topic) and covers(second, topic):
        assert filters_overlap(first, second)


@example(first="+", second="/#")
@given(first=FILTER.filter(bool), second=FILTER.filter(bool))
def test_filters_that_overlap_share_a_topic(first, second):
    """The witness takes each level from whichever filter names it."""
    assume(filters_overlap(first, second))
    a, b = first.split("/"), second.split("/")
    levels = []
    for i in range(max(len(a), len(b))):
        here = [parts[i] for parts in (a, b) if i < len(parts)]
        named = [level for level in here if level not in ("+", "#")]
        levels.append(named[0] if named else "x")
    witnesses = ["/".join(levels[:n]) for n in range(1, len(levels) + 1)]
    assert any(w and covers(first, w) and covers(second, w) for w in witnesses)


@given(names=st.lists(TEXT, min_size=2, max_size=2, unique=True))
def test_different_names_give_different_levels(names):
    assert safe_level(names[0]) != safe_level(names[1])


@given(
    values=st.lists(TEXT, min_size=2, max_size=2), template=st.sampled_from(["{a}/{b}", "x/{a}-{b}/y", "{b}"])
)
def test_a_filled_template_is_a_topic_that_its_filter_covers(values, template):
    parsed = TopicTemplate.parse(template)
    topic = parsed.render(dict(zip("ab", values, strict=True)))
    assert covers(parsed.as_filter(), topic)
    assert not set(topic) & {"+", "#", "\x00"}
    assert len(topic.encode()) <= MAX_TOPIC_BYTES
    assert not topic.startswith("$")


def test_the_longest_template_with_the_longest_names_is_still_a_topic():
    template = TopicTemplate.parse("{a}" * 341)
    assert len(template.render({"a": "+" * 300}).encode()) <= MAX_TOPIC_BYTES


def test_known_values_narrow_the_filter():
    template = TopicTemplate.parse("plant/{gateway}/{device}/{stream}-{device}")
    assert template.as_filter({"gateway": "g/1", "stream": "s"}) == "plant/g%2F1/+/+"


def test_named_levels_are_read_in_order():
    pattern = TopicFilter.parse("site/{line}/+/{device}/#")
    assert pattern.filter == "site/+/+/+/#"
    assert pattern.match("site/1/x/p7/a/b") == ("1", "p7")


@pytest.mark.parametrize(
    "pattern",
    ["", "a/#/b", "a+/b", "{a}x/b", "a/{a}/{a}", "a\x00b", "a\x85b", "$share/g/a", "x" * 65_536, "a/{A}"],
)
def test_a_bad_filter_is_refused(pattern):
    with pytest.raises(ValueError, match=r"topic|name|wildcard|'#'|subscription"):
        TopicFilter.parse(pattern)


@pytest.mark.parametrize("template", ["", "a/+", "a/#", "$a", "a{", "a\n", "x" * 1025])
def test_a_bad_template_is_refused(template):
    with pytest.raises(ValueError, match=r"topic|brace"):
        TopicTemplate.parse(template)
