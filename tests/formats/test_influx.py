"""Beyond the recorded messages (test_payload_samples.py): round trips, limits, and any bytes whatever."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.formats.influx import MAX_LINES, InfluxLineFormat
from gatewayd.formats.leaves import MAX_BYTES, MAX_LEAVES
from tests.support.any_message import check, damaged
from tests.support.readings import ARRIVAL, decode, rows

GOOD = (
    b'# c\nmy\\ air\\,1,device=press\\ 7,b=c t\\ C=21.5,n=-3i,u=4u,ok=t,s="a \\"b\\" \\\\, \nc" 1741944413590000000'
    b"\r\n\nb v=1"
)

# Names can't hold tabs and line ends; nor a backslash before one of the escaped signs, or at the end.
words = st.text(
    st.characters(exclude_characters="\r\n\t\\", exclude_categories=["Cs"]), min_size=1, max_size=6
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
fields = st.lists(
    st.tuples(
        words,
        st.floats(allow_nan=False, allow_infinity=False)
        | st.integers(-(2**63), 2**63 - 1)
        | st.booleans()
        | texts,
    ),
    min_size=1,
    max_size=4,
)
lines = st.tuples(
    words.filter(lambda word: word[0] != "#"), st.none() | words, fields, st.integers(10**18, 2**63 - 1)
)


def escaped(word, signs):
    return re.sub(f"([{signs}])", r"\\\1", word)


def literal(value):
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return f"{value}i"
    if isinstance(value, float):
        return repr(value)
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def written(measurement, device, found, stamp):
    tags = "" if device is None else f",device={escaped(device, ',= ')}"
    pairs = ",".join(f"{escaped(key, ',= ')}={literal(value)}" for key, value in found)
    return f"{escaped(measurement, ', ')}{tags} {pairs} {stamp}\n"


@given(st.lists(lines, max_size=4))
def test_lines_are_read_as_they_were_written(content):
    samples = decode(InfluxLineFormat(), "t", "".join(written(*line) for line in content))
    assert samples.errors == ()
    assert [(one.device, one.channel, one.value, one.taken_at) for one in samples.samples] == [
        (device or measurement, f"{measurement}.{key}" if device else key, float(value), stamp)
        for measurement, device, found, stamp in content
        for key, value in found
        if not isinstance(value, str)
    ]


@given(st.binary() | damaged([GOOD]) | st.text('a,=\\ \t\r\n"#1it', max_size=40).map(str.encode))
def test_any_message_gives_samples_or_a_reason(payload):
    check(decode(InfluxLineFormat(), "t", payload))


@given(
    st.lists(
        st.sampled_from(["a v=1", "a", "a v", "a v=x", ",b v=1", "a v=1 9z", "a,b v=1", 'a v=1"', "# c", ""])
    )
)
def test_a_bad_line_costs_itself_alone(content):
    samples = decode(InfluxLineFormat(), "t", "\n".join(content))
    assert len(samples.samples) == content.count("a v=1")
    assert len(samples.errors) == sum(line not in ("a v=1", "# c", "") for line in content)


def test_a_text_that_never_ends_costs_its_line_alone():
    samples = decode(InfluxLineFormat(), "t", 'a v=1\na s="x\na v=2\na v=3')
    assert [one.value for one in samples.samples] == [1, 2, 3]
    assert samples.errors == ("invalid_line",)


def test_a_text_may_go_on_in_the_next_line():
    assert rows(decode(InfluxLineFormat(), "t", 'a s="x\ny",v=1\na v=2')) == [
        ("a", "v", 1.0, None),
        ("a", "v", 2.0, None),
    ]


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("1", 1), ("-1.5", -1.5), ("+2", 2), (".5", 0.5), ("1.", 1), ("1e3", 1000), ("1E-2", 0.01),
        ("-9223372036854775808i", -(2.0**63)), ("18446744073709551615u", 2.0**64),
        ("t", 1), ("T", 1), ("true", 1), ("True", 1), ("TRUE", 1),
        ("f", 0), ("F", 0), ("false", 0), ("False", 0), ("FALSE", 0),
    ],
)  # fmt: skip
def test_values_are_read_in_all_their_spellings(literal, value):
    assert rows(decode(InfluxLineFormat(), "t", f"a v={literal}")) == [("a", "v", value, None)]


@pytest.mark.parametrize(
    "literal",
    [
        "NaN",
        "inf",
        "1e999",
        "1_000",
        "tRUE",
        "yes",
        "9223372036854775808i",
        "18446744073709551616u",
        "-1u",
        "1.5i",
        "0x1",
        "٣",
    ],
)
def test_a_value_that_the_format_does_not_know_rejects_its_line(literal):
    samples = decode(InfluxLineFormat(), "t", f"a w=1,v={literal}")
    assert (samples.samples, samples.errors) == ((), ("invalid_value",))


@pytest.mark.parametrize(
    ("precision", "stamp"),
    [("ns", 1741944413590000000), ("us", 1741944413590000), ("ms", 1741944413590), ("s", 1741944413)],
)
def test_the_precision_is_as_configured(precision, stamp):
    (sample,) = decode(InfluxLineFormat(precision=precision), "t", f"a v=1 {stamp}").samples
    assert sample.taken_at == 1741944413590000000 - (590000000 if precision == "s" else 0)


def test_a_precision_that_there_is_not_is_a_problem_of_the_configuration():
    with pytest.raises(ValueError, match="precision must be"):
        InfluxLineFormat(precision="m")


@pytest.mark.parametrize("stamp", ["1741944413590", "-1", "0", "99999999999999999999"])
def test_a_reading_whose_time_cannot_be_is_kept_without(stamp):
    samples = decode(InfluxLineFormat(), "t", f"a v=1 {stamp}")
    assert [(one.value, one.taken_at) for one in samples.samples] == [(1.0, None)]
    assert samples.errors == ("unbelievable_time",)


def test_the_tag_that_names_the_device_is_as_configured():
    text = "cpu,device=x,host=pi,host=other load=1"
    assert rows(decode(InfluxLineFormat(device_tag="host"), "t", text)) == [("pi", "cpu.load", 1.0, None)]


@pytest.mark.parametrize(
    ("payload", "reason"), [(b"a v=1\n\xff", "not_text"), (b"#" + b"x" * MAX_BYTES, "too_large")]
)
def test_what_is_no_text_is_counted_once(payload, reason):
    assert decode(InfluxLineFormat(), "t", payload).errors == (reason,)


def test_nothing_gives_nothing_quietly():
    assert rows(decode(InfluxLineFormat(), "t", b"")) == []


def test_the_number_of_lines_and_of_values_is_limited():
    samples = decode(InfluxLineFormat(), "t", "a v=1\n" * (MAX_LINES + 1))
    assert (len(samples.samples), samples.errors) == (MAX_LINES, ("too_many_lines",))
    line = "a " + ",".join(["v=1"] * 600) + "\n"
    samples = decode(InfluxLineFormat(), "t", line * (MAX_LEAVES // 600 + 2))
    assert (len(samples.samples), samples.errors) == (MAX_LEAVES, ("too_many_values",))


@pytest.mark.parametrize("line", ['a s="', 'a s="\\', "a v=1,", "a,b=c", "a" + "\\" * 50, 'a s="x",t="'])
def test_the_work_grows_with_the_bytes_and_no_faster(line):
    """A mebibyte of what could be scanned again for each line; quadratic would take hours, the run's limit is 300 s."""
    payload = ((line + "\n") * (MAX_BYTES // (len(line) + 1))).encode()
    check(InfluxLineFormat().decode("t", payload, arrived_at=ARRIVAL))
