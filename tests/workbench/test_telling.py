"""Every kind of line as a person reads it, and as JSON has it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.config.settings import Settings
from gatewayd.domain.verdict import Publication
from gatewayd.pipeline.flow import Outcome
from gatewayd.pipeline.trace import Trace, Tracer
from gatewayd.workbench.telling import Teller, clock, events, payload_document, printable
from tests.support.flows import ARRIVED, make_flow, message, plan

AT = "2023-11-14T22:15:00.000Z"


def settings(*plans):
    return Settings.model_validate(
        {
            "gateway": {"id": "gw"},
            "brokers": {"local": {"host": "h"}, "cloud": {"host": "h"}},
            "streams": {one.name: one.settings.model_dump(by_alias=True) for one in plans},
        }
    )


def tell(messages, *, is_coloured=False, is_raw=False, **options):
    one = plan(**options)
    teller = Teller(settings(one), is_coloured=is_coloured, is_raw=is_raw)
    tracer = Tracer(make_flow(one))
    lines = []
    for said in messages:
        trace = tracer.run(said, arrived_at=ARRIVED, steady_at=ARRIVED)
        lines += teller.lines(trace, said, ARRIVED)
    return lines


def told(messages, **options):
    tracer = Tracer(make_flow(plan()))
    found = []
    for said in messages:
        trace = tracer.run(said, arrived_at=ARRIVED, steady_at=ARRIVED)
        found += events(trace, said, ARRIVED, **{"is_raw": False, **options})
    return found


def test_readings_stand_under_each_other():
    assert tell(
        [
            message("site/l1/p1", 0, 1.5, 2.0),
            message("site/l1/pump10", 1.25, 12.25, -3.0),
            message("site/l1/p1", 2, 0.1234567, 2.0),
        ]
    ) == [
        "2023-11-14T22:13:20.000Z  pump/l1/p1  a 1.5  b 2",
        "2023-11-14T22:13:21.250Z  pump/l1/pump10  a 12.25  b -3",
        "2023-11-14T22:13:22.000Z  pump/l1/p1      a 0.123457  b  2",
    ]


def test_scores_and_alerts_are_told_with_what_they_are_about():
    lines = tell([message("site/l1/p1", second, 4.0, 1.0) for second in range(3)])
    assert lines[3:] == [
        "2023-11-14T22:13:22.000Z  pump/l1/p1  score 2.125 ≥ 1  anomalous  a 94 %, b 6 %",
        (
            "2023-11-14T22:13:22.000Z  pump/l1/p1  ALERT raised: anomaly  severity medium"
            "  score 2.125, threshold 1  a 94 %, b 6 %"
        ),
    ]


def test_a_calm_score_stays_below():
    lines = tell([message("site/l1/p1", second, 0.5, 0.0) for second in range(3)])
    assert lines[-1] == "2023-11-14T22:13:22.000Z  pump/l1/p1  score 0.03125 < 1  normal"


def test_a_score_without_a_threshold_says_so():
    lines = tell(
        [message("site/l1/p1", second, 0.5, 0.0) for second in range(3)],
        alert={"raise": "1 of 1", "clear": "1 of 1", "adaptive": {"risk": 1e-3, "calibrate": 1000}},
    )
    assert lines[-1] == "2023-11-14T22:13:22.000Z  pump/l1/p1  score 0.03125, no threshold yet  normal"


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ((b"site/l1/p1", b"hello \x1b[2J", 0x30, 0), "rejected not_json  site/l1/p1  hello \\x1b[2J"),
        ((b"site/l1/p1", b"\xff\x00", 0x30, 0), "rejected not_json  site/l1/p1  0xff00"),
        ((b"site/l1/p1", b"x" * 61, 0x30, 0), f"rejected not_json  site/l1/p1  {'x' * 60}… (61 bytes)"),
        ((b"site/l1/p1", b"\xff" * 61, 0x30, 0), f"rejected not_json  site/l1/p1  0x{'ff' * 30}… (61 bytes)"),
        ((b"a\x07b", b"{}", 0x30, 0), "refused unexpected_topic  a\\x07b  {}"),
        ((b"\xff", b"{}", 0x30, 0), "refused bad_topic  \\xff  {}"),
    ],
)
def test_what_was_not_taken_is_told_with_topic_and_payload(said, line):
    assert tell([said]) == [f"{AT}  {line}"]


def test_a_payload_that_is_cut_within_a_character_is_still_text():
    (line,) = tell([(b"site/l1/p1", b"a" + "€".encode() * 400, 0x30, 0)])
    assert line == f"{AT}  rejected not_json  site/l1/p1  a{'€' * 59}… (1,201 bytes)"


def test_a_dropped_reading_is_told_with_its_device():
    lines = tell([message("site/l1/p1", 2, 1.0), message("site/l1/p1", 1, 1.0)])
    assert lines[-1] == f"{AT}  pump/l1/p1  dropped late"


def test_raw_shows_the_message_first():
    said = message("site/l1/p1", 2, 1.0)
    lines = tell([said], is_raw=True)
    assert lines[0] == f"{AT}  site/l1/p1  {said[1].decode()}"
    assert len(lines) == 2


def trace_of(*publications, **counts):
    return Trace(readings=(), counts=counts, outcome=Outcome(publications=list(publications)))


def publication(kind, document):
    return Publication(
        broker="cloud", kind=kind, topic="t", payload=json.dumps(document).encode(), qos=0, retain=False
    )


def test_a_loss_that_came_of_waiting_has_no_message():
    teller = Teller(settings(plan()), is_coloured=False, is_raw=True)
    assert list(teller.lines(trace_of(dropped={"partial": 3}), None, ARRIVED)) == [
        f"{AT}  dropped partial x 3"
    ]


def test_a_class_is_told_with_its_probability_and_other_publications_are_not():
    document = {
        "kind": "prediction",
        "stream": "room",
        "device": "r1",
        "labels": {},
        "window": {"end": "2023-11-14T22:15:00.123456Z"},
        "score": 0.93,
        "threshold": 0.5,
        "verdict": "anomalous",
        "label": "occupied",
        "probabilities": {"vacant": 0.07, "occupied": 0.93},
    }
    teller = Teller(settings(plan()), is_coloured=False, is_raw=False)
    trace = trace_of(publication("discovery", {}), publication("prediction", document))
    assert list(teller.lines(trace, None, ARRIVED)) == [
        "2023-11-14T22:15:00.123Z  room/r1  score 0.93 ≥ 0.5  anomalous  occupied 93 %"
    ]


def test_a_loss_of_one_of_several_devices_names_none():
    one = plan()
    tracer = Tracer(make_flow(one))
    readings = [
        reading
        for device in ("p1", "p2")
        for reading in tracer.run(
            message(f"site/l1/{device}", 1, 1.0), arrived_at=ARRIVED, steady_at=ARRIVED
        ).readings
    ]
    trace = Trace(readings=tuple(readings), counts={"dropped": {"late": 1}}, outcome=Outcome())
    teller = Teller(settings(one), is_coloured=False, is_raw=False)
    assert list(teller.lines(trace, message("x", 1, 1.0), ARRIVED))[-1] == f"{AT}  pump/…      dropped late"


def test_colours_are_for_losses_and_alerts():
    lines = tell(
        [
            (b"site/l1/p1", b"x", 0x30, 0),
            *(
                message("site/l1/p1", second, a)
                for second, a in enumerate((9.0, 9.0, 9.0, 0.0, 0.0, 0.0, 0.0))
            ),
        ],
        is_coloured=True,
        is_raw=True,
    )
    alerts = [line for line in lines if "ALERT" in line]
    assert [line[:7] for line in alerts] == ["\x1b[31;1m", "\x1b[32m20"]
    (loss,) = (line for line in lines if "rejected" in line)
    assert loss.startswith("\x1b[33m")
    assert loss.endswith("\x1b[0m")
    assert lines[0].startswith("\x1b[2m")
    assert not any("\x1b" in line for line in lines if "  a " in line and "score" not in line)


def test_what_came_too_fast_is_summed_up():
    teller = Teller(settings(plan()), is_coloured=False, is_raw=False)
    assert teller.more(1234, {}) == "… 1,234 more"
    counts = {"rejected": {"not_json": 1200, "no_time": 2}, "dropped": {"late": 1}}
    assert teller.more(1234, counts) == (
        "… 1,234 more: 1,200 rejected not_json, 2 rejected no_time, 1 dropped late"
    )


def test_events_hold_all_that_lines_do():
    found = told(
        [
            *(message("site/l1/p1", second, 4.0, 1.0) for second in range(3)),
            (b"site/l1/p1", b"x" * 100, 0x30, 0),
        ]
    )
    assert [one["kind"] for one in found] == [
        "reading",
        "reading",
        "reading",
        "prediction",
        "alert",
        "rejected",
    ]
    assert found[0] == {
        "kind": "reading",
        "at": "2023-11-14T22:15:00Z",
        "stream": "pump",
        "device": "p1",
        "labels": {"line": "l1"},
        "taken_at": "2023-11-14T22:13:20Z",
        "values": {"a": 4.0, "b": 1.0},
    }
    assert found[-1] == {
        "kind": "rejected",
        "at": "2023-11-14T22:15:00Z",
        "reason": "not_json",
        "count": 1,
        "topic": "site/l1/p1",
        "payload": "x" * 60,
    }


def test_raw_events_begin_with_the_message():
    first, *_ = told([(b"\xffa", b"\xff", 0x30, 0)], is_raw=True)
    assert first == {
        "kind": "message",
        "at": "2023-11-14T22:15:00Z",
        "topic": "\\xffa",
        "payload_hex": "ff",
    }


@given(st.binary())
def test_a_payload_comes_back_from_its_document(payload):
    document = json.loads(json.dumps(payload_document(payload)))
    found = document["payload"].encode() if "payload" in document else bytes.fromhex(document["payload_hex"])
    assert found == payload


@given(st.text())
def test_nothing_that_a_terminal_obeys_gets_through(text):
    assert printable(text).isprintable()


@given(st.binary(max_size=700), st.binary(min_size=1, max_size=40))
def test_any_message_is_told_on_lines_of_their_own(payload, topic):
    for line in tell([(topic, payload, 0x30, 0), (b"site/l1/p1", payload, 0x30, 0)], is_raw=True):
        assert line.isprintable()
        assert len(line) < 3000


def test_the_clock_always_has_milliseconds():
    assert clock(0) == "1970-01-01T00:00:00.000Z"
    assert clock(1_700_000_000_999_999_999) == "2023-11-14T22:13:20.999Z"
