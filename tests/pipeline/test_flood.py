"""Floods: held to a count over all raises, and to what somebody who only listens believes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.domain.verdict import Alert
from gatewayd.pipeline.flood import Flood

WITHIN = 10


def alert(identity, state="raised", status=None, **others):
    status = status or {"cleared": "normal"}.get(state, "unacknowledged")
    return Alert(
        **{
            "id": str(identity),
            "device": 0,
            "state": state,
            "status": status,
            "first_out_at": 0,
            "raised_at": 0,
            "cleared_at": 1 if state in ("cleared", "latched") else None,
            "score": 1.0,
            "peak_score": 1.0,
            "threshold": 1.0,
            "causes": (("a", 1.0),),
            **others,
        }
    )


def raises(flood, times):
    return [len(flood.sift([alert(f"{at}/{n}")], at).alerts) == 1 for n, at in enumerate(times)]


def test_the_raise_that_is_one_too_many_begins_a_flood():
    """ISA-18.2's numbers: the eleventh within ten minutes."""
    minute = 60 * 10**9
    flood = Flood(most=10, within_ns=10 * minute)
    passed = [flood.sift([alert(n)], n * minute // 2) for n in range(10)]
    assert all(len(sifted.alerts) == 1 and not sifted.changes for sifted in passed)
    sifted = flood.sift([alert("one more")], 5 * minute)
    assert sifted.alerts == ()
    [change] = sifted.changes
    assert (change.is_on, change.at, change.held) == (True, 5 * minute, 1)
    assert flood.is_on
    assert flood.holds("one more")
    assert not flood.holds("0")
    # the fifth newest was at 3 minutes
    assert flood.deadline() == 13 * minute


def test_ten_in_ten_minutes_for_ever_are_no_flood():
    flood = Flood(most=10, within_ns=100)
    assert all(raises(flood, range(0, 5000, 10)))


def test_what_still_stands_is_published_when_the_flood_is_over():
    flood = Flood(most=2, within_ns=WITHIN)
    flood.sift([alert("a"), alert("b"), alert("c"), alert("d"), alert("e")], 1)
    sifted = flood.sift(
        [
            alert("c", "cleared"),
            alert("d", "escalated", severity="high"),
            alert("e", "cleared", "returned_unacknowledged"),
            alert("a", "cleared"),
        ],
        5,
    )
    assert [(a.id, a.state) for a in sifted.alerts] == [("a", "cleared")]
    assert flood.expire(10) == flood.expire(0)
    sifted = flood.sift([alert("f")], 11)
    assert [(a.id, a.state, a.severity) for a in sifted.alerts] == [
        ("d", "raised", "high"),
        ("e", "cleared", "medium"),
        ("f", "raised", "medium"),
    ]
    [change] = sifted.changes
    assert (change.is_on, change.at, change.held, change.released) == (False, 11, 3, 2)
    assert flood.withheld == 1
    assert not flood.is_on
    assert flood.deadline() is None


def test_a_published_alert_that_is_raised_again_is_not_new():
    flood = Flood(most=1, within_ns=WITHIN)
    flood.sift([alert("a"), alert("a", "cleared", "returned_unacknowledged"), alert("b")], 1)
    assert flood.is_on
    again = flood.sift([alert("a"), alert("a", "acknowledged", "acknowledged")], 2)
    assert [a.state for a in again.alerts] == ["raised", "acknowledged"]
    over = flood.expire(12)
    assert [a.id for a in over.alerts] == ["b"]
    flood.sift([alert("c"), alert("d"), alert("b", "cleared", "returned_unacknowledged")], 30)
    assert [a.id for a in flood.sift([alert("b")], 31).alerts] == ["b"]


def test_who_was_told_at_a_flood_s_end_is_told_in_the_next():
    flood = Flood(most=1, within_ns=WITHIN)
    flood.sift([alert("a"), alert("b"), alert("b", "cleared", "returned_unacknowledged")], 1)
    assert [a.state for a in flood.expire(11).alerts] == ["cleared"]
    flood.sift([alert("c"), alert("d"), alert("e")], 30)
    state, flood = flood.state(), Flood(most=1, within_ns=WITHIN)
    flood.restore(state)
    assert flood.is_on
    assert [a.id for a in flood.sift([alert("b")], 31).alerts] == ["b"]


def test_each_flood_counts_its_own():
    flood = Flood(most=1, within_ns=WITHIN)
    for start, held in ((0, 3), (100, 1)):
        flood.sift([alert(f"{start}/{n}") for n in range(held + 1)], start)
        [change] = flood.expire(start + 50).changes
        assert (change.held, change.released) == (held, held)


def test_what_is_normal_is_forgotten():
    flood = Flood(most=1, within_ns=WITHIN)
    flood.sift([alert("a"), alert("b"), alert("a", "cleared"), alert("b", "cleared")], 1)
    assert (flood.state()["told"], flood.state()["held"]) == ([], [])


def test_the_clock_does_not_go_back():
    flood = Flood(most=2, within_ns=WITHIN)
    assert raises(flood, [100, 3, 2, 1]) == [True, True, False, False]
    assert flood.deadline() == 110


STEPS = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.sampled_from(["raised", "raised", "cleared", "escalated", "returned", "restart", "wait"]),
        st.integers(0, 12),
    ),
    max_size=80,
)


@settings(deadline=None)
@given(steps=STEPS, most=st.integers(1, 6))
def test_nothing_is_lost_and_the_count_decides(steps, most):
    flood, now, serial = Flood(most=most, within_ns=WITHIN), 0, 0
    current, believed, times = {}, {}, []  # by id; by id as published; of all raises
    is_on, held_raises, published_raises, summaries = False, 0, 0, []

    def take(sifted):
        nonlocal published_raises
        summaries.extend(sifted.changes)
        for entry in sifted.alerts:
            if entry.id not in believed:
                published_raises += 1
                assert entry.state == "raised" or entry.cleared_at is not None
            believed[entry.id] = entry

    total = 0
    for wait, what, pick in steps:
        now += wait
        if what == "restart":
            state, flood = flood.state(), Flood(most=most, within_ns=WITHIN)
            flood.restore(state)
            assert flood.state() == state
            continue
        is_on = is_on and 2 * sum(now - WITHIN < at for at in times) >= most
        if what == "wait":
            take(flood.expire(now))
            assert flood.is_on == is_on
            continue
        standing = sorted(current)
        if what == "raised":
            serial, total = serial + 1, total + 1
            changed = alert(serial)
            times.append(now)
            is_on = is_on or sum(now - WITHIN < at for at in times) > most
            held_raises += is_on
        elif not standing:
            continue
        else:
            identity = standing[pick % len(standing)]
            if what == "returned":
                changed = alert(identity, "cleared", "returned_unacknowledged")
            elif what == "escalated":
                changed = alert(identity, "escalated")
            else:
                changed = alert(identity, "cleared")
        current[changed.id] = changed
        take(flood.sift([changed], now))
        if changed.status == "normal":
            del current[changed.id]
        assert flood.is_on == is_on
        assert flood.holds(changed.id) == (changed.id in current and changed.id not in believed)
    take(flood.expire(now + 10 * WITHIN))
    # whatever stands was published as it stands, whatever ended was published so or counted
    for identity, entry in current.items():
        assert believed[identity].status == entry.status
    assert all(believed[i].status == "normal" for i in believed if i not in current)
    assert published_raises + flood.withheld == total
    assert [change.is_on for change in summaries] == [True, False] * (len(summaries) // 2)
    assert sum(change.held for change in summaries if not change.is_on) == held_raises


def test_another_limit_goes_on_with_what_fits():
    old, new = Flood(most=2, within_ns=WITHIN), Flood(most=20, within_ns=WITHIN)
    old.sift([alert("a"), alert("b"), alert("c")], 1)
    new.restore(old.state())
    assert [a.id for a in new.expire(11).alerts] == ["c"]


@pytest.mark.parametrize("options", [{"most": 0}, {"within_ns": 0}])
def test_settings_that_mean_nothing_are_refused(options):
    with pytest.raises(ValueError, match="positive"):
        Flood(**{"most": 1, "within_ns": 1, **options})
