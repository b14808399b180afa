"""Case files → cases, or every problem at once, each with its place. docs/testing-a-configuration.md has the form."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from gatewayd.config.document import Entry, Fault, Node, Place, Scalar, Table, read_node
from gatewayd.config.scalars import is_nothing
from gatewayd.domain.topic import MAX_TOPIC_BYTES
from gatewayd.errors import ConfigError, Problem
from gatewayd.pipeline.trace import COUNTERS
from gatewayd.pipeline.verdict_json import instant as written
from gatewayd.workbench.case import BEGIN_NS, Case, Expected, Json, JsonPayload, Said
from gatewayd.workbench.nodes import Nodes, kind_of_node, shortened
from gatewayd.workbench.recording import LATEST_NS

MAX_FILE_BYTES: Final = 1024 * 1024  # of a payload; the largest that the daemon takes in
MAX_REPEAT: Final = 100_000
_ANY: Final = "any"
_PAYLOADS: Final = ("payload", "json", "hex", "file")
_CASE: Final = {"name": True, "messages": True, "expect": True, "wait_s": False}
_SAID: Final = {"topic": True, **dict.fromkeys((*_PAYLOADS, "at", "interval_s", "repeat", "retain"), False)}
_EXPECT: Final = dict.fromkeys(("readings", "predictions", "alerts", *COUNTERS), False)
_READING: Final = dict.fromkeys(("stream", "device", "labels", "values", "at"), False)
_EMPTY: Final = "the file is empty; expected a list of cases"
_TOO_LATE: Final = "goes beyond the year 2261, where nanoseconds end"
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
        try:
            data = path.read_bytes()
        except (OSError, ValueError) as error:
            reason = f"cannot be read: {getattr(error, 'strerror', None) or 'not a path'}"
            problems.append(Problem(path=str(path), line=0, column=0, message=reason))
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


class _Reader(Nodes):
    """Reads the cases of one file."""

    def __init__(self, path: Path, faults: list[Fault]) -> None:
        super().__init__(faults)
        self._path = path

    def case(self, node: Node) -> Case | None:
        """Read a case; None where it can't be run."""
        before = len(self.faults)
        entries = self.table(node, "", _CASE, "a case")
        name = self.scalar(entries, "name", "", str)
        wait_s = self.scalar(entries, "wait_s", "", float)
        if wait_s is not None and not 0 <= wait_s <= _SECOND:
            self.wrong(
                entries["wait_s"].value.place, "wait_s", f"must lie in 0..{_SECOND}, not {wait_s:.15g}"
            )
        said: list[Said] = []
        if "messages" in entries:
            for index, item in enumerate(
                self.items(entries["messages"].value, "messages", "a list of messages")
            ):
                one = self._said(item, f"messages[{index}]", said[-1].last_at if said else None)
                if one is not None:
                    said.append(one)
        wait_ns = round((wait_s or 0.0) * _SECOND)
        if said and said[-1].last_at + wait_ns > LATEST_NS:
            self.wrong(node.place, "wait_s", _TOO_LATE)
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

    def _said(self, node: Node, at: str, latest: int | None) -> Said | None:
        before = len(self.faults)
        entries = self.table(node, at, _SAID, "a message")
        topic = self.scalar(entries, "topic", at, str)
        if topic is not None and (
            not topic or set("+#\0") & set(topic) or len(topic.encode()) > MAX_TOPIC_BYTES
        ):
            self.wrong(
                entries["topic"].value.place, f"{at}.topic", "is no topic that a sensor can publish on"
            )
        payload = self._payload(node, entries, at)
        interval_s = self.scalar(entries, "interval_s", at, float)
        if interval_s is not None and not 0 <= interval_s <= _SECOND:
            place = entries["interval_s"].value.place
            self.wrong(place, f"{at}.interval_s", f"must lie in 0..{_SECOND}, not {interval_s:.15g}")
            interval_s = None
        interval_ns = round((1.0 if interval_s is None else interval_s) * _SECOND)
        repeat = self.scalar(entries, "repeat", at, int)
        if repeat is not None and not 1 <= repeat <= MAX_REPEAT:
            self.wrong(
                entries["repeat"].value.place, f"{at}.repeat", f"must lie in 1..{MAX_REPEAT}, not {repeat}"
            )
            repeat = None
        arrival = self.time(entries, "at", at)
        begins_at = arrival if arrival is not None else BEGIN_NS if latest is None else latest + interval_ns
        if latest is not None and begins_at < latest:
            self.wrong(entries["at"].value.place, f"{at}.at", "is before the message above arrives")
        is_retained = self.scalar(entries, "retain", at, bool) or False
        if len(self.faults) > before or topic is None or payload is None:
            return None
        said = Said(
            topic=topic,
            payload=payload,
            at=begins_at,
            interval_ns=interval_ns,
            repeat=repeat or 1,
            is_retained=is_retained,
        )
        if said.last_at > LATEST_NS:
            self.wrong(node.place, at, _TOO_LATE)
            return None
        return said

    def _payload(self, node: Node, entries: Mapping[str, Entry], at: str) -> bytes | str | JsonPayload | None:
        given = [name for name in _PAYLOADS if name in entries]
        if len(given) != 1:
            if isinstance(node, Table):
                self.wrong(
                    node.place, at, f"expected one of {', '.join(_PAYLOADS)}, not {len(given)} of them"
                )
            return None
        (name,) = given
        entry = entries[name].value
        if name == "json":
            return JsonPayload(self.json(entry, f"{at}.json"))
        if name == "payload" and isinstance(entry, Scalar) and is_nothing(entry):
            return b""
        text = self.scalar(entries, name, at, str)
        if text is None or name == "payload":
            return text
        return (self._file if name == "file" else self._hex)(text, entry.place, f"{at}.{name}")

    def _hex(self, text: str, place: Place, at: str) -> bytes | None:
        try:
            return bytes.fromhex(text)
        except ValueError:
            self.wrong(place, at, "expected pairs of hexadecimal digits")
            return None

    def _file(self, name: str, place: Place, at: str) -> bytes | None:
        try:
            path = self._path.parent / name
            if path.is_file():  # a pipe would keep us waiting
                with path.open("rb") as file:
                    return file.read(MAX_FILE_BYTES)
            reason = "is not a file" if path.exists() else "cannot be read: No such file or directory"
        except OSError as error:
            reason = f"cannot be read: {error.strerror}"
        self.wrong(place, at, reason)
        return None

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
            count = self.scalar(node.entries, reason, at, int)
            if count is not None and count < 0:
                self.wrong(value.place, f"{at}.{shortened(reason)}", f"must be at least 0, not {count}")
            counts[reason] = count
        return counts

    def _listed(
        self, entries: Mapping[str, Entry], name: str, known: Mapping[str, bool] | None
    ) -> int | tuple[Json, ...] | None:
        if name not in entries:
            return None
        node, at = entries[name].value, f"expect.{name}"
        if isinstance(node, Scalar):
            count = self.scalar(entries, name, "expect", int)
            if count is not None and count < 0:
                self.wrong(node.place, at, f"must be at least 0, not {count}")
            return count
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
