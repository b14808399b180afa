import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import RejectedInputError
from gatewayd.formats import sparkplug_nodes
from gatewayd.formats.sparkplug_nodes import Announced, Node, Nodes, Table


def table(size, *, first=0):
    result = Table()
    for number in range(first, first + size):
        result.learn(Announced(name=f"m{number}", datatype=1, unit=None), number)
    return result


def test_numbers_run_from_0_to_255_and_again():
    node = Node()
    assert all(node.take(number % 256) for number in range(600))
    assert node.in_order == 600


@pytest.mark.parametrize("number", [7, 5, 300])
def test_any_other_number_is_a_gap_and_counted_on_from(number):
    node = Node()
    assert node.take(5)
    assert not node.take(number)
    assert node.in_order == 0
    assert node.take((number + 1) % 256)


def test_a_message_without_number_is_no_gap_and_says_nothing_of_the_next():
    node = Node()
    assert [node.take(number) for number in (5, None, 9, 10)] == [True] * 4


def test_an_alias_of_two_metrics_says_nothing():
    both = Table()
    for name in ("a", "b", "a"):
        both.learn(Announced(name=name, datatype=1, unit=None), 1)
    assert (both.name_of, both.by_alias(1), both.by_alias(2)) == ({1: None}, None, None)
    both.learn(Announced(name="c", datatype=1, unit=None), None)
    assert (list(both.by_name), list(both.name_of)) == (["a", "b", "c"], [1])
    again = Table()
    for unit in ("x", "y"):
        again.learn(Announced(name="a", datatype=1, unit=unit), 1)
    assert again.by_alias(1) == again.by_name["a"] == Announced(name="a", datatype=1, unit="y")


def test_the_node_born_longest_ago_gives_way(monkeypatch):
    monkeypatch.setattr(sparkplug_nodes, "MAX_NODES", 2)
    nodes = Nodes()
    for key in ("a", "b", "a", "c"):
        nodes.add(key, Node())
    assert [nodes.get(key) is not None for key in "abc"] == [True, False, True]
    assert nodes.remove("b") is None
    assert nodes.remove("a") is not None
    assert len(nodes) == 1


def test_a_node_that_announces_too_much_is_refused_and_costs_the_others_nothing(monkeypatch):
    monkeypatch.setattr(sparkplug_nodes, "MAX_NODE_METRICS", 5)
    nodes = Nodes()
    for key in "ab":
        nodes.add(key, Node())
    nodes.announce("a", "", table(4))
    nodes.announce("b", "", table(1))
    with pytest.raises(RejectedInputError, match="too_many_metrics"):
        nodes.announce("b", "d", table(3))
    nodes.announce("b", "", table(4))  # in place of its first
    assert [nodes.get(key).size for key in "ab"] == [5, 5]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(0, 8)), max_size=30))
def test_what_is_kept_is_bounded_and_the_last_birth_is_kept(births):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparkplug_nodes, "MAX_METRICS", 30)
        patch.setattr(sparkplug_nodes, "MAX_NODE_METRICS", 20)
        nodes = Nodes()
        for key, device, size in births:
            if nodes.get(key) is None:
                nodes.add(key, Node())
            try:
                nodes.announce(key, device, table(size))
            except RejectedInputError:
                assert device not in nodes.get(key).tables
            else:
                assert len(nodes.get(key).tables[device].by_name) == size
            sizes = [node.size for node in map(nodes.get, "abc") if node is not None]
            assert sum(sizes) <= 30
            assert max(sizes) <= 20


def known(keys, size=3):
    nodes = Nodes()
    for key in keys:
        nodes.add(key, Node(is_born=True, birth=4))
        nodes.announce(key, "", table(size))
    return nodes


def restored(nodes):
    following = Nodes()
    following.restore(nodes.state())
    return following


def test_a_node_is_restored_whole_but_not_proven():
    nodes = known("a")
    before = nodes.get("a")
    before.take(7)
    after = restored(nodes).get("a")
    assert (before.is_proven, after.is_proven) == (True, False)
    after.is_proven = True
    assert after == before


@pytest.mark.parametrize(
    ("number", "is_proven"), [(8, True), (7, False), (9, False), (0, False), (None, False)]
)
def test_only_the_very_next_message_proves_a_restored_node(number, is_proven):
    nodes = known("a")
    nodes.get("a").take(7)
    node = restored(nodes).get("a")
    assert node.prove(number) is node.is_proven is is_proven


def test_a_node_whose_number_was_not_known_cannot_be_proven():
    assert not restored(known("a")).get("a").prove(0)


def test_what_was_proven_stays_so():
    node = Node()
    assert node.prove(7)
    assert node.prove(None)


@pytest.mark.parametrize(
    ("birth", "died", "outlives"),
    [
        (4, 4, False),
        (4, 3, True),
        (4, 5, False),
        (0, 255, True),
        (255, 0, False),
        (None, 3, False),
        (4, None, False),
    ],
)
def test_deaths_of_earlier_sessions_are_outlived(birth, died, outlives):
    assert Node(birth=birth).outlives(died) is outlives


def test_bounds_hold_for_what_is_restored(monkeypatch):
    nodes = known("abc")
    nodes.announce("a", "d", table(3))
    for name, bound, left in (
        ("MAX_NODES", 2, "bc"),
        ("MAX_NODE_METRICS", 7, "bc"),
        ("MAX_METRICS", 9, "bc"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(sparkplug_nodes, name, bound)
            assert list(restored(nodes).state()) == list(left)


def test_an_alias_beyond_what_was_announced_is_refused():
    state = table(2).state()
    for place in (2, -1, "m0"):
        with pytest.raises(ValueError, match="expected"):
            Table.from_state({**state, "aliased": [0, place]})
    assert Table.from_state({**state, "aliased": [0, None]}).name_of == {0: "m0", 1: None}


def test_many_aliases_of_one_metric_count_as_many(monkeypatch):
    monkeypatch.setattr(sparkplug_nodes, "MAX_NODE_METRICS", 5)
    many, nodes = Table(), Nodes()
    for alias in range(5):
        many.learn(Announced(name="a", datatype=1, unit=None), alias)
    nodes.add("a", Node())
    with pytest.raises(RejectedInputError, match="too_many_metrics"):
        nodes.announce("a", "", many)
    assert (many.size, table(4).size) == (6, 5)
