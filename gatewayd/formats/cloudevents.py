"""CloudEvents, structured mode: the envelope names the device and the time, ``data`` holds the readings.

``{"specversion":"1.0","id":…,"source":"mqtt://…","subject":"fleet-a/temp-0042","time":"2026-05-22T14:10:42.512Z",
"data":{"celsius":22.4}}`` gives ``fleet-a/temp-0042`` ``celsius`` 22.4. The device is the ``subject``, which is what
the event is about; without one, the topic's.

Reference:
    CloudEvents 1.0.2, "Context Attributes"; JSON Event Format 1.0.2, 3.1 "Handling of data".
"""

from collections.abc import Mapping

from gatewayd.errors import RejectedInputError
from gatewayd.formats.leaves import leaves, parse_object
from gatewayd.formats.sample import Sample, Samples
from gatewayd.formats.timestamp import to_ns


class CloudEventsFormat:
    """Reads CloudEvents whose data is a JSON object. Keeps nothing between them."""

    def decode(self, topic: str, payload: bytes, *, arrived_at: int) -> Samples:  # noqa: ARG002  # the Protocol's
        """Decode one message; see ``SampleFormat``.

        Errors: those of ``leaves``, ``unknown_version`` (not 1.x, or no CloudEvent), ``no_data_object``.
        """
        if not payload:
            return Samples()  # a cleared topic
        try:
            return _event(parse_object(payload))
        except RejectedInputError as error:
            return Samples(errors=(error.reason,))


def _event(document: Mapping[str, object]) -> Samples:
    version, data, subject = document.get("specversion"), document.get("data"), document.get("subject")
    if not isinstance(version, str) or not version.startswith("1."):
        raise RejectedInputError("unknown_version")
    if not isinstance(data, dict):
        raise RejectedInputError("no_data_object")
    device = subject if isinstance(subject, str) and subject else None
    taken_at = _time(document.get("time"))
    return Samples(
        samples=tuple(
            Sample(device=device, channel=".".join(path), value=value, unit=None, taken_at=taken_at)
            for path, value in leaves(data)
        )
    )


def _time(stamp: object) -> int | None:
    try:
        return to_ns(stamp, "iso")
    except RejectedInputError:
        return None
