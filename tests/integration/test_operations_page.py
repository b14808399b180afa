"""docs/operations.md names every counter, reason and event that the code has, and no other."""

import ast
import dataclasses
import re
from pathlib import Path
from typing import get_args

from gatewayd.domain.figures import DeliveryFigures, LineFigures, OutboxFigures
from gatewayd.domain.verdict import Change
from gatewayd.pipeline.judge import Rule
from gatewayd.runtime import report

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
# Each counter that a `figures` line has by reason: the modules that give the reasons, and its name there.
SOURCES = {
    "refused": ("refused", ["pipeline/decode.py"]),
    "refused_frames": ("refused", ["mqtt/session.py"]),
    "rejected": ("rejected", ["formats/json_object.py", "formats/number.py", "formats/scalar.py"]),
    "unread": ("unread", ["pipeline/rows.py"]),
    "untimed": ("untimed", ["formats/timestamp.py"]),
    "dropped": ("dropped", ["pipeline/clean.py", "pipeline/steps.py"]),
    "clipped": ("clipped", []),
    "marked": ("marked", []),
    "removed": ("removed", []),
    "alerts_withheld": ("withheld", ["pipeline/lifecycle.py"]),
    "unscored": ("unscored", ["pipeline/verdicts.py"]),
    "unstored": ("unstored", ["line.py"]),
    "evicted": ("evicted", ["store/outbox.py", "deliver.py"]),
}
WORD = re.compile(r"[a-z]+(?:_[a-z]+)*")


def table(head):
    """The rows of the table that begins with this line, as cells."""
    rows = PAGE.split(head + "\n", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def words(cell):
    return re.findall(r"`([^`]+)`", cell)


def constants(node):
    return {
        n.value
        for n in ast.walk(node)
        if isinstance(n, ast.Constant) and isinstance(n.value, str) and WORD.fullmatch(n.value)
    }


def name_of(node):
    if isinstance(node, ast.Attribute):
        return node.attr.lstrip("_")
    return node.id.lstrip("_") if isinstance(node, ast.Name) else ""


def tree(path):
    return ast.walk(ast.parse((ROOT / "gatewayd" / path).read_text(encoding="utf-8")))


def reasons_in(path, counter, *, raised=True):
    """What stands where a reason can: raised, counted, returned, given to what counts, or bound to that name."""
    found = set()
    for node in tree(path):
        if isinstance(node, ast.Call):
            called = name_of(node.func)
            is_kept = called == "append" and name_of(node.func.value) == counter
            is_raised = called == "RejectedInputError" and raised
            if is_raised or called in ("give_up", "drop", "refuse", "count", counter) or is_kept:
                found |= set().union(
                    *map(constants, node.args[:1] if called == "RejectedInputError" else node.args)
                )
        elif isinstance(node, ast.Subscript) and name_of(node.value).removesuffix("_before") == counter:
            found |= constants(node.slice)
        elif isinstance(node, ast.Assign):
            names = {name_of(target) for target in node.targets}
            if "reason" in names or (counter in names and isinstance(node.value, ast.Dict)):
                found |= constants(node.value)
        elif isinstance(node, ast.Return) and node.value is not None and path == "pipeline/decode.py":
            found |= constants(node.value)
    return found


def test_every_reason_is_explained_and_no_other():
    documented = {counter: set() for counter in SOURCES}
    for counters, reasons, *_ in table("| counter | reason | what happened | what to do |"):
        for counter in words(counters):
            documented[counter] |= set(words(reasons))
    in_code = {
        counter: set().union(*(reasons_in(path, name) for path in paths))
        for counter, (name, paths) in SOURCES.items()
    }
    for counter in ("dropped", "clipped", "marked", "removed"):
        in_code[counter] |= set(get_args(Rule))
    in_code["marked"] |= {"low_variance", "early", "excess", "relearned"}
    in_code["dropped"] |= {
        "conflict",
        "partial",
        "gap",
        "reload",
        "clock_set",
    }  # of Reorderer; by the kind of window
    in_code["evicted"] |= {"prediction", "alert"}  # by kind
    in_code["alerts_withheld"] |= {"hold_off", "shelved", "out_of_service", "flood"}
    in_code["unread"] |= {
        "too_many_devices",
        "device_without_name",
        "device_name_too_long",
    }  # of Devices.admit
    in_code["unread"] |= reasons_in("formats/sparkplug.py", "notices", raised=False)
    assert documented == in_code


def test_every_counter_with_reasons_has_a_source():
    by_reason = {
        field.name
        for kind in (LineFigures, OutboxFigures)
        for field in dataclasses.fields(kind)
        if "Mapping" in str(field.type)
    }
    assert by_reason - {"saturated", "examples", "commands", "unasked"} == set(
        SOURCES
    )  # by channel; told with the first loss


def test_every_key_of_a_figures_line_is_explained():
    rows = table("| key of a `figures` line | counts |")
    keys = {key for names, _ in rows for key in words(names)}
    assert keys == {f.name for f in dataclasses.fields(LineFigures)} - {"examples"} | {"deliveries", "outbox"}
    inner = {names: set(words(meaning)) for names, meaning in rows}
    assert inner["`deliveries`"] == {f.name for f in dataclasses.fields(DeliveryFigures)}
    assert inner["`outbox`"] == {f.name for f in dataclasses.fields(OutboxFigures)}


def events_in_code():
    found = {event for event, _ in report._LOSSES} | {"figures"}  # yielded, not logged there
    for path in (ROOT / "gatewayd").rglob("*.py"):
        for node in tree(path):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                if name_of(node.func.value) == "log" and node.func.attr != "log":
                    first = node.args[0]
                    found |= constants(first) if not isinstance(first, ast.JoinedStr) else set()
                elif name_of(node.func) == "log_loaded":
                    found |= constants(node.args[0])
            elif isinstance(node, ast.Assign):
                target = node.targets[0]
                is_key = isinstance(target, ast.Subscript) and constants(target.slice) == {"event"}
                if name_of(target) == "event" or is_key:
                    found |= constants(node.value)
    return found | {f"alert_{change}" for change in get_args(Change)}


def test_every_event_is_explained_and_no_other():
    documented = [
        event for names, *_ in table("| event | level | meaning, and what to do |") for event in words(names)
    ]
    assert len(documented) == len(set(documented))
    assert set(documented) == events_in_code()
