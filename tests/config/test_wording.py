"""The nearest known key, and limits in words."""

import pytest

from gatewayd.config.settings import BrokerSettings, Settings
from gatewayd.config.wording import limits, unknown_option, walk_options

OPTIONS = dict(walk_options(Settings))


@pytest.mark.parametrize(
    ("key", "at", "words", "meant"),
    [
        ("keep_alvie", ("brokers", "b"), "did you mean 'keepalive_s'?", "keepalive_s"),
        ("Host", ("brokers", "b"), "did you mean 'host'?", "host"),
        ("client-id", ("brokers", "b"), "did you mean 'client_id'?", "client_id"),
        ("linger_ms", ("outbox",), "'linger_ms' belongs to line", None),
        ("qos", ("brokers", "b"), "'qos' belongs to streams.NAME", None),
        ("password", ("brokers", "b"), "named under password_file", None),
        ("pasword_file", ("brokers", "b"), "did you mean 'password_file'?", "password_file"),
        ("length", ("streams", "s", "window"), "the window's length is the model's", None),
        ("verfy", ("brokers", "b", "tls"), "did you mean 'insecure_skip_verify'?", "insecure_skip_verify"),
        ("zzz", ("line",), "known here: linger_ms, batch", None),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_known_one(key, at, words, meant):
    prefix = tuple(
        "NAME" if i == 1 and at[0] in ("brokers", "streams") else part for i, part in enumerate(at)
    )
    known = [loc[-1] for loc in OPTIONS if loc[:-1] == prefix]
    message, near = unknown_option(key, at=at, known=known, root=Settings)
    assert words in message
    assert near == meant


def test_limits_are_said_in_words():
    fields = BrokerSettings.model_fields
    assert limits(fields["port"]) == "lie in 1..65535"
    assert limits(fields["host"]) is None
    assert limits(OPTIONS["streams", "NAME", "alert", "clear_below"]) == "be greater than 0 and at most 1"
    assert limits(OPTIONS["outbox", "max_bytes"]) == "be at least 1024"


def test_options_are_named_as_in_the_file():
    assert ("streams", "NAME", "from") in OPTIONS
    assert ("streams", "NAME", "alert", "raise") in OPTIONS
    assert not [loc for loc in OPTIONS if loc[-1].endswith("_")]
