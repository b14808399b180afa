"""One number to a payload."""

from hypothesis import given
from hypothesis import strategies as st

from gatewayd.formats.decoded import NO_TIME
from gatewayd.formats.number import NumberFormat


def test_numbers_keep_their_place_and_have_no_time():
    decoded = NumberFormat().decode([b"1.5", b"bad", b"\xff", b"nan", b"ON"])
    assert decoded.source.tolist() == [0, 4]
    assert decoded.values.tolist() == [[1.5], [1.0]]
    assert decoded.taken_at.tolist() == [NO_TIME, NO_TIME]
    assert decoded.rejected == ((1, "not_a_number"), (2, "not_text"), (3, "absent"))


@given(st.lists(st.binary(max_size=20), max_size=10))
def test_every_payload_gives_a_reading_or_a_reason(payloads):
    decoded = NumberFormat().decode(payloads)
    assert sorted(decoded.source.tolist() + [index for index, _ in decoded.rejected]) == list(
        range(len(payloads))
    )
    assert decoded.values.shape == (len(decoded.source), 1)
