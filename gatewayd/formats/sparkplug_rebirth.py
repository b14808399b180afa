"""When a Sparkplug edge node is asked to announce itself anew, and how.

A rebirth costs the plant: every metric of a node and its devices is sent again, to everybody. So one node is asked at
most every 10 s, and twice as long after each time, up to an hour: a gateway that gets a part of a node's messages only,
by its topic filter, sees gaps without end. Over all nodes it's at most 10 requests a second, whatever nodes peers make
up.

Reference:
    Sparkplug 3.0.0, 6.4 "Sparkplug B": NCMD, "Node Control/Rebirth".
"""

from gatewayd.domain.state import State, Value, as_int
from gatewayd.formats.remembered import Remembered, as_list
from gatewayd.formats.sample import Request
from gatewayd.formats.sparkplug_metric import BOOLEAN
from gatewayd.formats.sparkplug_schema import new_payload

FIRST_PAUSE_NS = 10 * 10**9
LONGEST_PAUSE_NS = 3600 * 10**9
MAX_PER_SECOND = 10


_Asked = tuple[int, int, int]  # when, the pause from then, the next one; ns


class Rebirths:
    """Bounds the requests; remembers at most 4,096 nodes. Owned by its format, and so by the line."""

    def __init__(self) -> None:
        self._asked: Remembered[_Asked] = Remembered()
        self._second = 0
        self._in_second = 0

    def request(self, group: str, node: str, *, now: int) -> Request | None:
        """Return the request to send; None where it's too early for one.

        Args:
            group: The node's group.
            node: The edge node.
            now: Gateway clock, ns since the Unix epoch; may jump. A step back ends every pause.
        """
        key = f"{group}/{node}"
        asked_at, pause, next_pause = self._asked.get(key) or (now, 0, FIRST_PAUSE_NS)
        if 0 <= now - asked_at < pause:
            return None
        if self._second != now // 10**9:
            self._second, self._in_second = now // 10**9, 0
        if self._in_second == MAX_PER_SECOND:
            return None
        self._in_second += 1
        self._asked.store(key, (now, next_pause, min(2 * next_pause, LONGEST_PAUSE_NS)))
        return Request(topic=f"spBv1.0/{group}/NCMD/{node}", payload=_payload(now))

    def settle(self, group: str, node: str) -> None:
        """Start from the shortest pause again, from the last request on: the node's messages come in order."""
        key = f"{group}/{node}"
        asked = self._asked.get(key)
        if asked is not None:
            self._asked.store(key, (asked[0], FIRST_PAUSE_NS, FIRST_PAUSE_NS))

    def forget(self, group: str, node: str) -> None:
        """Forget when a node was asked: what it announced is not known any more, whatever became of the answer."""
        self._asked.discard(f"{group}/{node}")

    def state(self) -> State:
        """Copy out whom was asked when."""
        asked: Value = self._asked.state(list)
        return {"asked": asked, "second": self._second, "in_second": self._in_second}

    def restore(self, state: State) -> None:
        """Go on where another one stopped. Raises ValueError, and changes nothing, where the state is none of these."""
        second, in_second = as_int(state.get("second")), as_int(state.get("in_second"))
        self._asked.restore(state.get("asked"), _unpacked)
        self._second, self._in_second = second, min(max(in_second, 0), MAX_PER_SECOND)


def _unpacked(value: Value) -> _Asked:
    asked_at, pause, next_pause = (as_int(part) for part in as_list(value, 3))
    return asked_at, min(pause, LONGEST_PAUSE_NS), min(next_pause, LONGEST_PAUSE_NS)


def _payload(now: int) -> bytes:
    payload = new_payload()
    payload.timestamp = max(now, 0) // 10**6
    metric = payload.metrics.add()
    metric.name = "Node Control/Rebirth"  # by name: a birth that nobody has seen announced no alias
    metric.timestamp = payload.timestamp
    metric.datatype = BOOLEAN
    metric.boolean_value = True
    return payload.SerializeToString()
