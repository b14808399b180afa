"""Who a verdict is about and who says so: a device, and the stream, the model and the gateway that judged it.

From both come the ids of what is published. An id is a hash of what it stands for, so that the same window or the same
alert has the same id wherever and whenever it's worked out, and a consumer can drop what comes twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

import orjson

from gatewayd.domain.verdict import Condition, Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What a stream knows of a device.

    Attributes:
        name: As published.
        levels: The named levels of its topic, ``device`` included where there is one.
        labels: The named levels other than the device's own.
        key: Levels and name as ids are made from them.
    """

    name: str
    levels: Mapping[str, str]
    labels: Mapping[str, str] = field(init=False)
    key: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Sort the labels out once, not for every prediction."""
        labels = {name: level for name, level in self.levels.items() if name != "device"}
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "key", _listed(*self.levels.values(), self.name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a stream's verdicts come from: the part of every payload that doesn't change.

    ``runtime`` names the kernels that gave the scores: two kernel sets may differ in the last steps.
    """

    gateway: str
    stream: str
    model: str
    version: str
    runtime: str
    _speaker: bytes = field(init=False, repr=False, compare=False)
    _judge: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Write down once what is the same in every id."""
        object.__setattr__(self, "_speaker", _listed(self.gateway, self.stream))
        object.__setattr__(self, "_judge", _listed(self.model, self.version))

    def identify(
        self,
        kind: Kind,
        device: Device,
        instant_ns: int,
        *,
        condition: Condition = "anomaly",
        channel: str | None = None,
    ) -> str:
        """Return 32 hex digits that are the same for the same stream, device, instant, model and condition.

        Args:
            kind: What it identifies.
            device: What that is about.
            instant_ns: A window's end, or when an alert first went out, ns since the Unix epoch.
            condition: What an alert is about; ``anomaly`` for predictions.
            channel: The channel that it is about, if any.
        """
        # JSON keeps the parts apart: no two lists of texts look the same.
        key = b'["%b",%b,%b,"%d",%b' % (kind.encode(), self._speaker, device.key, instant_ns, self._judge)
        if condition != "anomaly" or channel is not None:
            key += b"," + orjson.dumps([condition, channel])
        return blake2b(key + b"]", digest_size=16).hexdigest()


def _listed(*texts: str) -> bytes:
    """Write texts as members of a JSON list."""
    return orjson.dumps(texts)[1:-1]
