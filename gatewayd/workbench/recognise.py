"""What format the payloads of a topic are in, told by reading them: the most specific that reads nearly all of them.

A payload is no JSON object "with some list in it" if it is an EdgeX event. So formats are tried from the narrow to the
wide; the first that reads four of five messages, and finds something in them, is it. What is plainly no reading has a
reason instead.
"""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Final, TypeVar

from gatewayd.domain.topic import TopicFilter
from gatewayd.errors import RejectedInputError
from gatewayd.formats.leaves import parse_json
from gatewayd.formats.registry import FORMATS
from gatewayd.formats.sample import SampleFormat, Samples
from gatewayd.formats.scalar import text_number
from gatewayd.workbench.families import Families, Kind
from gatewayd.workbench.layouts import csv_kind, list_kind
from gatewayd.workbench.overheard import Heard, Topic
from gatewayd.workbench.times import lacks_zone, time_of

SHARE: Final = 0.8  # of the messages that a format must read
_LOOKED_AT: Final = 12  # messages of a topic
_TRIED: Final = 3  # messages after which a format that read none of them isn't tried further

T = TypeVar("T")

_COMMANDS = frozenset({"set", "get", "cmd", "command", "cmnd", "rpc"})
_OWN_KEYS = frozenset({"gateway", "stream", "device", "model"})
_DISCOVERY_KEYS = frozenset({"stat_t", "state_topic", "uniq_id", "unique_id", "cmps", "components"})
_IMAGES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"RIFF")
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04")
_SWITCHES = frozenset({"on", "off", "true", "false"})
# Narrow first. `ruuvi_raw` has no magic number: its length and first byte have to do, before maps in CBOR.
_NARROW = ("edgex", "senml_json")
# Whoever writes these keys means the format, even if there is nothing to read just now.
_MARKED = {
    "ttn_v3": {"end_device_ids", "uplink_message"},
    "cloudevents": {"specversion", "source", "type"},
    "edgex": {"apiVersion", "readings"},
}
_BINARY = ("ruuvi_raw", "senml_cbor", "edgex")
_MAPS = ("flat_cbor", "flat_messagepack")


def recognise(topic: Topic, families: Families) -> Kind | str:
    """Tell how a topic is read, or why not.

    Returns:
        The kind; or a reason: ``empty``, ``broker_status``, ``discovery``, ``command``, ``own_results``, ``image``,
        ``compressed``, ``switch``, ``text``, ``unknown_json``, ``unknown_binary``, ``unusable_topic`` (no filter can
        name it), ``needs_extra`` (its format's package is not installed).
    """
    if topic.name.startswith("$SYS/"):
        return "broker_status"
    if not _is_usable(topic.name):
        return "unusable_topic"
    kind = families.kind_of(topic.name) or _kind_of_one(topic, families)
    return kind if isinstance(kind, str) or is_readable(kind) else "needs_extra"


def _kind_of_one(topic: Topic, families: Families) -> Kind | str:
    """Tell how a topic is read that belongs to no ecosystem."""
    if topic.name in families.discovery:
        return "discovery"
    if topic.name.rpartition("/")[2].lower() in _COMMANDS:
        return "command"
    heard = topic.kept[:_LOOKED_AT]
    return by_content(topic.name, heard) if heard else "empty"


def by_content(topic: str, heard: Sequence[Heard]) -> Kind | str:
    """Tell how messages are read from what they hold alone; see ``recognise``.

    Args:
        topic: Where they came.
        heard: At least one.
    """
    documents = [_json(one.payload) for one in heard]
    if _most(documents, lambda document: isinstance(document, dict | list)):
        return _of_json(topic, heard, documents)
    if _most(heard, lambda one: _text(one.payload) is not None):
        return _of_text(topic, heard)
    return _of_binary(topic, heard)


def _of_json(topic: str, heard: Sequence[Heard], documents: Sequence[object]) -> Kind | str:
    if _have(documents, _OWN_KEYS):
        return "own_results"
    if _most(documents, lambda found: isinstance(found, dict) and len(found.keys() & _DISCOVERY_KEYS) > 1):
        return "discovery"
    name = next((name for name, keys in _MARKED.items() if _have(documents, keys)), None)
    if name is None:
        name = next((name for name in _NARROW if _reads(name, topic, heard)), None)
    if name is not None:
        return Kind(format=name)
    listed = list_kind(topic, documents)
    if listed is not None and _reads(listed.format, topic, heard, listed):
        return listed
    if _reads("flat_json", topic, heard) or _holds_text_numbers(documents):
        time = time_of(documents)
        name = "flat_json" if _has_dotted_keys(documents) else "json"
        return Kind(format=name, time=time, is_local=lacks_zone(documents, time))
    return "unknown_json"


def _of_text(topic: str, heard: Sequence[Heard]) -> Kind | str:
    texts = [_text(one.payload) or "" for one in heard]
    if _most(texts, lambda text: text.strip().lower() in _SWITCHES):
        return "switch"
    if _most(texts, _is_number):
        return Kind(format="number")
    lines = _influx_kind(topic, heard) if _most(texts, lambda text: "=" in text) else None
    if lines is not None:
        return lines
    table = csv_kind(texts)
    if table is not None and _reads("csv", topic, heard, table):
        return table
    return "text"


def _of_binary(topic: str, heard: Sequence[Heard]) -> Kind | str:
    if _most(heard, lambda one: one.payload.startswith(_IMAGES)):
        return "image"
    if _most(heard, lambda one: one.payload.startswith(_COMPRESSED)):
        return "compressed"
    for name in _BINARY:
        if _reads(name, topic, heard):
            return Kind(format=name)
    for name in _MAPS:
        if _reads(name, topic, heard):
            return Kind(format=name, time=time_of(_paths_of(name, topic, heard)))
    return "unknown_binary"


def _influx_kind(topic: str, heard: Sequence[Heard]) -> Kind | None:
    """Tell the unit of the time stamps: the one in which they are believable; None: the texts are no such lines."""
    for precision in ("ns", "us", "ms", "s"):
        kind = Kind(format="influx_line", options=() if precision == "ns" else (("precision", precision),))
        if _reads("influx_line", topic, heard, kind):
            return kind
    return None


def _reads(name: str, topic: str, heard: Sequence[Heard], kind: Kind | None = None) -> bool:
    """Tell whether a format reads most of the messages without an error and finds values in them."""
    reader = _reader(kind or Kind(format=name))
    if reader is None:
        return False
    results: list[Samples] = []
    for one in heard:
        results.append(reader.decode(topic, one.payload, arrived_at=one.arrived_at))
        if len(results) == _TRIED and all(result.errors for result in results):
            return False
    is_found = any(result.samples for result in results)
    return is_found and _most(results, lambda result: not result.errors)


def is_readable(kind: Kind) -> bool:
    """Tell whether a kind's format can be had: some need a package that only the extra brings."""
    return kind.format not in FORMATS or _reader(kind) is not None


@lru_cache(maxsize=256)
def _reader(kind: Kind) -> SampleFormat | None:
    """Return a format to try, None where it can't be had; none that is tried keeps anything between messages."""
    given = {} if kind.time is None else {"time": kind.time}
    try:
        return FORMATS[kind.format].from_text(dict(kind.options), **given)
    except ValueError:
        return None


def _paths_of(name: str, topic: str, heard: Sequence[Heard]) -> list[object]:
    """Return what a flat format reads as documents of one level."""
    reader = FORMATS[name]()
    found = [reader.decode(topic, one.payload, arrived_at=one.arrived_at).samples for one in heard]
    return [{sample.channel: sample.value for sample in samples} for samples in found]


def _most(items: Sequence[T], is_so: Callable[[T], bool]) -> bool:
    return sum(map(is_so, items)) >= SHARE * len(items)


def _have(documents: Sequence[object], keys: AbstractSet[str]) -> bool:
    """Tell whether most documents are objects with all of these keys."""
    return _most(documents, lambda document: isinstance(document, dict) and document.keys() >= keys)


def _json(payload: bytes) -> object:
    try:
        return parse_json(payload)
    except RejectedInputError:
        return None


def _text(payload: bytes) -> str | None:
    """Return a payload as text; None where it isn't, or is full of control characters."""
    try:
        text = payload.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    return text if all(c.isprintable() or c.isspace() or c == "\x00" for c in text[:1000]) else None


def _is_number(text: str) -> bool:
    try:
        text_number(text)
    except RejectedInputError:
        return False
    return True


def _holds_text_numbers(documents: Sequence[object]) -> bool:
    return _most(
        documents,
        lambda found: (
            isinstance(found, dict)
            and any(isinstance(value, str) and value and _is_number(value) for value in found.values())
        ),
    )


def _has_dotted_keys(document: object) -> bool:
    """Tell whether some key holds a dot, so that no path leads there."""
    if isinstance(document, dict):
        return any("." in key or _has_dotted_keys(value) for key, value in document.items())
    return isinstance(document, list) and any(map(_has_dotted_keys, document))


def _is_usable(topic: str) -> bool:
    try:
        TopicFilter.parse(topic.replace("{", "").replace("}", "") or "x")
    except ValueError:
        return False
    return "+" not in topic and "#" not in topic
