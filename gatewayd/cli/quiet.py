"""Verbs that listen for a while: they end when they are told to, and show what a link has to say in their own words."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

_ENDS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def silent_logs() -> Iterator[None]:
    """Keep a session's log lines off the terminal."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


@contextmanager
def until_told() -> Iterator[None]:
    """End the block, and no more than that, at Ctrl-C and at SIGTERM (``timeout`` sends that). Main thread only.

    Also where Ctrl-C came to be ignored, as it is for what a script starts in the background.
    """
    before = {number: signal.signal(number, signal.default_int_handler) for number in _ENDS}
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
