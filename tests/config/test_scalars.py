"""A scalar as the type its option wants: YAML 1.1 changes nothing."""

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.config.document import Place, Scalar
from gatewayd.config.scalars import UnreadableError, is_nothing, read_scalar, shown


def plain(text):
    return Scalar(text=text, is_plain=True, place=Place(1, 1))


def quoted(text):
    return Scalar(text=text, is_plain=False, place=Place(1, 1))


@pytest.mark.parametrize(
    ("text", "wanted", "value"),
    [
        *(
            (text, str, text)
            for text in ("0777", "no", "22:30", "1.10", "1_000", "08", "12e03", "on", "null")
        ),
        *((text, float, value) for text, value in (("1e3", 1000.0), ("1e-3", 0.001), ("1.0e3", 1000.0))),
        *((text, float, value) for text, value in (("-.5", -0.5), ("5.", 5.0), ("0", 0.0))),
        *((text, int, value) for text, value in (("1883", 1883), ("-1", -1), ("0", 0))),
        *((text, bool, True) for text in ("true", "True", "ON", "yes")),
        *((text, bool, False) for text in ("false", "FALSE", "off", "No")),
        ("1", Literal[0, 1], 1),
        ("none", Literal["all", "none"], "none"),
    ],
)
def test_a_plain_scalar_is_what_its_option_wants(text, wanted, value):
    read = read_scalar(plain(text), wanted)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("scalar", "wanted"),
    [
        *(
            (quoted(text), kind)
            for text, kind in (("16", int), ("1.5", float), ("true", bool), ("1", Literal[0, 1]))
        ),
        *(
            (plain(text), int)
            for text in ("0777", "0x10", "1_000", "1.0", "1e3", "22:30", "true", "9" * 5000, "")
        ),
        *(
            (plain(text), float)
            for text in (".nan", ".inf", "-.inf", "nan", "inf", "true", "1e999", "010", "1_0", "٣")
        ),
        *((plain(text), bool) for text in ("1", "0", "y", "t")),
        (plain(""), str),
        (plain("both"), Literal["all", "none"]),
        (plain("True"), Literal[0, 1]),
    ],
)
def test_what_is_not_of_the_type_is_refused(scalar, wanted):
    with pytest.raises(UnreadableError, match="expected"):
        read_scalar(scalar, wanted)


def test_a_misspelt_choice_of_many_is_answered_with_the_nearest():
    formats = Literal["json", "number", "csv", "edgex", "homie", "image", "tasmota"]
    with pytest.raises(UnreadableError, match=r"^expected one of 7 names, perhaps 'json'$"):
        read_scalar(plain("jsn"), formats)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_that_python_writes_is_read_back(value):
    assert read_scalar(plain(repr(value)), float) == value


@given(st.text(), st.booleans())
def test_a_value_is_shown_on_one_short_printable_line(text, is_plain):
    line = shown(Scalar(text=text, is_plain=is_plain, place=Place(1, 1)))
    assert line.isprintable()
    assert len(line) < 600


def test_a_value_like_a_url_with_a_password_is_not_shown():
    assert shown(plain("mqtt://gw:S3cr3t@host")) == "this value"


def test_only_unquoted_nothing_is_nothing():
    assert is_nothing(plain("~"))
    assert is_nothing(plain(""))
    assert is_nothing(plain("null"))
    assert not is_nothing(quoted(""))
    assert not is_nothing(quoted("null"))
    assert not is_nothing(plain("none"))
