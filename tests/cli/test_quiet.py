"""A link's log lines stay off the terminal, and only for as long as asked."""

import pytest
import structlog

from gatewayd.cli.quiet import silent_logs


def test_nothing_is_logged_within_and_all_is_as_before_afterwards(capsys):
    before = structlog.get_config()
    with silent_logs():
        structlog.get_logger().error("link_lost")
    assert capsys.readouterr() == ("", "")
    assert structlog.get_config() == before
    with pytest.raises(KeyError), silent_logs():
        raise KeyError
    assert structlog.get_config() == before
