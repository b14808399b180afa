"""A case through a flow: what came, and what was due in between."""

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gatewayd.workbench.case_file import parse_cases
from gatewayd.workbench.case_match import differences
from gatewayd.workbench.case_run import run_case
from tests.support.flows import make_flow, plan


def run(text, **options):
    (case,), faults = parse_cases(text.encode(), Path("x"))
    assert faults == []
    return run_case(case, make_flow(plan(**options)))


READINGS = """
- name: n
  messages:
    - {topic: site/l1/p1, repeat: 3, json: {ts: "{at}", a: 4.0, b: 0}}
    - {topic: site/l1/p1, payload: hello}
  expect: {}
"""


def test_what_came_is_told_as_documents():
    found = run(READINGS)
    assert found.readings[1] == {
        "stream": "pump",
        "device": "p1",
        "labels": {"line": "l1"},
        "values": {"a": 4.0, "b": 0.0},
        "at": "2023-11-14T22:13:21Z",
    }
    assert [one["verdict"] for one in found.predictions] == ["anomalous"]
    assert [(one["state"], one["device"]) for one in found.alerts] == [("raised", "p1")]
    assert found.counts["rejected"] == {"not_json": 1}
    assert found.counts["dropped"] == {}
    assert found.examples["rejected/not_json"] == "pump/l1/p1"


def test_the_same_case_always_gives_the_same():
    assert run(READINGS) == run(READINGS)


SILENT = {"alert": {"raise": "1 of 1", "clear": "1 of 1", "silent_after_s": 60.0}}


def test_what_is_due_between_two_messages_comes_between_them_at_its_time():
    found = run(
        """
- name: n
  messages:
    - {topic: site/l1/p1, json: {a: 0, b: 0}}
    - {topic: site/l1/p1, interval_s: 100, json: {a: 0, b: 0}}
  expect: {}
""",
        **SILENT,
        time=None,
    )
    assert [(one["state"], one["condition"], one["changed_at"]) for one in found.alerts] == [
        ("raised", "silent", "2023-11-14T22:14:20Z"),
        ("cleared", "silent", "2023-11-14T22:15:00Z"),
    ]


def test_time_goes_on_after_the_last_message_for_as_long_as_the_case_waits():
    text = """
- name: n
  messages: [{{topic: site/l1/p1, json: {{a: 0, b: 0}}}}]
  wait_s: {wait_s}
  expect: {{}}
"""
    assert run(text.format(wait_s=59), **SILENT, time=None).alerts == []
    (alert,) = run(text.format(wait_s=61), **SILENT, time=None).alerts
    assert (alert["condition"], alert["changed_at"]) == ("silent", "2023-11-14T22:14:20Z")


def test_a_case_may_say_nothing_at_all():
    found = run("- {name: n, messages: [], wait_s: 100, expect: {}}")
    assert (found.readings, found.predictions, found.alerts) == ([], [], [])


def test_only_predictions_and_alerts_are_told():
    publish = {"to": "cloud", "topic": "out/{stream}/{device}", "alert_state": True}
    found = run(READINGS, publish=publish)
    assert (len(found.predictions), len(found.alerts)) == (1, 1)


TOPICS = st.sampled_from(["site/l1/p1", "site/l1/p{n}", "else/where", "site//"])
PAYLOADS = st.sampled_from(
    ["json: {ts: '{at}', a: 1, b: 2}", "json: [{at: 1}]", "payload: '{at_iso}'", "hex: ff", "json: ~"]
)
SAID = st.builds(
    lambda topic, payload, more: f"{{topic: '{topic}', {payload}{more}}}",
    TOPICS,
    PAYLOADS,
    st.sampled_from(
        ["", ", repeat: 3", ", interval_s: 0", ", retain: true", ", interval_s: 1000, repeat: 2"]
    ),
)


@given(st.lists(SAID, max_size=5), st.sampled_from([0, 1, 1e9]))
def test_any_case_can_be_run_and_is_held_to_what_came(said, wait_s):
    """What is expected to be exactly what came holds."""
    text = f"- {{name: n, messages: [{', '.join(said)}], wait_s: {wait_s}, expect: {{}}}}"
    (case,), faults = parse_cases(text.encode(), Path("x"))
    assert faults == []
    found = run_case(case, make_flow(plan(**SILENT)))
    exactly = replace(
        case.expected,
        readings=tuple(found.readings),
        predictions=tuple(found.predictions),
        alerts=tuple(found.alerts),
        counts=found.counts,
    )
    assert differences(exactly, found) == []
    assert sum(found.counts["refused"].values()) + sum(found.counts["rejected"].values()) + len(
        found.readings
    ) == sum(one.repeat for one in case.said)
