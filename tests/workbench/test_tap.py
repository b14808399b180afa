"""Looking on: what is told one by one, what is only counted, and what the summary says."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.startup import prepare
from gatewayd.workbench.tap import Tap, looked_on
from gatewayd.workbench.telling import Teller

SECOND = 10**9
NOW = 1_700_000_000 * SECOND
CONFIG = """
gateway: {id: gw}
brokers: {local: {host: 127.0.0.1}}
streams:
  pump:
    from: local
    topic: site/{device}/telemetry
    time: {field: ts}
    channels: {a: {unit: bar, max: 100}}
    baseline: {warm_up: 2, readings: 100}
    alert: {threshold: 4, raise: 1 of 1, clear: 1 of 1, silent_after_s: 60}
    publish: {to: local, predictions: none, alert_state: on, home_assistant: {}}
  room:
    from: local
    topic: room/{device}
    channels: {b: {}}
    alert: {threshold: 4}
    publish: {to: local, encoding: senml}
commands: {from: local, topic: "gw/{gateway}/command"}
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    path = tmp_path_factory.mktemp("tap") / "gatewayd.yaml"
    path.write_text(CONFIG)
    return prepare(path)


def make_tap(prepared, *, shown_per_s=20, as_json=False, streams=(), is_raw=False):
    chosen = looked_on(prepared, streams)
    teller = None if as_json else Teller(chosen.settings, is_coloured=False, is_raw=is_raw)
    return Tap(chosen, steady_now=NOW, shown_per_s=shown_per_s, teller=teller, is_raw=is_raw)


def take(tap, messages, *, now):
    return tap.take(messages, now=now, steady_now=now)


def said(second, a, device="p1"):
    return (
        f"site/{device}/telemetry".encode(),
        json.dumps({"ts": 1_700_000_000 + second, "a": a}).encode(),
        0x30,
        0,
    )


def test_only_the_named_streams_are_looked_at_and_all_their_scores_come_out_as_json(prepared):
    chosen = looked_on(prepared, ["pump"])
    assert list(chosen.settings.streams) == ["pump"]
    publish = chosen.settings.streams["pump"].publish
    assert (publish.predictions, publish.alert_state, publish.home_assistant) == ("all", False, None)
    assert chosen.settings.commands is None
    everything = looked_on(prepared, []).settings.streams
    assert list(everything) == ["pump", "room"]
    assert everything["room"].publish.encoding == "json"
    assert prepared.settings.streams["pump"].publish.predictions == "none"


def test_a_stream_that_is_not_there_is_named(prepared):
    with pytest.raises(ValueError, match=r"there is no stream 'pmp'; there are pump, room"):
        looked_on(prepared, ["pmp"])


def test_readings_scores_losses_and_alerts_are_told_in_order(prepared):
    tap = make_tap(prepared)
    values = (1.0, 2.0, 1.0, 500.0, 90.0)
    lines = list(take(tap, [said(second, a) for second, a in enumerate(values)], now=NOW))
    assert [line[26:] for line in lines] == [
        "pump/p1  a 1 bar",
        "pump/p1  unscored warming_up",
        "pump/p1  a 2 bar",
        "pump/p1  unscored warming_up",
        "pump/p1  a 1 bar",
        "pump/p1  score 1 < 4  normal",
        "pump/p1  a 500 bar",
        "pump/p1  dropped out_of_range",
        "pump/p1  a  90 bar",
        lines[-2][26:],
        lines[-1][26:],
    ]
    assert "anomalous" in lines[-2]
    assert "ALERT raised: anomaly" in lines[-1]


def test_what_comes_faster_is_counted_but_its_alerts_are_told(prepared):
    tap = make_tap(prepared, shown_per_s=3)
    calm = [said(second, float(second % 2)) for second in range(9)]
    lines = list(take(tap, [*calm, said(9, 99.0), (b"site/p1/telemetry", b"x", 0x30, 0)], now=NOW))
    assert sum(" a " in line and "score" not in line for line in lines) == 3
    assert [line for line in lines if "ALERT" in line] == [lines[-1]]
    later = list(take(tap, [], now=NOW + SECOND // 2))
    assert later == []
    assert list(take(tap, [], now=NOW + SECOND)) == ["… 8 more: 1 rejected not_json"]
    assert list(take(tap, [], now=NOW + 2 * SECOND)) == []


def test_a_clock_that_is_set_neither_hurries_nor_stops_it(prepared):
    """What is told, and when somebody is silent, goes by the clock that never jumps; arrivals by the gateway's."""
    tap = make_tap(prepared, shown_per_s=2, as_json=True)
    day = 86_400 * SECOND
    lines = list(tap.take([said(0, 1.0), said(1, 1.0), said(2, 1.0)], now=NOW, steady_now=NOW))
    assert sum('"reading"' in line for line in lines) == 2
    lines = list(tap.take([said(3, 1.0)], now=NOW + day, steady_now=NOW))
    assert lines == []
    lines = list(tap.take([said(4, 1.0)], now=NOW - day, steady_now=NOW + SECOND))
    assert [json.loads(line)["kind"] for line in lines] == ["more", "reading", "dropped"]
    assert json.loads(lines[-1])["reason"] == "future"
    (line,) = tap.take([], now=NOW - day, steady_now=NOW + 61 * SECOND)
    assert json.loads(line)["condition"] == "silent"


def test_after_a_pause_messages_are_told_again(prepared):
    tap = make_tap(prepared, shown_per_s=2)
    list(take(tap, [said(second, 1.0) for second in range(4)], now=NOW))
    lines = list(take(tap, [said(5, 1.0)], now=NOW + SECOND // 2))
    assert lines == []
    lines = list(take(tap, [said(6, 1.0)], now=NOW + SECOND))
    assert lines[0] == "… 3 more"
    assert lines[1].endswith("pump/p1  a 1 bar")


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2 * SECOND)), max_size=12))
def test_every_message_is_told_or_counted_as_more(prepared, bursts):
    tap = make_tap(prepared, shown_per_s=5, as_json=True)
    now, second = NOW, 0
    lines = []
    for count, later in bursts:
        now += later
        lines += take(tap, [said(second + index, 1.0) for index in range(count)], now=now)
        second += count
    lines += tap.end()
    found = [json.loads(line) for line in lines]
    told = sum(one["kind"] == "reading" for one in found)
    assert told + sum(one["messages"] for one in found if one["kind"] == "more") == second == tap.messages
    passed_s = sum(later for _, later in bursts) / SECOND
    assert told <= 5 * (1 + passed_s)


def test_silence_is_told_when_it_is_due(prepared):
    tap = make_tap(prepared)
    list(take(tap, [said(0, 1.0)], now=NOW))
    assert list(take(tap, [], now=NOW + 59 * SECOND)) == []
    (line,) = take(tap, [], now=NOW + 61 * SECOND)
    assert "pump/p1  ALERT raised: silent" in line


def test_the_summary_adds_up_and_names_the_busiest_devices(prepared):
    tap = make_tap(prepared)
    list(
        take(
            tap,
            [said(0, 1.0), said(0, 500.0, "p2"), said(1, 2.0), (b"site/p1/telemetry", b"x", 0x30, 0)],
            now=NOW,
        )
    )
    list(take(tap, [], now=NOW + 2 * SECOND))
    assert list(tap.end()) == [
        "messages:    4 in 2.0 s, 2.0/s",
        "readings:    3 of 2 devices; 0 wait in open windows",
        "predictions: 0 of 2 windows",
        "alerts:      0 raised, 0 cleared",
        "rejected, not_json: 1, first pump/p1",
        "dropped, out_of_range: 1, first pump/p2",
        "unscored, warming_up: 2",
        "  pump/p1  2 readings, 1.00/s",
        "  pump/p2  1 reading, 0.50/s",
    ]


def test_the_summary_of_many_devices_stays_short(prepared):
    tap = make_tap(prepared)
    list(take(tap, [said(0, 1.0, f"p{index}") for index in range(23)], now=NOW))
    lines = list(tap.end())
    assert lines[0].startswith("… 3 more")
    assert lines[-1] == "  and 3 more devices"
    assert sum(" reading" in line and "/s" in line for line in lines) == 20


def test_as_json_every_line_is_a_document_and_the_last_is_the_summary(prepared):
    tap = make_tap(prepared, as_json=True, is_raw=True, shown_per_s=2)
    lines = list(take(tap, [said(0, 1.0), said(1, 500.0), said(2, 500.0), said(3, 2.0)], now=NOW))
    found = [json.loads(line) for line in [*lines, *tap.end()]]
    assert [one["kind"] for one in found] == [
        "message",
        "reading",
        "unscored",
        "message",
        "reading",
        "dropped",
        "more",
        "summary",
    ]
    assert found[-2] == {
        "kind": "more",
        "messages": 2,
        "dropped": {"out_of_range": 1},
        "unscored": {"warming_up": 1},
    }
    assert found[-1]["messages"] == 4
    assert found[-1]["dropped"] == {"out_of_range": 2}
    assert found[-1]["readings_by_device"] == {"pump/p1": 4}


def test_requests_to_sensors_are_counted_and_not_sent(tmp_path):
    path = tmp_path / "gatewayd.yaml"
    path.write_text(
        """
gateway: {id: gw}
brokers: {local: {host: 127.0.0.1}}
streams:
  plant:
    from: local
    topic: spBv1.0/g/NDATA/{device}
    format: sparkplug_b
    channels: {a: {}}
    alert: {threshold: 4}
    publish: {to: local}
"""
    )
    tap = make_tap(prepare(path))
    sparkplug = pytest.importorskip("tests.support.sparkplug")
    del sparkplug
    list(take(tap, [(b"spBv1.0/g/NDATA/n", b"\x08\x01\x18\x05", 0x30, 0)], now=NOW))
    assert list(tap.end())[-1] == "requests to sensors, not sent: 1"
