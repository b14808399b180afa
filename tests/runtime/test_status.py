"""The status line and the moment of READY."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.figures import DeliveryFigures, LineFigures, OutboxFigures
from gatewayd.runtime.status import Readiness, status_text


def test_a_receiving_gateway_says_how_much():
    text = status_text(
        LineFigures(is_subscribed=True, devices=5, readings=1234, predictions=77, alerts_standing=1),
        [DeliveryFigures(broker="cloud", is_open=True)],
        OutboxFigures(),
        source="local",
    )
    assert text == (
        "receiving: 5 devices, 1,234 readings, 77 predictions (1 alert standing) · cloud: open, 0 waiting"
    )


def test_alerts_that_a_reload_abandoned_do_not_stand():
    line = LineFigures(is_subscribed=True, alerts_raised=3, alerts_cleared=1, alerts_standing=0)
    text = status_text(line, [DeliveryFigures(broker="cloud")], OutboxFigures(), source="local")
    assert "standing" not in text


def test_a_waiting_gateway_says_for_whom_and_why():
    text = status_text(
        LineFigures(),
        [DeliveryFigures(broker="cloud")],
        OutboxFigures(records=12, evicted={"full": 3}),
        source="local",
        reason="connection\nrefused",
    )
    assert text == "waiting for broker local (connection refused) · cloud: away, 12 waiting, 3 evicted"


@pytest.mark.parametrize(
    ("covers_s", "room"),
    [
        (None, ""),
        (0.0, ", room for 0 min"),
        (3599.0, ", room for 59 min"),
        (3600.0, ", room for 1.0 h"),
        (11_879.0, ", room for 3.2 h"),
        (172_799.0, ", room for 47.9 h"),
        (172_800.0, ", room for 2 days"),
    ],
)
def test_while_upstream_is_away_it_says_for_how_long_that_may_last(covers_s, room):
    """And no word of it while all is well."""
    outbox = OutboxFigures(records=12, covers_s=covers_s)
    away, here = DeliveryFigures(broker="cloud"), DeliveryFigures(broker="cloud", is_open=True)
    assert status_text(LineFigures(), [away], outbox, source="local").endswith(f"away, 12 waiting{room}")
    assert status_text(LineFigures(), [here], outbox, source="local").endswith("open, 12 waiting")


def test_losses_are_shown_by_kind():
    figures = LineFigures(
        is_subscribed=True,
        devices=1,
        readings=1,
        predictions=1,
        refused={"too_large": 1},
        rejected={"not_json": 2, "no_field": 3},
        dropped={"late": 0},
    )
    text = status_text(figures, [DeliveryFigures(broker="local")], OutboxFigures(), source="local")
    assert text.startswith("receiving: 1 device, 1 reading, 1 prediction, 1 refused, 5 rejected · ")


def test_several_upstream_links_share_the_outbox():
    links = [DeliveryFigures(broker="a", is_open=True), DeliveryFigures(broker="b")]
    text = status_text(LineFigures(is_subscribed=True), links, OutboxFigures(records=2000), source="local")
    assert text.endswith(" · a: open · b: away · outbox: 2,000 waiting")


@given(reason=st.text(max_size=500))
def test_whatever_the_reason_the_status_is_one_short_line(reason):
    text = status_text(LineFigures(), [], OutboxFigures(), source="local", reason=reason)
    assert len(text.splitlines()) == 1
    assert len(text) < 250


@pytest.mark.parametrize(
    ("is_subscribed", "now_s", "expected"), [(True, 0.1, True), (False, 4.9, False), (False, 5, True)]
)
def test_ready_when_subscribed_or_after_five_seconds(is_subscribed, now_s, expected):
    readiness = Readiness(started_at_s=0.0)
    assert readiness.becomes_ready(is_subscribed=is_subscribed, now_s=now_s) is expected
    assert readiness.is_ready is expected


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 20)), max_size=30))
def test_ready_is_said_at_most_once(looks):
    readiness = Readiness(started_at_s=0.0)
    said = [
        readiness.becomes_ready(is_subscribed=yes, now_s=now_s)
        for yes, now_s in sorted(looks, key=lambda x: x[1])
    ]
    assert sum(said) == any(yes or now_s >= 5.0 for yes, now_s in looks)
