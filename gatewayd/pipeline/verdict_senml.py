"""Verdict → SenML in JSON: a pack of measurements that any SenML consumer reads without knowing us.

``[{"bn":"gatewayd/gw/pump/p3/","bt":1773484011.75,"n":"score","v":3.41},{"n":"anomalous","vb":true},...]``: base name
and base time stand in the first record and hold for those that follow.

Names may hold letters, digits and ``-:./_`` and begin with a letter or digit. What else stands in a name is written
``:`` and two hexadecimal digits for each byte (``a#1`` → ``a:231``); an empty level is ``:``; one that is too long is
cut and ends in ``::`` and a hash of the whole. Different devices have different names.

Units are stated where there is one: ``/`` for fractions, ``s`` where an alert's score is a time. A score has none.

Reference:
    RFC 8428, 4.1 "Base Fields", 4.2 "Regular Fields", 4.5.1 (names), 4.5.3 "Time", 12.1 (units).
"""

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache

import orjson

from gatewayd.domain.verdict import Alert, Prediction
from gatewayd.pipeline.origin import Device, Origin
from gatewayd.pipeline.verdict_json import significant

CONTENT_TYPE = "application/senml+json"

_Record = dict[str, object]
_SECOND = 10**9
_RELATIVE_BELOW_S = 2**28  # earlier ones would be relative to now (RFC 8428, 4.5.3)
_ILLEGAL = re.compile(r"[^A-Za-z0-9._-]")
_MAX_LEVEL = 128
_HASH_DIGITS = 32
_FRACTION = "/"
_TIMED = ("silent", "stuck")  # conditions whose score counts seconds


class SenmlPacks:
    """Writes one stream's verdicts as SenML packs."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._speaker = f"gatewayd/{legal(origin.gateway)}/{legal(origin.stream)}/"

    def prediction(self, prediction: Prediction, device: Device) -> bytes:
        """Write a prediction at its window's end."""
        records: list[_Record] = [
            {"n": "score", "v": significant(prediction.score)},
            {"n": "anomalous", "vb": prediction.is_anomalous},
        ]
        if prediction.threshold is not None:
            records.append({"n": "threshold", "v": significant(prediction.threshold)})
        if prediction.contributions is not None:
            records += _fractions("contribution", prediction.contributions.items())
        if prediction.probabilities is not None:
            records.append({"n": "label", "vs": prediction.label})
            records += _fractions("probability", prediction.probabilities.items())
        records.append({"n": "id", "vs": self._origin.identify("prediction", device, prediction.end)})
        return self._pack(device, prediction.end, records)

    def alert(self, alert: Alert, device: Device) -> bytes:
        """Write an alert at the time of its change; ``raised`` is true while its condition lasts."""
        about = [alert.condition] + ([] if alert.channel is None else [legal(alert.channel)])
        name = "/".join(["alert", *about])
        unit = {"u": "s"} if alert.condition in _TIMED else {}
        records: list[_Record] = [
            {"n": f"{name}/raised", "vb": alert.cleared_at is None},
            {"n": f"{name}/score", **unit, "v": significant(alert.score)},
            {"n": f"{name}/peak_score", **unit, "v": significant(alert.peak_score)},
            {"n": f"{name}/threshold", **unit, "v": significant(alert.threshold)},
            {"n": f"{name}/state", "vs": alert.state},
            {"n": f"{name}/status", "vs": alert.status},
            {"n": f"{name}/severity", "vs": alert.severity},
            *_fractions(f"{name}/contribution", alert.causes),
            {"n": f"{name}/id", "vs": alert.id},
        ]
        return self._pack(device, alert.changed_at, records)

    def _pack(self, device: Device, at: int, records: list[_Record]) -> bytes:
        levels = [legal(level) for level in (*device.labels.values(), device.name)]
        base: _Record = {"bn": f"{self._speaker}{'/'.join(levels)}/"}
        if at >= _RELATIVE_BELOW_S * _SECOND:
            base["bt"] = orjson.Fragment(_seconds(at))
        return orjson.dumps([base | records[0], *records[1:]])


@lru_cache(maxsize=4096)  # the same for window after window
def legal(level: str) -> str:
    """Turn any text into one level of a SenML name; different texts give different levels."""
    text = _ILLEGAL.sub(lambda m: "".join(f":{byte:02X}" for byte in m.group().encode()), level)
    if len(text) > _MAX_LEVEL:
        digest = hashlib.sha256(level.encode()).hexdigest()[:_HASH_DIGITS]
        return f"{text[: _MAX_LEVEL - _HASH_DIGITS - 2]}::{digest}"  # no text has two colons in a row
    return text or ":"


def _fractions(name: str, parts: Iterable[tuple[str, float]]) -> list[_Record]:
    return [{"n": f"{name}/{legal(part)}", "u": _FRACTION, "v": round(value, 6)} for part, value in parts]


def _seconds(at: int) -> str:
    """Write an instant in seconds, all of its nine decimals: as a float it would lose the last three."""
    seconds, fraction = divmod(at, _SECOND)
    return f"{seconds}.{fraction:09d}".rstrip("0").removesuffix(".")
