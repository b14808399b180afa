"""In which order one broker's records are read to be sent. Owned by that broker's delivery thread.

A feed hands out a page at a time; what was sent is in flight, and only an acknowledgement removes it from the outbox. A
new connection begins again with all that is left. Which order is right, and what each costs: docs/decisions/0012.

``OldestFirst`` reads in order of append: every device's results arrive in the order in which they were decided.

``LiveFirst`` reads three lanes, each in order of append. *Alerts* (everything that is no prediction) go before all
else. *Live* are the predictions that came since the connection opened. The *backlog* are those that had been waiting by
then; it gets a share of the sends while live ones wait, and all of them while none do.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

from gatewayd.domain.verdict import Publication
from gatewayd.store.outbox import Outbox

Order = Literal["oldest_first", "live_first"]
Entry = tuple[int, Publication]

PAGE = 64  # records read at once: what memory holds of a backlog, and how long the outbox's lock is held
_PREDICTIONS, _OTHERS = 0, 1  # ranks
_END = 2**63 - 1
_STEPS = 4  # of a lane's search in one reading: then the link gets a look at its socket


class Feed(Protocol):
    """What the deliverer asks of an order."""

    @property
    def page(self) -> Sequence[Entry]:
        """What is to be sent next, in order."""

    @property
    def is_dry(self) -> bool:
        """Whether nothing lies beyond the page, as far as is known."""

    def begin(self) -> None:
        """Begin again with all that is left: what was in flight on another connection is forgotten."""

    def go_back(self, seq: int) -> None:
        """Hand out again from this record on."""

    def wake(self) -> None:
        """Take into account that records may have been appended."""

    def read(self, now: int) -> list[int] | None:
        """Bring the page up to date.

        Args:
            now: The present, ns since the Unix epoch.

        Returns:
            Numbers of records whose time limit is over: they are not on the page. None: the outbox was not asked,
            because there was no need to.

        Raises:
            TransientError: The outbox cannot be read now; the page is as it was.
        """

    def sent(self, count: int) -> None:
        """Take so many entries off the page's front."""


def make_feed(outbox: Outbox, broker: str, *, order: Order, backlog_share: float) -> Feed:
    """Return the feed of one broker; ``backlog_share`` as for ``LiveFirst``."""
    if order == "oldest_first":
        return OldestFirst(outbox, broker)
    return LiveFirst(outbox, broker, backlog_share=backlog_share)


class OldestFirst:
    """All records in order of append."""

    def __init__(self, outbox: Outbox, broker: str) -> None:
        self._outbox, self._broker = outbox, broker
        self._reached = 0  # every record up to here is on the page, sent, or gone
        self.is_dry = False
        self._page: list[Entry] = []

    @property
    def page(self) -> Sequence[Entry]:
        """As ``Feed`` says."""
        return self._page

    def begin(self) -> None:
        """As ``Feed`` says."""
        self.go_back(1)

    def go_back(self, seq: int) -> None:
        """As ``Feed`` says."""
        if seq <= self._reached:
            self._reached, self._page, self.is_dry = seq - 1, [], False

    def wake(self) -> None:
        """As ``Feed`` says."""
        self.is_dry = False

    def read(self, now: int) -> list[int] | None:
        """As ``Feed`` says."""
        if self._page or self.is_dry:
            return None
        found = self._outbox.pending(self._broker, after=self._reached, limit=PAGE, now=now)
        self.is_dry = len(found) < PAGE
        if found:
            self._reached = found[-1][0]
        self._page, expired = _sorted_out(found)
        return expired

    def sent(self, count: int) -> None:
        """As ``Feed`` says."""
        if count:
            self._page = self._page[count:]


class _Lane:
    """Records of one rank in a range of numbers, in order."""

    def __init__(self, outbox: Outbox, broker: str, rank: int) -> None:
        self._outbox, self._broker, self._rank = outbox, broker, rank
        self._after, self._until = 0, _END
        self.reached = 0  # every record up to here is among the entries, sent, or gone
        self.is_dry = False  # nothing lies beyond
        self.entries: list[Entry] = []

    def begin(self, *, after: int, until: int = _END) -> None:
        """Begin anew with the records beyond ``after`` up to ``until``."""
        self._after, self._until, self.reached = after, until, after
        self.entries, self.is_dry = [], False

    def go_back(self, seq: int) -> None:
        """Begin again at a record, if it may have been handed out here."""
        if self._after < seq <= self.reached:
            self.reached, self.entries, self.is_dry = seq - 1, [], False

    def fill(self, now: int) -> list[int] | None:
        """Look for entries if there are none; returns as ``Feed.read``."""
        expired: list[int] | None = None
        for _ in range(_STEPS):
            if self.entries or self.is_dry:
                break
            found, self.reached, self.is_dry = self._outbox.scan(
                self._broker, self._rank, after=self.reached, until=self._until, limit=PAGE, now=now
            )
            self.entries, over = _sorted_out(found)
            expired = [*(expired or []), *over]
        return expired


class LiveFirst:
    """Alerts, then live predictions with the backlog behind.

    Args:
        outbox: What is to be sent.
        broker: The broker's name.
        backlog_share: 0..1: the part of the predictions sent that the backlog gets while live ones wait.
    """

    def __init__(self, outbox: Outbox, broker: str, *, backlog_share: float) -> None:
        self._outbox, self._share = outbox, backlog_share
        self._alerts = _Lane(outbox, broker, _OTHERS)
        self._live = _Lane(outbox, broker, _PREDICTIONS)
        self._backlog = _Lane(outbox, broker, _PREDICTIONS)
        self._lanes = (self._alerts, self._live, self._backlog)
        self._credit = 0.0  # what the backlog has saved up; it goes when it has a whole record's
        self._plan: list[tuple[_Lane, float]] = []  # per entry of the page: whose it is, the credit after it
        self._page: list[Entry] = []
        self._split = 0
        self.begin()

    @property
    def page(self) -> Sequence[Entry]:
        """As ``Feed`` says."""
        return self._page

    @property
    def is_dry(self) -> bool:
        """As ``Feed`` says."""
        return all(lane.is_dry for lane in self._lanes)

    def begin(self) -> None:
        """As ``Feed`` says. What waits now is the backlog."""
        self._split = self._outbox.last
        self._alerts.begin(after=0)
        self._live.begin(after=self._split)
        self._backlog.begin(after=0, until=self._split)
        self._page, self._plan = [], []

    def go_back(self, seq: int) -> None:
        """As ``Feed`` says."""
        for lane in self._lanes:
            lane.go_back(seq)
        self._page, self._plan = [], []

    def wake(self) -> None:
        """As ``Feed`` says."""
        for lane in self._lanes:
            lane.is_dry = False

    def read(self, now: int) -> list[int] | None:
        """As ``Feed`` says."""
        found = [self._alerts.fill(now), self._live.fill(now)]
        # The backlog's alerts go before its predictions; to look for them takes a while in a long backlog.
        if self._alerts.is_dry or self._alerts.reached >= self._split:
            found.append(self._backlog.fill(now))
        self._arrange()
        asked = [numbers for numbers in found if numbers is not None]
        return [number for numbers in asked for number in numbers] if asked else None

    def sent(self, count: int) -> None:
        """As ``Feed`` says."""
        if not count:
            return
        self._credit = self._plan[count - 1][1]
        for lane in self._lanes:
            gone = sum(owner is lane for owner, _ in self._plan[:count])
            lane.entries = lane.entries[gone:]
        self._page, self._plan = self._page[count:], self._plan[count:]

    def _arrange(self) -> None:
        """Lay the lanes' entries out as one page.

        It ends where a lane has none left and may have more: the other one must not get its part meanwhile.
        """
        plan = [(self._alerts, self._credit)] * len(self._alerts.entries)
        page = list(self._alerts.entries)
        live, backlog = self._live, self._backlog
        at = {live: 0, backlog: 0}
        credit = self._credit
        while True:
            waiting = [lane for lane in (live, backlog) if at[lane] < len(lane.entries)]
            if not waiting or any(
                lane.entries and not lane.is_dry for lane in (live, backlog) if lane not in waiting
            ):
                break
            lane = waiting[0]
            if len(waiting) > 1:
                credit += self._share
                if credit >= 1:
                    credit -= 1
                    lane = backlog
            page.append(lane.entries[at[lane]])
            at[lane] += 1
            plan.append((lane, credit))
        self._page, self._plan = page, plan


def _sorted_out(found: Sequence[Entry]) -> tuple[list[Entry], list[int]]:
    """Part records from the numbers of those whose time limit is over."""
    return (
        [entry for entry in found if entry[1].expires_s != 0],
        [seq for seq, publication in found if publication.expires_s == 0],
    )
