"""A threshold that each device's own scores set: peaks over threshold (SPOT and DSPOT).

The first scores give a level that few exceed. How far they exceed it follows a generalised Pareto distribution,
whatever the scores' own distribution (Pickands 1975), and the threshold is where that tail leaves the probability
``risk``. From then on each score above the level extends the tail.

Siffer, Fouque, Termier, Largouët, "Anomaly Detection in Streams with Extreme Value Theory", KDD 2017, with two
changes. In the paper a score at or above the threshold teaches nothing at all. That cuts off the end of the very tail
that is estimated, and each fit to what is left lowers the threshold: on 60,000 independent scores (exponential,
normal, uniform; risk 1e-3 and 1e-4) we counted 3 to 8 times as many alarms as asked for, 23 times in one run of six.
Here such a score teaches about as often as a normal one would come that far, so that more frequent anomalies don't, and
it counts for no more than twice the threshold's distance from the level. That gave at most 1.2 times as many.

The tail is fitted after Zhang and Stephens, "A New and Efficient Estimation Method for the Generalized Pareto
Distribution", Technometrics 51 (2009): the likelihood that Grimshaw's trick maximises, averaged over a grid instead, so
that there is no search that may fail and no root to choose. With few peaks it is an exponential tail.

Only the newest 1,000 peaks of a device are kept; how often the level is exceeded is counted from the beginning. So a
device costs up to 8 kB, and as much as ``calibrate`` scores before.
"""

import math
import sys
from array import array
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from gatewayd.domain.arrays import Float64
from gatewayd.domain.state import State

MOST_PEAKS = 1000
_FEW_PEAKS = 10  # below that the shape of a tail can't be told
# Scores that never varied have no tail; anything visibly above them is anomalous then.
_LEAST_SPREAD = 1e-6
_GREATEST = sys.float_info.max
_LONGEST = 700.0  # e to that is still a number
# What lies beyond the threshold may teach so many times as often as ``risk`` says (more than once, since it comes by
# chance, in clusters), so often in a row, and from so far above the level.
_BEYOND_RATE, _BEYOND_RUN, _BEYOND_REACH = 2.0, 2.0, 2.0


@dataclass(slots=True)
class _Tail:
    """What one device's scores have taught."""

    level: float | None = None  # None: calibrating
    learnt: int = 0  # scores that taught
    exceeded: int = 0  # of them, those above the level
    peaks: "array[float]" = field(default_factory=lambda: array("d"))  # while calibrating: the scores
    recent: "array[float]" = field(default_factory=lambda: array("d"))  # the latest ``depth`` normal scores
    quantile: float = math.inf  # the threshold, above the moving average
    average: float = 0.0
    credit: float = _BEYOND_RUN  # how many scores beyond the threshold may teach now


class PeaksOverThreshold:
    """Sets each device's threshold by what its scores were so far. Owned by the line.

    Args:
        risk: Probability that a normal window's score reaches the threshold (q of the paper); below ``1 - level``.
        calibrate: First scores of a device that set the level, at least 100; until then it has no threshold. They
            should be normal and typical: an anomaly among them raises the threshold.
        level: Quantile of the first scores above which the tail begins.
        depth: Latest normal scores whose mean is taken off first (DSPOT), for scores that wander; 0: none (SPOT).
    """

    def __init__(self, *, risk: float, calibrate: int, level: float = 0.98, depth: int = 0) -> None:
        share = round(1 - level, 9)  # 0.02, not a little more
        if not 0 < risk < share < 1:
            raise ValueError(f"risk must lie between 0 and {share:g}, not {risk}")
        if calibrate < 100:  # noqa: PLR2004  # fewer say nothing about a quantile of 0.98
            raise ValueError(f"calibrate must be at least 100, not {calibrate}")
        self._risk, self._calibrate, self._level, self._depth = risk, calibrate, level, depth
        self._tails: dict[int, _Tail] = {}

    def threshold(self, device: int) -> float | None:
        """Return the threshold for a device's next score; None while calibrating."""
        tail = self._tails.get(device)
        if tail is None or tail.level is None:
            return None
        return tail.average + tail.quantile

    def learn(self, device: int, score: float) -> None:
        """Take in a score after it was judged."""
        tail = self._tails.get(device)
        if tail is None:
            tail = self._tails[device] = _Tail()
        if self._depth and len(tail.recent) < self._depth:
            self._follow(tail, score)
            return
        above = score - tail.average
        if tail.level is None:
            tail.peaks.append(above)
            if len(tail.peaks) >= self._calibrate:
                self._begin(tail)
        elif score < tail.average + tail.quantile:
            tail.credit = min(_BEYOND_RUN, tail.credit + _BEYOND_RATE * self._risk)
            self._extend(tail, tail.level, above)
        else:
            if tail.credit >= 1:
                tail.credit -= 1
                reach = _BEYOND_REACH * (tail.quantile - tail.level)
                self._extend(tail, tail.level, min(above, tail.level + reach))
            return
        if self._depth:
            self._follow(tail, score)

    def state(self) -> State:
        """Copy out what is remembered."""
        return {
            str(device): {
                "level": tail.level,
                "learnt": tail.learnt,
                "exceeded": tail.exceeded,
                "peaks": np.array(tail.peaks, dtype=np.float64),
                "recent": np.array(tail.recent, dtype=np.float64),
                "quantile": tail.quantile,
                "average": tail.average,
                "credit": tail.credit,
            }
            for device, tail in self._tails.items()
        }

    def restore(self, state: State) -> None:
        """Make a fresh one go on where another of the same settings stopped."""
        for device, value in state.items():
            arrays, numbers = cast("dict[str, Float64]", value), cast("dict[str, float]", value)
            level: float | None = numbers["level"]
            self._tails[int(device)] = _Tail(
                level=level,
                learnt=int(numbers["learnt"]),
                exceeded=int(numbers["exceeded"]),
                peaks=array("d", arrays["peaks"].tolist()),
                recent=array("d", arrays["recent"].tolist()),
                quantile=numbers["quantile"],
                average=numbers["average"],
                credit=numbers["credit"],
            )

    def _follow(self, tail: _Tail, score: float) -> None:
        tail.recent.append(score)
        del tail.recent[: -self._depth]
        if len(tail.recent) == self._depth:
            # exact, so that it doesn't wear off with the years
            tail.average = math.fsum(tail.recent) / self._depth

    def _extend(self, tail: _Tail, level: float, above: float) -> None:
        tail.learnt += 1
        if above > level:
            tail.exceeded += 1
            tail.peaks.append(above - level)
            del tail.peaks[:-MOST_PEAKS]
            self._fit(tail)

    def _begin(self, tail: _Tail) -> None:
        """Turn the first scores into a level and the peaks above it."""
        scores = sorted(tail.peaks)
        level = tail.level = scores[math.ceil(self._level * len(scores)) - 1]
        tail.learnt = len(scores)
        tail.peaks = array("d", [score - level for score in tail.peaks if score > level])
        tail.exceeded = len(tail.peaks)
        del tail.peaks[:-MOST_PEAKS]
        self._fit(tail)

    def _fit(self, tail: _Tail) -> None:
        """Set the quantile that a score reaches with the probability ``risk``."""
        assert tail.level is not None
        least = _LEAST_SPREAD * max(abs(tail.level), _LEAST_SPREAD)
        if not tail.peaks:
            tail.quantile = tail.level + least
            return
        shape, scale = fit_tail(np.array(tail.peaks, dtype=np.float64))
        # z_q of the paper, 2.3.2: its r is the share of the tail that may be exceeded
        share = math.log(tail.exceeded / (self._risk * tail.learnt))
        ratio = share if shape == 0 else math.expm1(min(shape * share, _LONGEST)) / shape
        beyond = scale * ratio
        tail.quantile = min(tail.level + max(beyond, least), _GREATEST)


def fit_tail(peaks: Float64) -> tuple[float, float]:
    """Fit a generalised Pareto distribution, ``1 - F(y) = (1 + shape * y / scale) ** (-1 / shape)``.

    Args:
        peaks: Shape ``(n,)``, n at least 1, in order of arrival; positive.

    Returns:
        Shape (0: exponential; above: heavier) and scale, in the unit of the peaks.
    """
    greatest = float(peaks.max())
    unit = peaks / greatest
    mean = math.fsum(unit.tolist()) / len(unit)
    if len(unit) < _FEW_PEAKS:
        return 0.0, mean * greatest
    unit = np.sort(unit)
    count = 20 + math.isqrt(len(unit))
    quartile = max(float(unit[int(len(unit) / 4 + 0.5) - 1]), sys.float_info.epsilon)
    steps = np.arange(1, count + 1, dtype=np.float64) - 0.5
    thetas = 1 + (1 - np.sqrt(count / steps)) / (3 * quartile)
    thetas = np.where(thetas == 0, sys.float_info.epsilon, thetas)  # as good as exponential, without 0 / 0
    # Row by row: the same sums whatever numpy makes of two axes.
    shapes = np.array([-np.log1p(-theta * unit).mean() for theta in thetas])
    likelihoods = len(unit) * (np.log(thetas / shapes) + shapes - 1)
    weights = np.exp(likelihoods - likelihoods.max())
    theta = float((thetas * weights).sum() / weights.sum()) or sys.float_info.epsilon
    shape = float(np.log1p(-theta * unit).mean())
    return shape, -shape / theta * greatest
