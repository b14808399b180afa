from hypothesis import given
from hypothesis import strategies as st

from gatewayd.formats.remembered import MAX_TEXT, Remembered


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
