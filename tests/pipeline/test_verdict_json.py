"""Documents are valid by the schemas, and say what the verdict says."""

import json
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.pipeline.verdict_json import Documents, instant, significant
from tests.support.schemas import documented, validator
from tests.support.verdicts import (
    ANOMALOUS,
    CLEARED,
    DEVICES,
    FINITE,
    P3,
    PREDICTIONS,
    PUMP,
    RAISED,
    ROOM,
    ROOM_ORIGIN,
    STUCK,
    VACANT,
    alerts,
)

PUMPS = Documents(PUMP, orjson.dumps)


@given(prediction=PREDICTIONS, device=DEVICES)
def test_every_prediction_obeys_its_schema(prediction, device):
    document = json.loads(PUMPS.prediction(prediction, device))
    validator("prediction").validate(document)
    assert document["device"] == device.name
    assert document["score"] == pytest.approx(prediction.score, rel=1e-6)


@given(alert=alerts(), device=DEVICES)
def test_every_alert_obeys_its_schema_and_says_what_the_alert_says(alert, device):
    document = json.loads(PUMPS.alert(alert, device))
    validator("alert").validate(document)
    for name in ("id", "condition", "channel", "severity", "state", "status", "acknowledged_by"):
        assert document[name] == getattr(alert, name)
    for name in ("changed_at", "first_out_at", "raised_at", "cleared_at", "acknowledged_at", "shelved_until"):
        moment = getattr(alert, name)
        assert document[name] == (None if moment is None else instant(moment))


def test_the_documentation_shows_what_these_verdicts_give():
    rooms = Documents(ROOM_ORIGIN, orjson.dumps)
    given_ = [PUMPS.prediction(ANOMALOUS, P3), rooms.prediction(VACANT, ROOM)]
    given_ += [PUMPS.alert(alert, P3) for alert in (RAISED, CLEARED, STUCK)]
    # to the byte: consumers that compare or hash payloads rely on the order of fields
    expected = [json.dumps(one, ensure_ascii=False, separators=(",", ":")).encode() for one in documented()]
    assert given_ == expected[: len(given_)]


@given(seconds=st.integers(0, 2**63 // 10**9 - 1), nanoseconds=st.integers(0, 999_999_999))
def test_instants_are_those_of_the_calendar(seconds, nanoseconds):
    whole = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    text = instant(seconds * 10**9 + nanoseconds)
    head, _, fraction = text.removesuffix("Z").partition(".")
    assert head == (whole if len(whole) == 19 else whole.zfill(19))
    assert len(fraction) in (0, 3, 6, 9)
    assert int((fraction + "000000000")[:9]) == nanoseconds


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (50_000_000, "1970-01-01T00:00:00.050Z"),
        (1_000, "1970-01-01T00:00:00.000001Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
    ],
)
def test_an_instant_has_as_many_digits_as_it_needs(nanoseconds, text):
    assert instant(nanoseconds) == text


def test_february_ends_when_it_should():
    """Every year that a time stamp can name; 2100 and 2200 have no leap day."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    for year in range(1970, 2262):
        for month, day in ((1, 1), (2, 28), (3, 1), (12, 31)):
            for moment in (
                last := datetime(year, month, day, 23, 59, 59, tzinfo=UTC),
                last + timedelta(seconds=1),
            ):
                seconds = (moment - epoch) // timedelta(seconds=1)
                assert instant(seconds * 10**9) == f"{moment:%Y-%m-%dT%H:%M:%S}Z"


@given(FINITE)
def test_seven_digits_are_kept(value):
    assert significant(value) == pytest.approx(value, rel=1e-6, abs=0)
