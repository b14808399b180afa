"""The vectors that Ruuvi publishes, and any bytes whatever."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.formats.ruuvi import RuuviFormat
from tests.support.any_message import check
from tests.support.readings import ARRIVAL, decode, rows

NAMES = [
    "temperature",
    "humidity",
    "pressure",
    "acceleration_x",
    "acceleration_y",
    "acceleration_z",
    "battery",
]
UNITS = ["°C", "%", "Pa", "g", "g", "g", "V"]


@pytest.mark.parametrize(
    ("payload", "device", "values"),
    [
        ("03291a1ece1efc18f94202ca0b53", None, [26.3, 20.5, 102766, -1.0, -1.726, 0.714, 2.899]),
        ("03ff7f63ffff7fff7fff7fffffff", None, [127.99, 127.5, 115535, 32.767, 32.767, 32.767, 65.535]),
        ("0300ff6300008001800180010000", None, [-127.99, 0.0, 50000, -32.767, -32.767, -32.767, 0.0]),
        (
            "0512fc5394c37c0004fffc040cac364200cdcbb8334c884f",
            "cbb8334c884f",
            [24.3, 53.49, 100044, 0.004, -0.004, 1.036, 2.977, 4, 66, 205],
        ),
        (
            "057ffffffefffe7fff7fff7fffffdefefffecbb8334c884f",
            "cbb8334c884f",
            [163.835, 163.835, 115534, 32.767, 32.767, 32.767, 3.646, 20, 254, 65534],
        ),
        (
            "058001000000008001800180010000000000cbb8334c884f",
            "cbb8334c884f",
            [-163.835, 0.0, 50000, -32.767, -32.767, -32.767, 1.6, -40, 0, 0],
        ),
    ],
)
def test_the_published_vectors_give_the_published_values(payload, device, values):
    got = rows(decode(RuuviFormat(), "ruuvi/gateway/tag", bytes.fromhex(payload)))
    names = [*NAMES, "tx_power", "movements", "sequence"][: len(values)]
    units = [*UNITS, "dBm", None, None][: len(values)]
    expected = zip(names, values, units, strict=True)
    assert got == [(device, name, pytest.approx(value, rel=1e-12), unit) for name, value, unit in expected]


def test_the_published_vector_without_values_gives_none():
    payload = bytes.fromhex("058000ffffffff800080008000ffffffffffffffffffffff")
    assert rows(decode(RuuviFormat(), "t", payload)) == []


@pytest.mark.parametrize(
    ("payload", "reason"),
    [(b"\x04", "unknown_data_format"), (b"\x05" * 23, "wrong_length"), (b"\x03" * 15, "wrong_length")],
)
def test_another_format_or_length_is_counted(payload, reason):
    assert decode(RuuviFormat(), "t", payload).errors == (reason,)


def test_an_empty_payload_clears_a_topic():
    assert rows(decode(RuuviFormat(), "t", b"")) == []


@given(st.integers(-32767, 32767), st.integers(0, 0xFFFE))
def test_a_temperature_and_a_humidity_are_read_back(temperature, humidity):
    payload = struct.pack(">BhH19x", 5, temperature, humidity)
    got = {channel: value for _, channel, value, _ in rows(decode(RuuviFormat(), "t", payload))}
    assert round(got["temperature"] * 200) == temperature
    assert round(got["humidity"] * 400) == humidity


@given(
    st.binary()
    | st.binary(min_size=13, max_size=13).map(lambda rest: b"\x03" + rest)
    | st.binary(min_size=23, max_size=23).map(lambda rest: b"\x05" + rest)
)
def test_any_message_gives_samples_or_a_reason(payload):
    check(RuuviFormat().decode("t", payload, arrived_at=ARRIVAL))
