"""Samples as short rows, for tests of formats."""

from gatewayd.formats.sample import SampleFormat, Samples

ARRIVAL = 1_741_944_413 * 10**9  # 2025-03-14T09:26:53Z


def decode(decoder: SampleFormat, topic: str, payload: str | bytes, *, arrived_at: int = ARRIVAL) -> Samples:
    return decoder.decode(
        topic, payload.encode() if isinstance(payload, str) else payload, arrived_at=arrived_at
    )


def rows(samples: Samples) -> list[tuple[str | None, str, float, str | None]]:
    """Device, channel, value, unit; the message must be without errors."""
    assert samples.errors == ()
    return [(one.device, one.channel, one.value, one.unit) for one in samples.samples]
