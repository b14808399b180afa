"""Messages of a case file: what is said to a configuration, and when. docs/testing-a-configuration.md has the form."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gatewayd.config.document import Entry, Fault, Node, Place, Scalar, Table
from gatewayd.config.scalars import is_nothing
from gatewayd.domain.topic import MAX_TOPIC_BYTES
from gatewayd.workbench.case import BEGIN_NS, JsonPayload, Recorded, Said
from gatewayd.workbench.nodes import Nodes, contents
from gatewayd.workbench.recording import LATEST_NS, RecordingError, Unread, read_messages

MAX_FILE_BYTES: Final = 1024 * 1024  # of a payload; the largest that the daemon takes in
MAX_REPEAT: Final = 100_000
MAX_SECONDS: Final = 10**9
TOO_LATE: Final = "goes beyond the year 2261, where nanoseconds end"
_PAYLOADS: Final = ("payload", "json", "hex", "file")
_SAID: Final = {"topic": True, **dict.fromkeys((*_PAYLOADS, "at", "interval_s", "repeat", "retain"), False)}
_RECORDED: Final = {"recording": True, "interval_s": False}
_SECOND: Final = 10**9


class Messages(Nodes):
    """Reads the messages of one file's cases.

    Args:
        path: The file; others that it names lie beside it.
        faults: Takes what is wrong.
    """

    def __init__(self, path: Path, faults: list[Fault]) -> None:
        super().__init__(faults)
        self._path = path

    def said(self, node: Node, at: str, latest: int | None) -> Said | Recorded | None:
        """Read one entry of a case's messages.

        Args:
            node: The entry.
            at: How it is called in messages.
            latest: When the message before it arrives, ns since the Unix epoch; None: it is the first.
        """
        before = len(self.faults)
        if isinstance(node, Table) and "recording" in node.entries:
            said: Said | Recorded | None = self._recorded(node, at, latest)
        else:
            said = self._said(node, at, latest)
        if said is None or len(self.faults) > before:
            return None
        if said.last_at > LATEST_NS:
            self.wrong(node.place, at, TOO_LATE)
            return None
        return said

    def _said(self, node: Node, at: str, latest: int | None) -> Said | None:
        entries = self.table(node, at, _SAID, "a message")
        topic = self.scalar(entries, "topic", at, str)
        if topic is not None and (
            not topic or set("+#\0") & set(topic) or len(topic.encode()) > MAX_TOPIC_BYTES
        ):
            place = entries["topic"].value.place
            self.wrong(place, f"{at}.topic", "is no topic that a sensor can publish on")
        payload = self._payload(node, entries, at)
        interval_ns = self._interval_ns(entries, at)
        repeat = self.number(entries, "repeat", at, int, (1, MAX_REPEAT))
        arrival = self.time(entries, "at", at)
        begins_at = arrival if arrival is not None else BEGIN_NS if latest is None else latest + interval_ns
        if latest is not None and begins_at < latest:
            self.wrong(entries["at"].value.place, f"{at}.at", "is before the message above arrives")
        is_retained = self.scalar(entries, "retain", at, bool) or False
        if topic is None or payload is None:
            return None
        return Said(
            topic=topic,
            payload=payload,
            at=begins_at,
            interval_ns=interval_ns,
            repeat=repeat or 1,
            is_retained=is_retained,
        )

    def _recorded(self, node: Table, at: str, latest: int | None) -> Recorded | None:
        entries = self.table(node, at, _RECORDED, "a recording")
        interval_ns = self._interval_ns(entries, at)
        name = self.scalar(entries, "recording", at, str)
        if name is None:
            return None
        place, here, unread = entries["recording"].value.place, f"{at}.recording", Unread()
        arrivals: list[tuple[bytes, bytes, int, int]] = []
        times: list[int] = []
        path = self._path.parent / name
        reason = contents(path, 0)
        if isinstance(reason, str):
            self.wrong(place, here, reason)
            return None
        try:
            for message, recorded_at in read_messages(path, unread):
                default = BEGIN_NS if latest is None else latest + interval_ns
                latest = default if recorded_at is None else max(recorded_at, latest or 0)
                arrivals.append(message)
                times.append(latest)
                if len(times) > MAX_REPEAT:
                    self.wrong(place, here, f"holds more than {MAX_REPEAT} messages")
                    return None
        except RecordingError as error:
            self.wrong(place, here, str(error))
            return None
        for reason, example in unread.examples.items():
            self.wrong(place, here, f"{example}: {reason}")
        if not times:
            self.wrong(place, here, "holds no message")
            return None
        return Recorded(arrivals=tuple(zip(arrivals, times, strict=True)))

    def _interval_ns(self, entries: Mapping[str, Entry], at: str) -> int:
        interval_s = self.number(entries, "interval_s", at, float, (0, MAX_SECONDS))
        return round((1.0 if interval_s is None else interval_s) * _SECOND)

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
        found = contents(self._path.parent / name, MAX_FILE_BYTES)
        if isinstance(found, bytes):
            return found
        self.wrong(place, at, found)
        return None
