"""Whatever is said to the gateway is a command or is refused with a reason; an answer is always JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import RejectedInputError
from gatewayd.pipeline.commands import Command, answer, parse_command

NOW = 1_700_000_000 * 10**9
TEXT = st.text(max_size=10)
DOCUMENTS = st.dictionaries(
    st.sampled_from(
        ["command", "alert", "stream", "device", "condition", "channel", "by", "for_s", "request", "x"]
    ),
    st.sampled_from(["acknowledge", "shelve", "anomaly", "silent", 60, 0, -1, 1e9, True, None, [], {}])
    | TEXT,
    max_size=6,
)


@given(payload=st.binary(max_size=60) | DOCUMENTS.map(lambda document: json.dumps(document).encode()))
def test_any_bytes_are_a_command_or_are_refused(payload):
    try:
        command = parse_command(payload)
    except RejectedInputError as error:
        reason = error.reason
    else:
        reason = None
    if reason is not None:
        assert reason.replace("_", "").isalpha()
        return
    document = json.loads(payload)
    assert command.command == document["command"]
    assert command.alert is not None or None not in (command.stream, command.device, command.condition)
    assert command.for_ns is None or command.for_ns > 0
    told = json.loads(answer(command, result="done", reason=None, detail=None, changed=0, at=NOW))
    assert all(
        told[name] == value for name, value in document.items() if value is not None and name != "for_s"
    )


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({}, "unknown_command"),
        ({"command": "explode"}, "unknown_command"),
        ({"command": "reset"}, "no_alert_named"),
        ({"command": "reset", "stream": "s", "device": "d"}, "no_alert_named"),
        ({"command": "reset", "alert": "a", "who": "me"}, "unknown_field"),
        ({"command": "reset", "alert": 7}, "not_text"),
        ({"command": "reset", "alert": "a", "by": "x" * 201}, "not_text"),
        ({"command": "reset", "stream": "s", "device": "d", "condition": "sad"}, "unknown_condition"),
        ({"command": "shelve", "alert": "a", "for_s": 0}, "no_duration"),
        ({"command": "shelve", "alert": "a", "for_s": 1e12}, "no_duration"),
        ({"command": "shelve", "alert": "a", "for_s": True}, "no_duration"),
    ],
)
def test_what_is_wrong_has_a_reason(document, reason):
    with pytest.raises(RejectedInputError) as caught:
        parse_command(json.dumps(document).encode())
    assert caught.value.reason == reason


def test_an_answer_repeats_what_was_asked_for():
    command = Command(command="shelve", alert="a1", for_s=60.0, by="me", request="r-1")
    told = json.loads(
        answer(command, result="refused", reason="not_standing", detail="more", changed=0, at=NOW)
    )
    assert told == {
        "kind": "response",
        "result": "refused",
        "at": "2023-11-14T22:13:20Z",
        "alert": "a1",
        "by": "me",
        "command": "shelve",
        "for_s": 60.0,
        "request": "r-1",
        "reason": "not_standing",
        "detail": "more",
    }
    assert command.for_ns == 60 * 10**9


def test_what_could_not_be_read_is_answered_too():
    told = json.loads(answer(None, result="refused", reason="not_json", detail=None, changed=0, at=NOW))
    assert (told["result"], told["reason"]) == ("refused", "not_json")
