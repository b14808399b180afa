"""From decoded readings to windows: the steps in between, each there only where the configuration asks for it.

clean → reorder → rules → align → denoise → window; pictures are windows at once. What happens beside the windows (a
channel that is stuck, a device that is silent) comes out between them, at the place where it happened: for each device,
the order of what comes out doesn't depend on how the readings were cut into batches.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np

from gatewayd.config.settings import ChannelSettings, DenoiseSettings, StreamSettings
from gatewayd.domain.arrays import Bool, Int64
from gatewayd.domain.model import ModelSpec
from gatewayd.domain.reading import Batch, Kept
from gatewayd.domain.state import State, as_counts, as_int, as_state
from gatewayd.domain.verdict import Condition
from gatewayd.domain.window import WindowBatch
from gatewayd.pipeline.alarm import Lasting
from gatewayd.pipeline.align import Aligner
from gatewayd.pipeline.clean import Cleaner
from gatewayd.pipeline.decode import Readings
from gatewayd.pipeline.denoise import Denoiser, Ema, Median
from gatewayd.pipeline.judge import ChannelRules, Transition
from gatewayd.pipeline.pictures import Pictures
from gatewayd.pipeline.reorder import Reorderer
from gatewayd.pipeline.rules import Rules
from gatewayd.pipeline.silence import Silence
from gatewayd.pipeline.span import SpanWindower
from gatewayd.pipeline.window import Windower

_SECOND = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A condition beside the model's that begins or ends.

    Attributes:
        device: Index into the stream's devices.
        channel: Index into its channels; None: the device as a whole.
        condition: What it is about.
        is_begin: Whether it begins.
        since: When what it is about began: the first of the equal readings, the last one heard; ns since the Unix
            epoch.
        at: When it was noticed.
        value: The number that ``limit`` limits, as ``Alert.score`` says.
        limit: The limit.
    """

    device: int
    channel: int | None
    condition: Condition
    is_begin: bool
    since: int
    at: int
    value: float
    limit: float


class Steps:
    """One stream's steps from readings to windows. Owned by the line.

    Args:
        settings: The stream's.
        spec: Its model's numbers; channels in this order.
        is_timed: Whether readings may carry their own time.

    Attributes:
        dropped: Readings dropped so far, by reason, but for ``gap`` and ``partial``.
        clipped: Values that were clipped, by rule.
        marked: Values let through although a rule speaks against them, by rule.
        removed: Values taken out of readings that went on without them, by reason.
        examples: For each reason or rule, the first device that it happened to.
    """

    def __init__(self, settings: StreamSettings, spec: ModelSpec, *, is_timed: bool) -> None:
        channels = [settings.channels[channel.name] for channel in spec.channels]
        self._channels = [channel.name for channel in spec.channels]
        self._is_sparse = settings.align is not None
        is_reordered = settings.lateness_s > 0 or self._is_sparse
        self.cleaner = _cleaner(
            settings, channels, is_timed=is_timed, is_sparse=self._is_sparse, is_reordered=is_reordered
        )
        self._reorderer = (
            Reorderer(channels=len(channels), lateness_ns=_ns(settings.lateness_s)) if is_reordered else None
        )
        rules = [_rules(channel, settings) for channel in channels]
        self._rules = None if all(rule.is_empty for rule in rules) else Rules(rules, sparse=self._is_sparse)
        self._aligner = _aligner(settings, len(channels))
        self._denoiser = (
            Denoiser(
                [_method(channel.denoise) for channel in channels],
                max_gap_ns=None if settings.window.max_gap_s is None else _ns(settings.window.max_gap_s),
            )
            if any(channel.denoise is not None for channel in channels)
            else None
        )
        self.windower = _windower(settings, spec)
        self._idle_ns = _ns(settings.idle_timeout_s or 0.0)
        self._idle = Silence(after_ns=self._idle_ns) if self._idle_ns else None
        self._silent_ns = _ns(settings.alert.silent_after_s or 0.0)
        self._silence = Silence(after_ns=self._silent_ns) if self._silent_ns else None
        self._silent: dict[int, int] = {}  # devices that are silent now: since when
        self._used_before = self._made_before = self._unfilled_before = 0  # by another shape, before a reload
        self.dropped: Counter[str] = Counter()
        self.clipped: Counter[str] = Counter()
        self.marked: Counter[str] = Counter()
        self.removed: Counter[str] = Counter()
        self.examples: dict[str, int] = {}

    @property
    def waiting(self) -> int:
        """Readings that wait for later ones, or in open windows, in no window given out yet."""
        return self.windower.waiting + (self._reorderer.waiting if self._reorderer is not None else 0)

    @property
    def used(self) -> int:
        """Readings that became part of another row: merged with one of the same instant, or laid on the grid."""
        merged = self._reorderer.merged if self._reorderer is not None else 0
        return self._used_before + merged + (self._aligner.used if self._aligner is not None else 0)

    @property
    def made(self) -> int:
        """Rows of the grid."""
        return self._made_before + (self._aligner.made if self._aligner is not None else 0)

    @property
    def unfilled(self) -> int:
        """Instants of the grid that got no row."""
        return self._unfilled_before + (self._aligner.unfilled if self._aligner is not None else 0)

    @property
    def all_marked(self) -> Counter[str]:
        """Values and readings that were let through with a remark, by what it is."""
        total = Counter(self.marked)
        if self._reorderer is not None:
            total["early"] += self._reorderer.early
        if isinstance(self.windower, SpanWindower):
            total["excess"] += self.windower.excess
        return total

    @property
    def all_dropped(self) -> Counter[str]:
        """Readings dropped so far, by reason."""
        total = Counter(self.dropped)
        if self.windower.abandoned:
            total["partial" if isinstance(self.windower, SpanWindower) else "gap"] += self.windower.abandoned
        return total

    def take(
        self, readings: Readings, gone: Sequence[tuple[int, int, int]] = ()
    ) -> Iterator[WindowBatch | Turn]:
        """Take readings in; yield what they led to.

        Args:
            readings: In order of arrival.
            gone: (row, device, steady time): before this row, and then, the device was said to have gone.
        """
        if self._idle is None and self._silence is None:
            yield from self._advance(readings.batch, readings.arrived_at, readings.has_own_time)
            return
        begin = 0
        for row, events in self._cuts(readings, gone):
            yield from self._advance_part(readings, begin, row)
            begin = row
            for event in events:
                yield from self._happen(event)
        yield from self._advance_part(readings, begin, len(readings.batch))

    def expire(self, now: int) -> Iterator[WindowBatch | Turn]:
        """Do what is due because nothing came.

        Args:
            now: By the steady clock, ns.
        """
        # What ends after the shorter time is over comes first for each device; then all of a kind can go at once, which
        # matters where a whole plant falls silent.
        for kind, silence, after_ns in sorted(self._silences_of(), key=lambda one: one[2]):
            devices = silence.due(now)
            if kind == "idle":
                yield from self._send_on(devices)
                continue
            for device in devices.tolist():
                since = silence.since(device)
                yield from self._happen(_Event(0, since + after_ns, kind, device, since))

    def deadline(self) -> int | None:
        """Return when ``expire`` has something to do, by the steady clock; None: not before more readings come."""
        deadlines = [
            deadline for _, silence, _ in self._silences_of() if (deadline := silence.deadline()) is not None
        ]
        return min(deadlines, default=None)

    def state(self) -> State:
        """Copy out all that the steps remember."""
        steps = {name: step.state() for name, step in self._memories().items()}
        return {
            "steps": steps,
            "windower": self.windower.state(),
            "silent": [[device, since] for device, since in self._silent.items()],
            "dropped": dict(self.dropped),
            "clipped": dict(self.clipped),
            "marked": dict(self.marked),
            "removed": dict(self.removed),
            "examples": dict(self.examples),
            "waiting": self.waiting,
            "abandoned": dict(self.all_dropped - self.dropped),
            "scored": self.windower.scored,
            "used": self.used,
            "made": self.made,
            "used_before": self._used_before,
            "made_before": self._made_before,
            "unfilled": self.unfilled,
            "unfilled_before": self._unfilled_before,
            "remarked": dict(self.all_marked - self.marked),
        }

    def restore(self, state: State) -> None:
        """Go on where other steps of the same settings stopped."""
        steps = as_state(state["steps"])
        for name, step in self._memories().items():
            step.restore(as_state(steps[name]))
        self.windower.restore(as_state(state["windower"]))
        self._silent = dict(cast("list[tuple[int, int]]", state["silent"]))
        self.examples = as_counts(state["examples"])
        self._used_before, self._made_before = as_int(state["used_before"]), as_int(state["made_before"])
        self._unfilled_before = as_int(state["unfilled_before"])
        self._count_on(state)

    def begin_anew(self, state: State, *, reason: str, keeps_times: bool) -> None:
        """Go on with the counters of other steps, whose open windows are given up.

        Args:
            state: The other's.
            reason: Why, for the counter of what is dropped.
            keeps_times: Also remember each device's newest time, so that nothing old is taken again.
        """
        self._count_on(state)
        self.dropped[reason] += as_int(state["waiting"])
        self.dropped.update(as_counts(state["abandoned"]))
        self.marked.update(as_counts(state["remarked"]))
        self._used_before, self._made_before = as_int(state["used"]), as_int(state["made"])
        self._unfilled_before = as_int(state["unfilled"])
        self.windower.scored = as_int(state["scored"])
        if keeps_times:
            self.cleaner.restore(as_state(as_state(state["steps"])["cleaner"]))

    def take_silences(self, other: "Steps") -> None:
        """Go on with who is silent since when, where the settings are the same."""
        self._idle, self._silence, self._silent = other._idle, other._silence, other._silent  # noqa: SLF001  # its own kind

    def take_up(self, devices: int, lasting: Iterable[Lasting], state: State | None = None) -> None:
        """Watch, new, what is known from before: which devices there are, and what stands of them.

        Otherwise a device that never speaks again would not be silent, and what has ended would stand for ever.

        Args:
            devices: How many are known.
            lasting: What stands.
            state: Of steps that knew more, but were of another shape; None: there is none.
        """
        silence = None if state is None else as_state(state["steps"]).get("silence")
        if self._silence is not None and silence is not None:
            self._silence.restore(as_state(silence))
        elif self._silence is not None:
            self._silence.expect(devices)
        self.take_conditions(lasting)

    def take_conditions(self, lasting: Iterable[Lasting]) -> None:
        """Notice, new, the end of what stands."""
        for (device, condition, name), since, _, is_low in lasting:
            if condition == "silent":
                self._silent.setdefault(device, since - self._silent_ns)
            elif (
                condition in ("stuck", "out_of_range") and self._rules is not None and name in self._channels
            ):
                self._rules.take_up(
                    device=device,
                    channel=self._channels.index(name),
                    kind=condition,
                    since=since,
                    side=-1 if is_low else 1,
                )

    def _count_on(self, state: State) -> None:
        self.dropped = Counter(as_counts(state["dropped"]))
        self.clipped = Counter(as_counts(state["clipped"]))
        self.marked = Counter(as_counts(state["marked"]))
        self.removed = Counter(as_counts(state["removed"]))

    def _silences_of(self) -> Iterator[tuple[Literal["idle", "silent"], Silence, int]]:
        if self._idle is not None:
            yield "idle", self._idle, self._idle_ns
        if self._silence is not None:
            yield "silent", self._silence, self._silent_ns

    def _memories(self) -> dict[str, Cleaner | Reorderer | Rules | Aligner | Denoiser | Silence]:
        steps = {
            "cleaner": self.cleaner,
            "reorderer": self._reorderer,
            "rules": self._rules,
            "aligner": self._aligner,
            "denoiser": self._denoiser,
            "idle": self._idle,
            "silence": self._silence,
        }
        return {name: step for name, step in steps.items() if step is not None}

    def _cuts(
        self, readings: Readings, gone: Sequence[tuple[int, int, int]]
    ) -> list[tuple[int, list["_Event"]]]:
        """Return the rows before which something happens that isn't a reading, and what, in order."""
        device, steady_at = readings.batch.device, readings.steady_at
        events: list[_Event] = []
        if self._idle is not None:
            for row, devices, since in self._idle.touch(device, steady_at):
                events += [
                    _Event(row, then + self._idle_ns, "idle", who, then)
                    for who, then in zip(devices.tolist(), since.tolist(), strict=True)
                ]
        if self._silence is not None:
            events += self._silences(device, steady_at, gone)
        cuts: dict[int, list[_Event]] = {}
        for event in sorted(_in_turn(events), key=_Event.order):
            cuts.setdefault(event.row, []).append(event)
        return list(cuts.items())

    def _silences(
        self, device: Int64, steady_at: Int64, gone: Sequence[tuple[int, int, int]]
    ) -> list["_Event"]:
        """Return where devices fell silent, where they were said to have gone, and where they were heard again."""
        assert self._silence is not None
        events: list[_Event] = []
        quiet = [(0, who) for who in self._silent]
        before = {who: self._last_heard(who) for _, who, _ in gone}  # which touching changes
        for row, devices, since in self._silence.touch(device, steady_at):
            for who, then in zip(devices.tolist(), since.tolist(), strict=True):
                events.append(_Event(row, then + self._silent_ns, "silent", who, then))
                quiet.append((row, who))
        for row, who, then in gone:
            own = np.flatnonzero(device[:row] == who)
            last = int(steady_at[int(own[-1])]) if len(own) else before[who]
            if last is not None and then - last >= self._silent_ns:
                # silent for long enough before that was said: told as a tick would have told it
                events.append(_Event(row, last + self._silent_ns, "silent", who, last))
            else:
                events.append(_Event(row, then, "silent", who, then))
            quiet.append((row, who))
        present = set(device.tolist()) if quiet else ()
        for row, who in quiet:
            if who in present and len(own := np.flatnonzero(device[row:] == who)):
                heard = row + int(own[0])
                events.append(_Event(heard, int(steady_at[heard]), "heard", who, int(steady_at[heard])))
        return events

    def _last_heard(self, device: int) -> int | None:
        assert self._silence is not None
        try:
            return self._silence.since(device)
        except KeyError:
            return None  # known, but by messages without any of our channels

    def _happen(self, event: "_Event") -> Iterator[WindowBatch | Turn]:
        if event.kind == "idle":
            yield from self._send_on(np.array([event.device], dtype=np.int64))
        elif event.kind == "silent" and event.device not in self._silent:
            self._silent[event.device] = event.since
            yield self._silence_turn(event, is_begin=True, since=event.since)
        elif event.kind == "heard" and event.device in self._silent:
            yield self._silence_turn(event, is_begin=False, since=self._silent.pop(event.device))

    def _send_on(self, idle: Int64) -> Iterator[WindowBatch | Turn]:
        """Let what idle devices hold go on: nobody waits for their later readings any more."""
        if not len(idle):
            return
        if self._reorderer is not None:
            yield from self._after_order(self._noted(self._reorderer.flush(idle)))
        if isinstance(self.windower, SpanWindower):
            windows = self.windower.close(idle)
            if len(windows):
                yield windows

    def _silence_turn(self, event: "_Event", *, is_begin: bool, since: int) -> Turn:
        return Turn(
            device=event.device,
            channel=None,
            condition="silent",
            is_begin=is_begin,
            since=since,
            at=event.due,
            value=(event.due - since) / _SECOND,
            limit=self._silent_ns / _SECOND,
        )

    def _advance_part(self, readings: Readings, begin: int, end: int) -> Iterator[WindowBatch | Turn]:
        if begin == end:
            return
        part = slice(begin, end)
        batch = readings.batch
        yield from self._advance(
            Batch(device=batch.device[part], taken_at=batch.taken_at[part], values=batch.values[part]),
            readings.arrived_at[part],
            readings.has_own_time[part],
        )

    def _advance(self, batch: Batch, arrived_at: Int64, own: Bool) -> Iterator[WindowBatch | Turn]:
        if isinstance(self.windower, Pictures):
            yield from self._windows(batch)
            return
        batch, dropped = self.cleaner.clean(batch, arrived_at, own)
        self.dropped.update(dropped)
        self.removed.update(self.cleaner.removed)
        for reason, device in self.cleaner.examples.items():
            self.examples.setdefault(reason, device)
        if self._reorderer is not None:
            batch = self._noted(self._reorderer.add(batch))
        yield from self._after_order(batch)

    def _after_order(self, batch: Batch) -> Iterator[WindowBatch | Turn]:
        if self._rules is None:
            yield from self._windows(batch)
            return
        batch = self._noted(self._rules.apply(batch))
        self.removed.update(self._rules.removed)
        begin = 0
        placed = zip(self._rules.transitions, self._rules.kept_by_then, strict=True)
        for row, transition in sorted(
            ((_row_behind(batch, t, kept), t) for t, kept in placed), key=lambda pair: pair[0]
        ):
            yield from self._windows(_part(batch, begin, row))
            begin = row
            yield Turn(
                device=transition.device,
                channel=transition.channel,
                condition=transition.kind,
                is_begin=transition.is_begin,
                since=transition.since,
                at=transition.at,
                value=transition.value,
                limit=transition.limit,
            )
        yield from self._windows(_part(batch, begin, len(batch)))

    def _windows(self, batch: Batch) -> Iterator[WindowBatch]:
        if self._aligner is not None:
            batch = self._aligner.add(batch)
        if self._denoiser is not None:
            batch = self._denoiser.apply(batch)
        windows = self.windower.add(batch)
        if len(windows):
            yield windows

    def _noted(self, kept: Kept) -> Batch:
        self.dropped.update(kept.dropped)
        self.clipped.update(kept.clipped)
        self.marked.update(kept.marked)
        for reason, device in kept.examples.items():
            self.examples.setdefault(reason, device)
        return kept.batch


@dataclass(frozen=True, slots=True)
class _Event:
    """Something that happens before a row of a batch: at ``due``, to ``device``, which was last heard at ``since``."""

    row: int
    due: int
    kind: Literal["idle", "silent", "heard"]
    device: int
    since: int

    def order(self) -> tuple[int, int, bool, str, int]:
        """Sort by place, then by time; a device is heard by the reading of the row itself, so that comes last."""
        return self.row, self.due, self.kind == "heard", self.kind, self.device


def _in_turn(events: Sequence[_Event]) -> list[_Event]:
    """Bring each device's events into the order in which they were due.

    Each is anywhere between its time and its device's next reading: one that was due before another of the same
    device may stand behind it, and comes forward.
    """
    first: dict[int, int] = {}  # by device: the row of what was due later
    moved: list[_Event] = []
    for event in sorted(events, key=lambda event: (event.due, event.row), reverse=True):
        row = first[event.device] = min(event.row, first.get(event.device, event.row))
        moved.append(replace(event, row=row))
    return moved


def _row_behind(batch: Batch, transition: Transition, begin: int) -> int:
    """Return the row before which a transition comes out: its device's first one from ``begin`` on."""
    later = batch.device[begin:] == transition.device
    return begin + int(np.argmax(later)) if later.any() else len(batch)


def _part(batch: Batch, begin: int, end: int) -> Batch:
    if begin == 0 and end == len(batch):
        return batch
    part = slice(begin, end)
    return Batch(device=batch.device[part], taken_at=batch.taken_at[part], values=batch.values[part])


def _ns(seconds: float) -> int:
    return round(seconds * _SECOND)


def _cleaner(
    settings: StreamSettings,
    channels: Sequence[ChannelSettings],
    *,
    is_timed: bool,
    is_sparse: bool,
    is_reordered: bool,
) -> Cleaner:
    def limit(channel: ChannelSettings, value: float | None, none: float) -> float:
        # Where a reading outside is an alert, or isn't dropped, the rules look at it.
        return value if value is not None and not _watches_range(channel, settings) else none

    return Cleaner(
        least=[limit(channel, channel.min, -math.inf) for channel in channels],
        greatest=[limit(channel, channel.max, math.inf) for channel in channels],
        max_future_ns=_ns(settings.max_future_s),
        max_age_ns=None if settings.max_age_s is None else _ns(settings.max_age_s),
        is_timed=is_timed,
        is_reordered=is_reordered,
        is_sparse=is_sparse,
    )


def _rules(channel: ChannelSettings, settings: StreamSettings) -> ChannelRules:
    watches = _watches_range(channel, settings)
    spike, stuck, rate = channel.spike, channel.stuck, channel.rate
    return ChannelRules(
        least=channel.min if watches else None,
        greatest=channel.max if watches else None,
        range_action=channel.out_of_range,
        sentinels=channel.sentinels,
        sentinel_jump=channel.sentinel_jump,
        spike_window=spike.window if spike is not None else None,
        spike_deviations=spike.deviations if spike is not None else 6.0,
        spike_floor=channel.resolution or 0.0,
        spike_action=spike.action if spike is not None else "drop",
        stuck_readings=stuck.readings if stuck is not None else None,
        stuck_action=stuck.action if stuck is not None else "mark",
        rate=rate.per_s if rate is not None else None,
        rate_action=rate.action if rate is not None else "drop",
    )


def _watches_range(channel: ChannelSettings, settings: StreamSettings) -> bool:
    """Tell whether the rules look after a channel's range: where readings are only dropped, the cleaner does."""
    return channel.out_of_range != "drop" or settings.alert.out_of_range


def _aligner(settings: StreamSettings, channels: int) -> Aligner | None:
    align = settings.align
    if align is None:
        return None
    return Aligner(
        channels=channels,
        every_ns=_ns(align.every_s),
        methods=[align.method] * channels,
        max_gap_ns=_ns(align.max_gap_s),
    )


def _method(denoise: DenoiseSettings | None) -> Median | Ema | None:
    if denoise is None:
        return None
    if denoise.median is not None:
        return Median(window=denoise.median)
    assert denoise.ema is not None, "consistency.py asks for one of the two"
    return Ema(alpha=denoise.ema)


def _windower(settings: StreamSettings, spec: ModelSpec) -> Windower | SpanWindower | Pictures:
    if spec.image is not None:
        return Pictures(spec)
    window = settings.window
    gap_ns = None if window.max_gap_s is None else _ns(window.max_gap_s)
    if window.duration_s is None:
        return Windower(
            length=spec.length,
            hop=window.hop if window.hop is not None else spec.hop,
            channels=len(spec.channels),
            max_gap_ns=gap_ns,
        )
    return SpanWindower(
        duration_ns=_ns(window.duration_s),
        hop_ns=_ns(window.hop_s if window.hop_s is not None else window.duration_s),
        length=spec.length,
        channels=len(spec.channels),
        max_gap_ns=gap_ns,
        partial=window.partial,
    )
