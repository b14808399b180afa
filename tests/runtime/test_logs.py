"""Lines as they leave the process."""

import io
import json
import logging
import os
import warnings
from urllib.parse import quote

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.runtime import logs

SECRET = 'S3cr3t-Ga7e!/@x"ö'


@pytest.fixture(autouse=True)
def restore():
    """Logging is global: each test leaves it as it was."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, logs._State.masked, logs._State.least
    yield
    root.handlers[:], logs._State.masked, logs._State.least = before[0], before[2], before[3]
    root.setLevel(before[1])
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def stream():
    stream = io.StringIO()
    logs.configure("info", stream=stream)
    return stream


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_time_level_and_event_first(stream):
    structlog.get_logger().bind(component="line").info("link_opened", broker="local", unit="°C")
    (line,) = lines(stream)
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert line["timestamp"].endswith("Z")
    assert "T" in line["timestamp"]
    assert {k: v for k, v in line.items() if k != "timestamp"} == {
        "level": "info",
        "event": "link_opened",
        "component": "line",
        "broker": "local",
        "unit": "°C",
    }
    assert "°C" in stream.getvalue()


def test_a_terminal_gets_text_for_people():
    stream = Terminal()
    logs.configure("info", stream=stream)
    structlog.get_logger().info("link_opened", broker="local")
    assert "link_opened" in stream.getvalue()
    with pytest.raises(json.JSONDecodeError):
        json.loads(stream.getvalue())


def test_the_level_changes_for_loggers_that_are_bound_already(stream):
    log = structlog.get_logger().bind(component="line")
    log.debug("hidden")
    logs.set_level("debug")
    log.debug("shown")
    logs.set_level("error")
    log.warning("hidden")
    log.error("shown_too")
    assert [line["event"] for line in lines(stream)] == ["shown", "shown_too"]


def test_tests_can_capture_what_a_bound_logger_says(stream):
    log = structlog.get_logger().bind(component="line")
    with structlog.testing.capture_logs() as captured:
        log.info("link_opened")
    assert captured == [{"component": "line", "event": "link_opened", "log_level": "info"}]
    assert stream.getvalue() == ""


def test_a_library_speaks_from_warning_on_and_only_once(stream):
    logging.getLogger("paho").info("hidden")
    logging.getLogger("paho").warning("socket %s", "gone")
    (line,) = lines(stream)
    assert (line["event"], line["reason"], line["logger"], line["level"]) == (
        "library_message",
        "socket gone",
        "paho",
        "warning",
    )


def test_a_warning_of_python_becomes_a_line(stream):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert "DeprecationWarning" in lines(stream)[0]["reason"]


def test_an_exception_is_one_line_with_its_traceback(stream):
    try:
        {}["boom"]
    except KeyError:
        structlog.get_logger().exception("worker_died")
    (line,) = lines(stream)
    assert line["level"] == "error"
    assert "Traceback" in line["exception"]
    assert "KeyError: 'boom'" in line["exception"]


@pytest.mark.parametrize("terminal", [False, True])
def test_case_31_a_masked_secret_stands_nowhere(terminal):
    """In no value, no nested value, no traceback, no library's message, and in none of its spellings."""
    stream = Terminal() if terminal else io.StringIO()
    logs.configure("debug", stream=stream)
    logs.mask(SECRET)
    log = structlog.get_logger().bind(component="session", greeting=f"hello {SECRET}")
    log.info("plain", reason=SECRET, raw=SECRET.encode(), nested={"a": [SECRET, {"b": (SECRET,)}]})
    log.info("url", url=f"mqtt://gw:{quote(SECRET, safe='')}@127.0.0.1:1883", error=ValueError(SECRET))
    log.info("spelled", text=repr(SECRET) + json.dumps(SECRET))
    try:
        int(f"login with {SECRET} failed")
    except ValueError:
        log.exception("crashed")
        logging.getLogger("paho").exception("login %s", SECRET)
    log.info("finished")
    text = stream.getvalue()
    assert "S3cr3t-Ga7e" not in text
    assert "finished" in text
    assert "login with *** failed" in text


def test_values_whose_key_looks_like_a_secret_are_masked(stream):
    structlog.get_logger().info(
        "loaded",
        password="x",
        api_key="x",
        cloud_token="x",
        settings={"password": "x", "password_file": "/run/credentials/p"},
        password_file="/etc/p",
        has_password=True,
        token=None,
        username="gw",
    )
    (line,) = lines(stream)
    assert (line["password"], line["api_key"], line["cloud_token"]) == ("***", "***", "***")
    assert line["settings"] == {"password": "***", "password_file": "/run/credentials/p"}
    assert (line["password_file"], line["has_password"], line["token"]) == ("/etc/p", True, None)


def test_a_password_in_a_url_is_masked_even_if_nobody_registered_it(stream):
    structlog.get_logger().info("connecting", url="mqtt://gw:hunter2@example.com:1883/x")
    assert lines(stream)[0]["url"] == "mqtt://gw:***@example.com:1883/x"


def test_a_secret_too_short_to_tell_apart_does_not_blot_out_the_log(stream):
    logs.mask("e")
    structlog.get_logger().info("started", reason="here")
    assert lines(stream)[0]["reason"] == "here"


@given(secret=st.text(min_size=4, max_size=30), around=st.text(max_size=10))
def test_any_line_stays_json_whatever_the_secret_is(secret, around):
    stream = io.StringIO()
    logs._State.masked = ()
    logs.configure("info", stream=stream)
    logs.mask(secret)
    structlog.get_logger().info("started", reason=around + secret + around)
    (line,) = [json.loads(one) for one in stream.getvalue().split("\n") if one]
    assert secret not in line["reason"] or secret in logs.MASK + around + logs.MASK


def test_a_topic_that_is_no_unicode_becomes_escapes(stream):
    structlog.get_logger().info("refused", topic="a\udcff")
    assert stream.getvalue().isascii()


def test_a_pipe_that_nobody_reads_stops_nobody():
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        logs.configure("info", stream=stream)
        os.close(reader)
        structlog.get_logger().info("started")
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)  # so that closing can flush
    structlog.get_logger().info("after_close")


def test_on_the_journals_own_socket_lines_carry_their_priority(tmp_path, monkeypatch):
    with (tmp_path / "out").open("w+") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        logs.configure("info", stream=stream)
        structlog.get_logger().error("record_lost")
        structlog.get_logger().info("link_opened")
        stream.seek(0)
        first, second = stream.read().splitlines()
    assert first[:3] == "<3>"
    assert json.loads(first[3:])["event"] == "record_lost"
    assert second[:3] == "<6>"


@pytest.mark.parametrize("journal_stream", [None, "", "1:2", "nonsense"])
def test_any_other_stream_is_not_the_journal(tmp_path, journal_stream):
    with (tmp_path / "out").open("w") as stream:
        assert not logs.is_journal(stream, journal_stream)
    assert not logs.is_journal(io.StringIO(), journal_stream)
