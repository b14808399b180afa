import itertools

from hypothesis import given
from hypothesis import strategies as st

from gatewayd.formats.sparkplug_rebirth import FIRST_PAUSE_NS, LONGEST_PAUSE_NS, MAX_PER_SECOND, Rebirths
from gatewayd.formats.sparkplug_schema import parse_payload
from tests.support.readings import ARRIVAL
from tests.support.sparkplug import BOOLEAN


def test_a_request_is_a_command_to_the_node():
    request = Rebirths().request("g", "n", now=ARRIVAL)
    assert request is not None
    assert request.topic == "spBv1.0/g/NCMD/n"
    payload = parse_payload(request.payload)
    (metric,) = payload.metrics
    assert (metric.name, metric.datatype, metric.boolean_value) == ("Node Control/Rebirth", BOOLEAN, True)
    assert payload.timestamp == metric.timestamp == ARRIVAL // 10**6
    assert not payload.HasField("seq")  # commands aren't numbered
    assert not metric.HasField("alias")


def test_pauses_double_up_to_the_longest():
    rebirths, now, pauses = Rebirths(), ARRIVAL, []
    assert rebirths.request("g", "n", now=now)
    for _ in range(11):
        start = now
        while not rebirths.request("g", "n", now=now):
            now += FIRST_PAUSE_NS
        pauses.append(now - start)
    assert pauses[:3] == [FIRST_PAUSE_NS, 2 * FIRST_PAUSE_NS, 4 * FIRST_PAUSE_NS]
    assert pauses[-2:] == [LONGEST_PAUSE_NS, LONGEST_PAUSE_NS]


def test_a_settled_node_starts_from_the_shortest_pause():
    rebirths = Rebirths()
    rebirths.request("g", "n", now=ARRIVAL)
    rebirths.request("g", "n", now=ARRIVAL + FIRST_PAUSE_NS)
    rebirths.settle("g", "n")
    rebirths.settle("g", "other")
    now = ARRIVAL + 3 * FIRST_PAUSE_NS
    assert rebirths.request("g", "n", now=now)
    assert not rebirths.request("g", "n", now=now + FIRST_PAUSE_NS - 1)
    assert rebirths.request("g", "n", now=now + FIRST_PAUSE_NS)


def test_a_clock_that_steps_back_ends_the_pause():
    rebirths = Rebirths()
    assert rebirths.request("g", "n", now=ARRIVAL)
    assert rebirths.request("g", "n", now=0)


def test_nodes_that_peers_make_up_share_one_bound():
    rebirths = Rebirths()
    asked = [rebirths.request("g", f"n{number}", now=ARRIVAL + number) for number in range(100)]
    assert sum(request is not None for request in asked) == MAX_PER_SECOND
    assert rebirths.request("g", "n99", now=ARRIVAL + 10**9)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 100), st.booleans()), max_size=40))
def test_one_node_is_never_asked_twice_within_the_shortest_pause(steps):
    rebirths, now, asked = Rebirths(), ARRIVAL, {"a": [], "b": []}
    for node, tenths, is_settled in steps:
        now += tenths * 10**8
        if is_settled:
            rebirths.settle("g", node)
        if rebirths.request("g", node, now=now):
            asked[node].append(now)
    for times in asked.values():
        assert all(after - before >= FIRST_PAUSE_NS for before, after in itertools.pairwise(times))


def test_who_goes_on_asks_no_sooner():
    before, rebirths = Rebirths(), Rebirths()
    for number in range(MAX_PER_SECOND - 1):
        assert before.request("g", f"n{number}", now=ARRIVAL)
    rebirths.restore(before.state())
    assert not rebirths.request("g", "n0", now=ARRIVAL + FIRST_PAUSE_NS - 1)
    assert rebirths.request("g", "a", now=ARRIVAL + 1)
    assert not rebirths.request("g", "b", now=ARRIVAL + 2)
    assert rebirths.request("g", "n0", now=ARRIVAL + FIRST_PAUSE_NS)


def test_a_node_that_is_forgotten_may_be_asked_at_once():
    rebirths = Rebirths()
    assert rebirths.request("g", "n", now=ARRIVAL)
    rebirths.forget("g", "n")
    assert rebirths.request("g", "n", now=ARRIVAL + 1)


def test_no_state_makes_a_pause_longer_than_the_longest():
    rebirths = Rebirths()
    rebirths.restore({"asked": {"g/n": [ARRIVAL, 10**30, 10**30]}, "second": 0, "in_second": 10**9})
    assert rebirths.request("g", "n", now=ARRIVAL + LONGEST_PAUSE_NS)
