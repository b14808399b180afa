"""An age is a lower bound: nothing is called too old that may be younger than the limit."""

from hypothesis import given
from hypothesis import strategies as st

from gatewayd.store.ages import CLOCK_SET_NS, GRAINS, Ages

LIMIT_S = 640.0
GRAIN_S = LIMIT_S / GRAINS
NS = 10**9


def swept(ages, now_s):
    """The marks that are due, all done with."""
    found = []
    while (mark := ages.due(now_s)) is not None:
        found.append(mark)
        ages.done()
    return found


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 5)), max_size=80), st.integers(1, 3))
def test_what_is_called_too_old_is_and_what_is_too_old_is_found_within_two_grains(steps, looks):
    """Records come at known moments; the outbox looks now and then, as deliverers do."""
    ages, now_s, born = Ages(LIMIT_S), 0.0, []
    ages.begin([], last=0, wall=CLOCK_SET_NS, now_s=0.0)
    gone = 0
    for number, (wait_s, count) in enumerate([*steps, (GRAIN_S, 0), (GRAIN_S, 0)]):
        now_s += wait_s
        born += [now_s] * count
        if number % looks == 0 or number >= len(steps):
            for mark in swept(ages, now_s):
                assert mark.is_about_all
                assert all(now_s - born[seq - 1] > LIMIT_S for seq in range(gone + 1, mark.last + 1))
                gone = mark.last
            ages.note(len(born), now_s)
    later_s = now_s + LIMIT_S + 2 * GRAIN_S
    assert [mark.last for mark in swept(ages, later_s)][-1:] == ([len(born)] if gone < len(born) else [])


@given(st.floats(0, 10_000), st.integers(0, 20_000))
def test_there_is_nothing_to_do_before_it_says_so(start_s, records):
    ages = Ages(LIMIT_S)
    ages.begin([], last=records, wall=0, now_s=start_s)
    ages.note(records, start_s)
    assert start_s < ages.look_at_s <= start_s + GRAIN_S
    assert ages.due(ages.look_at_s) is None


def test_a_flood_of_records_is_a_handful_of_marks():
    ages = Ages(LIMIT_S)
    for step in range(100_000):
        now_s = step * LIMIT_S / 20_000
        swept(ages, now_s)
        ages.note(step, now_s)
        assert len(ages._marks) <= GRAINS + 2


def test_what_an_earlier_process_left_is_as_old_as_its_stamp_was_at_the_start():
    ages, wall = Ages(LIMIT_S), CLOCK_SET_NS + 10**15
    ages.begin([(4, wall - 1000 * NS), (9, wall - 600 * NS), (7, wall)], last=12, wall=wall, now_s=50.0)
    assert [(mark.last, mark.stamped) for mark in swept(ages, 50.0)] == [
        (4, (CLOCK_SET_NS, wall - 1000 * NS))
    ]
    assert swept(ages, 90.0) == []
    assert [mark.last for mark in swept(ages, 90.1)] == [9]
    assert swept(ages, 690.0) == []
    last = swept(ages, 690.1)  # by now even what had no usable stamp is surely too old
    assert [(mark.last, mark.is_about_all) for mark in last] == [(7, False), (12, True)]
