import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.state import as_int
from gatewayd.formats.remembered import MAX_TEXT, Remembered, as_list, as_text, as_text_or_none


@given(st.lists(st.tuples(st.text(max_size=2), st.integers())), st.integers(1, 4))
def test_what_was_stored_last_is_remembered_and_the_oldest_gives_way(stored, max_entries):
    remembered: Remembered[int] = Remembered(max_entries)
    for key, value in stored:
        remembered.store(key, value)
    newest_first: dict[str, int] = {}
    for key, value in reversed(stored):
        newest_first.setdefault(key, value)
    kept = dict(list(newest_first.items())[:max_entries])
    assert len(remembered) == len(kept)
    assert {key: remembered.get(key) for key, _ in stored} == {key: kept.get(key) for key, _ in stored}


def test_a_key_of_absurd_length_is_not_stored():
    remembered: Remembered[int] = Remembered()
    remembered.store("x" * (MAX_TEXT + 1), 1)
    remembered.store("x" * MAX_TEXT, 2)
    assert len(remembered) == 1


@given(st.dictionaries(st.text(max_size=3), st.integers(), max_size=8), st.integers(1, 4))
def test_what_is_restored_is_the_newest_that_may_be(stored, max_entries):
    remembered: Remembered[int] = Remembered()
    for key, value in stored.items():
        remembered.store(key, value)
    fewer: Remembered[int] = Remembered(max_entries)
    fewer.store("what was there before", 1)
    fewer.restore(remembered.state(int), as_int)
    assert list(fewer.state(int).items()) == list(stored.items())[-max_entries:]


@pytest.mark.parametrize("state", [None, [], {"a": "1"}, {"x" * (MAX_TEXT + 1): 1}])
def test_what_is_no_state_is_refused_and_nothing_is_forgotten(state):
    remembered: Remembered[int] = Remembered()
    remembered.store("a", 7)
    with pytest.raises(ValueError, match="expected"):
        remembered.restore(state, as_int)
    assert remembered.state(int) == {"a": 7}


def test_what_is_discarded_is_gone():
    remembered: Remembered[int] = Remembered()
    remembered.store("a", 7)
    remembered.discard("a")
    remembered.discard("b")
    assert remembered.get("a") is None


@pytest.mark.parametrize("value", [7, b"x", "x" * (MAX_TEXT + 1)])
def test_texts_of_a_state_are_texts_of_sane_length(value):
    for read in (as_text, as_text_or_none):
        with pytest.raises(ValueError, match="expected a text"):
            read(value)
    assert (as_text("x" * MAX_TEXT), as_text_or_none(None)) == ("x" * MAX_TEXT, None)


def test_lists_of_a_state_are_lists_of_their_length():
    assert as_list([1, 2]) == as_list([1, 2], 2) == [1, 2]
    for value, length in (("ab", None), (None, None), ([1], 2)):
        with pytest.raises(ValueError, match="expected a list"):
            as_list(value, length)
