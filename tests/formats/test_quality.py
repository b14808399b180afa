import pytest
from hypothesis import given

from gatewayd.errors import RejectedInputError
from gatewayd.formats.quality import is_usable
from tests.support.any_message import json_values


@pytest.mark.parametrize(
    "flag",
    [
        True,
        1,
        1.0,
        "1",
        "true",
        "OK",
        "good",
        "Good, non-specific",
        "Good (0x0)",
        "Uncertain",
        None,
        " GOOD ",
    ],
)
def test_flags_and_words_that_say_good(flag):
    assert is_usable(flag)


@pytest.mark.parametrize(
    "flag", [False, 0, 0.0, "0", "false", "bad", "BadNoCommunication", "Bad (0x80310000)", "", "invalid"]
)
def test_flags_and_words_that_say_bad(flag):
    assert not is_usable(flag)


@pytest.mark.parametrize(
    ("code", "usable"),
    [
        (192, True),  # good, non-specific
        (216, True),  # good, local override
        (64, True),  # uncertain
        (68, True),  # uncertain, last usable value
        (4, False),  # bad, configuration error
        (24, False),  # bad, communication failure
        (0x80, False),  # reserved
        (0x55C0, True),  # the high byte is the vendor's
        (0x5504, False),
    ],
)
def test_opc_da_quality_is_told_by_its_two_status_bits(code, usable):
    assert is_usable(code) is usable
    assert is_usable(float(code)) is usable
    assert is_usable(str(code)) is usable


@pytest.mark.parametrize(
    ("code", "usable"),
    [
        (0x00A2_0000, True),  # GoodEntryInserted
        (0x4090_0000, True),  # UncertainLastUsableValue
        (0x8000_0000, False),  # Bad
        (0x8031_0000, False),  # BadNoCommunication
        (0x8031_0000 - (1 << 32), False),  # the same, signed
    ],
)
def test_opc_ua_status_codes_are_told_by_their_highest_bit(code, usable):
    assert is_usable(code) is usable
    assert is_usable({"Code": code, "Symbol": "?"}) is usable


def test_zero_is_good_only_where_it_is_plainly_opc_uas():
    assert is_usable({"Code": 0})
    assert not is_usable(0)


@pytest.mark.parametrize("flag", ["maybe", "12345678901", "²", 0.5, [1], {}, {"Code": "x"}, 2**32, -(2**40)])
def test_what_is_neither_is_not_guessed(flag):
    with pytest.raises(RejectedInputError, match="unknown_quality"):
        is_usable(flag)


@given(json_values(["Code"]))
def test_any_flag_is_usable_or_not_or_unknown(flag):
    reasons = set()
    try:
        is_usable(flag)
    except RejectedInputError as error:
        reasons.add(error.reason)
    assert reasons <= {"unknown_quality"}
