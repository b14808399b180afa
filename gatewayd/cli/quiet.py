"""Verbs that listen for a while show what a link has to say in their own words."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog


@contextmanager
def silent_logs() -> Iterator[None]:
    """Keep a session's log lines off the terminal."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)
