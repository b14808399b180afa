"""Which records are surely older than a limit, by a clock that never jumps. Owned by the outbox, under its lock.

The wall clock of a gateway starts in 1970, is set when the network comes, and is now and then set wrong: an age that
is the difference of two of its readings may be years off, and would throw a whole outbox away. So an age here is a
lower bound, made of what cannot lie:

- A record of this process is as old as the monotonic clock says, to within a grain (a 64th of the limit). Nothing is
  noted per record: now and then a mark says "all up to this number have been there at this moment".
- A record of an earlier process is as old as its stamp was when this process began, and ages by the monotonic clock
  from then on: a clock that is set later changes nothing. A stamp from before 2001 or from the future tells nothing;
  such a record begins to age with this process.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

CLOCK_SET_NS = 10**18  # 2001: a gateway without a clock of its own starts in 1970
GRAINS = 64
_ALWAYS_NS = 2**63 - 1
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Records that were there at a moment.

    Attributes:
        last: The greatest number among them.
        born_s: The moment, by the monotonic clock: none of them was appended later.
        stamped: Of those up to ``last`` it is about the ones with stamps in this range, ends included; ns since the
            Unix epoch.
    """

    last: int
    born_s: float
    stamped: tuple[int, int] = (-_ALWAYS_NS, _ALWAYS_NS)

    @property
    def is_about_all(self) -> bool:
        """Whether it is about every record up to ``last``, whatever its stamp."""
        return self.stamped == (-_ALWAYS_NS, _ALWAYS_NS)


class Ages:
    """Marks in order of their moments.

    Args:
        max_age_s: The limit; positive.

    Attributes:
        look_at_s: Before this moment neither ``note`` nor ``due`` has anything to do. Any thread may read it.
    """

    def __init__(self, max_age_s: float) -> None:
        self._max_age_s = max_age_s
        self._grain_s = max_age_s / GRAINS
        self._marks: deque[Mark] = deque()
        self._noted = 0
        self._note_at_s = 0.0
        self.look_at_s = 0.0

    @property
    def grain_ns(self) -> int:
        """How finely the ages of an earlier process's records are told apart; at least 1."""
        return max(1, round(self._grain_s * _NS))

    def begin(self, found: Sequence[tuple[int, int]], *, last: int, wall: int, now_s: float) -> None:
        """Take over what an earlier process left.

        Args:
            found: For each group of records with stamps between 2001 and ``wall``: the greatest number and the latest
                stamp, ns. Oldest stamps first; a group may reach over ``grain_ns``, and all that are over the limit
                may be one.
            last: The greatest number there is.
            wall: The present by the wall clock, ns since the Unix epoch.
            now_s: The same moment by the monotonic clock.
        """
        for seq, at in found:
            born_s = now_s - (wall - at) / _NS
            self._marks.append(Mark(last=seq, born_s=born_s, stamped=(CLOCK_SET_NS, at)))
        if last:
            self._marks.append(Mark(last=last, born_s=now_s))
        self._noted = last
        self._note_at_s = now_s + self._grain_s

    def note(self, last: int, now_s: float) -> None:
        """Say that the records up to ``last`` are there now; keeps one mark per grain."""
        if now_s >= self._note_at_s:
            self._note_at_s = now_s + self._grain_s
            if last > self._noted:
                self._noted = last
                self._marks.append(Mark(last=last, born_s=now_s))
        self.look_at_s = self._note_at_s
        if self._marks:
            self.look_at_s = min(self.look_at_s, self._marks[0].born_s + self._max_age_s)

    def due(self, now_s: float) -> Mark | None:
        """Return the oldest mark whose records are all over the limit; the same again until ``done``."""
        if self._marks and now_s - self._marks[0].born_s > self._max_age_s:
            return self._marks[0]
        return None

    def done(self) -> None:
        """Forget the oldest mark: its records are gone."""
        self._marks.popleft()
