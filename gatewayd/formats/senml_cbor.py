"""SenML in CBOR: as SenML in JSON, with small integers for labels.

The labels of the JSON form are tolerated, as senders without the table write them. A label that must be understood is
always text and ends in ``_``; an unknown integer is ignored, as an unknown text is.

Reference:
    RFC 8428, 6 "CBOR Representation", table 4.
"""

from gatewayd.errors import RejectedInputError
from gatewayd.formats.cbor import parse_cbor
from gatewayd.formats.sample import Samples
from gatewayd.formats.senml import resolve

_LABELS = {
    -1: "bver", -2: "bn", -3: "bt", -4: "bu", -5: "bv", -6: "bs",
    0: "n", 1: "u", 2: "v", 3: "vs", 4: "vb", 5: "s", 6: "t", 7: "ut", 8: "vd",
}  # fmt: skip


class SenmlCborFormat:
    """Reads SenML packs in CBOR. Keeps nothing between messages."""

    def decode(self, topic: str, payload: bytes, *, arrived_at: int) -> Samples:  # noqa: ARG002  # the Protocol's
        """Decode one message; see ``SampleFormat``. Errors: those of ``parse_cbor`` and ``resolve``."""
        if not payload:
            return Samples()  # a cleared topic
        try:
            pack = parse_cbor(payload)
            if isinstance(pack, list):
                pack = [_labelled(record) for record in pack]
            return resolve(pack, arrived_at=arrived_at)
        except RejectedInputError as error:
            return Samples(errors=(error.reason,))


def _labelled(record: object) -> object:
    """Return the record with JSON's labels; integers of no meaning and keys of other types are left out."""
    if not isinstance(record, dict):
        return record
    labelled: dict[str, object] = {}
    for key, value in record.items():
        label = key if isinstance(key, str) else _LABELS.get(key) if type(key) is int else None
        if label is not None:
            labelled[label] = value
    return labelled
