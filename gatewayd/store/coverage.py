"""How long an outage the outbox still covers, at the rate of the last minutes. Pure.

The rate is an exponentially weighted mean of bytes per second: what happened ten minutes ago counts 1/e as much as what
happens now. Its weights are summed up beside it, so the mean is right from the first minute on and does not begin at 0.
"""

import math

_MEMORY_S = 600.0
_LEAST_S = 60.0  # watched for less, a rate is a guess
_STEP_S = 1.0
_MOST_S = 365 * 86_400.0  # "a year" is all that can be said of a gateway that hardly sends


class Coverage:
    """Watches a running total of bytes."""

    def __init__(self) -> None:
        self._began_s: float | None = None
        self._seen_s = 0.0
        self._seen_bytes = 0
        self._bytes = 0.0  # weighted
        self._span_s = 0.0  # weighted alike

    def note(self, appended_bytes: int, now_s: float) -> None:
        """Take notice of the total.

        Args:
            appended_bytes: All that was ever appended; never falls.
            now_s: Monotonic clock. Within a second of the last notice nothing is done.
        """
        if self._began_s is None:
            self._began_s = self._seen_s = now_s
            self._seen_bytes = appended_bytes
            return
        passed_s = now_s - self._seen_s
        if passed_s < _STEP_S:
            return
        fading = math.exp(-passed_s / _MEMORY_S)
        self._bytes = self._bytes * fading + (appended_bytes - self._seen_bytes) * (
            _MEMORY_S * (1 - fading) / passed_s
        )
        self._span_s = self._span_s * fading + _MEMORY_S * (1 - fading)
        self._seen_s, self._seen_bytes = now_s, appended_bytes

    def bytes_per_s(self) -> float | None:
        """Return the rate; None before a minute was watched."""
        if self._began_s is None or self._seen_s - self._began_s < _LEAST_S:
            return None
        return self._bytes / self._span_s

    def lasts_s(self, free_bytes: int) -> float | None:
        """Return how long ``free_bytes`` last at this rate, at most a year; None while nothing comes or can be said."""
        rate = self.bytes_per_s()
        if rate is None or rate <= 0:
            return None
        return min(_MOST_S, max(0, free_bytes) / rate)
