"""The only place that configures logging.

JSON lines on a pipe or under systemd, a readable console on a terminal. A line is
``{"timestamp": "2026-01-31T12:00:00.000000Z", "level": "info", "event": "link_opened", ...}``. On the
journal's own socket each line begins with its priority (sd-daemon(3)), which journald takes off: ``journalctl
-p warning`` works.

Secrets never reach a log call to begin with. As a last line of defence, text that ``mask()`` has been told is
replaced wherever it stands, also in tracebacks; so are values whose key looks like a secret, and passwords
inside URLs.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import Any, Literal, TextIO
from urllib.parse import quote

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

Level = Literal["debug", "info", "warning", "error"]
MASK = "***"
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_PRIORITY = {"debug": "<7>", "info": "<6>", "warning": "<4>", "error": "<3>", "critical": "<2>"}
# 'password_file' names a file, which the operator wants to read
_SECRET_KEY = re.compile(r"(password|passwd|secret|token|api_?key|private_?key|credentials?)$", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(?<=://)([^\s/:@]*):[^\s/]*@")
_MIN_SECRET = 4  # a shorter one would blot out half of every line


class _State:
    """What may change while bound loggers live. Each value is replaced whole, so readers need no lock."""

    least = _LEVELS["info"]
    masked: tuple[str, ...] = ()


def configure(level: Level, *, stream: TextIO | None = None) -> None:
    """Send all logging to ``stream`` (standard output), from ``level`` on; libraries' from warning on.

    Call once, before the first logger is bound; ``set_level`` changes the level later.
    """
    target = sys.stdout if stream is None else stream
    set_level(level)
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _mask_secrets,
    ]
    renderers = _renderers(target)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _drop_below_level, *shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=lambda *_names: _Lines(target),
        cache_logger_on_first_use=False,
    )
    handler = logging.Handler()
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, _name_foreign_event, *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        keep_exc_info=False,
    )
    handler.setFormatter(formatter)
    handler.emit = lambda record: _Lines(target).msg(handler.format(record))  # type: ignore[method-assign]
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)


def set_level(level: Level) -> None:
    """Change the least severe level that is logged; holds for loggers that are bound already. Thread-safe."""
    _State.least = _LEVELS[level]


def mask(secret: str) -> None:
    """Replace this text by ``***`` in every line from now on, in any of its usual spellings. Thread-safe."""
    if len(secret) >= _MIN_SECRET:
        spelled = json.dumps(secret)[1:-1], repr(secret)[1:-1], repr(secret.encode("utf-8", "replace"))[2:-1]
        forms = {secret, quote(secret, safe=""), quote(secret), *spelled}
        # longest first: a form may be a part of another
        _State.masked = tuple(sorted(forms.union(_State.masked), key=len, reverse=True))


class _Lines:
    """Where rendered lines go. A pipe that nobody reads is no reason to stop scoring: the line is lost."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        # one write: lines of two threads don't mix. A lone surrogate (from a topic) becomes an escape, not an
        # error.
        text = line.encode("utf-8", "backslashreplace").decode("utf-8") + "\n"
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            return

    debug = info = warning = error = critical = msg


def _renderers(stream: TextIO) -> list[Processor]:
    """The steps that make a line of text, for where it goes."""
    if stream.isatty():
        return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    render = structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
    if not is_journal(stream, os.environ.get("JOURNAL_STREAM")):
        return [_key_order, render]

    def with_priority(logger: WrappedLogger, method: str, event: EventDict) -> str:
        return _PRIORITY.get(str(event.get("level")), "<6>") + str(render(logger, method, event))

    return [_key_order, with_priority]


def is_journal(stream: TextIO, journal_stream: str | None) -> bool:
    """Whether ``stream`` is the journal's socket: ``device:inode`` in ``JOURNAL_STREAM``, systemd.exec(5)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # io.UnsupportedOperation is both: no file descriptor
        return False
    return journal_stream == f"{status.st_dev}:{status.st_ino}"


def _drop_below_level(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    if _LEVELS.get(method, logging.INFO) < _State.least:
        raise structlog.DropEvent
    return event


def _name_foreign_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A library logs prose: it becomes the value of a constant event."""
    event["reason"] = event.get("event")
    event["event"] = "library_message"
    return event


def _key_order(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    first = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
    return {**first, **event}


def _mask_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {key: MASK if _is_secret(key, value) else _masked(value) for key, value in event.items()}


def _is_secret(key: object, value: object) -> bool:
    return value is not None and not isinstance(value, bool) and _SECRET_KEY.search(str(key)) is not None


def _masked(value: Any) -> Any:  # noqa: ANN401  # a log call may carry anything
    """The value without secrets; what is no plain value becomes its text."""
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): MASK if _is_secret(key, item) else _masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(item) for item in value]
    text = value if isinstance(value, str) else str(value)
    for secret in _State.masked:
        text = text.replace(secret, MASK)
    return _URL_PASSWORD.sub(rf"\1:{MASK}@", text)
