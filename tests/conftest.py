"""Fixtures that several folders share."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.broker import Broker

# What a script starts in the background ignores Ctrl-C, and so do its children; tests send it to some.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """Start brokers that end with the test; arguments as for ``Broker``."""
    brokers: list[Broker] = []

    def make(**arguments: object) -> Broker:
        folder = tmp_path / f"broker{len(brokers)}"
        folder.mkdir()
        broker = Broker(folder, **arguments)  # type: ignore[arg-type]
        brokers.append(broker)
        return broker.start()

    yield make
    for broker in brokers:
        broker.stop()


@pytest.fixture
def broker(make_broker: Callable[..., Broker]) -> Broker:
    """A running mosquitto that lets everybody in."""
    return make_broker()
