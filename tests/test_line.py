"""The line's loop, with a source and a store that record what it does and in which order."""

import select
import threading
import time
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.errors import RejectedInputError, TransientError
from gatewayd.line import Line
from tests.support.daemon import until
from tests.support.flows import HalvingModel, assert_sums, make_flow, message, plan, run


class Source:
    """Gives out what a test puts in; keeps ``line.Source``'s promises."""

    def __init__(self, journal):
        self.journal, self.queue, self.refused = journal, [], {}
        self.is_subscribed = True
        self._lock = threading.Lock()

    def put(self, *messages):
        with self._lock:
            self.queue += messages

    def poll(self, timeout_s, wake_fd=None):
        assert timeout_s <= 0.5
        if not self.queue:
            time.sleep(min(timeout_s, 0.005))

    def take_messages(self):
        with self._lock:
            messages, self.queue = self.queue, []
        return messages

    def acknowledge(self, messages):
        self.journal.append(("acknowledged", len(messages)))

    def close(self, timeout_s):
        self.journal.append(("closed", 0))


class Store:
    """A list that can refuse; keeps ``line.Store``'s promises."""

    def __init__(self, journal):
        self.journal, self.kept, self.is_full = journal, [], False

    def append(self, publications, *, at):
        if self.is_full:
            raise TransientError("the disk is full")
        self.kept += publications
        self.journal.append(("stored", len(publications)))


class Rig:
    def __init__(self, flow=None, memory=None):
        self.journal = []
        self.source, self.store = Source(self.journal), Store(self.journal)
        self.line = Line(
            source=self.source,
            flow=flow or make_flow(),
            store=self.store,
            wake_deliverers=lambda: self.journal.append(("woken", 0)),
            linger_s=0.001,
            batch=256,
            memory=memory,
        )
        self.errors = []
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            self.line.run()
        except Exception as error:  # noqa: BLE001  # shown to the test
            self.errors.append(error)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.line.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def wait(self, condition):
        until(condition, 30, lambda: f"journal: {self.journal}, figures: {self.line.figures}")


def readings(count, *, begin=0, a=0.0):
    """Messages at QoS 1, each with a receipt."""
    made = [message("site/l1/p1", begin + second, a) for second in range(count)]
    return [(topic, payload, 0x32, index + 1) for index, (topic, payload, _, _) in enumerate(made)]


def test_results_are_stored_before_their_messages_are_acknowledged():
    with Rig() as rig:
        rig.source.put(*readings(3))
        rig.wait(lambda: ("acknowledged", 3) in rig.journal)
    assert rig.journal == [("stored", 1), ("woken", 0), ("acknowledged", 3), ("closed", 0)]


def test_messages_that_complete_no_window_are_acknowledged_all_the_same():
    with Rig() as rig:
        rig.source.put(*readings(2))
        rig.wait(lambda: ("acknowledged", 2) in rig.journal)
    assert ("woken", 0) not in rig.journal


def test_what_was_received_before_a_stop_is_scored_and_stored():
    rig = Rig()
    rig.source.put(*readings(5))
    rig.line.stop()
    rig.line.run()
    assert len(rig.store.kept) == 2
    assert rig.line.figures.scored == 5
    assert rig.journal[-1] == ("closed", 0)


def test_what_the_store_refuses_is_kept_stored_later_in_order_and_only_then_acknowledged():
    with Rig() as rig:
        rig.store.is_full = True
        rig.source.put(*readings(5))
        rig.wait(lambda: rig.line.figures.predictions == 2)
        rig.source.put(*readings(2, begin=5))
        rig.wait(lambda: rig.line.figures.predictions == 3)
        assert rig.store.kept == rig.journal == []
        rig.store.is_full = False
        rig.wait(lambda: ("acknowledged", 7) in rig.journal)
    ends = [p.payload.split(b'"end":"')[1][:20] for p in rig.store.kept]
    assert ends == sorted(ends)
    assert rig.line.figures.unstored == {}


def test_what_could_not_be_stored_by_the_end_is_counted():
    with Rig() as rig:
        rig.store.is_full = True
        rig.source.put(*readings(3))
        rig.wait(lambda: rig.line.figures.predictions == 1)
    assert ("acknowledged", 3) not in rig.journal
    assert rig.line.figures.unstored == {"not_stored_at_stop": 1}


def test_kept_results_are_bounded_and_alerts_go_last(monkeypatch):
    monkeypatch.setattr("gatewayd.line._HELD_LIMIT", 2)
    with Rig(make_flow(plan(length=1, hop=1))) as rig:
        rig.store.is_full = True
        rig.source.put(*readings(4, a=9.0))
        rig.wait(lambda: rig.line.figures.predictions == 4)
        rig.store.is_full = False
        rig.wait(lambda: len(rig.store.kept) == 2)
    assert [p.kind for p in rig.store.kept] == ["alert", "prediction"]
    assert rig.line.figures.unstored == {"not_stored": 3}


def test_another_flow_and_source_take_over_between_two_turns():
    with Rig() as rig:
        rig.source.put(*readings(2))
        rig.wait(lambda: ("acknowledged", 2) in rig.journal)
        other = Source(rig.journal)
        other.refused["too_large"] = 1
        rig.source.refused["too_large"] = 2
        assert rig.line.replace(make_flow(), other, timeout_s=30)
        other.put(*readings(1, begin=2))
        rig.wait(lambda: len(rig.store.kept) == 1)
    assert rig.journal.count(("closed", 0)) == 2
    assert rig.line.figures.refused_frames == {"too_large": 3}
    assert_sums(rig.line.figures)


class Scripted(Source):
    """Does one thing in each poll and stops the line after the last; notes whether a wake was pending."""

    def __init__(self, journal, *steps):
        super().__init__(journal)
        self.steps, self.is_awake, self.line = list(steps), [], None

    def poll(self, timeout_s, wake_fd=None):
        if wake_fd is not None:
            self.is_awake.append(bool(select.select([wake_fd], [], [], 0)[0]))
        (self.steps.pop(0) if self.steps else self.line.stop)()


def scripted(*steps, flow=None):
    """Return a line that runs in the test's own thread."""
    journal = []
    source, store = Scripted(journal, *steps), Store(journal)
    line = Line(
        source=source,
        flow=flow or make_flow(),
        store=store,
        wake_deliverers=lambda: None,
        linger_s=0.0,
        batch=256,
    )
    source.line = line
    return line, source, store


def nothing():
    pass


def test_a_replacement_ends_one_wait_and_no_more():
    line, source, _ = scripted(lambda: line.replace(make_flow(), None, timeout_s=0.0), nothing, nothing)
    line.run()
    assert source.is_awake == [False] * 4


def test_the_wake_of_a_replacement_is_seen_by_the_wait():
    line, source, _ = scripted()
    line.replace(make_flow(), None, timeout_s=0.0)
    line.run()
    assert source.is_awake == [True]


def test_a_newer_replacement_keeps_the_link_of_one_that_was_not_yet_taken():
    """The main thread holds the first for done: the second one's subscriptions are the first one's."""
    journal = []
    other = Source(journal)
    flow = make_flow()

    def twice():
        assert not line.replace(make_flow(), other, timeout_s=0.0)
        assert not line.replace(flow, None, timeout_s=0.0)
        other.put(*readings(3))
        threading.Timer(0.2, line.stop).start()

    line, source, store = scripted(twice)
    line.run()
    assert len(store.kept) == 1
    assert flow.figures().messages == 3
    assert source.journal[0] == ("closed", 0)
    assert journal == [("acknowledged", 3), ("closed", 0)]


def test_a_link_that_a_newer_replacement_makes_needless_is_closed():
    first, second = Source([]), Source([])

    def twice():
        line.replace(make_flow(), first, timeout_s=0.0)
        line.replace(make_flow(), second, timeout_s=0.0)
        line.stop()

    line, _, _ = scripted(twice)
    line.run()
    assert first.journal == second.journal == [("closed", 0)]


def test_another_link_is_not_asked_to_acknowledge_what_the_former_received():
    """Its packet ids are its own: a stale receipt could acknowledge a message that was never scored."""
    other = Source([])

    def fail():
        store.is_full = True
        source.put(*readings(3))

    def exchange():
        line.replace(make_flow(), other, timeout_s=0.0)
        store.is_full = False
        other.put(*readings(2, begin=3))
        threading.Timer(0.2, line.stop).start()

    line, source, store = scripted(fail, exchange)
    line.run()
    assert len(store.kept) == 2
    assert ("acknowledged", 3) not in source.journal
    assert other.journal == [("acknowledged", 2), ("closed", 0)]


@given(
    data=st.data(),
    count=st.integers(0, 30),
    failing=st.lists(st.booleans(), max_size=8),
)
@settings(max_examples=30, deadline=None)  # a refusal costs the line a rest of 50 ms
def test_whatever_the_store_refuses_it_gets_everything_once_and_in_order(data, count, failing):
    cuts = sorted(data.draw(st.lists(st.integers(0, count), min_size=len(failing), max_size=len(failing))))
    messages = readings(count, a=9.0)

    def give(begin, end, *, is_full):
        store.is_full = is_full
        source.put(*messages[begin:end])

    steps = [
        partial(give, begin, end, is_full=is_full)
        for begin, end, is_full in zip([0, *cuts], [*cuts, count], [*failing, False], strict=True)
    ]
    line, source, store = scripted(*steps)
    line.run()
    assert store.kept == run(make_flow(), messages).publications
    assert sum(number for what, number in source.journal if what == "acknowledged") == count
    assert_sums(line.figures)


def test_progress_grows_while_idle_and_not_while_scoring_hangs():
    gate = threading.Event()

    def hang(inputs):
        gate.wait(30)
        return inputs / np.float32(2)

    with Rig(make_flow(plan(length=1, hop=1, model=HalvingModel(1, 2, hang)))) as rig:
        before = rig.line.progress()
        rig.wait(lambda: rig.line.progress() > before + 2)
        rig.source.put(*readings(1))
        rig.wait(lambda: not rig.source.queue)
        time.sleep(0.05)
        stuck = rig.line.progress()
        time.sleep(0.3)
        assert rig.line.progress() == stuck
        gate.set()
        rig.wait(lambda: rig.line.progress() > stuck)


def test_an_unexpected_error_ends_the_line_and_closes_the_link():
    def broken(_inputs):
        raise KeyError("a bug of ours")

    rig = Rig(make_flow(plan(length=1, hop=1, model=HalvingModel(1, 2, broken))))
    rig.source.put(*readings(1))
    with pytest.raises(KeyError):
        rig.line.run()
    assert rig.journal == [("closed", 0)]


def test_a_failing_model_is_no_error_of_the_line():
    def failing(_inputs):
        raise RejectedInputError("model_failed")

    with Rig(make_flow(plan(length=1, hop=1, model=HalvingModel(1, 2, failing)))) as rig:
        rig.source.put(*readings(1))
        rig.wait(lambda: ("acknowledged", 1) in rig.journal)
    assert rig.errors == []
    assert rig.line.figures.unscored == {"model_failed": 1}


def test_the_figures_follow_within_a_fraction_of_a_second():
    with Rig() as rig:
        rig.source.put(*readings(3))
        rig.wait(lambda: rig.line.figures.predictions == 1)
        assert rig.line.figures.is_subscribed


def test_an_outbox_that_fails_for_long_does_not_stop_the_line(monkeypatch):
    """The broker would stop sending after so many unacknowledged messages; scoring on matters more."""
    monkeypatch.setattr("gatewayd.line._WITHHOLD_S", 0.0)
    with Rig() as rig:
        rig.store.is_full = True
        rig.source.put(*readings(3))
        rig.wait(lambda: ("acknowledged", 3) in rig.journal)
    assert rig.line.figures.unstored == {"not_stored_at_stop": 1}


class Memory:
    """Keeps every state that it is given."""

    def __init__(self):
        self.states = []

    def save(self, state):
        self.states.append(state)
        return 0


def test_a_device_is_remembered_before_it_has_had_an_alert():
    """A crash would else forget it, and its silence afterwards."""
    memory = Memory()
    with Rig(memory=memory) as rig:
        rig.source.put(*readings(1))
        rig.wait(lambda: memory.states)
        [first] = memory.states
    assert rig.errors == []
    [(_, device, _)] = first["streams"]["pump"]["devices"]["devices"]
    assert device == "p1"
    assert "steps" not in first["streams"]["pump"]
    assert "steps" in memory.states[-1]["streams"]["pump"]


def test_what_alerts_stand_is_kept_at_once_but_not_again_and_again():
    line, _, _ = scripted()
    now, due = 1000.0, []
    for _ in range(20):
        now = max(now, line._next_keep(now, 0.0))
        due.append(round(now, 3))
    assert due[:11] == [1000.0] * 11
    assert [later - earlier for earlier, later in pairwise(due[11:])] == [5.0] * 8
    assert line._next_keep(5000.0, 0.0) == 5000.0  # a calm while later
    assert line._next_keep(6000.0, 2.0) == 6040.0  # a large one takes no more than a part of the line's time
