"""Property blocks: paho's own packer and parser are the reference."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.exception import MalformedPacket
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers

from gatewayd.errors import RejectedInputError
from gatewayd.mqtt.properties import (
    NO_PROPERTIES,
    Request,
    block_end,
    encode_properties,
    reason_string,
    reply_address,
    variable_integer,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\ufeff"), max_size=300)


@given(
    content_type=st.none() | TEXTS,
    expires_s=st.none() | st.integers(0, 2**32 - 1),
    user_properties=st.lists(st.tuples(TEXTS, TEXTS), max_size=4).map(tuple),
    correlation=st.none() | st.binary(max_size=300),
)
def test_what_is_encoded_is_what_paho_reads(content_type, expires_s, user_properties, correlation):
    block = encode_properties(
        content_type=content_type,
        expires_s=expires_s,
        user_properties=user_properties,
        correlation=correlation,
    )
    found, size = Properties(PacketTypes.PUBLISH).unpack(block)
    assert size == len(block)
    assert getattr(found, "ContentType", None) == content_type
    assert getattr(found, "MessageExpiryInterval", None) == expires_s
    assert getattr(found, "UserProperty", []) == list(user_properties)
    assert getattr(found, "CorrelationData", None) == correlation


def test_nothing_is_one_byte():
    assert encode_properties() == NO_PROPERTIES


@pytest.mark.parametrize(("given", "sent"), [(-1, 0), (2**32, 2**32 - 1)])
def test_an_expiry_that_does_not_fit_is_clipped(given, sent):
    found, _ = Properties(PacketTypes.PUBLISH).unpack(encode_properties(expires_s=given))
    assert found.MessageExpiryInterval == sent


@pytest.mark.parametrize(
    "too_long",
    [
        {"content_type": "\u00b5" * 32_768},
        {"correlation": bytes(65_536)},
        {"user_properties": (("k", "v" * 65_536),)},
    ],
)
def test_what_cannot_be_expressed_is_rejected(too_long):
    with pytest.raises(RejectedInputError, match=r"property_too_long: .* 65535 fit"):
        encode_properties(**too_long)


@given(st.integers(0, 268_435_455))
def test_a_variable_integer_is_pahos(number):
    assert variable_integer(number) == VariableByteIntegers.encode(number)


@given(st.binary(max_size=8))
def test_the_end_of_a_block_is_where_its_length_says(data):
    end = block_end(data)
    try:
        length, size = VariableByteIntegers.decode(data)
    except MalformedPacket:
        assert end is None
    else:
        assert end == (length + size if length + size <= len(data) else None)


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_rejected(data):
    for read in (reply_address, reason_string):
        try:
            read(data)
        except RejectedInputError:
            assert data == b"" or data[0] != 0


def test_the_address_of_an_answer_is_found_among_others():
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = [("response", "no"), ("\u00b5", "")]
    properties.SubscriptionIdentifier = 300
    properties.ResponseTopic = "answers/\u00b5"
    properties.CorrelationData = b"\x00\xff"
    properties.MessageExpiryInterval = 7
    assert reply_address(properties.pack()) == ("answers/\u00b5", b"\x00\xff")
    assert reply_address(NO_PROPERTIES) == (None, None)


def test_a_reason_is_found():
    properties = Properties(PacketTypes.PUBACK)
    properties.UserProperty = ("a", "b")
    properties.ReasonString = "over quota"
    assert reason_string(properties.pack()) == "over quota"
    assert reason_string(NO_PROPERTIES) is None


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\x02\x1f",  # claims more than there is
        b"\x02\x0b\xff\x01",  # a number that would end beyond the block
        b"\x03\x02\x00\x00",  # a number that is too short
        b"\x02\x7f\x00",  # an identifier that does not exist
        b"\x04\x1f\x00\x02\xff",  # a text that is cut off
    ],
)
def test_a_malformed_block_is_rejected(block):
    for read in (reply_address, reason_string):
        with pytest.raises(RejectedInputError, match="malformed_properties"):
            read(block)


def test_a_request_is_a_message_and_the_address_of_its_answer():
    found = Request.of(("s/\u00b5".encode(), b"x", 0x33, 9), ("answers", b"\x00"))
    assert found == Request(
        topic="s/\u00b5", payload=b"x", response_topic="answers", correlation=b"\x00", retain=True
    )
    assert not Request.of((b"s", b"", 0x32, 9), (None, None)).retain


@pytest.mark.parametrize("topic", ["", "a/#", "+", "a\x00"])
def test_a_request_for_an_answer_that_would_cost_the_link_is_rejected(topic):
    with pytest.raises(RejectedInputError, match="bad_response_topic"):
        Request.of((b"s", b"x", 0x30, 0), (topic, None))


def test_a_request_whose_topic_is_not_utf8_is_rejected():
    with pytest.raises(RejectedInputError, match="topic_not_utf8"):
        Request.of((b"s/\xff", b"x", 0x30, 0), (None, None))
