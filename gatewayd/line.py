"""The line's thread: poll, receive, flow, commit, acknowledge.

One thread does all of it, so there is no queue and no lock between the steps, and back-pressure is not reading the
socket. What one turn received becomes one run of the flow; its publications go into the outbox in one transaction;
only then are the messages acknowledged to the broker, in one write.
"""

import contextlib
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import structlog

from gatewayd.domain.figures import LineFigures
from gatewayd.domain.reading import Message
from gatewayd.domain.state import State
from gatewayd.domain.verdict import Publication
from gatewayd.errors import TransientError
from gatewayd.formats.sample import Request
from gatewayd.mqtt.properties import Request as Heard
from gatewayd.pipeline.flow import AlertChange, Flow, Outcome

_IDLE_S = 0.25  # longest wait: the watchdog looks for turns
_SNAPSHOT_S = 0.2
_HELD_LIMIT = 10_000  # publications kept in memory while the outbox cannot take them
_MOST_LINGERS = 4
_DENSE_PART = 4  # a batch that is full to this part after one wait fills up soon
_WITHHOLD_S = 10.0  # how long messages stay unacknowledged while the outbox fails
_NS = 10**9
_APART_NS = 1000
_MOST_HEARD = 1000  # from upstream; whoever says more than people can is not heard
_KEEP_S = 5.0  # between two writes of what alerts stand: a trembling alert must not wear a memory card out...
_KEEP_BURST = 12  # ...but so many within a minute may come at once: an alert that is lost is never cleared
_KEEP_PART = (
    20  # and of its time the line spends no more than this part on it, however many devices there are
)


class Source(Protocol):
    """What the line needs of a broker link; see ``mqtt.session.Session``."""

    @property
    def is_subscribed(self) -> bool:
        """Whether messages come."""

    @property
    def refused(self) -> dict[str, int]:
        """Frames that were not taken in, by reason."""

    def poll(self, timeout_s: float, wake_fd: int | None = None) -> None:
        """Advance the link; wait at most so long."""

    def take_messages(self) -> list[Message]:
        """Return what came since the last call."""

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge what was taken."""

    def publish(self, items: Sequence[tuple[int, Publication]]) -> int:
        """Send publications, (token, publication); return how many were taken."""

    def take_acknowledged(self) -> list[int]:
        """Return the tokens of what has been sent since the last call."""

    def close(self, timeout_s: float) -> None:
        """End the link."""


class Memory(Protocol):
    """What the line needs of the file that its state is kept in."""

    def save(self, state: State) -> int:
        """Keep a state in place of the one before; return its bytes."""


class Store(Protocol):
    """What the line needs of the outbox."""

    def append(self, publications: Sequence[Publication], *, at: int) -> None:
        """Keep publications; they are durable on return."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Next:
    """Another configuration to go on with, handed over by the main thread."""

    flow: Flow
    source: Source | None
    is_done: threading.Event


class Line:
    """Owned by its thread, but for ``stop``, ``replace`` and the snapshots.

    Args:
        source: The local broker's link; the line's own from here on.
        flow: The streams; the line's own from here on.
        store: Where publications go.
        wake_deliverers: Called after publications were stored.
        memory: Where the state is kept at the end, and what alerts stand in between; None: nowhere.
        linger_s: How long to wait for more once something came.
        batch: Messages that end the wait.

    Attributes:
        figures: The latest snapshot; replaced a few times a second, never changed. Any thread may read it.
    """

    def __init__(
        self,
        *,
        source: Source,
        flow: Flow,
        store: Store,
        wake_deliverers: Callable[[], None],
        linger_s: float,
        batch: int,
        memory: Memory | None = None,
    ) -> None:
        self._source, self._flow, self._store = source, flow, store
        self._wake_deliverers, self._linger_s, self._batch = wake_deliverers, linger_s, batch
        self._log = structlog.get_logger().bind(component="line")
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()  # around _next and the descriptor
        self._is_stopping = False
        self._next: _Next | None = None  # a newer configuration replaces one that was not yet taken
        self._turns = 0
        self._began_ns = time.time_ns() - time.monotonic_ns()
        self._held: list[Publication] = []  # what the outbox could not take yet, oldest first
        self._unacknowledged: list[Message] = []  # whose results are held
        self._is_failing = False
        self._failing_since_s = 0.0
        self._unstored: Counter[str] = Counter()
        self._refused_before: Counter[str] = Counter()  # by sources that were replaced
        self._snapshot_due = 0.0
        self._memory = memory
        self._is_changed = False  # alerts have changed since they were kept, or there are new devices
        self._keep_due = 0.0
        self._kept_s: list[float] = []  # when that was done lately
        self._is_heard = False
        self._heard: queue.Queue[tuple[str, Heard, Callable[[Publication], None]]] = queue.Queue(_MOST_HEARD)
        self.figures = LineFigures()

    def progress(self) -> int:
        """Return a number that grows with every turn. Any thread may call it."""
        return self._turns

    def hear(self, broker: str, request: Heard, reply: Callable[[Publication], None]) -> None:
        """Take in what was said to the gateway from upstream. Thread-safe; dropped where nobody could read so much.

        Args:
            broker: Name of the upstream broker.
            request: What was said.
            reply: Takes the answer; called by the line's thread, must not block.
        """
        with self._lock:
            with contextlib.suppress(queue.Full):
                self._heard.put_nowait((broker, request, reply))
            self._is_heard = True
            self._wake()

    def stop(self) -> None:
        """End ``run`` after the turn it is in. Thread-safe."""
        self._is_stopping = True
        with self._lock:
            self._wake()

    def replace(self, flow: Flow, source: Source | None, *, timeout_s: float) -> bool:
        """Go on with another configuration from the next turn on. Thread-safe; called by the main thread.

        Args:
            flow: Takes over the state of the present one where the two fit.
            source: Another link, where subscriptions or the broker changed; None: keep the present one.
            timeout_s: How long to wait for the turn.

        Returns:
            Whether it has happened within that time; otherwise it will with the next turn.
        """
        is_done = threading.Event()
        with self._lock:
            if self._next is not None and self._next.source is not None:
                if source is None:
                    source = self._next.source  # the caller holds it for the present one already
                else:
                    self._next.source.close(0.0)  # was never polled
            self._next = _Next(flow=flow, source=source, is_done=is_done)
            self._wake()
        return is_done.wait(timeout_s)

    def run(self) -> None:
        """Receive and score until stopped. What was received by then is scored and stored."""
        try:
            self._settle(self._flow.last_words)
            while not self._is_stopping:
                self._turns += 1
                self._source.poll(_IDLE_S, self._wake_fd)
                self._take(linger_s=self._linger_s)
                self._advance()
                if self._next is not None:
                    self._change(self._take_next())
                if self._held:
                    self._commit([])
                now_s = time.monotonic()
                if now_s >= self._snapshot_due:
                    self._snapshot()
                if self._is_changed and now_s >= self._keep_due:
                    self._keep(self._flow.alerts_state())
                    took_s = time.monotonic() - now_s
                    self._keep_due = self._next_keep(now_s, took_s)
            self._take(linger_s=0.0)
        finally:
            if self._held:
                self._commit([])
                self._give_up(0, "not_stored_at_stop")
            self._source.close(0.5)
            self._snapshot()
            if not self._keep(self._flow.state()) and self.figures.waiting:
                self._log.warning("readings_discarded", reason="stop", count=self.figures.waiting)
            with self._lock:
                os.close(self._wake_fd)
                self._wake_fd = -1

    def _take(self, *, linger_s: float) -> None:
        """Run what has come through the flow, commit, acknowledge."""
        messages = self._source.take_messages()
        if not messages:
            return
        if linger_s:
            self._linger(messages, linger_s)
        # Apart: readings without a time of their own must not end two windows at one instant, since a result's id is
        # made from it, and one message may bring several.
        arrived_at = time.time_ns() + np.arange(len(messages), dtype=np.int64) * _APART_NS
        steady_at = np.full(len(messages), self._steady_ns(), dtype=np.int64)
        outcome = self._flow.run(messages, arrived_at, steady_at)
        self._settle(outcome)
        if self._held and time.monotonic() - self._failing_since_s < _WITHHOLD_S:
            # Not stored yet: the broker keeps what has a receipt. What came at QoS 0 nobody can keep.
            self._unacknowledged += [(b"", b"", *message[2:]) for message in messages if message[3]]
        else:
            # Stored; or the outbox has failed for so long that scoring on matters more than what a crash would lose.
            self._source.acknowledge(self._unacknowledged + messages)
            self._unacknowledged = []

    def _advance(self) -> None:
        """Do what is due because nothing came, and what was said from upstream."""
        if self._is_heard:
            with self._lock:  # the flag and its wake together, as in _take_next
                self._is_heard = False
                if self._next is None:
                    self._clear_wake()
            while not self._heard.empty():
                self._listen(*self._heard.get_nowait())
        by_wall, by_steady = self._flow.deadlines()
        now, steady_now = time.time_ns(), self._steady_ns()
        if (by_wall is not None and by_wall <= now) or (by_steady is not None and by_steady <= steady_now):
            self._settle(self._flow.advance(now, steady_now))

    def _listen(self, broker: str, request: Heard, reply: Callable[[Publication], None]) -> None:
        if request.retain:
            return  # nobody has said it just now
        outcome = self._flow.hear(broker, request.topic, request.payload, time.time_ns())
        self._settle(outcome)
        if outcome.answer is not None:
            reply(
                Publication(
                    broker=broker,
                    kind="response",
                    topic=request.response_topic or f"{request.topic}/response",
                    payload=outcome.answer,
                    qos=0,
                    retain=False,
                    content_type="application/json",
                    correlation=request.correlation,
                )
            )

    def _settle(self, outcome: Outcome) -> None:
        """Store what is to be published, ask what is to be asked, tell what has changed."""
        if outcome.requests:
            self._ask(outcome.requests)
        if outcome.publications or self._held:
            self._commit(outcome.publications)
        for change in outcome.changes:
            self._report(change)
            self._is_changed = True
        for stream, flood in outcome.floods:
            self._log.warning(
                "alert_flood_began" if flood.is_on else "alert_flood_ended",
                stream=stream,
                held=flood.held,
                released=flood.released,
            )

    def _next_keep(self, now_s: float, took_s: float) -> float:
        """Return when alerts may be kept again: at once a few times in a row, ``_KEEP_S`` apart in the long run."""
        self._kept_s = [at for at in self._kept_s if now_s - at < _KEEP_S * _KEEP_BURST]
        self._kept_s.append(now_s)
        is_burst_over = len(self._kept_s) >= _KEEP_BURST
        return now_s + max(_KEEP_S if is_burst_over else 0.0, _KEEP_PART * took_s)

    def _keep(self, state: State) -> bool:
        """Write the state down; tell whether that was done."""
        if self._memory is None:
            return False
        self._is_changed = False
        try:
            self._memory.save(state)
        except TransientError as error:
            self._log.error("state_not_kept", reason=str(error))
            return False
        return True

    def _steady_ns(self) -> int:
        """Return the time by a clock that begins at the wall clock's and never jumps."""
        return self._began_ns + time.monotonic_ns()

    def _ask(self, requests: Sequence[Request]) -> None:
        """Send requests to where the messages come from; what the link does not take now will be asked again."""
        broker = ""  # the source's own
        asked = [
            Publication(
                broker=broker,
                kind="request",
                topic=request.topic,
                payload=request.payload,
                qos=0,
                retain=False,
            )
            for request in requests
        ]
        taken = self._source.publish(list(enumerate(asked)))
        self._source.take_acknowledged()
        self._log.info("source_asked", topics=[request.topic for request in requests], taken=taken)

    def _linger(self, messages: list[Message], linger_s: float) -> None:
        """Wait for more messages, so that they share what a run costs: alone, a reading pays for forty numpy calls.

        Where they come densely, waiting on costs each of them little and saves more: a broker that sends them one by
        one would otherwise get small batches just when the load is highest.
        """
        for turn in range(_MOST_LINGERS):
            if len(messages) >= self._batch or (turn and len(messages) < self._batch // _DENSE_PART):
                return
            time.sleep(linger_s)
            self._source.poll(0.0)
            messages += self._source.take_messages()

    def _commit(self, publications: list[Publication]) -> None:
        if self._held:
            publications = self._held + publications
        try:
            self._store.append(publications, at=time.time_ns())
        except TransientError as error:
            self._held = publications
            if not self._is_failing:
                self._is_failing = True
                self._failing_since_s = time.monotonic()
                self._log.error("outbox_failed", reason=str(error), held=len(publications))
            self._give_up(_HELD_LIMIT, "not_stored")
            time.sleep(0.05)  # a disk that fails at once must not make the line spin
            return
        self._held = []
        if self._unacknowledged:
            self._source.acknowledge(self._unacknowledged)
            self._unacknowledged = []
        if self._is_failing:
            self._is_failing = False
            self._log.info("outbox_recovered", stored=len(publications), lost=self._unstored.total())
        self._wake_deliverers()

    def _give_up(self, limit: int, reason: str) -> None:
        """Drop the oldest publications above the limit that the outbox would not take; predictions first."""
        excess = len(self._held) - limit
        if excess <= 0:
            return
        by_rank = sorted(range(len(self._held)), key=lambda i: (self._held[i].kind != "prediction", i))
        gone = set(by_rank[:excess])
        self._held = [publication for i, publication in enumerate(self._held) if i not in gone]
        self._unstored[reason] += excess

    def _change(self, following: _Next) -> None:
        restarted = following.flow.adopt(self._flow)
        if restarted:
            self._log.warning("windows_restarted", streams=restarted)
        if following.flow.abandoned_alerts:
            self._log.warning("alerts_abandoned", standing=following.flow.abandoned_alerts)
        self._flow = following.flow
        if self._flow.last_words.publications:
            self._settle(self._flow.last_words)
        if following.source is not None:
            self._refused_before.update(self._source.refused)
            self._source.close(0.5)
            self._source = following.source
            self._unacknowledged = []  # receipts are one link's own
        self._snapshot()
        following.is_done.set()

    def _snapshot(self) -> None:
        self._snapshot_due = time.monotonic() + _SNAPSHOT_S
        refused = Counter(self._refused_before)
        refused.update(self._source.refused)
        figures, before = self._flow.figures(), self.figures
        if figures.devices > before.devices:
            self._is_changed = True  # one that is known is missed when a crash is followed by its silence
        self.figures = replace(
            figures,
            unstored=dict(self._unstored),
            refused_frames={reason: count for reason, count in refused.items() if count},
            is_subscribed=self._source.is_subscribed,
        )

    def _report(self, change: AlertChange) -> None:
        alert = change.alert
        self._log.info(
            f"alert_{alert.state}",
            stream=change.stream,
            device=change.device,
            condition=alert.condition,
            **({"channel": alert.channel} if alert.channel is not None else {}),
            severity=alert.severity,
            alert=alert.id,
            score=round(alert.score, 4),
            threshold=round(alert.threshold, 4),
            causes=[name for name, _ in alert.causes[:3]],
            lasted_s=None
            if alert.cleared_at is None
            else round((alert.cleared_at - alert.raised_at) / _NS, 3),
        )

    def _take_next(self) -> _Next:
        """Take the configuration and its wake together: a wake left behind would keep every later poll from waiting."""
        with self._lock:
            following, self._next = self._next, None
            if not self._is_heard:
                self._clear_wake()
        assert following is not None  # nobody else takes it
        return following

    def _clear_wake(self) -> None:
        """Forget all wakes; the caller holds the lock."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake_fd)

    def _wake(self) -> None:
        """End the line's wait; the caller holds the lock."""
        if self._wake_fd >= 0:
            os.eventfd_write(self._wake_fd, 1)
