"""In which order records are handed out: each exactly once, in order within its lane, and the lanes by their rules."""

import tempfile
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.domain.verdict import Publication
from gatewayd.errors import TransientError
from gatewayd.store.feed import PAGE, LiveFirst, OldestFirst, make_feed
from gatewayd.store.outbox import Outbox

NOW = 1_700_000_000 * 10**9


def publication(number, *, kind="prediction", broker="cloud", expires_s=None):
    return Publication(
        broker=broker,
        kind=kind,
        topic="t",
        payload=b"%d" % number,
        qos=1,
        retain=False,
        expires_s=expires_s,
    )


def opened(folder):
    return Outbox(Path(folder) / "outbox.db", max_bytes=1 << 30, durability="none")


@pytest.fixture
def outbox(tmp_path):
    box = opened(tmp_path)
    yield box
    box.close()


def append(outbox, numbers, **kwargs):
    outbox.append([publication(number, **kwargs) for number in numbers], at=NOW)


def taken(feed, count=10**9):
    """Send so many, as the deliverer does; return their numbers."""
    found = []
    while len(found) < count:
        feed.read(NOW)
        part = list(feed.page)[: count - len(found)]
        feed.sent(len(part))
        found += [int(item.payload) for _, item in part]
        if not part and feed.is_dry:
            break
    return found


KINDS = st.sampled_from(["prediction"] * 4 + ["alert", "discovery"])
STEPS = st.one_of(
    st.tuples(st.just("append"), st.lists(KINDS, min_size=1, max_size=90)),
    st.tuples(st.just("send"), st.integers(1, 100)),
    st.tuples(st.just("other"), st.integers(1, 70)),
    st.tuples(st.just("reconnect"), st.none()),
    st.tuples(st.just("acknowledge"), st.integers(0, 200)),
)


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(STEPS, max_size=25),
    order=st.sampled_from(["oldest_first", "live_first"]),
    share=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
)
def test_on_each_connection_every_record_is_handed_out_exactly_once_and_in_its_lanes_order(
    steps, order, share
):
    """Whatever is appended, sent in parts, acknowledged out of order or lost with the link meanwhile."""
    with tempfile.TemporaryDirectory(prefix="feed-") as folder:
        outbox = opened(folder)
        feed = make_feed(outbox, "cloud", order=order, backlog_share=share)
        held: dict[int, tuple[int, str]] = {}  # number -> (seq, kind)
        number, split, sent = 0, 0, []

        def send(count):
            for _ in range(20):
                feed.read(NOW)
                if feed.page or feed.is_dry:
                    break
            part = list(feed.page)[:count]
            feed.sent(len(part))
            sent.extend(int(item.payload) for _, item in part)
            held.update({int(item.payload): (seq, item.kind) for seq, item in part})

        def judge():
            assert len(set(sent)) == len(sent)
            lanes: dict[object, list[int]] = {}
            for each in sent:
                _, kind = held[each]
                lane = "all"
                if order == "live_first":
                    lane = "alerts" if kind != "prediction" else each >= split
                lanes.setdefault(lane, []).append(each)
            assert all(numbers == sorted(numbers) for numbers in lanes.values())

        waiting: set[int] = set()
        for action, argument in steps:
            if action == "append":
                outbox.append(
                    [publication(number + index, kind=kind) for index, kind in enumerate(argument)], at=NOW
                )
                waiting |= set(range(number, number + len(argument)))
                number += len(argument)
                feed.wake()
            elif action == "other":
                append(outbox, range(argument), broker="other")
            elif action == "send":
                send(argument)
            elif action == "reconnect":
                judge()
                sent, split = [], number
                feed.begin()
            else:
                gone = [each for index, each in enumerate(sent) if each in waiting and index <= argument]
                outbox.acknowledge([held[each][0] for each in gone[::2]])
                waiting -= set(gone[::2])
        while True:
            before = len(sent)
            send(10**6)
            if len(sent) == before and feed.is_dry:
                break
        judge()
        assert waiting <= set(sent)
        outbox.close()


def test_by_default_everything_goes_as_it_came(outbox):
    append(outbox, range(3))
    append(outbox, [3], kind="alert")
    feed = make_feed(outbox, "cloud", order="oldest_first", backlog_share=0.5)
    append(outbox, range(4, 200))
    assert taken(feed) == list(range(200))


def test_live_first_sends_alerts_then_a_mixture_then_what_is_left(outbox):
    append(outbox, range(20))
    append(outbox, [20, 21], kind="alert")
    feed = LiveFirst(outbox, "cloud", backlog_share=0.25)
    append(outbox, range(100, 106))
    append(outbox, [106], kind="alert")
    assert taken(feed) == [20, 21, 106, 100, 101, 102, 0, 103, 104, 105, *range(1, 20)]


def test_an_alert_goes_before_what_is_on_the_page_already(outbox):
    append(outbox, range(10))
    feed = LiveFirst(outbox, "cloud", backlog_share=0.5)
    assert taken(feed, 3) == [0, 1, 2]
    append(outbox, [50], kind="alert")
    append(outbox, [51])
    feed.wake()
    assert taken(feed, 4) == [50, 51, 3, 4]


@given(share=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.8, 1.0]), part=st.integers(1, 50))
@settings(max_examples=40, deadline=None)
def test_while_both_wait_the_backlog_gets_its_share_however_the_link_takes_them(share, part):
    """To within one record at any moment: the page must not end in favour of a lane that has more on disk."""
    with tempfile.TemporaryDirectory(prefix="feed-") as folder:
        outbox = opened(folder)
        append(outbox, range(500))
        feed = LiveFirst(outbox, "cloud", backlog_share=share)
        append(outbox, range(1000, 1500))
        old = new = 0
        while max(old, new) + part < 500:
            for number in taken(feed, part):
                old += number < 1000
                new += number >= 1000
                assert abs(old - Fraction(share).limit_denominator(100) * (old + new)) <= 1
        outbox.close()


def test_alone_the_backlog_gets_everything_at_once(outbox):
    append(outbox, range(3 * PAGE))
    feed = LiveFirst(outbox, "cloud", backlog_share=0.0)
    feed.read(NOW)
    assert len(feed.page) == PAGE
    assert taken(feed) == list(range(3 * PAGE))


def test_an_alert_at_the_end_of_a_long_backlog_goes_before_it_and_keeps_nobody_waiting_meanwhile(outbox):
    """It takes a few readings to find it; live predictions go out during the search, the backlog does not."""
    append(outbox, range(40_000))
    append(outbox, [50_000], kind="alert")
    feed = LiveFirst(outbox, "cloud", backlog_share=0.5)
    append(outbox, [60_000])
    feed.read(NOW)
    assert [int(item.payload) for _, item in feed.page] == [60_000]
    assert not feed.is_dry
    assert taken(feed, 3) == [60_000, 50_000, 0]


def test_one_reading_holds_the_outbox_for_a_bounded_time(outbox):
    """However long the backlog: the cost of a reading, in steps of SQLite's machine, is that of one stretch."""
    costs = []
    for count in (20_000, 60_000):
        append(outbox, range(count))
        steps = []
        outbox._connection.set_progress_handler(lambda steps=steps: steps.append(1), 100)
        outbox.scan("cloud", 1, after=0, until=2**62, limit=PAGE)
        outbox._connection.set_progress_handler(None, 0)
        costs.append(len(steps))
    assert costs[1] <= 1.1 * costs[0]


def test_a_search_skips_what_is_gone(outbox):
    append(outbox, range(100_000))
    outbox.acknowledge(list(range(1, 100_000)))
    found, reached, is_end = outbox.scan("cloud", 0, after=0, until=2**62, limit=PAGE)
    assert ([seq for seq, _ in found], reached, is_end) == ([100_000], 100_000, True)
    assert outbox.scan("cloud", 0, after=50, until=90_000, limit=PAGE) == ([], 90_000, True)


@pytest.mark.parametrize("order", ["oldest_first", "live_first"])
def test_going_back_hands_out_again_from_there(outbox, order):
    append(outbox, range(150))
    feed = make_feed(outbox, "cloud", order=order, backlog_share=0.5)
    assert taken(feed) == list(range(150))
    feed.go_back(101)  # the hundred and first record, number 100
    assert taken(feed) == list(range(100, 150))
    feed.go_back(1000)
    assert taken(feed) == []


def test_going_back_among_live_predictions_leaves_the_backlog_alone(outbox):
    append(outbox, range(5))
    feed = LiveFirst(outbox, "cloud", backlog_share=0.5)
    append(outbox, range(5, 8))
    assert taken(feed) == [5, 0, 6, 1, 7, 2, 3, 4]
    feed.go_back(7)
    assert taken(feed) == [6, 7]
    feed.go_back(2)
    assert taken(feed) == [1, 2, 3, 4]


@pytest.mark.parametrize("order", ["oldest_first", "live_first"])
def test_what_has_expired_is_told_and_not_handed_out(outbox, order):
    feed = make_feed(outbox, "cloud", order=order, backlog_share=0.5)
    append(outbox, range(PAGE + 5), expires_s=1)
    append(outbox, [500, 501], expires_s=100)
    later, told = NOW + 5 * 10**9, []
    for _ in range(3):
        told += feed.read(later) or []
    assert [int(item.payload) for _, item in feed.page] == [500, 501]
    assert told == list(range(1, PAGE + 6))


@pytest.mark.parametrize("kind", [OldestFirst, lambda *args: LiveFirst(*args, backlog_share=0.5)])
def test_nothing_is_read_without_need_and_a_wake_is_one(outbox, kind):
    feed = kind(outbox, "cloud")
    assert feed.read(NOW) == []
    assert feed.read(NOW) is None
    append(outbox, [1])
    assert feed.read(NOW) is None
    feed.wake()
    assert feed.read(NOW) == []
    assert taken(feed) == [1]


@pytest.mark.parametrize("order", ["oldest_first", "live_first"])
def test_a_disk_that_fails_loses_nothing_of_the_feed(outbox, order, monkeypatch):
    append(outbox, range(200))
    feed = make_feed(outbox, "cloud", order=order, backlog_share=0.5)
    assert taken(feed, 70) == list(range(70))

    def fail(*_args, **_kwargs):
        raise TransientError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "pending", fail)
        patch.setattr(outbox, "scan", fail)
        with pytest.raises(TransientError):
            taken(feed)
    rest = taken(feed)
    assert rest == list(range(200 - len(rest), 200))
    assert len(rest) <= 130
