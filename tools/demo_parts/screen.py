"""What the viewer sees: one line a pump that moves with its score, and alerts that stay.

On a terminal the lines are redrawn in place; elsewhere there is one line a second. Colour only on a
terminal, and not where NO_COLOR is set (no-color.org).
"""

import os
import time
from typing import TextIO

from .ledger import Seen

_WIDTH = 32  # of a bar; the threshold stands in its middle
_RED, _GREEN, _DIM = "\x1b[1;31m", "\x1b[1;32m", "\x1b[2m"


class Screen:
    """Draws. Owned by the stage."""

    def __init__(self, stream: TextIO, devices: tuple[str, ...]) -> None:
        self._stream = stream
        self._is_live = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._is_coloured = self._is_live and not os.environ.get("NO_COLOR")
        self._latest: dict[str, Seen | None] = dict.fromkeys(devices)
        self._raised: set[str] = set()
        self._drawn = 0
        self._next_line_at = 0.0

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._erase()
        print(text, file=self._stream, flush=True)

    def show(self, seen: Seen, *, at_s: float) -> None:
        """Take in one result; an alert is printed at once.

        Args:
            seen: A prediction or an alert.
            at_s: Seconds since the sensors' start.
        """
        if seen.state is None:
            self._latest[seen.device] = seen
            return
        if seen.state == "raised":
            self._raised.add(seen.device)
            causes = ", ".join(f"{channel} {part:.0%}" for channel, part in seen.causes[:2])
            numbers = f"score {seen.score:.3g}, threshold {seen.threshold:.3g}"
            text = f"{at_s:6.1f} s  !! ALERT    {seen.device}  {numbers}"
            self.say(self._paint(_RED, f"{text}: {causes}" if causes else text))
        else:
            self._raised.discard(seen.device)
            text = f"{at_s:6.1f} s  ok CLEARED  {seen.device}  score {seen.score:.3g}"
            self.say(self._paint(_GREEN, text))

    def draw(self, *, at_s: float) -> None:
        """Show the latest scores: in place on a terminal, else once a second."""
        if self._is_live:
            self._erase()
            lines = [self._line(device, seen) for device, seen in self._latest.items()]
            print("\n".join(lines), file=self._stream, flush=True)
            self._drawn = len(lines)
        elif (now := time.monotonic()) >= self._next_line_at:
            self._next_line_at = now + 1.0
            scores = "  ".join(
                f"{device} {'-' if seen is None else format(seen.score, '.3g')}"
                f"{'!' if device in self._raised else ''}"
                for device, seen in self._latest.items()
            )
            print(f"{at_s:6.1f} s  {scores}", file=self._stream, flush=True)

    def _line(self, device: str, seen: Seen | None) -> str:
        if seen is None:
            return self._paint(_DIM, f"  {device}  waiting for a full window")
        filled = min(_WIDTH, round(seen.score / seen.threshold * _WIDTH / 2))
        bar = ("█" * filled).ljust(_WIDTH, "·")
        bar = f"{bar[: _WIDTH // 2]}│{bar[_WIDTH // 2 :]}"
        text = f"  {device}  {bar}  {seen.score:8.3g}"
        if device in self._raised:
            return self._paint(_RED, f"{text}  ALERT")
        return text

    def _erase(self) -> None:
        if self._drawn:
            self._stream.write(f"\x1b[{self._drawn}F\x1b[J")
            self._drawn = 0

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}\x1b[0m" if self._is_coloured else text
