"""The delivery thread: outbox to upstream broker, until acknowledged.

A feed (``store/feed.py``) hands the broker's records out in the order that is configured; what was sent is in
flight. Only an acknowledgement removes a record. A new connection forgets what was in flight, so the feed begins
again and what was not acknowledged is sent again, byte for byte, hence with the same id. (The alternative, resuming
the broker's session as MQTT 3.1.1, 4.4 describes, trusts the broker to have kept one.)

Acknowledgements gather for a moment before they cost a transaction. What a crash loses of them is sent again.
"""

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from gatewayd.domain.figures import DeliveryFigures
from gatewayd.domain.verdict import Publication
from gatewayd.errors import TransientError
from gatewayd.mqtt.properties import Request
from gatewayd.store.feed import Feed, Order, make_feed
from gatewayd.store.outbox import Outbox

_IDLE_S = 1.0  # the longest sleep; the session's keep-alive needs a look now and then
_PAGES_A_TURN = 16  # then the session gets a look at its socket, however long the backlog is
_GATHER_ACKS = 32  # this many acknowledgements are worth a transaction at once
_GATHER_S = 0.02  # fewer wait this long for company
_FIGURES_S = 0.2
_RETRY_S = 1.0  # after the outbox failed
_NEVER = float("inf")
_ANSWER = 0  # the token of answers: records count from 1
_MOST_ANSWERS = 256
_PASSING = frozenset({"quota_exceeded", "unspecified_error", "implementation_specific_error"})
_MOST_TRIES = 10


class Link(Protocol):
    """What a deliverer needs of ``mqtt.session.Session``."""

    @property
    def is_open(self) -> bool:
        """Whether publications can be sent now."""

    @property
    def connection(self) -> int:
        """Grows with each connection; what was in flight on an older one is forgotten."""

    @property
    def reconnects(self) -> int:
        """Connections after the first."""

    def poll(self, timeout_s: float, wake_fd: int | None = None) -> None:
        """Advance the link; return when something came, the time is over, or ``wake_fd`` is readable."""

    def publish(self, items: Sequence[tuple[int, Publication]]) -> int:
        """Send ``(token, publication)`` pairs; return how many of them, from the first, were taken."""

    def take_acknowledged(self) -> list[int]:
        """Return the tokens acknowledged since the last call."""

    def take_refused(self) -> list[tuple[int, str]]:
        """Return the tokens that the broker will never take, and why, since the last call."""

    def take_requests(self) -> list[Request]:
        """Return what was said to us since the last call."""

    def close(self, timeout_s: float) -> None:
        """Say goodbye and disconnect."""


class Deliverer:
    """Sends one broker's records in order, at least once. ``run`` owns the session.

    Args:
        outbox: What is to be sent.
        session: The broker's link.
        broker: The broker's name in the configuration.
        hear: Called with what was said to us on this link; must not block.
        order: In which order records are sent.
        backlog_share: For ``live_first``: the part of the predictions sent that the backlog gets, 0..1.

    Attributes:
        figures: The latest snapshot; replaced a few times a second, never changed. Any thread may read it.
    """

    def __init__(
        self,
        outbox: Outbox,
        session: Link,
        *,
        broker: str,
        hear: Callable[[str, Request], None] | None = None,
        order: Order = "oldest_first",
        backlog_share: float = 0.5,
    ) -> None:
        self._outbox = outbox
        self._hear = hear
        # Answers to commands go ahead of all records and are never stored: who asked has gone after an outage.
        self._answers: queue.Queue[Publication] = queue.Queue(_MOST_ANSWERS)
        self._session = session
        self._broker = broker
        self._log = structlog.get_logger().bind(component="deliver", broker=broker)
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._is_woken = False
        self._fd_lock = threading.Lock()  # wake() against the closing of the descriptor
        self._stop_at: float | None = None
        self._connection = session.connection
        self._feed: Feed = make_feed(outbox, broker, order=order, backlog_share=backlog_share)
        self._look_at = 0.0  # for records that nobody woke us for
        self._is_behind = True  # more could be sent at once: no wait before the first turn
        self._acks: set[int] = set()  # a set: a disk that fails for long meets the same record twice
        self._acks_due = _NEVER
        self._retry_at = 0.0
        self._tries: dict[int, int] = {}  # of records that the broker refused for a reason that may pass
        self._again_from: int | None = None  # the oldest of them
        self._unwanted: dict[str, set[int]] = {}  # to be given up, by reason: the disk would not do it yet
        self._answer: Publication | None = None  # the next one, not yet taken by the session
        self._is_failing = False
        self._failures = 0
        self._published = 0
        self._acknowledged = 0
        self._figures_due = 0.0
        self.figures = DeliveryFigures(broker=broker)

    def wake(self) -> None:
        """Say that records were appended. Thread-safe; costs nothing while an earlier call still waits."""
        # Harmless race: run() empties the descriptor, takes the flag down, and then looks into the outbox.
        # Whoever finds the flag up has appended before that look; a late write causes one look too many.
        if self._is_woken:
            return
        self._is_woken = True
        with self._fd_lock:
            if self._wake_fd >= 0:
                os.eventfd_write(self._wake_fd, 1)

    def say(self, answer: Publication) -> None:
        """Send an answer as soon as the link allows; dropped where more wait than anybody asks for. Thread-safe."""
        with contextlib.suppress(queue.Full):
            self._answers.put_nowait(answer)
        self.wake()

    def stop(self, drain_s: float) -> None:
        """End ``run`` when the broker has taken everything, or after ``drain_s`` seconds. Thread-safe."""
        self._stop_at = time.monotonic() + drain_s
        self._is_woken = False
        self.wake()

    def run(self) -> None:
        """Deliver until stopped, then close the session. Nothing that the surroundings do ends this early."""
        try:
            while not self._is_finished():
                self._session.poll(self._patience_s(), self._wake_fd)
                self._take_wake()
                self._gather()
                self._settle(at_once=False)
                self._listen()
                self._retire()
                self._is_behind = self._send()
                self._gather()  # QoS 0 is acknowledged by being sent
                self._outbox.tidy()
                self._report(at_once=False)
        finally:
            self._gather()
            self._settle(at_once=True)
            left_s = (self._stop_at or 0.0) - time.monotonic()
            self._session.close(max(0.1, min(1.0, left_s)))
            self._report(at_once=True)
            with self._fd_lock:
                os.close(self._wake_fd)
                self._wake_fd = -1

    def _is_finished(self) -> bool:
        """Tell whether it was told to stop, and nothing is left, or no link or no time to bring it."""
        if self._stop_at is None:
            return False
        if time.monotonic() >= self._stop_at or not self._session.is_open:
            return (
                True  # what is left stays in the outbox; a link that is down won't come back for the asking
            )
        self._settle(at_once=True)
        try:
            return not self._acks and not self._outbox.pending(self._broker, after=0, limit=1)
        except TransientError as error:
            self._hold(error)
            return False

    def _patience_s(self) -> float:
        """Return how long the session may wait: until the nearest of our own appointments."""
        if self._is_behind:
            return 0.0
        now = time.monotonic()
        until = min(now + _IDLE_S, self._acks_due, self._stop_at or _NEVER)
        if now < self._retry_at:  # later it is the link that is waited for, and that ends the wait itself
            until = min(until, self._retry_at)
        if (self.figures.published, self.figures.acknowledged) != (self._published, self._acknowledged):
            until = min(until, self._figures_due)
        return max(0.0, until - now)

    def _take_wake(self) -> None:
        """Empty the descriptor, then take the flag down, then look: in this order no wake is lost."""
        try:
            os.eventfd_read(self._wake_fd)
        except BlockingIOError:
            return
        self._is_woken = False
        self._feed.wake()

    def _gather(self) -> None:
        """Collect acknowledgements; on a new connection begin again with what is left."""
        arrived = [token for token in self._session.take_acknowledged() if token != _ANSWER]
        self._set_aside()
        if arrived:
            if not self._acks:
                # Not before the outbox may be asked again: an appointment nobody keeps makes the thread spin.
                self._acks_due = max(time.monotonic() + _GATHER_S, self._retry_at)
            self._acks.update(arrived)
            if self._tries:
                for token in arrived:
                    self._tries.pop(token, None)
            self._acknowledged += len(arrived)
        if self._session.connection != self._connection:
            self._connection = self._session.connection
            self._settle(at_once=True)  # what is acknowledged must not be sent again
            self._feed.begin()

    def _set_aside(self) -> None:
        """Give up what the broker will never take, so that it doesn't block what stands behind it."""
        refused: list[int] = []
        for token, reason in self._session.take_refused():  # the link has told why
            if token == _ANSWER:
                continue
            tries = self._tries.get(token, 0) + 1
            if reason in _PASSING and tries < _MOST_TRIES:
                self._tries[token] = tries
                self._again_from = min(token, self._again_from or token)
                self._retry_at = time.monotonic() + _RETRY_S
            else:
                self._tries.pop(token, None)
                refused.append(token)
        if refused:
            self._give_up(refused, "refused")

    def _give_up(self, seqs: list[int], reason: str) -> None:
        self._unwanted.setdefault(reason, set()).update(seqs)
        self._clear_out()

    def _clear_out(self) -> None:
        """Give up what is to be given up; what the disk does not do now it is asked for again."""
        if time.monotonic() < self._retry_at:
            return
        try:
            while self._unwanted:
                reason, seqs = next(iter(self._unwanted.items()))
                self._outbox.give_up(sorted(seqs), reason=reason)
                del self._unwanted[reason]
        except TransientError as error:
            self._hold(error)

    def _retire(self) -> None:
        """Let go of what has become too old, before it is sent, and of what could not be given up before."""
        if self._unwanted:
            self._clear_out()
        now = time.monotonic()
        if now < self._retry_at:
            return
        try:
            self._outbox.retire(now)
        except TransientError as error:
            self._hold(error)

    def _listen(self) -> None:
        """Hand on what was said to us; say what was answered."""
        for request in self._session.take_requests():
            if self._hear is not None:
                self._hear(self._broker, request)
        while self._session.is_open:
            if self._answer is None:
                try:
                    self._answer = self._answers.get_nowait()
                except queue.Empty:
                    break
            if not self._session.publish([(_ANSWER, self._answer)]):
                break  # no room now
            self._answer = None

    def _settle(self, *, at_once: bool) -> None:
        """Remove what upstream has taken, once enough has gathered or waited long enough."""
        now = time.monotonic()
        is_due = at_once or len(self._acks) >= _GATHER_ACKS or now >= self._acks_due
        if not self._acks or not is_due or now < self._retry_at:
            return
        try:
            self._outbox.acknowledge(sorted(self._acks))
        except TransientError as error:
            self._hold(error)
            return
        self._acks = set()
        self._acks_due = _NEVER
        self._recover()

    def _send(self) -> bool:
        """Give the session as many records as it has room for; tell whether more could be sent at once."""
        for _ in range(_PAGES_A_TURN):
            if not self._session.is_open or not self._read():
                return False
            taken = self._session.publish(self._feed.page)
            self._feed.sent(taken)
            self._published += taken
            if self._feed.page:
                return False  # no room: the acknowledgements that make room end the session's wait
        return True

    def _read(self) -> bool:
        """Bring the feed up to date; tell whether there is, or may be, something to send."""
        now = time.monotonic()
        if self._again_from is not None and now >= self._retry_at:
            self._feed.go_back(self._again_from)
            self._again_from = None
        if now < self._retry_at:
            return bool(self._feed.page)
        if now >= self._look_at:
            self._look_at = now + _IDLE_S
            self._feed.wake()
        try:
            expired = self._feed.read(time.time_ns())
        except TransientError as error:
            self._hold(error)
            return False
        if expired:
            self._give_up(expired, "expired")
        elif expired is not None and not self._acks:
            self._recover()  # with acknowledgements it is their removal that shows whether the disk has recovered
        return bool(self._feed.page) or not self._feed.is_dry  # nothing on the page, and the search goes on

    def _hold(self, error: TransientError) -> None:
        """Leave the outbox alone for a while; one line per outage."""
        self._failures += 1
        self._retry_at = time.monotonic() + _RETRY_S
        self._acks_due = self._retry_at if self._acks else _NEVER
        if not self._is_failing:
            self._is_failing = True
            self._log.warning("outbox_unavailable", reason=str(error), retry_in_s=_RETRY_S)

    def _recover(self) -> None:
        """Say that the outbox answers again."""
        if self._is_failing:
            self._is_failing = False
            self._log.info("outbox_available", failures=self._failures)
            self._failures = 0

    def _report(self, *, at_once: bool) -> None:
        """Replace the snapshot, now and then."""
        now = time.monotonic()
        if at_once or now >= self._figures_due:
            self._figures_due = now + _FIGURES_S
            self.figures = DeliveryFigures(
                broker=self._broker,
                is_open=self._session.is_open,
                published=self._published,
                acknowledged=self._acknowledged,
                reconnects=self._session.reconnects,
            )
