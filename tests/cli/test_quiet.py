"""A link's log lines stay off the terminal, and only for as long as asked."""

import signal

import pytest
import structlog

from gatewayd.cli.quiet import silent_logs, until_told


def test_nothing_is_logged_within_and_all_is_as_before_afterwards(capsys):
    before = structlog.get_config()
    with silent_logs():
        structlog.get_logger().error("link_lost")
    assert capsys.readouterr() == ("", "")
    assert structlog.get_config() == before
    with pytest.raises(KeyError), silent_logs():
        raise KeyError
    assert structlog.get_config() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_block_alone_and_is_taken_as_before_afterwards(number):
    told = []
    previous = signal.signal(number, lambda *_: told.append("as before"))
    try:
        with until_told():
            signal.raise_signal(number)
            told.append("went on")
        signal.raise_signal(number)
    finally:
        signal.signal(number, previous)
    assert told == ["as before"]


def test_ctrl_c_ends_also_what_was_started_in_the_background_by_a_script():
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    told = []
    try:
        with until_told():
            signal.raise_signal(signal.SIGINT)
            told.append("went on")
    finally:
        signal.signal(signal.SIGINT, previous)
    assert told == []
