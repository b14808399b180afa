"""MQTT 3.1.1 frames for a load: built once, patched lap by lap; and a cutter for what comes back.

Every PUBLISH frame of a load has the same layout, so the time stamp and the packet id stand at fixed
places and numpy writes them for a whole lap at once. That costs some nanoseconds a frame: the load is
never the bottleneck.

Payload (four channels, 116 bytes with two-digit device numbers), on ``site/line1/pump-07/telemetry``::

    {"device":"pump-07","ts":1700000000.123456,"temperature":21.53,"vibration":0.0134,
     "pressure":310.25,"current":17.50}

A load's numbers never begin with a zero (JSON forbids it), so every value keeps its width by its range alone.
"""

import random
from typing import Literal

import numpy as np
import numpy.typing as npt

FILTER = b"site/+/+/telemetry"
STEPS = 64
START_US = 1_700_000_000_000_000
_STAMP = b"1700000000.123456"
_POWERS = 10 ** np.arange(15, -1, -1, dtype=np.int64)
_DIGIT_AT = np.array([*range(10), *range(11, 17)])


def device_name(number: int, devices: int) -> str:
    """Name a device; all names of one load have one width."""
    return f"pump-{number:0{max(2, len(str(devices - 1)))}d}"


class Load:
    """An endless sequence of PUBLISH frames: one reading of each device, then the next one of each device.

    Readings of a device are ``step_us`` apart in event time, unless the sender stamps them with its own
    clock.
    """

    def __init__(
        self, *, devices: int, qos: Literal[0, 1], step_us: int = 50_000, seed: int = 12_345
    ) -> None:
        self.devices = devices
        self.frames_per_lap = devices * STEPS
        self._step_us = step_us
        self._sent = 0
        self._position = 0
        rng = random.Random(seed)  # noqa: S311  # a load, not a secret
        rows = [_frame(device_name(n, devices), qos, rng) for _ in range(STEPS) for n in range(devices)]
        self.frame_bytes = len(rows[0])
        self._rows = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, self.frame_bytes).copy()
        self._flat = self._rows.reshape(-1).data
        self._stamp_at = rows[0].index(_STAMP) + _DIGIT_AT
        self._id_at = rows[0].index(b"/telemetry") + len(b"/telemetry") if qos else None

    def take(self, limit: int, at_us: int | None = None) -> memoryview:
        """Return the next frames, at least one and at most ``limit``; valid until the next call.

        Args:
            limit: Most frames to return, at least 1.
            at_us: Time stamp of these frames, microseconds since the Unix epoch; None: the load's own time.
        """
        if self._position == 0:
            self._begin_lap()
        first, last = self._position, min(self._position + limit, self.frames_per_lap)
        if at_us is not None:
            self._rows[first:last, self._stamp_at] = _digits(np.array([at_us]))
        self._position = last % self.frames_per_lap
        self._sent += last - first
        return self._flat[first * self.frame_bytes : last * self.frame_bytes]

    def _begin_lap(self) -> None:
        step = self._sent // self.devices + np.arange(STEPS, dtype=np.int64)
        stamps = np.repeat(_digits(START_US + step * self._step_us), self.devices, axis=0)
        self._rows[:, self._stamp_at] = stamps
        if self._id_at is not None:
            ids = (self._sent + np.arange(self.frames_per_lap)) % 65_535 + 1
            self._rows[:, self._id_at] = ids >> 8
            self._rows[:, self._id_at + 1] = ids & 0xFF


def _frame(device: str, qos: Literal[0, 1], rng: random.Random) -> bytes:
    temperature = min(99.0, max(10.0, rng.gauss(21.5, 0.8)))
    vibration = min(0.99, max(0.0, rng.gauss(0.05, 0.01)))
    pressure = min(900.0, max(100.0, rng.gauss(310.0, 4.0)))
    current = min(99.0, max(10.0, rng.gauss(17.5, 0.3)))
    payload = (
        f'{{"device":"{device}","ts":{_STAMP.decode()},"temperature":{temperature:.2f},'
        f'"vibration":{vibration:.4f},"pressure":{pressure:.2f},"current":{current:.2f}}}'
    ).encode()
    topic = f"site/line1/{device}/telemetry".encode()
    body = len(topic).to_bytes(2, "big") + topic + (b"\0\1" if qos else b"") + payload
    return bytes([0x30 | qos << 1]) + _length(len(body)) + body


def _digits(stamps_us: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    return (stamps_us[:, None] // _POWERS % 10 + ord("0")).astype(np.uint8)


def _length(value: int) -> bytes:
    """Encode a remaining length (MQTT 3.1.1, 2.2.3)."""
    out = bytearray()
    while True:
        value, low = divmod(value, 128)
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def connect(client_id: str) -> bytes:
    """Encode CONNECT: clean session, no keep-alive."""
    body = b"\0\4MQTT\4\2\0\0" + len(client_id).to_bytes(2, "big") + client_id.encode()
    return b"\x10" + _length(len(body)) + body


def subscribe(topic_filter: bytes, qos: Literal[0, 1]) -> bytes:
    """Encode SUBSCRIBE with one filter and packet id 1."""
    body = b"\0\1" + len(topic_filter).to_bytes(2, "big") + topic_filter + bytes([qos])
    return b"\x82" + _length(len(body)) + body


class Cutter:
    """Cuts a peer's byte stream into frames; counts PUBACKs, of which there are as many as readings."""

    def __init__(self) -> None:
        self.acks = 0
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return the complete frames but PUBACKs, each as (first header byte, body)."""
        data = self._rest + data
        frames: list[tuple[int, bytes]] = []
        at, size = 0, len(data)
        run = size // 4
        if run and data[: 4 * run : 4].count(0x40) == run and data[1 : 4 * run : 4].count(2) == run:
            self.acks += run
            at = 4 * run
        while size - at >= 2:
            length, start = 0, at + 1
            for shift in (0, 7, 14, 21):
                if start == size:
                    break
                byte = data[start]
                length |= (byte & 0x7F) << shift
                start += 1
                if byte < 0x80:
                    break
            if data[start - 1] >= 0x80 or start + length > size:
                break
            if data[at] == 0x40:
                self.acks += 1
            else:
                frames.append((data[at], data[start : start + length]))
            at = start + length
        self._rest = data[at:]
        return frames


def parse_publish(head: int, body: bytes) -> tuple[bytes, bytes, bytes]:
    """Return a PUBLISH's topic, payload and PUBACK (empty at QoS 0)."""
    end = 2 + int.from_bytes(body[:2], "big")
    if head & 0x06:
        return body[2:end], body[end + 2 :], b"\x40\x02" + body[end : end + 2]
    return body[2:end], body[end:], b""
