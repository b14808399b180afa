"""Whatever happens, the outbox equals a plain list cut to capacity."""

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from structlog.testing import capture_logs

from gatewayd.domain.verdict import Publication
from gatewayd.errors import StartupError, TransientError
from gatewayd.store.ages import CLOCK_SET_NS, GRAINS
from gatewayd.store.outbox import Outbox

ROOT = Path(__file__).parents[2]
ROOMY = 1 << 30
NS = 10**9


def publication(payload=b"x", *, kind="prediction", broker="cloud", topic="t", qos=1, retain=False):
    return Publication(broker=broker, kind=kind, topic=topic, payload=payload, qos=qos, retain=retain)


def numbered(first, count, **kwargs):
    return [publication(b"%d" % number, **kwargs) for number in range(first, first + count)]


def opened(folder, *, max_bytes=ROOMY, durability="process", max_age_s=None):
    return Outbox(Path(folder) / "outbox.db", max_bytes=max_bytes, durability=durability, max_age_s=max_age_s)


def everything(outbox, broker="cloud"):
    return outbox.pending(broker, after=0, limit=1_000_000)


def payloads(outbox, broker="cloud"):
    return [item.payload for _, item in everything(outbox, broker)]


@pytest.fixture
def outbox(tmp_path):
    box = opened(tmp_path)
    yield box
    box.close()


PUBLICATIONS = st.builds(
    Publication,
    broker=st.sampled_from(["a", "b"]),
    kind=st.sampled_from(["prediction", "alert", "discovery"]),
    topic=st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=8
    ),
    payload=st.binary(max_size=60),
    qos=st.sampled_from([0, 1]),
    retain=st.booleans(),
    content_type=st.none() | st.just("application/json"),
    expires_s=st.none() | st.integers(0, 2**32 - 1),
    user_properties=st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), max_size=2).map(tuple),
)
CAPACITY = 300
MAX_AGE_S = 640_000.0  # far beyond what the test itself takes, as is the grain of it
GRAIN_S = MAX_AGE_S / GRAINS
# What the wall clock says when something is appended: not set yet, wrong by decades, right, right a while ago.
CLOCKS = {
    "1970": lambda: 17 * NS,
    "2001": lambda: CLOCK_SET_NS,
    "2116": lambda: 2**62,
    "right": time.time_ns,
    "slow": lambda: time.time_ns() - round(30 * GRAIN_S * NS),
}


def bytes_of(item):
    texts = [item.topic, item.content_type or "", *(text for pair in item.user_properties for text in pair)]
    return len(item.payload) + len("".join(texts).encode())


class OutboxMachine(RuleBasedStateMachine):
    """Whatever happens, the outbox equals a plain list cut to capacity, and its counters add up."""

    @initialize(durability=st.sampled_from(["power", "process", "none"]))
    def start(self, durability):
        self.durability = durability
        self.folder = Path(tempfile.mkdtemp(prefix="outbox-"))
        self.model: list[Publication] = []
        self.stamps: list[int] = []  # of each, by the wall clock
        self.born_s: list[float] = []  # of each, the earliest that can be known, by the monotonic clock
        self.clock_s = time.monotonic()
        self.evicted = {"prediction": 0, "alert": 0}
        self.appended = self.acknowledged = self.held_at_open = 0
        self.outbox = self.opened()

    def opened(self):
        return opened(self.folder, max_bytes=CAPACITY, durability=self.durability, max_age_s=MAX_AGE_S)

    def teardown(self):
        if hasattr(self, "outbox"):
            self.outbox.close()
            shutil.rmtree(self.folder)

    def size(self):
        return sum(map(bytes_of, self.model))

    def keep(self, indices):
        self.model = [self.model[index] for index in indices]
        self.stamps = [self.stamps[index] for index in indices]
        self.born_s = [self.born_s[index] for index in indices]

    def found(self):
        return {seq: item for broker in "ab" for seq, item in self.outbox.pending(broker, after=0, limit=99)}

    @rule(items=st.lists(PUBLICATIONS, max_size=8), clock=st.sampled_from(sorted(CLOCKS)))
    def append(self, items, clock):
        at = CLOCKS[clock]()
        self.outbox.append(items, at=at)
        self.model += items
        self.stamps += [at] * len(items)
        self.born_s += [self.clock_s] * len(items)  # whatever the wall clock says
        self.appended += len(items)
        while self.size() > CAPACITY:
            predictions = (item for item in self.model if item.kind == "prediction")
            gone = next(predictions, self.model[0])
            self.keep([index for index, item in enumerate(self.model) if item is not gone])
            self.evicted[gone.kind] = self.evicted.get(gone.kind, 0) + 1

    def take_out(self, data):
        """Choose some records, take them out of the model, return their numbers."""
        found = self.found()
        chosen = data.draw(st.lists(st.sampled_from(sorted(found)), unique=True))
        self.keep([index for index, seq in enumerate(sorted(found)) if seq not in chosen])
        return chosen

    @rule(grains=st.sampled_from([1, 7, 31, GRAINS + 2]))
    def time_passes(self, grains):
        """Only predictions that are surely over the limit go, and they go within two grains."""
        before = sorted(self.found())
        for _ in range(grains):
            self.clock_s += GRAIN_S
            for _ in range(1 + GRAINS // 8):  # marks of an earlier process may all be due at once
                self.outbox.retire(self.clock_s)
        left = self.found()
        kept = [index for index, seq in enumerate(before) if seq in left]
        for index in set(range(len(before))) - set(kept):
            assert self.model[index].kind == "prediction"
            assert self.clock_s - self.born_s[index] > MAX_AGE_S - 1
            self.evicted["too_old"] = self.evicted.get("too_old", 0) + 1
        for index in kept:
            if self.model[index].kind == "prediction":
                assert self.clock_s - self.born_s[index] < MAX_AGE_S + 2 * GRAIN_S + 1
        self.keep(kept)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def acknowledge(self, data):
        chosen = self.take_out(data)
        self.outbox.acknowledge([*chosen, *chosen[:1], 10**12])
        self.acknowledged += len(chosen)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), reason=st.sampled_from(["refused", "expired"]))
    def give_up(self, data, reason):
        chosen = self.take_out(data)
        self.outbox.give_up([*chosen, *chosen[:1], 10**12], reason=reason)
        if chosen:
            self.evicted[reason] = self.evicted.get(reason, 0) + len(chosen)

    @rule(broker=st.sampled_from("ab"), limit=st.integers(1, 5))
    def read_by_pages(self, broker, limit):
        found, after = [], 0
        while page := self.outbox.pending(broker, after=after, limit=limit):
            assert len(page) <= limit
            after = page[-1][0]
            found += page
        assert [item for _, item in found] == [item for item in self.model if item.broker == broker]

    @rule()
    def reopen(self):
        self.outbox.close()
        self.open_again()

    @rule()
    def lose_power(self):
        """What the kernel holds at this moment is all there is: no close, no checkpoint."""
        folder = Path(tempfile.mkdtemp(prefix="outbox-"))
        for suffix in ("", "-wal"):
            shutil.copy(self.folder / f"outbox.db{suffix}", folder)
        self.outbox.close()
        shutil.rmtree(self.folder)
        self.folder = folder
        self.open_again()

    def open_again(self):
        self.outbox = self.opened()
        self.clock_s, wall = time.monotonic(), time.time_ns()
        self.born_s = [
            self.clock_s - (wall - at) / NS if CLOCK_SET_NS <= at <= wall else self.clock_s
            for at in self.stamps
        ]
        self.held_at_open = len(self.model)
        self.appended = self.acknowledged = 0
        self.evicted = {"prediction": 0, "alert": 0}

    @invariant()
    def same_records_in_order(self):
        if not hasattr(self, "outbox"):
            return
        for broker in "ab":
            found = self.outbox.pending(broker, after=0, limit=99)
            assert [item for _, item in found] == [item for item in self.model if item.broker == broker]
            assert [seq for seq, _ in found] == sorted({seq for seq, _ in found})

    @invariant()
    def the_counters_add_up(self):
        if not hasattr(self, "outbox"):
            return
        figures = self.outbox.figures()
        assert (figures.records, figures.payload_bytes) == (len(self.model), self.size())
        assert (figures.appended, figures.acknowledged) == (self.appended, self.acknowledged)
        assert figures.evicted == self.evicted
        assert self.held_at_open + figures.appended == (
            figures.records + figures.acknowledged + sum(figures.evicted.values())
        )
        assert self.outbox.set_aside is None


TestOutboxMachine = OutboxMachine.TestCase
TestOutboxMachine.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)


def test_a_clock_that_jumps_ahead_evicts_nothing(tmp_path):
    """Neither within a process nor, when the clock was slow or unset before, over a restart."""
    outbox = opened(tmp_path, max_age_s=3600)
    begun_s = time.monotonic()
    outbox.append(numbered(0, 3), at=17 * NS)
    outbox.retire(begun_s)
    outbox.append(numbered(3, 3), at=time.time_ns() + 10**18)
    outbox.retire(begun_s + 3500)
    outbox.close()
    again = opened(tmp_path, max_age_s=3600)
    again.retire(time.monotonic() + 3500)
    assert payloads(again) == [b"%d" % number for number in range(6)]
    again.retire(time.monotonic() + 3700)  # whatever their stamps, by now they are older than that
    assert payloads(again) == []
    assert again.figures().evicted == {"prediction": 0, "alert": 0, "too_old": 6}
    again.close()


def test_what_a_restart_finds_too_old_goes_at_once_but_alerts_stay(tmp_path):
    outbox = opened(tmp_path)
    now = time.time_ns()
    outbox.append(numbered(0, 2500), at=now - 7200 * NS)
    outbox.append([publication(b"A", kind="alert")], at=now - 7200 * NS)
    outbox.append(numbered(2500, 2), at=now - 60 * NS)
    outbox.append(numbered(2502, 1), at=17 * NS)
    outbox.close()
    again = opened(tmp_path, max_age_s=3600)
    again.retire(time.monotonic())
    assert payloads(again) == [b"A", b"2500", b"2501", b"2502"]
    assert again.figures().evicted == {"prediction": 0, "alert": 0, "too_old": 2500}
    again.retire(time.monotonic() + 3595)
    assert payloads(again) == [b"A", b"2502"]
    again.close()


def test_looking_for_what_is_too_old_costs_nothing_until_something_is(tmp_path):
    """Between two marks not one statement is run, and an append never looks."""
    outbox = opened(tmp_path, max_age_s=640)
    begun_s = time.monotonic()
    outbox.retire(begun_s)
    statements = []
    outbox._connection.set_trace_callback(statements.append)
    for step in range(600):
        outbox.retire(begun_s + step)
    assert statements == []
    outbox.append(numbered(0, 1), at=17 * NS)
    assert len(statements) == 1
    outbox.close()


def test_a_disk_that_fails_while_old_predictions_go_is_tried_again(tmp_path):
    outbox = opened(tmp_path, max_age_s=640)
    begun_s = time.monotonic()
    outbox.append(numbered(0, 3), at=17 * NS)
    outbox.retire(begun_s + 20)
    deny = {sqlite3.SQLITE_DELETE: sqlite3.SQLITE_DENY}
    outbox._connection.set_authorizer(lambda action, *_: deny.get(action, sqlite3.SQLITE_OK))
    with pytest.raises(TransientError):
        outbox.retire(begun_s + 700)
    outbox._connection.set_authorizer(None)
    assert (outbox.figures().records, outbox.figures().evicted) == (3, {"prediction": 0, "alert": 0})
    outbox.retire(begun_s + 700)
    assert (outbox.figures().records, outbox.figures().evicted["too_old"]) == (0, 3)
    outbox.close()


def test_how_long_an_outage_is_covered_falls_as_the_outbox_fills(tmp_path):
    """Ten bytes a second into a thousand; acknowledging gives the room back."""
    outbox = opened(tmp_path, max_bytes=1000)
    said = []
    for second in range(91):
        said.append(outbox.figures(float(second)).covers_s)
        outbox.append([publication(b"x" * 9)], at=1)
    assert said[59] is None
    assert said[60:] == [float(100 - second) for second in range(60, 91)]
    outbox.acknowledge([seq for seq, _ in everything(outbox)])
    assert outbox.figures(91.0).covers_s == 100
    outbox.close()


def test_an_outage_longer_than_the_age_limit_is_not_covered(tmp_path):
    outbox = opened(tmp_path, max_bytes=100_000, max_age_s=500)
    for second in range(61):
        outbox.figures(float(second))
        outbox.append([publication(b"x" * 9)], at=1)
    assert outbox.figures(61.0).covers_s == 500
    outbox.close()


def test_every_field_comes_back(outbox):
    items = [
        publication(b"\x00\xff", kind="alert", topic="werk/öl/π", qos=0, retain=True),
        publication(b"", kind="prediction", topic="t", qos=1, retain=False),
    ]
    outbox.append(items, at=1)
    assert [item for _, item in everything(outbox)] == items


def test_properties_come_back_after_a_restart_and_time_goes_on_meanwhile(tmp_path):
    item = Publication(
        broker="cloud",
        kind="response",
        topic="t",
        payload=b"x",
        qos=1,
        retain=False,
        content_type="application/senml+json",
        expires_s=60,
        user_properties=(("gateway", "g1"), ("\u00b5", '"')),
    )
    at = 1_700_000_000 * 10**9
    outbox = opened(tmp_path)
    outbox.append([item, publication()], at=at)
    outbox.close()
    again = opened(tmp_path)
    assert [found for _, found in everything(again)] == [item, publication()]
    for waited_s, left_s in ((0, 60), (59, 1), (60, 0), (1000, 0)):
        found = again.pending("cloud", after=0, limit=9, now=at + waited_s * 10**9)
        assert [each.expires_s for _, each in found] == [left_s, None]
    again.close()


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 32, 45])
def test_a_batch_of_any_size_is_stored_whole_and_in_order(outbox, count):
    outbox.append(numbered(0, count), at=1)
    assert payloads(outbox) == [b"%d" % number for number in range(count)]


def test_an_empty_append_and_an_empty_acknowledge_are_nothing(outbox):
    outbox.append([], at=1)
    outbox.acknowledge([])
    assert outbox.figures().records == 0


def test_alerts_outlive_predictions(tmp_path):
    outbox = opened(tmp_path, max_bytes=40)
    outbox.append([publication(b"A" * 9, kind="alert"), publication(b"1" * 9), publication(b"2" * 9)], at=1)
    outbox.append([publication(b"B" * 9, kind="alert"), publication(b"3" * 9)], at=1)
    assert payloads(outbox) == [b"A" * 9, b"2" * 9, b"B" * 9, b"3" * 9]
    outbox.append([publication(b"C" * 9, kind="alert"), publication(b"D" * 9, kind="alert")], at=1)
    outbox.append([publication(b"E" * 9, kind="alert"), publication(b"4" * 9)], at=1)
    assert payloads(outbox) == [b"B" * 9, b"C" * 9, b"D" * 9, b"E" * 9]
    assert outbox.figures().evicted == {"prediction": 4, "alert": 1}
    outbox.close()


@pytest.mark.parametrize("leading", [0, 40])
def test_an_append_to_an_outbox_full_of_alerts_costs_the_same_however_many_they_are(tmp_path, leading):
    """Neither that no prediction is left nor that a few are is looked for again in the whole table."""
    costs = []
    for count in (200, 20_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        outbox = opened(folder, max_bytes=(count + leading) * 10)
        alert = publication(b"A" * 9, kind="alert")
        outbox.append([publication(b"p" * 9)] * leading + [alert] * count, at=1)
        if not leading:
            outbox.append([alert], at=1)  # the first one looks, and remembers
        steps = []
        outbox._connection.set_progress_handler(lambda steps=steps: steps.append(1), 10)
        for _ in range(20):
            outbox.append([alert], at=1)
        costs.append(len(steps))
        outbox._connection.set_progress_handler(None, 0)
        assert outbox.figures().evicted == (
            {"prediction": 20, "alert": 0} if leading else {"prediction": 0, "alert": 21}
        )
        outbox.append([publication(b"q" * 9)], at=1)  # a prediction that comes later is found all the same
        assert (outbox.figures().evicted["prediction"], payloads(outbox)[-1]) == (
            (21, b"q" * 9) if leading else (1, b"A" * 9)
        )
        outbox.close()
    assert costs[1] < 2 * costs[0]


def test_what_an_append_that_fails_has_looked_through_is_not_remembered(tmp_path):
    outbox = opened(tmp_path, max_bytes=20)
    outbox.append([publication(b"A" * 9, kind="alert")] * 2, at=1)
    outbox._connection.set_authorizer(
        lambda action, *_: sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_DELETE else sqlite3.SQLITE_OK
    )
    with pytest.raises(TransientError):
        outbox.append([publication(b"B" * 9, kind="alert"), publication(b"C" * 9, kind="alert")], at=1)
    outbox._connection.set_authorizer(None)
    assert payloads(outbox) == [b"A" * 9] * 2
    outbox.append([publication(b"1" * 9), publication(b"B" * 9, kind="alert")], at=1)
    assert payloads(outbox) == [b"A" * 9, b"B" * 9]
    assert outbox.figures().evicted == {"prediction": 1, "alert": 1}
    outbox.close()


def test_a_record_larger_than_the_outbox_is_refused_and_counted(tmp_path):
    outbox = opened(tmp_path, max_bytes=10)
    outbox.append([publication(b"kept"), publication(b"x" * 10)], at=1)
    assert payloads(outbox) == [b"kept"]
    assert outbox.figures().evicted == {"prediction": 0, "alert": 0, "oversize": 1}
    outbox.close()


def test_a_record_evicted_in_flight_is_acknowledged_without_harm(tmp_path):
    outbox = opened(tmp_path, max_bytes=20)
    outbox.append([publication(b"1" * 9), publication(b"2" * 9)], at=1)
    in_flight = [seq for seq, _ in everything(outbox)]
    outbox.append([publication(b"3" * 9)], at=1)
    outbox.acknowledge(in_flight)
    assert payloads(outbox) == [b"3" * 9]
    assert (outbox.figures().acknowledged, outbox.figures().evicted["prediction"]) == (1, 1)
    outbox.close()


def test_a_number_is_not_given_out_twice(outbox):
    """A cursor that has passed a record must see whatever is appended later."""
    outbox.append(numbered(0, 3), at=1)
    last = everything(outbox)[-1][0]
    outbox.acknowledge([seq for seq, _ in everything(outbox)])
    outbox.append(numbered(3, 1), at=1)
    assert [item.payload for _, item in outbox.pending("cloud", after=last, limit=9)] == [b"3"]


@pytest.mark.parametrize("durability", ["power", "process", "none"])
def test_the_setting_of_durability_is_sqlites(tmp_path, durability):
    outbox = opened(tmp_path, durability=durability)
    wanted = {"none": 0, "process": 1, "power": 2}[durability]
    outbox.append(numbered(0, 3), at=1)
    outbox.acknowledge([1])
    assert outbox._connection.execute("PRAGMA synchronous").fetchone() == (wanted,)
    assert outbox._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    outbox.close()


def test_threads_share_it(outbox):
    """One appends while two read and acknowledge; every record is seen in order, none is left."""
    seen = {"a": [], "b": []}
    done = threading.Event()

    def deliver(broker):
        after = 0
        while True:
            finished = done.is_set()
            page = outbox.pending(broker, after=after, limit=16)
            outbox.acknowledge([seq for seq, _ in page])
            outbox.tidy()
            seen[broker] += [int(item.payload) for _, item in page]
            after = page[-1][0] if page else after
            if finished and not page:
                return

    threads = [threading.Thread(target=deliver, args=(broker,)) for broker in "ab"]
    for thread in threads:
        thread.start()
    for number in range(0, 2000, 10):
        outbox.append(numbered(number, 10, broker="ab"[number // 10 % 2]), at=1)
    done.set()
    for thread in threads:
        thread.join()
    assert sorted(seen["a"] + seen["b"]) == list(range(2000))
    assert all(numbers == sorted(numbers) for numbers in seen.values())
    assert outbox.figures().records == outbox.figures().payload_bytes == 0


CHILD = """
import sys
from pathlib import Path
from gatewayd.domain.verdict import Publication
from gatewayd.store.outbox import Outbox
outbox = Outbox(Path(sys.argv[1]), max_bytes=1 << 30, durability="process")
number = int(sys.argv[2])
while True:
    count = 1 + number % 7
    items = [Publication(broker="cloud", kind="prediction", topic="t", payload=b"%d" % k, qos=1, retain=False)
             for k in range(number, number + count)]
    outbox.append(items, at=1)
    number += count
    print(number, flush=True)
"""


def test_what_was_committed_survives_kill_9(tmp_path):
    """Twelve kills: each time exactly the committed appends are there, whole and in order."""
    rng, number, path = random.Random(1), 0, tmp_path / "outbox.db"
    for _ in range(12):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path), str(number)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        wanted = rng.randrange(1, 300)
        lines = [child.stdout.readline() for _ in range(wanted)]
        child.send_signal(signal.SIGKILL)
        said = [
            line for line in (*lines, *child.stdout.read().splitlines(keepends=True)) if line.endswith("\n")
        ]
        child.wait()
        child.stdout.close()
        committed = int(said[-1])
        outbox = Outbox(path, max_bytes=ROOMY, durability="process")
        found = [int(item) for item in payloads(outbox)]
        # one append may have been committed and not yet told
        assert found == list(range(len(found)))
        assert len(found) in (committed, committed + 1 + committed % 7)
        assert outbox.set_aside is None
        outbox.close()
        number = len(found)


def test_a_full_disk_is_transient_and_loses_nothing_stored(outbox):
    outbox.append(numbered(0, 3), at=1)
    outbox._connection.execute("PRAGMA max_page_count = 4")
    with pytest.raises(TransientError, match="full"):
        outbox.append([publication(b"x" * 50_000), publication(b"y")], at=1)
    assert payloads(outbox) == [b"0", b"1", b"2"]
    assert outbox.figures().records == 3
    outbox._connection.execute("PRAGMA max_page_count = 1000000")
    outbox.append(numbered(3, 1), at=1)
    assert payloads(outbox) == [b"0", b"1", b"2", b"3"]


def test_a_locked_file_is_transient(outbox):
    outbox.append(numbered(0, 2), at=1)
    outbox._connection.execute("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(outbox._path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for attempt in (lambda: outbox.append(numbered(2, 2), at=1), lambda: outbox.acknowledge([1])):
        with pytest.raises(TransientError, match="locked"):
            attempt()
    other.execute("ROLLBACK")
    other.close()
    outbox.acknowledge([1])
    assert payloads(outbox) == [b"1"]


def damage_header(path):
    path.write_bytes(b"this was never a database, " * 400)


def damage_pages(path):
    data = bytearray(path.read_bytes())
    data[8192:] = random.Random(2).randbytes(len(data) - 8192)
    path.write_bytes(data)


def damage_by_truncation(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize("damage", [damage_header, damage_pages, damage_by_truncation])
def test_a_damaged_file_is_set_aside_and_a_fresh_one_opened(tmp_path, damage):
    path = tmp_path / "outbox.db"
    for number in range(1, 6):
        outbox = opened(tmp_path)
        outbox.append([publication(b"x" * 300) for _ in range(200)], at=1)
        outbox.close()
        damage(path)
        damaged = path.read_bytes()
        with capture_logs() as logs:
            outbox = opened(tmp_path)
        assert outbox.set_aside == tmp_path / f"outbox.db.damaged-{number}"
        assert outbox.set_aside.read_bytes() == damaged
        assert [(entry["event"], entry["log_level"]) for entry in logs] == [("outbox_damaged", "error")]
        assert logs[0]["lost"] == "unknown"  # and what is unknown is in no counter
        assert outbox.figures().evicted == {"prediction": 0, "alert": 0}
        assert everything(outbox) == []
        outbox.append(numbered(0, 2), at=1)
        outbox.close()
    # a card that dies slowly does not fill itself
    assert sorted(found.name for found in tmp_path.glob("outbox.db.damaged-?")) == [
        "outbox.db.damaged-3",
        "outbox.db.damaged-4",
        "outbox.db.damaged-5",
    ]


def test_damage_met_while_running_is_set_aside_too(tmp_path):
    outbox = opened(tmp_path)
    outbox.append([publication(b"x" * 300) for _ in range(200)], at=1)
    cursor = everything(outbox)[-1][0]
    outbox._checkpointer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    damage_pages(tmp_path / "outbox.db")
    outbox._connection.execute("PRAGMA shrink_memory")
    with pytest.raises(TransientError), capture_logs() as logs:
        outbox.acknowledge(list(range(1, 201)))
    assert outbox.set_aside == tmp_path / "outbox.db.damaged-1"
    assert [entry["lost"] for entry in logs] == [200]
    assert (outbox.figures().records, outbox.figures().evicted["damaged"]) == (0, 200)
    outbox.append(numbered(0, 2), at=1)
    assert [item.payload for _, item in outbox.pending("cloud", after=cursor, limit=9)] == [b"0", b"1"]
    assert outbox.figures().records == 2
    outbox.close()


def test_a_damaged_file_that_cannot_be_moved_is_transient(tmp_path, monkeypatch):
    damage_header(tmp_path / "outbox.db")

    def refuse(path):
        raise PermissionError(path)

    monkeypatch.setattr("gatewayd.store.database.set_aside", refuse)
    with pytest.raises(TransientError, match=r"cannot be replaced"):
        opened(tmp_path)


def test_damage_that_cannot_be_replaced_at_once_is_replaced_later(tmp_path, monkeypatch):
    """While the folder is read-only every call fails transiently; then the outbox works again."""
    outbox = opened(tmp_path)
    outbox.append([publication(b"x" * 300) for _ in range(200)], at=1)
    outbox._checkpointer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    damage_pages(tmp_path / "outbox.db")
    outbox._connection.execute("PRAGMA shrink_memory")

    def refuse(path):
        raise PermissionError(path)

    with monkeypatch.context() as patch:
        patch.setattr("gatewayd.store.database.set_aside", refuse)
        for attempt in (
            lambda: outbox.acknowledge(list(range(1, 201))),
            lambda: outbox.append(numbered(0, 1), at=1),
            lambda: everything(outbox),
        ):
            with pytest.raises(TransientError, match="cannot be replaced"):
                attempt()
        outbox.tidy()
    with capture_logs():
        outbox.append(numbered(0, 2), at=1)
    assert payloads(outbox) == [b"0", b"1"]
    figures = outbox.figures()
    assert (figures.records, figures.appended, figures.evicted["damaged"]) == (2, 202, 200)
    assert outbox.set_aside == tmp_path / "outbox.db.damaged-1"
    outbox.close()


def test_a_newer_format_is_refused_and_left_alone(tmp_path):
    opened(tmp_path).close()
    other = sqlite3.connect(tmp_path / "outbox.db")
    other.execute("PRAGMA user_version = 3")
    other.close()
    before = (tmp_path / "outbox.db").read_bytes()
    with pytest.raises(StartupError, match=r"outbox\.db: expected format 2 or older, found 3"):
        opened(tmp_path)
    assert (tmp_path / "outbox.db").read_bytes() == before


def test_a_missing_folder_is_the_operators(tmp_path):
    with pytest.raises(StartupError, match="unable to open"):
        opened(tmp_path / "absent")


def test_the_wal_stays_bounded_when_nobody_tidies(outbox):
    """24 MiB go through; the appending thread writes the WAL back at 16 MiB."""
    wal = Path(f"{outbox._path}-wal")
    largest = 0
    for number in range(240):
        outbox.append([publication(b"x" * 100_000)], at=1)
        outbox.acknowledge([number + 1])
        largest = max(largest, wal.stat().st_size)
    assert largest < 20 << 20


def test_tidying_keeps_the_wal_small(outbox):
    wal = Path(f"{outbox._path}-wal")
    largest = 0
    for number in range(200):
        outbox.append([publication(b"x" * 100_000)], at=1)
        outbox.acknowledge([number + 1])
        outbox.tidy()
        largest = max(largest, wal.stat().st_size)
    assert largest < 8 << 20


def test_the_space_of_a_long_outage_is_returned(outbox):
    for _ in range(20):
        outbox.append([publication(b"x" * 1_000_000)], at=1)
        outbox.tidy()
    assert outbox._path.stat().st_size > 15 << 20
    outbox.acknowledge(list(range(1, 21)))
    outbox.tidy()
    assert outbox._path.stat().st_size < 1 << 20
    outbox.append(numbered(0, 1), at=1)
    assert payloads(outbox) == [b"0"]


def test_closing_twice_leaves_one_file(tmp_path):
    outbox = opened(tmp_path)
    outbox.append(numbered(0, 5), at=1)
    outbox.close()
    outbox.close()
    assert [found.name for found in tmp_path.iterdir()] == ["outbox.db"]
    again = opened(tmp_path)
    assert len(everything(again)) == 5
    again.close()


def spooled(folder, count=1000):
    """An outbox as kill -9 leaves it: every append is committed, nothing was written back at the end."""
    live = folder / "live"
    live.mkdir()
    outbox = opened(live)
    for number in range(0, count, 4):
        outbox.append(numbered(number, 4), at=1)
    spool = folder / "spool"
    shutil.copytree(live, spool)
    outbox.close()
    return spool


def delivered_after(spool, copy, damage):
    """Damage a copy, open it, take everything out; what was found, what was logged."""
    shutil.copytree(spool, copy)
    damage(copy)
    with capture_logs() as logs:
        outbox = opened(copy)
    found = [int(payload) for payload in payloads(outbox)]
    outbox.append(numbered(5000, 1), at=1)  # it goes on
    assert int(payloads(outbox)[-1]) == 5000
    outbox.close()
    shutil.rmtree(copy)
    return found, [(entry["event"], entry.get("lost")) for entry in logs]


def test_case_25_a_log_that_was_cut_at_any_byte_costs_the_last_append_and_says_so(tmp_path):
    spool = spooled(tmp_path)
    log = (spool / "outbox.db-wal").read_bytes()
    for cut in range(1, 201):
        found, logs = delivered_after(
            spool, tmp_path / "copy", lambda copy, cut=cut: (copy / "outbox.db-wal").write_bytes(log[:-cut])
        )
        assert found == list(range(996))
        assert logs == [("outbox_cut_off", "unknown")]


def test_case_25_zeros_at_the_end_of_the_log_cost_the_last_append_and_are_told(tmp_path):
    spool = spooled(tmp_path)
    log = (spool / "outbox.db-wal").read_bytes()
    found, logs = delivered_after(
        spool,
        tmp_path / "copy",
        lambda copy: (copy / "outbox.db-wal").write_bytes(log[:-4096] + bytes(4096)),
    )
    assert (found, logs) == (list(range(996)), [("outbox_cut_off", "unknown")])


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_case_25_a_log_without_its_database_is_recovered(tmp_path, damage):
    """SQLite would delete it: all of the spool, without a word."""
    found, logs = delivered_after(
        spooled(tmp_path), tmp_path / "copy", lambda copy: damage(copy / "outbox.db")
    )
    assert (found, logs) == (list(range(1000)), [("outbox_restored", None)])


def test_case_25_a_log_that_does_not_hold_all_of_its_lost_database_is_set_aside(tmp_path):
    live = tmp_path / "live"
    live.mkdir()
    outbox = opened(live)
    outbox.append(numbered(0, 500), at=1)
    outbox._checkpointer.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    outbox.append(numbered(500, 1), at=1)
    log = (live / "outbox.db-wal").read_bytes()
    outbox.close()
    spool = tmp_path / "spool"
    spool.mkdir()
    (spool / "outbox.db-wal").write_bytes(log)
    with capture_logs() as logs:
        again = opened(spool)
    assert [(entry["event"], entry["lost"]) for entry in logs] == [("outbox_damaged", "unknown")]
    assert Path(f"{again.set_aside}-wal").read_bytes() == log
    again.append(numbered(0, 1), at=1)
    assert payloads(again) == [b"0"]
    again.close()


@pytest.mark.parametrize("index", [b"", b"\x00" * 32768, b"stale" * 6553])
def test_case_25_the_index_of_the_log_is_made_anew_whatever_is_left_of_it(tmp_path, index):
    found, logs = delivered_after(
        spooled(tmp_path), tmp_path / "copy", lambda copy: (copy / "outbox.db-shm").write_bytes(index)
    )
    assert (found, logs) == (list(range(1000)), [])


@pytest.mark.parametrize("name", ["outbox.db-journal", "outbox.db-wal"])
def test_case_25_a_stale_file_beside_a_whole_database_changes_nothing(tmp_path, name):
    other = tmp_path / "other"
    other.mkdir()
    stale = (spooled(other, 40) / "outbox.db-wal").read_bytes()
    outbox = opened(tmp_path)
    outbox.append(numbered(0, 100), at=1)
    outbox.close()
    (tmp_path / name).write_bytes(b"\x00" * 512 if name.endswith("journal") else b"\x00" * 32 + stale[32:])
    with capture_logs():
        outbox = opened(tmp_path)
    assert [int(payload) for payload in payloads(outbox)] == list(range(100))
    outbox.close()


def test_case_25_frames_that_arrived_out_of_order_cost_what_came_after_the_first_that_is_missing(tmp_path):
    """A disk that reorders writes: a frame in the middle is not there, those behind it are."""
    spool = spooled(tmp_path)
    log = bytearray((spool / "outbox.db-wal").read_bytes())
    frame = 24 + 8192
    middle = 32 + (len(log) - 32) // frame // 2 * frame
    log[middle : middle + frame] = bytes(frame)
    found, logs = delivered_after(
        spool, tmp_path / "copy", lambda copy: (copy / "outbox.db-wal").write_bytes(log)
    )
    assert found == list(range(len(found)))
    assert 300 < len(found) < 700
    assert [event for event, _ in logs] == ["outbox_cut_off"]


def test_case_26_a_full_buffer_drops_the_oldest_and_counts_them(tmp_path):
    """Room for five: of ten, the last five are delivered, and five are counted."""
    outbox = opened(tmp_path, max_bytes=10)
    for number in range(1, 11):
        outbox.append([publication(b"%d" % (number % 10))], at=1)
    assert [int(payload) for payload in payloads(outbox)] == [6, 7, 8, 9, 0]
    assert outbox.figures().evicted == {"prediction": 5, "alert": 0}
    outbox.close()
