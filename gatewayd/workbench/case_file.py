"""Case files → cases, or every problem at once, each with its place. docs/testing-a-configuration.md has the form."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from gatewayd.config.document import MAX_FILE_BYTES, Entry, Fault, Node, Scalar, Table, read_node
from gatewayd.errors import ConfigError, Problem
from gatewayd.pipeline.trace import COUNTERS
from gatewayd.pipeline.verdict_json import instant as written
from gatewayd.workbench.case import Case, Expected, Json, Recorded, Said
from gatewayd.workbench.case_messages import MAX_SECONDS, TOO_LATE, Messages
from gatewayd.workbench.nodes import contents, kind_of_node, shortened
from gatewayd.workbench.recording import LATEST_NS

_ANY: Final = "any"
_CASE: Final = {"name": True, "messages": True, "expect": True, "wait_s": False}
_EXPECT: Final = dict.fromkeys(("readings", "predictions", "alerts", *COUNTERS), False)
_READING: Final = dict.fromkeys(("stream", "device", "labels", "values", "at"), False)
_EMPTY: Final = "the file is empty; expected a list of cases"
_SECOND: Final = 10**9


def read_cases(paths: Iterable[Path]) -> list[Case]:
    """Read case files.

    Returns:
        All cases, in order.

    Raises:
        ConfigError: With every problem of every file.
    """
    cases: list[Case] = []
    problems: list[Problem] = []
    for path in paths:
        data = contents(path, MAX_FILE_BYTES + 1)
        if isinstance(data, str):
            problems.append(Problem(path=str(path), line=0, column=0, message=data))
            continue
        found, faults = parse_cases(data, path)
        cases += found
        problems += [
            Problem(path=str(path), line=fault.place.line, column=fault.place.column, message=fault.message)
            for fault in sorted(dict.fromkeys(faults), key=lambda fault: fault.place)
        ]
    if problems:
        raise ConfigError(problems)
    return cases


def parse_cases(data: bytes, path: Path) -> tuple[list[Case], list[Fault]]:
    """Read one file's bytes.

    Returns:
        The cases that can be run; and what is wrong, if anything is.
    """
    root, faults = read_node(data, empty=_EMPTY)
    reader = _Reader(path, list(faults))
    if root is None:
        return [], reader.faults
    cases: list[Case] = []
    first: dict[str, int] = {}
    for node in reader.items(root, "", "a list of cases, each beginning with '- name:'"):
        case = reader.case(node)
        if case is None:
            continue
        if case.name in first:
            reader.wrong(
                node.place, "name", f"stands in line {first[case.name]} already; names tell cases apart"
            )
        first.setdefault(case.name, case.line)
        cases.append(case)
    if not cases and not reader.faults:
        reader.faults.append(Fault(root.place, _EMPTY))
    return cases, reader.faults


class _Reader(Messages):
    """Reads the cases of one file."""

    def case(self, node: Node) -> Case | None:
        """Read a case; None where it can't be run."""
        before = len(self.faults)
        entries = self.table(node, "", _CASE, "a case")
        name = self.scalar(entries, "name", "", str)
        wait_s = self.number(entries, "wait_s", "", float, (0, MAX_SECONDS))
        said: list[Said | Recorded] = []
        if "messages" in entries:
            listed = self.items(entries["messages"].value, "messages", "a list of messages")
            for index, item in enumerate(listed):
                one = self.said(item, f"messages[{index}]", said[-1].last_at if said else None)
                if one is not None:
                    said.append(one)
        wait_ns = round((wait_s or 0.0) * _SECOND)
        if said and said[-1].last_at + wait_ns > LATEST_NS:
            self.wrong(node.place, "wait_s", TOO_LATE)
        expected = self._expected(entries["expect"].value) if "expect" in entries else None
        if name is not None and not name.strip():
            self.wrong(entries["name"].value.place, "name", "must not be empty")
        if len(self.faults) > before or name is None or expected is None:
            return None
        return Case(
            name=name,
            path=self._path,
            line=node.place.line,
            said=tuple(said),
            wait_ns=wait_ns,
            expected=expected,
        )

    def _expected(self, node: Node) -> Expected:
        entries = self.table(node, "expect", _EXPECT, "what is expected")
        counts: dict[str, Mapping[str, int | None] | None] = {}
        for name in COUNTERS:
            if name in entries:
                counts[name] = self._counts(entries[name].value, f"expect.{name}")
        return Expected(
            readings=self._listed(entries, "readings", _READING),
            predictions=self._listed(entries, "predictions", None),
            alerts=self._listed(entries, "alerts", None),
            counts=counts,
        )

    def _counts(self, node: Node, at: str) -> Mapping[str, int | None] | None:
        if isinstance(node, Scalar) and node.text == _ANY:
            return None
        if not isinstance(node, Table):
            self.wrong(
                node.place, at, f"expected 'any' or reasons as 'reason: count', not {kind_of_node(node)}"
            )
            return None
        counts: dict[str, int | None] = {}
        for reason, entry in node.entries.items():
            value = entry.value
            if isinstance(value, Scalar) and value.text == _ANY:
                counts[reason] = None
                continue
            count = self.number(node.entries, reason, at, int, (0, None))
            counts[reason] = count
        return counts

    def _listed(
        self, entries: Mapping[str, Entry], name: str, known: Mapping[str, bool] | None
    ) -> int | tuple[Json, ...] | None:
        if name not in entries:
            return None
        node, at = entries[name].value, f"expect.{name}"
        if isinstance(node, Scalar):
            return self.number(entries, name, "expect", int, (0, None))
        found: list[Json] = []
        for index, item in enumerate(self.items(node, at, "a count or a list")):
            here = f"{at}[{index}]"
            inner = self.table(item, here, known, "some of its fields")
            document = {
                key: self.json(entry.value, f"{here}.{shortened(key)}") for key, entry in inner.items()
            }
            if known is not None and "at" in inner:
                time = self.time(inner, "at", here)
                document["at"] = None if time is None else written(time)
            found.append(document)
        return tuple(found)
