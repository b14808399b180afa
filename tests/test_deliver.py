"""Outbox to upstream: at least once, in order of first arrival, whatever the link and the disk do."""

import contextlib
import os
import select
import threading
import time
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from gatewayd.deliver import Deliverer
from gatewayd.domain.verdict import Publication
from gatewayd.errors import TransientError
from gatewayd.store.outbox import Outbox

PATIENCE_S = 60.0  # only a hang meets this


def numbered(first, count, *, broker="cloud", qos=1):
    return [
        Publication(broker=broker, kind="prediction", topic="t", payload=b"%d" % n, qos=qos, retain=False)
        for n in range(first, first + count)
    ]


class FakeSession:
    """Keeps the promises of ``mqtt.session.Session``: takes up to a limit, forgets what was in flight.

    The broker at the other end is played by the test: ``answer``, ``lose`` and ``open``, from its own thread.
    """

    def __init__(self, *, max_inflight=8, is_open=True, answers=True):
        self.max_inflight, self.answers = max_inflight, answers
        self.is_open, self.connection, self.reconnects = is_open, int(is_open), 0
        self.arrived: list[bytes] = []
        self.arrived_at: list[float] = []
        self.in_flight: list[int] = []
        self.acked: list[int] = []
        self.refused: list[tuple[int, str]] = []
        self.requests: list[object] = []
        self.polls, self.closed_in_s = 0, None
        self.pending_open = False
        self.lock = threading.RLock()
        self.changed = os.eventfd(0, os.EFD_NONBLOCK)

    def poll(self, timeout_s, wake_fd=None):
        self.polls += 1
        select.select([self.changed] + ([wake_fd] if wake_fd is not None else []), [], [], timeout_s)
        with self.lock:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self.changed)
            if self.pending_open:
                self.pending_open = False
                self.is_open = True
                self.connection += 1
                self.reconnects += self.connection > 1
                self.in_flight.clear()

    def publish(self, items):
        with self.lock:
            taken = items[: max(0, self.max_inflight - len(self.in_flight))]
            for token, publication in taken:
                self.arrived.append(publication.payload)
                self.arrived_at.append(time.monotonic())
                if publication.qos == 0:
                    self.acked.append(token)
                else:
                    self.in_flight.append(token)
            if self.answers:
                self.answer()
            return len(taken)

    def take_acknowledged(self):
        with self.lock:
            acked, self.acked = self.acked, []
            return acked

    def take_refused(self):
        with self.lock:
            refused, self.refused = self.refused, []
            return refused

    def take_requests(self):
        with self.lock:
            requests, self.requests = self.requests, []
            return requests

    def close(self, timeout_s):
        self.closed_in_s = timeout_s
        self.is_open = False

    def answer(self, count=None):
        with self.lock:
            self.acked += self.in_flight[:count]
            del self.in_flight[:count]
            os.eventfd_write(self.changed, 1)

    def lose(self):
        with self.lock:
            self.is_open = False
            self.in_flight.clear()
            os.eventfd_write(self.changed, 1)

    def open(self):
        with self.lock:
            self.pending_open = True
            os.eventfd_write(self.changed, 1)


class Running:
    """A deliverer in a thread of its own, stopped at the end."""

    def __init__(self, outbox, session, *, hear=None, **options):
        self.deliverer = Deliverer(outbox, session, broker="cloud", hear=hear, **options)
        self.thread = threading.Thread(target=self.deliverer.run)

    def __enter__(self):
        self.thread.start()
        return self.deliverer

    def __exit__(self, *exc):
        self.deliverer.stop(0)
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()


def wait_for(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "this never came true"
        time.sleep(0.002)


@pytest.fixture
def outbox(tmp_path):
    box = Outbox(tmp_path / "outbox.db", max_bytes=1 << 30, durability="process")
    yield box
    box.close()


def test_a_backlog_larger_than_a_page_arrives_in_order_and_leaves(outbox):
    outbox.append(numbered(0, 500), at=1)
    outbox.append(numbered(0, 3, broker="other"), at=1)
    session = FakeSession()
    with Running(outbox, session) as deliverer:
        wait_for(lambda: outbox.figures().records == 3)
        wait_for(lambda: deliverer.figures.acknowledged == 500)
    assert session.arrived == [b"%d" % n for n in range(500)]
    assert (deliverer.figures.published, deliverer.figures.is_open) == (500, False)


def test_what_is_not_acknowledged_stays(outbox):
    outbox.append(numbered(0, 20), at=1)
    session = FakeSession(answers=False)
    with Running(outbox, session):
        wait_for(lambda: len(session.arrived) == 8)
        session.answer(3)
        wait_for(lambda: outbox.figures().records == 17)
        wait_for(lambda: len(session.arrived) == 11)
    assert outbox.figures().records == 17


def test_a_new_connection_begins_again_at_the_oldest_unacknowledged(outbox):
    outbox.append(numbered(0, 10), at=1)
    session = FakeSession(answers=False, max_inflight=5)
    with Running(outbox, session):
        wait_for(lambda: len(session.arrived) == 5)
        session.answer(2)
        wait_for(lambda: len(session.arrived) == 7)
        session.lose()
        session.answers = True
        session.open()
        wait_for(lambda: outbox.figures().records == 0)
    assert session.arrived == [b"%d" % n for n in [*range(7), *range(2, 10)]]


def test_an_acknowledgement_that_came_with_the_loss_is_kept(outbox):
    """The broker's last words count: what they acknowledge is not sent again."""
    outbox.append(numbered(0, 4), at=1)
    session = FakeSession(answers=False, max_inflight=4)
    with Running(outbox, session):
        wait_for(lambda: len(session.arrived) == 4)
        with session.lock:
            session.answer(3)
            session.lose()
            session.open()
        session.answers = True
        wait_for(lambda: outbox.figures().records == 0)
    assert session.arrived == [b"0", b"1", b"2", b"3", b"3"]


def test_a_wake_puts_a_record_on_the_wire_without_waiting_for_the_next_look(outbox):
    """A sleep lasts up to 1 s: with a wake the median is far below."""
    session, delays = FakeSession(), []
    with Running(outbox, session) as deliverer:
        wait_for(lambda: session.polls > 1)
        for number in range(40):
            outbox.append(numbered(number, 1), at=1)
            appended_at = time.monotonic()
            deliverer.wake()
            wait_for(lambda count=number + 1: len(session.arrived) == count)
            delays.append(session.arrived_at[-1] - appended_at)
    assert sorted(delays)[20] < 0.1


def test_wakes_are_coalesced(outbox):
    """Ten thousand wakes before the deliverer looks are one count in the descriptor."""
    deliverer = Deliverer(outbox, FakeSession(), broker="cloud")
    for _ in range(10_000):
        deliverer.wake()
    assert os.eventfd_read(deliverer._wake_fd) == 1
    deliverer.stop(0)
    deliverer.run()
    deliverer.wake()  # after the end: nothing


def test_wakes_that_race_with_the_look_are_not_lost(outbox):
    session = FakeSession(max_inflight=1000)
    with Running(outbox, session) as deliverer:
        started = time.monotonic()
        for number in range(3000):
            outbox.append(numbered(number, 1), at=1)
            deliverer.wake()
        wait_for(lambda: len(session.arrived) == 3000)
        assert session.arrived == [b"%d" % n for n in range(3000)]
        assert session.polls < 20_000 * (1 + time.monotonic() - started), "it spins"


def test_an_idle_deliverer_sleeps(outbox):
    session = FakeSession()
    with Running(outbox, session) as deliverer:
        deliverer.wake()
        wait_for(lambda: not deliverer._is_woken)
        before, started = session.polls, time.monotonic()
        time.sleep(0.3)  # the subject is how often it looks in a span of time
        assert session.polls - before <= 3 + 2 * (time.monotonic() - started)


def test_qos_0_leaves_once_it_is_written(outbox):
    outbox.append(numbered(0, 5000, qos=0), at=1)
    session = FakeSession()
    with Running(outbox, session):
        wait_for(lambda: outbox.figures().records == 0)
    assert session.arrived == [b"%d" % n for n in range(5000)]


def test_acknowledgements_share_transactions(outbox, monkeypatch):
    calls = []
    acknowledge = outbox.acknowledge
    monkeypatch.setattr(outbox, "acknowledge", lambda seqs: (calls.append(len(seqs)), acknowledge(seqs)))
    outbox.append(numbered(0, 640), at=1)
    with Running(outbox, FakeSession(max_inflight=64)):
        wait_for(lambda: outbox.figures().records == 0)
    assert sum(calls) == 640
    assert len(calls) <= 20


def test_stop_delivers_what_time_allows(outbox):
    outbox.append(numbered(0, 300), at=1)
    session = FakeSession(is_open=False)
    deliverer = Deliverer(outbox, session, broker="cloud")
    thread = threading.Thread(target=deliverer.run)
    thread.start()
    deliverer.stop(PATIENCE_S)
    session.open()
    thread.join(PATIENCE_S)
    assert outbox.figures().records == 0
    assert session.closed_in_s is not None
    assert deliverer.figures.acknowledged == 300


def test_stop_ends_at_its_deadline_and_keeps_the_rest(outbox):
    outbox.append(numbered(0, 30), at=1)
    session = FakeSession(answers=False)
    with Running(outbox, session) as deliverer:
        wait_for(lambda: len(session.arrived) == 8)
        session.answer(8)
        deliverer.stop(0.2)
    assert session.closed_in_s is not None
    assert outbox.figures().records == 22


class FailingOutbox:
    """An outbox whose disk fails while told so."""

    def __init__(self, outbox):
        self.outbox, self.fails = outbox, set()
        self.calls = []

    def __getattr__(self, name):
        def call(*args, **kwargs):
            self.calls.append(name)
            if name in self.fails:
                raise TransientError("database or disk is full")
            return getattr(self.outbox, name)(*args, **kwargs)

        return call


@pytest.mark.parametrize("operation", ["pending", "acknowledge", "retire"])
def test_a_failing_disk_is_waited_for_and_told_once(outbox, operation, monkeypatch):
    monkeypatch.setattr("gatewayd.deliver._RETRY_S", 0.01)
    outbox.append(numbered(0, 20), at=1)
    failing = FailingOutbox(outbox)
    failing.fails = {operation}
    session = FakeSession()
    with capture_logs() as logs, Running(failing, session):
        wait_for(lambda: failing.calls.count(operation) >= 5)
        assert outbox.figures().records == 20
        failing.fails = set()
        wait_for(lambda: outbox.figures().records == 0)
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("outbox_unavailable", "warning"),
        ("outbox_available", "info"),
    ]
    assert session.arrived == [b"%d" % n for n in range(20)]


@pytest.mark.parametrize("event", ["acknowledged", "lost"])
def test_a_failing_disk_does_not_make_it_spin(outbox, monkeypatch, event):
    """Acknowledgements that cannot be written down yet, or a link that goes while the disk still fails."""
    monkeypatch.setattr("gatewayd.deliver._RETRY_S", {"acknowledged": 3600.0, "lost": 0.01}[event])
    outbox.append(numbered(0, 8), at=1)
    failing = FailingOutbox(outbox)
    session = FakeSession(answers=False)
    with capture_logs(), Running(failing, session) as deliverer:
        wait_for(lambda: len(session.arrived) == 8)
        failing.fails = {"pending"}
        deliverer.wake()
        wait_for(lambda: deliverer._is_failing)
        if event == "acknowledged":
            session.answer(2)
            wait_for(lambda: len(deliverer._acks) == 2)
        else:
            session.lose()
            wait_for(lambda: not deliverer.figures.is_open)
        before, started = session.polls, time.monotonic()
        time.sleep(0.3)  # the subject is how often it looks in a span of time
        assert session.polls - before <= 10 + 10 * (time.monotonic() - started)


def test_what_the_broker_will_never_take_is_given_up_and_does_not_block_the_rest(outbox):
    session = FakeSession(answers=False)
    outbox.append(numbered(0, 3), at=1)
    with Running(outbox, session) as deliverer:
        wait_for(lambda: len(session.in_flight) == 3)
        with session.lock:
            first, *others = session.in_flight
            session.in_flight.clear()
            session.refused.append((first, "not_authorized"))
            session.acked += others
        deliverer.wake()
        wait_for(lambda: outbox.figures().records == 0)
    assert outbox.figures().evicted["refused"] == 1
    assert outbox.figures().acknowledged == 2


def test_a_prediction_whose_time_is_over_is_not_sent(outbox):
    outbox.append([replace(item, expires_s=1) for item in numbered(0, 100)], at=time.time_ns() - 5 * 10**9)
    outbox.append([replace(item, expires_s=3600) for item in numbered(100, 2)], at=time.time_ns())
    session = FakeSession()
    with Running(outbox, session):
        wait_for(lambda: outbox.figures().records == 0)
    assert session.arrived == [b"100", b"101"]
    assert outbox.figures().evicted["expired"] == 100


def test_what_is_too_old_after_an_outage_is_not_sent(tmp_path):
    before = Outbox(tmp_path / "outbox.db", max_bytes=1 << 30, durability="process")
    before.append(numbered(0, 100), at=time.time_ns() - 7200 * 10**9)
    before.append(numbered(100, 2), at=time.time_ns())
    before.close()
    outbox = Outbox(tmp_path / "outbox.db", max_bytes=1 << 30, durability="process", max_age_s=3600)
    session = FakeSession()
    with Running(outbox, session):
        wait_for(lambda: outbox.figures().records == 0)
    assert session.arrived == [b"100", b"101"]
    assert outbox.figures().evicted["too_old"] == 100
    outbox.close()


def test_live_first_brings_alerts_then_new_predictions_with_the_backlog_behind(outbox):
    """The link takes eight at a time; what comes while it drains does not wait for the backlog's end."""
    outbox.append(numbered(0, 200), at=1)
    outbox.append([replace(item, kind="alert") for item in numbered(900, 2)], at=1)
    session = FakeSession(answers=False, is_open=False)
    with Running(outbox, session, order="live_first", backlog_share=0.25) as deliverer:
        session.open()
        wait_for(lambda: len(session.arrived) == 8)
        outbox.append(numbered(1000, 30), at=2)
        outbox.append([replace(item, kind="alert") for item in numbered(902, 1)], at=2)
        deliverer.wake()
        wait_for(lambda: not deliverer._is_woken)
        session.answers = True
        session.answer()
        wait_for(lambda: outbox.figures().records == 0)
    arrived = [int(payload) for payload in session.arrived]
    assert arrived[:9] == [900, 901, 0, 1, 2, 3, 4, 5, 902]
    assert arrived[9:17] == [1000, 1001, 1002, 6, 1003, 1004, 1005, 7]
    last_new = arrived.index(1029)
    assert last_new < 9 + 30 + 11
    assert sorted(arrived) == [*range(200), 900, 901, 902, *range(1000, 1030)]
    assert [n for n in arrived if n < 200] == list(range(200))


def test_what_was_in_flight_on_a_lost_link_is_backlog_on_the_next_one(outbox):
    session = FakeSession(answers=False)
    with Running(outbox, session, order="live_first", backlog_share=0.0) as deliverer:
        wait_for(lambda: session.polls > 1)
        outbox.append(numbered(0, 20), at=1)
        deliverer.wake()
        wait_for(lambda: len(session.arrived) == 8)
        session.lose()
        session.open()
        wait_for(lambda: len(session.arrived) == 16)
        outbox.append(numbered(100, 3), at=2)
        deliverer.wake()
        wait_for(lambda: not deliverer._is_woken)
        session.answers = True
        session.answer()
        wait_for(lambda: outbox.figures().records == 0)
    assert [int(p) for p in session.arrived] == [*range(8), *range(8), 100, 101, 102, *range(8, 20)]


def test_what_could_not_be_given_up_is_given_up_later(outbox, monkeypatch):
    """A disk that fails when a record is refused: it must not stay for ever, nor be counted twice."""
    monkeypatch.setattr("gatewayd.deliver._RETRY_S", 0.01)
    outbox.append(numbered(0, 3), at=1)
    failing, session = FailingOutbox(outbox), FakeSession(answers=False)
    failing.fails = {"give_up"}
    with capture_logs(), Running(failing, session) as deliverer:
        wait_for(lambda: len(session.in_flight) == 3)
        with session.lock:
            session.refused.append((session.in_flight.pop(0), "not_authorized"))
            session.answer()
        deliverer.wake()
        wait_for(lambda: failing.calls.count("give_up") >= 3)
        failing.fails = set()
        wait_for(lambda: outbox.figures().records == 0)
    assert outbox.figures().evicted["refused"] == 1
    assert outbox.figures().acknowledged == 2


def test_answers_go_out_at_once_and_requests_are_handed_on(outbox):
    session, heard = FakeSession(), []
    running = Running(outbox, session, hear=lambda broker, request: heard.append((broker, request)))
    with running as deliverer:
        session.requests.append("a request")
        deliverer.wake()
        wait_for(lambda: heard == [("cloud", "a request")])
        deliverer.say(replace(numbered(7, 1)[0], kind="response", qos=0))
        wait_for(lambda: session.arrived == [b"7"])
    assert outbox.figures().appended == 0


def test_a_refusal_that_may_pass_is_tried_again_but_not_for_ever(outbox):
    session = FakeSession(answers=False)
    outbox.append(numbered(0, 1), at=1)
    with Running(outbox, session) as deliverer:
        for tries in range(1, 3):
            wait_for(lambda tries=tries: len(session.arrived) == tries)
            with session.lock:
                session.refused.append((session.in_flight.pop(), "quota_exceeded"))
            deliverer.wake()
        wait_for(lambda: len(session.arrived) == 3)
        session.answer()
        wait_for(lambda: outbox.figures().records == 0)
    assert outbox.figures().evicted.get("refused", 0) == 0
    assert outbox.figures().acknowledged == 1
