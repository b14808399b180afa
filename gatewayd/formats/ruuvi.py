"""RuuviTag raw broadcasts: data formats 3 (RAWv1) and 5 (RAWv2), big-endian, one reading each.

::

    format 3, 14 bytes                         format 5, 24 bytes
    0     3                                    0      5
    1     humidity, 0.5 %                      1-2    temperature, int16, 0.005 °C
    2     temperature: sign bit, whole °C      3-4    humidity, uint16, 0.0025 %
    3     temperature: 0.01 °C                 5-6    pressure, uint16, 1 Pa above 50,000 Pa
    4-5   pressure, uint16, 1 Pa above 50,000  7-12   acceleration x, y, z, int16, 0.001 g
    6-11  acceleration x, y, z, int16, 0.001 g 13-14  11 bits battery, 1 mV above 1.6 V; 5 bits power, 2 dBm above -40
    12-13 battery, uint16, 0.001 V             15     movements; 16-17 sequence; 18-23 address

In format 5 the largest unsigned and the smallest signed number of a field say that there's no value.

Reference:
    https://docs.ruuvi.com/communication/bluetooth-advertisements, data formats 3 and 5.
"""

import struct

from gatewayd.formats.sample import Sample, Samples

_V3 = struct.Struct(">xBBBHhhhH")
_V5 = struct.Struct(">xhHHhhhHBH6s")
_ABSENT_INT16, _ABSENT_UINT16 = -0x8000, 0xFFFF
_SIGN = 0x80
_AXES = ("acceleration_x", "acceleration_y", "acceleration_z")

_Field = tuple[str, float | None, str | None]  # channel, value, unit


class RuuviFormat:
    """Reads raw broadcasts that a gateway passes on, one per message. Keeps nothing between them."""

    def decode(self, topic: str, payload: bytes, *, arrived_at: int) -> Samples:  # noqa: ARG002  # the Protocol's
        """Decode one message; see ``SampleFormat``.

        The device is the tag's address in format 5, as ``cbb8334c884f``; format 3 has none.

        Errors: ``unknown_data_format`` (neither 3 nor 5), ``wrong_length``.
        """
        if not payload:
            return Samples()  # a cleared topic
        kind = {3: (_V3, _fields_v3), 5: (_V5, _fields_v5)}.get(payload[0])
        if kind is None:
            return Samples(errors=("unknown_data_format",))
        layout, read = kind
        if len(payload) != layout.size:
            return Samples(errors=("wrong_length",))
        device, fields = read(payload)
        return Samples(
            samples=tuple(
                Sample(device=device, channel=channel, value=value, unit=unit, taken_at=None)
                for channel, value, unit in fields
                if value is not None
            )
        )


def _fields_v3(payload: bytes) -> tuple[str | None, list[_Field]]:
    humidity, whole, hundredths, pressure, x, y, z, battery = _V3.unpack(payload)
    magnitude = (whole & ~_SIGN) + hundredths / 100
    return None, [
        ("temperature", -magnitude if whole & _SIGN else magnitude, "°C"),
        ("humidity", humidity / 2, "%"),
        ("pressure", pressure + 50_000, "Pa"),
        *((axis, value / 1000, "g") for axis, value in zip(_AXES, (x, y, z), strict=True)),
        ("battery", battery / 1000, "V"),
    ]


def _fields_v5(payload: bytes) -> tuple[str | None, list[_Field]]:
    temperature, humidity, pressure, x, y, z, power, movements, sequence, address = _V5.unpack(payload)
    battery, transmit = power >> 5, power & 0x1F
    return address.hex(), [
        ("temperature", None if temperature == _ABSENT_INT16 else temperature / 200, "°C"),
        ("humidity", None if humidity == _ABSENT_UINT16 else humidity / 400, "%"),
        ("pressure", None if pressure == _ABSENT_UINT16 else pressure + 50_000, "Pa"),
        *(
            (axis, None if value == _ABSENT_INT16 else value / 1000, "g")
            for axis, value in zip(_AXES, (x, y, z), strict=True)
        ),
        ("battery", None if battery == 0x7FF else (battery + 1600) / 1000, "V"),  # noqa: PLR2004  # 11 bits
        ("tx_power", None if transmit == 0x1F else transmit * 2 - 40, "dBm"),  # noqa: PLR2004  # 5 bits
        ("movements", None if movements == 0xFF else movements, None),  # noqa: PLR2004  # 8 bits
        ("sequence", None if sequence == _ABSENT_UINT16 else sequence, None),
    ]
