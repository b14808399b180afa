"""Verdicts to encode: any that can be, and those that docs/payloads.md shows."""

from datetime import datetime
from typing import get_args

from hypothesis import strategies as st

from gatewayd.domain.verdict import Alert, Change, Condition, Prediction, Status
from gatewayd.pipeline.origin import Device, Origin

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INSTANTS = st.integers(0, 2**63 - 1)
FINITE = st.floats(-1e30, 1e30)
PARTS = st.dictionaries(
    st.sampled_from(["temperature", "vibration"]), st.floats(0, 1).map(lambda x: round(x, 4)), min_size=1
)
DEVICES = st.builds(
    lambda name, line: Device(name=name, levels={"line": line, "device": name}),
    TEXT.filter(bool),
    TEXT,
)


@st.composite
def predictions(draw):
    """Any prediction, with and without what only some tasks have."""
    threshold = draw(st.none() | FINITE)
    return Prediction(
        device=0,
        start=draw(INSTANTS),
        end=draw(INSTANTS),
        samples=draw(st.integers(1, 1000)),
        score=draw(FINITE),
        threshold=threshold,
        is_anomalous=draw(st.booleans()) and threshold is not None,
        contributions=draw(st.none() | PARTS),
        label="calm",
        probabilities=draw(st.none() | st.just({"calm": 0.25, "wear": 0.75})),
    )


PREDICTIONS = predictions()
_LASTS = ("raised", "escalated")
_IS_OVER = ("cleared", "latched", "reset")


@st.composite
def alerts(draw):
    """Any alert whose end fits what happened to it."""
    state = draw(st.sampled_from(get_args(Change)))
    status = draw(st.sampled_from(get_args(Status)))
    ended = INSTANTS if state in _IS_OVER or status == "normal" else st.none() | INSTANTS
    return Alert(
        id=draw(st.sampled_from(["0" * 32, "f" * 32])),
        device=0,
        condition=draw(st.sampled_from(get_args(Condition))),
        channel=draw(st.none() | st.sampled_from(["temperature", "a/b", "ü+#"])),
        severity=draw(st.sampled_from(["low", "medium", "high"])),
        state="cleared" if state in _LASTS and status == "normal" else state,
        status=status,
        changed_at=draw(INSTANTS),
        first_out_at=draw(INSTANTS),
        raised_at=draw(INSTANTS),
        cleared_at=None if state in _LASTS and status != "normal" else draw(ended),
        acknowledged_at=draw(st.none() | INSTANTS),
        acknowledged_by=draw(st.none() | TEXT),
        shelved_until=draw(st.none() | INSTANTS),
        score=draw(FINITE),
        peak_score=draw(FINITE),
        threshold=draw(FINITE),
        causes=draw(st.just(()) | PARTS.map(lambda parts: tuple(parts.items()))),
    )


def at(text: str) -> int:
    """Return an instant, written as RFC 3339 with at most six fraction digits, as ns since the Unix epoch."""
    moment = datetime.fromisoformat(text)
    return int(moment.replace(microsecond=0).timestamp()) * 10**9 + moment.microsecond * 1000


# What docs/payloads.md shows.
PUMP = Origin(
    gateway="line1-gw", stream="pump", model="pump", version="1.0.0", runtime="tflite-runtime 2.14.0 x86_64"
)
P3 = Device(name="p3", levels={"line": "l1", "device": "p3"})
ROOM_ORIGIN = Origin(
    gateway="hq-gw", stream="room", model="occupancy", version="2", runtime="ai-edge-litert 2.3.0 x86_64"
)
ROOM = Device(name="room", levels={})
ANOMALOUS = Prediction(
    device=0,
    start=at("2026-03-14T10:26:50.200Z"),
    end=at("2026-03-14T10:26:51.750Z"),
    samples=32,
    score=3.41,
    threshold=2.31,
    is_anomalous=True,
    contributions={"temperature": 0.08, "vibration": 0.92},
    label=None,
    probabilities=None,
)
VACANT = Prediction(
    device=0,
    start=at("2026-03-14T10:26:00Z"),
    end=at("2026-03-14T10:26:00Z"),
    samples=1,
    score=0.07,
    threshold=0.5,
    is_anomalous=False,
    contributions=None,
    label="vacant",
    probabilities={"vacant": 0.93, "occupied": 0.07},
)
_FIRST_OUT = at("2026-03-14T10:26:50.950Z")
_STUCK_AT = at("2026-03-14T11:05:00Z")
RAISED = Alert(
    id=PUMP.identify("alert", P3, _FIRST_OUT),
    device=0,
    state="raised",
    changed_at=at("2026-03-14T10:26:51.750Z"),
    first_out_at=_FIRST_OUT,
    raised_at=at("2026-03-14T10:26:51.750Z"),
    cleared_at=None,
    score=3.41,
    peak_score=3.62,
    threshold=2.31,
    causes=(("vibration", 0.92), ("temperature", 0.08)),
)
CLEARED = Alert(
    id=RAISED.id,
    device=0,
    state="cleared",
    status="normal",
    changed_at=at("2026-03-14T10:31:12.150Z"),
    first_out_at=_FIRST_OUT,
    raised_at=RAISED.raised_at,
    cleared_at=at("2026-03-14T10:31:12.150Z"),
    acknowledged_at=at("2026-03-14T10:28:03.412Z"),
    acknowledged_by="night shift",
    score=0.66,
    peak_score=7.9,
    threshold=2.31,
    causes=(("temperature", 0.55), ("vibration", 0.45)),
)
STUCK = Alert(
    id=PUMP.identify("alert", P3, _STUCK_AT, condition="stuck", channel="temperature"),
    device=0,
    condition="stuck",
    channel="temperature",
    severity="low",
    state="raised",
    changed_at=_STUCK_AT,
    first_out_at=_STUCK_AT,
    raised_at=_STUCK_AT,
    cleared_at=None,
    score=60.0,
    peak_score=60.0,
    threshold=60.0,
    causes=(),
)
