"""Verdict → document, as JSON and CBOR have it: docs/payloads.md describes every field, docs/schema/ the documents."""

from collections.abc import Callable
from functools import lru_cache

from gatewayd.domain.verdict import Alert, Prediction
from gatewayd.pipeline.origin import Device, Origin

_SECOND = 10**9


class Documents:
    """Writes one stream's verdicts as documents.

    Args:
        origin: Who speaks.
        write: Document → bytes; takes dicts, lists, texts, finite numbers, booleans and None.
    """

    def __init__(self, origin: Origin, write: Callable[[object], bytes]) -> None:
        self._origin, self._write = origin, write
        self._model = {"name": origin.model, "version": origin.version, "runtime": origin.runtime}

    def prediction(self, prediction: Prediction, device: Device) -> bytes:
        """Write a prediction. Its id depends on stream, device, window and model alone."""
        document = {
            "id": self._origin.identify("prediction", device, prediction.end),
            "kind": "prediction",
            "gateway": self._origin.gateway,
            "stream": self._origin.stream,
            "device": device.name,
            "labels": device.labels,
            "window": {
                "start": instant(prediction.start),
                "end": instant(prediction.end),
                "samples": prediction.samples,
            },
            "score": significant(prediction.score),
            "threshold": threshold_digits(prediction.threshold),
            "verdict": "anomalous" if prediction.is_anomalous else "normal",
            "model": self._model,
        }
        if prediction.contributions is not None:
            document["contributions"] = prediction.contributions
        if prediction.probabilities is not None:
            document["label"] = prediction.label
            document["probabilities"] = {name: round(p, 6) for name, p in prediction.probabilities.items()}
        return self._write(document)

    def alert(self, alert: Alert, device: Device) -> bytes:
        """Write an alert as it has changed."""
        document = {
            "id": alert.id,
            "kind": "alert",
            "gateway": self._origin.gateway,
            "stream": self._origin.stream,
            "device": device.name,
            "labels": device.labels,
            "condition": alert.condition,
            "channel": alert.channel,
            "severity": alert.severity,
            "state": alert.state,
            "status": alert.status,
            "changed_at": instant(alert.changed_at),
            "first_out_at": instant(alert.first_out_at),
            "raised_at": instant(alert.raised_at),
            "cleared_at": _instant_if_any(alert.cleared_at),
            "acknowledged_at": _instant_if_any(alert.acknowledged_at),
            "acknowledged_by": alert.acknowledged_by,
            "shelved_until": _instant_if_any(alert.shelved_until),
            "score": significant(alert.score),
            "peak_score": significant(alert.peak_score),
            "threshold": significant(alert.threshold),
            "causes": [{"channel": name, "contribution": part} for name, part in alert.causes],
            "model": self._model,
        }
        return self._write(document)


def instant(nanoseconds: int) -> str:
    """Write an instant as RFC 3339 in UTC, with as many fraction digits (0, 3, 6 or 9) as it needs.

    Args:
        nanoseconds: Since the Unix epoch, 1970..2262.
    """
    seconds, fraction = divmod(nanoseconds, _SECOND)
    text = _whole_seconds(seconds)
    if not fraction:
        return text + "Z"
    if not fraction % 1_000_000:
        return f"{text}.{fraction // 1_000_000:03d}Z"
    return f"{text}.{fraction:09d}Z" if fraction % 1000 else f"{text}.{fraction // 1000:06d}Z"


def _instant_if_any(nanoseconds: int | None) -> str | None:
    return None if nanoseconds is None else instant(nanoseconds)


@lru_cache(maxsize=4096)  # many windows end within the same second
def _whole_seconds(seconds: int) -> str:
    # Civil date from days since the epoch: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    # datetime would do it too, at three times the cost, and this runs for every prediction.
    days, rest = divmod(seconds, 86_400)
    shifted = days + 719_468
    era, day_of_era = divmod(shifted, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_index = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_index + 2) // 5 + 1
    month = month_index + 3 if month_index < 10 else month_index - 9  # noqa: PLR2004
    year = year_of_era + era * 400 + (month <= 2)  # noqa: PLR2004
    hour, rest = divmod(rest, 3600)
    minute, second = divmod(rest, 60)
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}"


def significant(value: float) -> float:
    """Round to 7 significant digits, all that a float32 model has to say."""
    return float(f"{value:.7g}")


@lru_cache(maxsize=256)  # the same for window after window
def threshold_digits(value: float | None) -> float | None:
    """Round a threshold as ``significant`` does; None where there is none yet."""
    return None if value is None else significant(value)
