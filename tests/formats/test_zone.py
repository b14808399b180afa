import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.formats.zone import find_zone


def test_a_zone_is_found_by_its_name():
    assert find_zone("Europe/Berlin").key == "Europe/Berlin"


@pytest.mark.parametrize(
    "name", ["Europe/Berln", "Europe", "", "../etc/passwd", "/etc/localtime", "a\0b", "x" * 5000]
)
def test_a_name_of_no_zone_is_refused_in_one_line(name):
    with pytest.raises(ValueError, match="no time zone") as caught:
        find_zone(name)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=30))
def test_any_text_is_a_zone_or_refused(name):
    try:
        find_zone(name)
    except ValueError as error:
        assert "no time zone" in str(error)  # noqa: PT017  # most texts are refused, "UTC" isn't
