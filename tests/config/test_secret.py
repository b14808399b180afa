"""A secret shows itself to nobody but ``reveal``."""

import copy
import json
import os
import pickle

import pytest

from gatewayd.config.secret import Secret, holds_userinfo, looks_secret, read_secret
from gatewayd.errors import StartupError

VALUE = "S3cr3t-Ga7e!/@x"


def test_no_way_of_turning_it_into_text_shows_it():
    secret = Secret(VALUE)
    assert (
        VALUE not in f"{secret} {secret!r} {secret:>20} {secret!s} {json.dumps({'p': secret}, default=repr)}"
    )
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(secret)
    assert copy.deepcopy(secret).reveal() == copy.copy(secret).reveal() == VALUE
    assert secret == Secret(VALUE) != Secret("other")
    assert len({secret, Secret(VALUE)}) == 1


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_one_line_break_at_the_end_is_not_part_of_it(tmp_path, end):
    (tmp_path / "p").write_bytes(f" {VALUE} {end}".encode())
    assert read_secret(tmp_path / "p").reveal() == f" {VALUE} "


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\n", "empty"),
        (b"S3cr3t-a\nb\n", "more than one line"),
        (b"S3cr3t-\xff", "not UTF-8"),
        (b"S3cr3t" * 20_000, "too long"),
    ],
)
def test_a_file_that_holds_no_secret_is_refused_without_showing_it(tmp_path, content, reason):
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(StartupError, match=reason) as caught:
        read_secret(tmp_path / "p")
    assert "S3cr3t" not in str(caught.value)


def test_what_is_no_file_is_refused_without_naming_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (
        ("missing", "no such file"),
        ("pipe", "not a file"),
        (".", "not a file"),
        ("x\0", "no such file|not a path"),
    ):
        with pytest.raises(StartupError, match=reason) as caught:
            read_secret(tmp_path / name)
        assert str(tmp_path) not in str(caught.value)


def test_keys_and_texts_that_may_hide_secrets_are_known():
    assert all(
        map(looks_secret, ["password", "passwd", "PASSPHRASE", "api_key", "apikey", "auth_token", "psk"])
    )
    assert not any(map(looks_secret, ["host", "keepalive_s", "key_file", "topic"]))
    assert holds_userinfo("mqtt://gw:S3cr3t@127.0.0.1")
    assert holds_userinfo("gw:x@host")
    assert not holds_userinfo("2025-03-14T10:00")
    assert not holds_userinfo("a@b")
