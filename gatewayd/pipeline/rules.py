"""Readings that rules speak against are dropped, clipped or marked here, each channel by its own values.

What a value is judged by depends on what became of those before it, so it is told in turn (``judge.py``). But while
nothing fires all values are good, and that is told of a whole batch at once: a device with a value that would fire, or
whose channel is stuck or out of its range, is judged value by value; the others are done with. The two ways give the
same, bit for bit, because they do the same operations in the same order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gatewayd.domain.arrays import Bool, Float64, Int64
from gatewayd.domain.reading import Batch, Kept
from gatewayd.domain.state import State
from gatewayd.pipeline.groups import by_device
from gatewayd.pipeline.history import Series, Trail
from gatewayd.pipeline.judge import NS_PER_S, SIGMA_PER_MAD, ChannelRules, Findings, Judge, Transition
from gatewayd.pipeline.past import (
    EQUAL_COUNT,
    EQUAL_SINCE,
    GOOD_AT,
    IS_STUCK,
    OUTSIDE_SINCE,
    SIDE,
    STUCK_AT,
    Pasts,
)

_FEW = 8  # readings below which judging them one by one costs less


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """A value that rules speak against, or with which something changed."""

    row: int
    channel: int
    value: float | None  # what goes on; None: nothing
    findings: Findings


class Rules:
    """Applies each channel's rules. Owned by the line; remembers what each device's channels are judged by.

    Args:
        channels: Each channel's rules, in the order of columns.
        sparse: What a dropped value takes with it. False: its reading. True: nothing; it becomes absent, and the
            reading goes on while anything is left of it.
        few: Batches with fewer readings are judged value by value at once, which costs less there and gives the same.

    Attributes:
        transitions: What became stuck or left its range in the latest batch, or ended that, in order of readings and
            channels; whatever the action.
        kept_by_then: For each of them, how many of the readings that may go on had come by then.
        removed: How many values were taken out of readings that went on, in the latest batch, by reason; only where
            sparse. (Readings that didn't go on are in ``Kept.dropped``.)
    """

    def __init__(self, channels: Sequence[ChannelRules], *, sparse: bool, few: int = _FEW) -> None:
        self._judges = [Judge(rules, index) for index, rules in enumerate(channels) if not rules.is_empty]
        self._is_sparse, self._few = sparse, few
        depth = max((rules.spike_window or 1 for rules in channels), default=1)
        self._pasts = Pasts(depth=depth, channels=len(channels))
        self.transitions: list[Transition] = []
        self.kept_by_then: list[int] = []
        self.removed: Mapping[str, int] = {}

    def apply(self, batch: Batch) -> Kept:
        """Return the readings that may go on, in their order, and what became of the others.

        A reading that is dropped for several values has the reason of the first channel among them, and only one.
        What was clipped or marked is counted where it went on.

        Args:
            batch: Readings whose times rise for each device. NaN is absent and no value: no rule sees it.
        """
        self.transitions, self.kept_by_then, self.removed = [], [], {}
        if not len(batch):
            return Kept(batch=batch)
        self._pasts.grow(int(batch.device.max()) + 1)
        every = Series.each(batch, by_device(batch.device), [judge.channel for judge in self._judges])
        judged: list[_Judged] = []
        for judge, series in zip(self._judges, every, strict=True):
            if len(series.row):
                self._judge(judge, series, judged, is_few=len(batch) < self._few)
        judged.sort(key=lambda one: (one.row, one.channel))
        kept, keep = self._kept(batch, [one for one in judged if one.findings.rules])
        for one in judged:
            self.transitions += one.findings.transitions
            if one.findings.transitions:
                by_then = int(np.count_nonzero(keep[: one.row + 1]))
                self.kept_by_then += [by_then] * len(one.findings.transitions)
        return kept

    def take_up(
        self, *, device: int, channel: int, kind: Literal["stuck", "out_of_range"], since: int, side: int
    ) -> None:
        """Take in, new, what stands of a channel, so that its end is noticed.

        Args:
            device: Whose channel it is.
            channel: Its index.
            kind: What stands.
            since: When it began, ns since the Unix epoch.
            side: Out of range: -1 below, 1 above.
        """
        self._pasts.grow(device + 1)
        numbers = self._pasts.numbers[device, channel]
        if kind == "stuck":
            numbers[[IS_STUCK, STUCK_AT, EQUAL_SINCE]] = 1, since, since
        else:
            numbers[[SIDE, OUTSIDE_SINCE]] = side, since

    def _judge(self, judge: Judge, series: Series, judged: list[_Judged], *, is_few: bool) -> None:
        """Judge one channel's values; append what isn't plainly good."""
        in_doubt = np.ones(len(series.device), dtype=np.bool_)
        if not is_few:
            trail = self._pasts.good.trail(series, judge.channel)
            runs = None if judge.rules.stuck_readings is None else self._runs(judge.channel, series)
            in_doubt = np.zeros(len(series.device), dtype=np.bool_)
            in_doubt[series.group[self._doubts(judge, series, trail, runs)]] = True
            self._pasts.extend(series, judge.channel, trail, ~in_doubt)
            if runs is not None:
                self._pasts.repeat(series, judge.channel, *runs, ~in_doubt)
        for group in np.flatnonzero(in_doubt).tolist():
            device = int(series.device[group])
            past = self._pasts.load(device, judge.channel)
            rows = slice(int(series.first[group]), int(series.last[group]) + 1)
            columns = (series.row[rows], series.values[rows], series.taken_at[rows])
            for row, sent, at in zip(*(column.tolist() for column in columns), strict=True):
                findings = Findings()
                value = judge.judge(past, device, sent, at, findings)
                if findings.rules or findings.transitions:
                    judged.append(_Judged(row=row, channel=judge.channel, value=value, findings=findings))
            self._pasts.store(device, judge.channel, past)

    def _doubts(self, judge: Judge, series: Series, trail: Trail, runs: tuple[Int64, Int64] | None) -> Bool:
        """Tell which values ``judge`` would find something with, if all before them in the batch were good."""
        rules, values = judge.rules, series.values
        numbers = self._pasts.numbers[series.device, judge.channel]
        is_doubtful = (values < judge.least) | (values > judge.greatest)
        is_doubtful[series.first] |= (numbers[:, IS_STUCK] != 0) | (numbers[:, SIDE] != 0)
        last = trail.before(1)[:, 0]
        # At the end of what a float64 can hold, a difference is infinite: that is far enough.
        with np.errstate(over="ignore"):
            for sentinel in rules.sentinels:
                # Not "at least the jump": that is false where there's no last value.
                is_doubtful |= (values == sentinel) & ~(np.abs(values - last) < rules.sentinel_jump)
            if rules.spike_window is not None:
                median, mad = _median_and_mad(trail.before(rules.spike_window))
                reach = rules.spike_deviations * (SIGMA_PER_MAD * np.maximum(mad, rules.spike_floor))
                is_doubtful |= (reach > 0) & (np.abs(values - median) > reach)
            if rules.rate is not None:
                last_at = series.before(series.taken_at, numbers[:, GOOD_AT])
                distance = rules.rate * (_elapsed(series.taken_at, last_at) / NS_PER_S)
                is_doubtful |= (np.abs(values - last) > distance) & (series.taken_at > last_at)
        if runs is not None and rules.stuck_readings is not None:
            is_doubtful |= runs[0] >= rules.stuck_readings
        return is_doubtful

    def _runs(self, channel: int, series: Series) -> tuple[Int64, Int64]:
        """Return how often each value has come in a row, and since when."""
        numbers = self._pasts.numbers[series.device, channel]
        is_same = series.values == series.before(series.values, self._pasts.equal[series.device, channel])
        goes_on = is_same[series.first]
        starts = ~is_same
        starts[series.first] = True
        place = np.arange(len(starts))
        start = np.maximum.accumulate(np.where(starts, place, 0))
        carried, since = np.zeros(len(starts), dtype=np.int64), series.taken_at.copy()
        carried[series.first] = np.where(goes_on, numbers[:, EQUAL_COUNT], 0)
        since[series.first] = np.where(goes_on, numbers[:, EQUAL_SINCE], series.taken_at[series.first])
        return place - start + 1 + carried[start], since[start]

    def _kept(self, batch: Batch, judged: list[_Judged]) -> tuple[Kept, Bool]:
        """Take out, change and count what rules speak against; ``judged`` is in order of readings and channels.

        Returns:
            What goes on, and which readings that are.
        """
        keep = np.ones(len(batch), dtype=np.bool_)
        if not judged:
            return Kept(batch=batch), keep
        values = batch.values.copy()
        reasons: dict[int, str] = {}
        for one in judged:
            values[one.row, one.channel] = np.nan if one.value is None else one.value
            if one.value is None:
                reasons.setdefault(one.row, one.findings.rules[-1][0])
        lost = {row for row in reasons if not self._is_sparse or np.isnan(values[row]).all()}
        keep[list(lost)] = False
        counts: dict[str, dict[str, int]] = {"drop": {}, "clip": {}, "mark": {}, "remove": {}}
        examples: dict[str, int] = {}

        def count(kind: str, reason: str, row: int) -> None:
            counts[kind][reason] = counts[kind].get(reason, 0) + 1
            examples.setdefault(reason, int(batch.device[row]))

        for row in sorted(lost):
            count("drop", reasons[row], row)
        for one in judged:
            if one.row in lost:
                continue
            if one.value is None:
                count("remove", one.findings.rules[-1][0], one.row)
                continue
            for rule, action in one.findings.rules:
                count(action, rule, one.row)
        self.removed = counts["remove"]
        kept = Kept(
            batch=Batch(device=batch.device[keep], taken_at=batch.taken_at[keep], values=values[keep]),
            dropped=counts["drop"],
            clipped=counts["clip"],
            marked=counts["mark"],
            examples=examples,
        )
        return kept, keep

    def state(self) -> State:
        """Copy out what is remembered."""
        return self._pasts.state()

    def restore(self, state: State) -> None:
        """Go on from a state.

        Raises:
            ValueError: It is no such state, or one of other channels.
        """
        self._pasts.restore(state)


def _median_and_mad(windows: Float64) -> tuple[Float64, Float64]:
    """Return each window's median and median absolute deviation; NaN for those that aren't full yet."""
    ordered = np.sort(windows, axis=1)
    median = _middle(ordered)
    median[np.isnan(ordered[:, -1])] = np.nan
    return median, _middle(np.sort(np.abs(ordered - median[:, None]), axis=1))


def _middle(ordered: Float64) -> Float64:
    width = ordered.shape[1]
    lower, upper = ordered[:, (width - 1) // 2], ordered[:, width // 2]
    return np.where(lower == upper, lower, 0.5 * lower + 0.5 * upper)


def _elapsed(later: Int64, earlier: Int64) -> Float64:
    """Return the nanoseconds between, also where they are more than an int64 holds; for ``later`` above ``earlier``."""
    return (later.view(np.uint64) - earlier.view(np.uint64)).astype(np.float64)
