"""The Things Stack v3: uplinks of LoRaWAN devices, decoded by the payload formatter there.

``v3/app1@ttn/devices/soil-04/up  {"end_device_ids":{"device_id":"soil-04"},"uplink_message":{"decoded_payload":
{"temp":8.9},"received_at":"2025-03-14T09:26:53.123456789Z"}}`` gives ``soil-04`` ``temp`` 8.9.

The time is when the network received the frame, not when the platform passed it on, which may be hours later. A frame
that several gateways heard is one reading. Without ``decoded_payload`` there's nothing to read: nobody configured a
formatter, or the frame carried just MAC commands. Joins, downlinks and the like are no telemetry.

Reference:
    https://www.thethingsindustries.com/docs/the-things-stack/concepts/data-formats/
"""

from collections.abc import Mapping

from gatewayd.errors import RejectedInputError
from gatewayd.formats.leaves import leaves, parse_object
from gatewayd.formats.sample import Sample, Samples
from gatewayd.formats.timestamp import to_ns

_DEVICE_LEVEL = 3  # of v3/{application}@{tenant}/devices/{device}/up


class TtnFormat:
    """Reads The Things Stack's messages. Keeps nothing between them."""

    def decode(self, topic: str, payload: bytes, *, arrived_at: int) -> Samples:  # noqa: ARG002  # the Protocol's
        """Decode one message; see ``SampleFormat``. Errors: those of ``leaves``, ``no_payload_object``."""
        if not payload:
            return Samples()  # a cleared topic
        try:
            document = parse_object(payload)
            uplink = document.get("uplink_message")
            if not isinstance(uplink, dict) or uplink.get("decoded_payload") is None:
                return Samples()
            decoded = uplink["decoded_payload"]
            if not isinstance(decoded, dict):
                return Samples(errors=("no_payload_object",))
            found = leaves(decoded)
        except RejectedInputError as error:
            return Samples(errors=(error.reason,))
        device, taken_at = _device(topic, document), _received(document, uplink)
        return Samples(
            samples=tuple(
                Sample(device=device, channel=".".join(path), value=value, unit=None, taken_at=taken_at)
                for path, value in found
            )
        )


def _device(topic: str, document: Mapping[str, object]) -> str | None:
    ids = document.get("end_device_ids")
    device = ids.get("device_id") if isinstance(ids, dict) else None
    if isinstance(device, str) and device:
        return device
    levels = topic.split("/")
    return levels[_DEVICE_LEVEL] if len(levels) > _DEVICE_LEVEL else None


def _received(document: Mapping[str, object], uplink: Mapping[str, object]) -> int | None:
    """Return when the network received it, else when the gateway did, else when the platform passed it on."""
    settings = uplink.get("settings")
    gateway_time = settings.get("time") if isinstance(settings, dict) else None
    for stamp in (uplink.get("received_at"), gateway_time, document.get("received_at")):
        try:
            return to_ns(stamp, "iso")
        except RejectedInputError:
            continue
    return None
