"""The first loss at once, the rest in sums, nothing twice."""

import logging
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.figures import DeliveryFigures, LineFigures, OutboxFigures
from gatewayd.runtime.report import FigureReport


def told(report, now_s, *, is_last=False, **figures):
    lines = report.lines(
        LineFigures(**figures), [DeliveryFigures(broker="b")], OutboxFigures(), now_s=now_s, is_last=is_last
    )
    return [(event, fields.get("reason"), fields.get("count")) for _, event, fields in lines]


def test_the_first_loss_is_told_at_once_and_later_ones_once_an_interval():
    report = FigureReport(interval_s=60, now_s=0)
    assert told(report, 1, dropped={"late": 3}) == [("readings_dropped", "late", 3)]
    assert told(report, 2, dropped={"late": 500}) == []
    assert told(report, 61, dropped={"late": 900}) == [
        ("readings_dropped", "late", 897),
        ("figures", None, None),
    ]
    assert told(report, 62, dropped={"late": 900}) == []
    assert told(report, 122, dropped={"late": 900}) == [("figures", None, None)]


def test_each_kind_and_reason_has_its_own_line():
    report = FigureReport(interval_s=60, now_s=0)
    found = told(
        report,
        1,
        refused={"empty": 1},
        rejected={"not_json": 2},
        dropped={"late": 3, "future": 4},
        unscored={"model_failed": 5},
        untimed={"no_time": 6},
        saturated={"pump/vibration": 7},
    )
    assert found == [
        ("messages_refused", "empty", 1),
        ("payloads_rejected", "not_json", 2),
        ("readings_dropped", "late", 3),
        ("readings_dropped", "future", 4),
        ("windows_unscored", "model_failed", 5),
        ("times_replaced", "no_time", 6),
        ("inputs_saturated", "pump/vibration", 7),
    ]


def test_at_the_end_everything_is_told():
    report = FigureReport(interval_s=60, now_s=0)
    told(report, 1, dropped={"late": 3})
    assert told(report, 2, is_last=True, dropped={"late": 4}) == [
        ("readings_dropped", "late", 1),
        ("figures", None, None),
    ]


def test_what_the_process_before_had_counted_is_not_told_again():
    before = LineFigures(dropped={"late": 60, "gap": 2}, unscored={"warming_up": 20})
    report = FigureReport(interval_s=60, now_s=0, before=before)
    usual = {"unscored": {"warming_up": 20}}
    assert told(report, 1, dropped={"late": 60, "gap": 2}, **usual) == []
    assert told(report, 2, dropped={"late": 61, "gap": 2}, **usual) == [("readings_dropped", "late", 1)]
    assert told(report, 3, dropped={"late": 65, "gap": 2}, **usual) == []
    assert told(report, 61, dropped={"late": 65, "gap": 2}, **usual) == [
        ("readings_dropped", "late", 4),
        ("figures", None, None),
    ]


@given(
    snapshots=st.lists(
        st.tuples(
            st.integers(1, 50),
            st.dictionaries(
                st.sampled_from(
                    [
                        "refused",
                        "rejected",
                        "dropped",
                        "unscored",
                        "untimed",
                        "saturated",
                        "refused_frames",
                        "unstored",
                    ]
                ),
                st.dictionaries(st.sampled_from(["x", "y"]), st.integers(0, 5)),
            ),
        ),
        max_size=30,
    )
)
def test_what_is_told_adds_up_to_what_was_lost(snapshots):
    """Nothing twice, nothing left out at the end, and at most two lines an interval of each kind and reason."""
    report, now_s, totals = FigureReport(interval_s=60, now_s=0), 0, {}
    found, lines = Counter(), Counter()
    for passed_s, more in snapshots:
        now_s += passed_s
        for name, reasons in more.items():
            counts = totals.setdefault(name, Counter())
            counts.update(reasons)
        for event, reason, count in told(report, now_s, **{name: dict(c) for name, c in totals.items()}):
            if reason is not None:
                assert count > 0
                found[event, reason] += count
                lines[event, reason] += 1
    for event, reason, count in told(report, now_s, is_last=True, **{n: dict(c) for n, c in totals.items()}):
        found[event, reason] += count or 0
    names = {
        "refused": "messages_refused",
        "rejected": "payloads_rejected",
        "dropped": "readings_dropped",
        "unscored": "windows_unscored",
        "untimed": "times_replaced",
        "saturated": "inputs_saturated",
        "refused_frames": "frames_refused",
        "unstored": "publications_lost",
    }
    lost = {(names[n], reason): count for n, c in totals.items() for reason, count in c.items() if count}
    assert {key: count for key, count in found.items() if key[0] != "figures"} == lost
    assert all(number <= 1 + now_s // 60 for number in lines.values())


def test_results_that_are_lost_are_errors():
    report = FigureReport(interval_s=60, now_s=0)
    line = LineFigures(unstored={"not_stored": 3}, dropped={"late": 1})
    outbox = OutboxFigures(evicted={"prediction": 4, "alert": 0, "damaged": 5})
    found = [
        (level, event, fields["reason"], fields["count"])
        for level, event, fields in report.lines(line, [], outbox, now_s=1, is_last=False)
    ]
    assert found == [
        (logging.WARNING, "readings_dropped", "late", 1),
        (logging.ERROR, "publications_lost", "not_stored", 3),
        (logging.ERROR, "publications_evicted", "prediction", 4),
        (logging.ERROR, "publications_evicted", "damaged", 5),
    ]
    later = OutboxFigures(evicted={"prediction": 9, "alert": 1, "damaged": 5})
    told = [f for _, e, f in report.lines(line, [], later, now_s=61, is_last=False) if e != "figures"]
    assert told == [
        {"reason": "prediction", "count": 5, "total": 9},
        {"reason": "alert", "count": 1, "total": 1},
    ]


def test_the_first_loss_says_where():
    report = FigureReport(interval_s=60, now_s=0)
    figures = LineFigures(dropped={"late": 1}, rejected={"late": 1}, examples={"dropped/late": "pump/p1"})
    fields = [f for _, _, f in report.lines(figures, [], OutboxFigures(), now_s=1, is_last=True)]
    assert [f.get("first_seen_on") for f in fields] == [None, "pump/p1", None]
    assert "examples" not in fields[-1]


def test_a_million_losses_an_hour_are_sixty_lines():
    report = FigureReport(interval_s=60, now_s=0)
    lines = [
        line for second in range(3600) for line in told(report, second, rejected={"not_json": 300 * second})
    ]
    assert len([line for line in lines if line[0] == "payloads_rejected"]) <= 61


def test_an_outbox_that_will_soon_be_full_is_told_once_per_outage():
    """An outage ends when the link stands and nothing waits; a link that flaps does not fill the log."""
    report = FigureReport(interval_s=60, now_s=0)

    def warned(*, is_open, covers_s, records=5):
        outbox = OutboxFigures(records=records, payload_bytes=7, covers_s=covers_s)
        links = [DeliveryFigures(broker="a", is_open=True), DeliveryFigures(broker="b", is_open=is_open)]
        lines = report.lines(LineFigures(), links, outbox, now_s=1, is_last=False)
        return [(level, fields) for level, event, fields in lines if event == "outbox_nearly_full"]

    assert not warned(is_open=True, covers_s=10.0)
    assert not warned(is_open=False, covers_s=None)
    assert not warned(is_open=False, covers_s=3600.0)
    assert warned(is_open=False, covers_s=3599.0) == [
        (logging.WARNING, {"away": ["b"], "covers_s": 3599.0, "records": 5, "payload_bytes": 7})
    ]
    for is_open in (False, True, False):
        assert not warned(is_open=is_open, covers_s=10.0)
    assert not warned(is_open=True, covers_s=7200.0, records=0)
    assert warned(is_open=False, covers_s=10.0)


def test_a_stream_that_asks_for_channels_that_never_come_is_told_once():
    report = FigureReport(interval_s=60, now_s=0)
    line = LineFigures(unasked={"home": "humidity; wanted: temprature"}, unscored={"warming_up": 3})

    def told(now_s):
        return [
            (level, event, fields)
            for level, event, fields in report.lines(line, [], OutboxFigures(), now_s=now_s, is_last=False)
            if event != "figures"
        ]

    assert [(level, event) for level, event, _ in told(1)] == [(logging.INFO, "windows_unscored")]
    assert told(61) == [
        (logging.WARNING, "channels_unknown", {"stream": "home", "heard": "humidity; wanted: temprature"})
    ]
    assert told(122) == []
