"""tools/fuzz finds what it should, its examples are good, and it says what it lacks."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("cbor2", reason="needs the extra 'formats'")
pytest.importorskip("PIL", reason="needs the extra 'formats'")

from gatewayd.formats.decoded import Decoded
from gatewayd.formats.registry import FORMATS
from gatewayd.formats.sample import Sample, Samples
from tools.fuzz_parts.examples import NAMES, TARGETS
from tools.fuzz_parts.png import mended
from tools.fuzz_parts.target import (
    ARRIVAL_NS,
    SWOLLEN_BYTES,
    SWOLLEN_FROM,
    Target,
    chosen,
    examine,
    make,
    packed,
    unpacked,
)

ROOT = Path(__file__).resolve().parents[2]
FUZZ = [sys.executable, str(ROOT / "tools" / "fuzz")]
ONE = Target(name="some", seeds=(((0, b"good"),),))
has_atheris = importlib.util.find_spec("atheris") is not None


def run(*arguments):
    done = subprocess.run([*FUZZ, *arguments], capture_output=True, text=True, check=False, cwd="/")
    return done.returncode, done.stdout, done.stderr


def test_every_format_is_fuzzed():
    assert set(NAMES) == {*FORMATS, "json", "number", "image"}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_the_examples_are_good_messages(target):
    for number, messages in enumerate(target.seeds):
        decode = make(target)
        answers = [decode(target.topics[topic], payload) for topic, payload in messages]
        assert examine(packed(number, messages), target, make(target)) is None
        for answer in answers:
            if isinstance(answer, Samples):
                assert answer.errors == ()
            else:
                assert answer.rejected == ()
        last = answers[-1]
        assert last.samples if isinstance(last, Samples) else len(last.source)


@given(
    st.lists(st.tuples(st.integers(0, SWOLLEN_FROM - 1), st.binary(max_size=300)), max_size=8),
    st.integers(0, 255),
)
def test_messages_become_an_input_and_come_back(messages, number):
    data = packed(number, messages)
    assert list(unpacked(data)) == messages
    assert chosen(data, TARGETS) is TARGETS[number % len(TARGETS)]


@given(st.binary(min_size=1, max_size=100))
def test_any_bytes_are_an_input(data):
    messages = list(unpacked(data))
    assert len(messages) <= 8
    as_they_are = [payload for topic, payload in messages if topic < SWOLLEN_FROM]
    assert sum(3 + len(payload) for payload in as_they_are) < len(data)
    assert all(len(payload) <= SWOLLEN_BYTES for _, payload in messages)


def test_a_short_input_may_stand_for_a_long_payload():
    assert list(unpacked(packed(0, [(SWOLLEN_FROM, b"ab"), (255, b"")]))) == [
        (SWOLLEN_FROM, b"ab" * (SWOLLEN_BYTES // 2)), (255, b""),
    ]  # fmt: skip


def test_a_damaged_png_gets_as_far_as_the_decoder():
    target = next(one for one in TARGETS if one.name == "image")
    good = next(payload for ((_, payload),) in target.seeds if payload.startswith(b"\x89PNG"))
    assert mended(good) == good
    assert mended(b"other bytes") == b"other bytes"
    damaged = bytearray(good)
    damaged[17] ^= 1  # the width, below the checksum of IHDR
    seen = []
    examine(
        packed(0, [(0, bytes(damaged))]), target, lambda topic, payload: seen.append(payload) or Samples()
    )
    assert seen == [mended(bytes(damaged))] != [bytes(damaged)]


def fails(topic, payload):
    raise KeyError(payload)


def samples_of(**fields):
    """Answer with a sample that no format could make: a plain object in its place."""
    good = {"device": None, "channel": "c", "value": 1.0, "unit": None, "taken_at": ARRIVAL_NS}
    return lambda topic, payload: Samples(samples=(type("Fake", (), {**good, **fields})(),))


def columns_of(values, **fields):
    size = {"source": np.zeros(1, dtype=np.int64), "taken_at": np.zeros(1, dtype=np.int64)}
    return lambda topic, payload: Decoded(**size, values=np.array(values, dtype=np.float64), **fields)


@pytest.mark.parametrize(
    ("decoder", "problem"),
    [
        (fails, "KeyError at test_fuzz.py:"),
        (samples_of(value=float("nan")), "a value is not finite"),
        (samples_of(taken_at=7), "a time is out of range"),
        (samples_of(channel=7), "a name is no text"),
        (samples_of(device=b"p1"), "a name is no text"),
        (lambda topic, payload: Samples(errors=("Not JSON",)), "a reason is not in snake_case"),
        (lambda topic, payload: Samples(errors=("too_large",) * 50_001), "too many samples"),
        (columns_of([[np.inf]]), "values are not finite or not as many as readings"),
        (columns_of([[1.0], [2.0]]), "values are not finite or not as many as readings"),
        (columns_of([[1.0]], rejected=((0, "no json"),)), "a reason is not in snake_case"),
        (columns_of([[1.0]], untimed=(("NO", 1),)), "a reason is not in snake_case"),
    ],
)
def test_a_broken_promise_is_found(decoder, problem):
    finding = examine(packed(0, [(0, b"good"), (1, b"bad")]), ONE, decoder)
    assert finding.problem.startswith(problem)
    assert (finding.target, finding.data) == ("some", packed(0, [(0, b"good"), (1, b"bad")]))


def test_an_input_that_takes_longer_than_a_second_is_found(monkeypatch):
    clock = iter([10.0, 11.5])
    monkeypatch.setattr("time.process_time", lambda: next(clock))
    finding = examine(packed(0, [(0, b"x")]), ONE, lambda topic, payload: Samples())
    assert (finding.problem, finding.detail) == ("more than 1.0 s", "1.50 s")


def test_a_kept_promise_is_no_finding():
    sample = Sample(device=None, channel="c", value=1.0, unit=None, taken_at=None)
    answer = Samples(samples=(sample,), errors=("not_json",))
    assert examine(packed(0, [(0, b"x")]), ONE, lambda topic, payload: answer) is None
    assert examine(packed(0, [(0, b"x")]), ONE, columns_of([[np.nan]])) is None  # absent


def test_one_input_can_be_examined_again():
    number = next(index for index, target in enumerate(TARGETS) if target.name == "influx_line")
    code, out, _ = run("--replay", packed(number, [(0, b"air t=1")]).hex())
    assert (code, json.loads(out)) == (0, {"format": "influx_line", "findings": []})


@pytest.mark.skipif(has_atheris, reason="atheris is installed: nothing to complain about")
def test_without_atheris_one_line_says_how_to_get_it():
    assert run("--seconds", "1") == (2, "", "fuzz: needs atheris: pip install atheris\n")


@pytest.mark.skipif(not has_atheris, reason="atheris is not installed (pip install atheris)")
def test_a_short_run_sums_up_what_it_did():
    code, out, err = run("--seconds", "2", "--format", "influx_line", "--format", "ruuvi_raw")
    assert (code, err) == (0, "")
    summary = json.loads(out)
    assert summary["findings"] == []
    assert sorted(summary["inputs"]) == ["influx_line", "ruuvi_raw"]
    assert min(summary["inputs"].values()) > 10
    assert summary["branches"] > 100


@pytest.mark.skipif(not has_atheris, reason="atheris is not installed (pip install atheris)")
def test_a_format_that_is_not_there_is_refused():
    code, _, err = run("--format", "morse")
    assert code == 2
    assert err.startswith("fuzz: no format morse; there are cloudevents, csv, ")
