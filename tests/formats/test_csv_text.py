import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.formats.csv_text import MAX_LINES, CsvFormat
from gatewayd.formats.leaves import MAX_BYTES, MAX_LEAVES
from tests.support.any_message import check, damaged
from tests.support.readings import decode, rows

STAMP = 1_741_944_413 * 10**9
GOOD = b'\xef\xbb\xbftime,id,temp,"r,h"\r\n1741944413,a,21.5,48\r\n,b,,NaN\r\n\r\n"2025-03-14T09:26:53Z",c,1,2\r\n'
finite = st.floats(allow_nan=False, allow_infinity=False)


def written(lines, delimiter=","):
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(lines)
    return text.getvalue()


@given(
    st.lists(
        st.text('ab,;" \u00e9', min_size=1).map(str.strip).filter(bool), unique=True, min_size=1, max_size=4
    ),
    st.data(),
    st.sampled_from(",;\t|"),
)
def test_lines_are_read_as_they_were_written(names, data, delimiter):
    values = data.draw(
        st.lists(st.lists(finite | st.none(), min_size=len(names), max_size=len(names)), max_size=4)
    )
    lines = [["" if value is None else repr(value) for value in line] for line in values]
    expected = [
        (None, name, value, None)
        for line in values
        for name, value in zip(names, line, strict=True)
        if value is not None
    ]
    with_header = decode(CsvFormat(delimiter=delimiter), "t", written([names, *lines], delimiter))
    assert rows(with_header) == expected
    assert (
        decode(CsvFormat(columns=names, delimiter=delimiter), "t", written(lines, delimiter)) == with_header
    )


@given(
    st.binary() | damaged([GOOD]) | st.text('a1,;" \r\n', max_size=40).map(str.encode),
    st.sampled_from(
        [
            {},
            {"columns": ["a", "", "b"]},
            {"time": "time", "device": "id"},
            {"columns": ["time", "v"], "time": "time", "delimiter": ";", "decimal": ","},
        ]
    ),
)
def test_any_message_gives_samples_or_a_reason(payload, options):
    check(decode(CsvFormat(**options), "t", payload))


@given(st.lists(st.sampled_from(["1,2", "1", "1,2,3", "x,2", "", "nan,"])))
def test_a_bad_line_costs_itself_alone(lines):
    samples = decode(CsvFormat(columns=["a", "b"]), "t", "\n".join(lines))
    assert len(samples.samples) == 2 * lines.count("1,2")
    assert len(samples.errors) == sum(line in ("1", "1,2,3", "x,2") for line in lines)


def test_time_and_device_have_columns_of_their_own_and_text_has_none():
    decoder = CsvFormat(time="time", device="id", text=["state"])
    samples = decode(
        decoder, "t", "id,time,temp,state\npump,1741944413,21.5,ok\n ,2025-03-14T09:26:53Z,22,off\n"
    )
    assert [(one.device, one.channel, one.value, one.taken_at) for one in samples.samples] == [
        ("pump", "temp", 21.5, STAMP),
        (None, "temp", 22.0, STAMP),
    ]
    assert samples.errors == ()


def test_a_column_without_name_is_not_read():
    assert rows(decode(CsvFormat(columns=["", "b"]), "t", "any,2")) == [(None, "b", 2.0, None)]


def test_a_line_of_one_cell_is_a_reading():
    assert rows(decode(CsvFormat(columns=["a"]), "t", "21.5")) == [(None, "a", 21.5, None)]


@pytest.mark.parametrize(
    ("cell", "value"),
    [("21,5", 21.5), ("-0,25", -0.25), ("7", 7), ("1.234", None), ("1.234,5", None), ("1,2,3", None)],
)
def test_with_a_decimal_comma_a_point_is_an_error(cell, value):
    samples = decode(CsvFormat(columns=["a", "b"], delimiter=";", decimal=","), "t", f"{cell};1")
    assert samples.errors == (() if value is not None else ("not_a_number",))
    assert [one.value for one in samples.samples] == ([] if value is None else [value, 1])


def test_without_one_a_comma_is_an_error():
    assert decode(CsvFormat(columns=["a"], delimiter=";"), "t", "21,5").errors == ("not_a_number",)


@pytest.mark.parametrize(
    ("stamp", "reason"),
    [("", "no_time"), ("noon", "invalid_time"), ("12", "unbelievable_time"), ("-5", "invalid_time")],
)
def test_a_line_whose_time_cannot_be_is_kept_without(stamp, reason):
    samples = decode(CsvFormat(columns=["ts", "a"], time="ts"), "t", f"{stamp},1\n1741944413,2")
    assert [(one.value, one.taken_at) for one in samples.samples] == [(1.0, None), (2.0, STAMP)]
    assert samples.errors == (reason,)


def test_a_line_without_readings_needs_no_time():
    assert rows(decode(CsvFormat(columns=["ts", "a"], time="ts"), "t", ",nan")) == []


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"a,b\n\xff", "not_text"),
        (b",\n1,2", "no_header"),
        (b"a,a\n1,2", "no_header"),
        (b"a,b\n1,2", "no_header"),  # no column 'ts'
        (b"a\n" * (MAX_BYTES // 2 + 1), "too_large"),
    ],
)
def test_what_has_no_readable_header_is_counted_once(payload, reason):
    decoder = CsvFormat(time="ts") if payload == b"a,b\n1,2" else CsvFormat()
    assert decode(decoder, "t", payload).errors == (reason,)


def test_a_quote_that_never_ends_leaves_what_is_before_it():
    samples = decode(CsvFormat(columns=["a"]), "t", '1\n2\n"3\n4\n')
    assert [one.value for one in samples.samples] == [1, 2]
    assert samples.errors == ("not_csv",)


@pytest.mark.parametrize("payload", ["", "a,b", "\n\n"])
def test_nothing_gives_nothing_quietly(payload):
    assert rows(decode(CsvFormat(), "t", payload)) == []


def test_the_number_of_lines_and_of_values_is_limited():
    samples = decode(CsvFormat(columns=["a"]), "t", "1\n" * (MAX_LINES + 1))
    assert (len(samples.samples), samples.errors) == (MAX_LINES, ("too_many_lines",))
    names = [f"c{index}" for index in range(600)]
    samples = decode(CsvFormat(columns=names), "t", (",".join(["1"] * 600) + "\n") * (MAX_LEAVES // 600 + 2))
    assert (len(samples.samples), samples.errors) == (MAX_LEAVES, ("too_many_values",))


@pytest.mark.parametrize(
    "options",
    [
        {"delimiter": ""},
        {"delimiter": ";;"},
        {"delimiter": '"'},
        {"delimiter": ",", "decimal": ","},
        {"decimal": "x"},
        {"columns": []},
        {"columns": ["a", "a"]},
        {"columns": ["a"], "time": "ts"},
        {"columns": ["a"], "device": "id"},
    ],
)
def test_options_that_cannot_be_are_a_problem_of_the_configuration(options):
    with pytest.raises(ValueError, match="must"):
        CsvFormat(**options)


def test_values_beyond_float64_are_absent():
    assert rows(decode(CsvFormat(columns=["a", "b"]), "t", "1e999,2")) == [(None, "b", 2.0, None)]
