"""What is sent ends acknowledged, refused, or forgotten, and never twice."""

from hypothesis import given
from hypothesis import strategies as st

from gatewayd.mqtt.flight import Flight, reason_of
from gatewayd.mqtt.tap import FIRST_OWN_ID, LAST_ID


def test_ids_are_ours_and_come_round_without_meeting_one_in_flight():
    flight = Flight()
    first = flight.send(0, b"t")
    count = LAST_ID - FIRST_OWN_ID + 1
    others = [flight.send(token, b"t") for token in range(1, count)]
    assert sorted([first, *others]) == list(range(FIRST_OWN_ID, LAST_ID + 1))
    flight.settle(others[100:101])
    assert flight.send(count, b"t") == others[100]


@given(st.lists(st.tuples(st.sampled_from(["settle", "refuse"]), st.integers(0, 9)), max_size=30))
def test_each_token_has_one_end(ends):
    flight = Flight()
    ids = [flight.send(token, b"t/%d" % token) for token in range(10)]
    expected = {}
    for end, token in ends:
        expected.setdefault(token, end)
        if end == "settle":
            flight.settle([ids[token]])
        else:
            flight.refuse(ids[token], 0x87, "no")
    assert flight.acknowledged == [token for token, end in expected.items() if end == "settle"]
    assert flight.refused == [
        (token, "not_authorized", b"t/%d" % token, "no") for token, end in expected.items() if end == "refuse"
    ]
    assert len(flight) == 10 - len(expected)


def test_what_has_no_token_is_told_only_when_it_is_refused():
    flight = Flight()
    flight.settle([flight.send(None, b"status")])
    flight.queue(None)
    flight.all_is_written()
    flight.refuse(flight.send(None, b"status"), 0x99, None)
    assert flight.acknowledged == []
    assert flight.refused == [(None, "payload_format_invalid", b"status", None)]


def test_a_new_connection_forgets():
    flight = Flight()
    old = flight.send(1, b"t")
    flight.queue(2)
    flight.forget()
    flight.all_is_written()
    flight.settle([old])
    flight.refuse(old, 0x87, None)
    assert (len(flight), flight.acknowledged, flight.refused) == (0, [], [])


def test_what_is_queued_is_done_once_written():
    flight = Flight()
    flight.queue(1)
    flight.queue(2)
    assert flight.acknowledged == []
    flight.all_is_written()
    flight.all_is_written()
    assert flight.acknowledged == [1, 2]


def test_an_id_of_pahos_is_settled_as_ours_are():
    flight = Flight()
    flight.sent_as(7, 1, b"t")
    flight.settle([7])
    assert flight.acknowledged == [1]


def test_a_code_that_the_standard_does_not_name_has_a_name_all_the_same():
    assert reason_of(0x97) == "quota_exceeded"
    assert reason_of(0xC0) == "reason_0xc0"
