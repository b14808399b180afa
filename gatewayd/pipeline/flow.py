"""The whole way from messages to publications.

Pure: the same messages in the same order give each device's publications in the same order, byte for byte, however
they are cut into runs, and whether or not the flow was stopped in between and another went on with its ``state``.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from gatewayd.domain.arrays import Int64
from gatewayd.domain.figures import LineFigures
from gatewayd.domain.reading import Message
from gatewayd.domain.state import State, as_counts, as_int, as_state
from gatewayd.errors import RejectedInputError
from gatewayd.pipeline.alarm import Answer
from gatewayd.pipeline.commands import Command, answer, parse_command
from gatewayd.pipeline.decode import Readings, Routed, Router
from gatewayd.pipeline.stream import Stream, StreamPlan
from gatewayd.pipeline.verdict_sparkplug import stream_of
from gatewayd.pipeline.verdicts import AlertChange, Outcome

# What steps meet in a state whose parts are other than their own would be.
_NO_STATE = (AssertionError, AttributeError, IndexError, KeyError, OverflowError, TypeError)

__all__ = ["AlertChange", "Flow", "Outcome", "StreamPlan"]

# What a clock that is kept right by small corrections never does at once.
_CLOCK_STEP_NS = 5 * 10**9


class Flow:
    """All streams of a gateway. Owned by the line.

    Args:
        gateway: The gateway's id.
        plans: The streams, in the order of the configuration.
        commands: Upstream broker and topic on which people speak to alerts; None: nowhere.

    Attributes:
        on_readings: Called with what each stream decodes, before its steps take it, for whoever looks on (``trace``);
            None: nobody does.
        last_words: What is to be published of streams and conditions that the latest ``adopt`` or ``restore`` found
            gone; the caller's from there on.
        abandoned_alerts: Alerts that the latest ``adopt`` or ``restore`` could not carry over, by stream; nothing will
            clear them.
    """

    def __init__(
        self, gateway: str, plans: Sequence[StreamPlan], *, commands: tuple[str, str] | None = None
    ) -> None:
        self._commands = commands
        self._edge_nodes = {
            plan.settings.publish.to: plan.edge_node for plan in plans if plan.edge_node is not None
        }
        self._streams = [Stream(plan, gateway=gateway) for plan in plans]
        self._router = Router(
            [stream.devices for stream in self._streams],
            [stream.is_timed for stream in self._streams],
            [stream.is_free for stream in self._streams],
        )
        # Counters by name, each by reason; those of streams that a reload has removed are added to them.
        self._counters: dict[str, Counter[str]] = {}
        self._examples: dict[str, str] = {}
        self.on_readings: Callable[[Stream, Readings], None] | None = None
        self._clock_offset: int | None = None  # of the latest message; None: there was none
        self.abandoned_alerts: dict[str, int] = {}
        self.last_words = Outcome()

    def run(self, messages: Sequence[Message], arrived_at: Int64, steady_at: Int64 | None = None) -> Outcome:
        """Take messages in.

        Args:
            messages: In order of arrival.
            arrived_at: Shape ``(n,)``, gateway clock, ns since the Unix epoch; apart by 1,000 or more, so that several
                readings of one message can be kept apart.
            steady_at: Shape ``(n,)``, the same by a clock that never jumps, for what is silent too long; None: the
                same as ``arrived_at``.
        """
        outcome = Outcome()
        if steady_at is None:
            steady_at = arrived_at
        self._do_due(arrived_at, outcome)
        begin = 0
        for end in [*self._clock_steps(arrived_at - steady_at), len(messages)]:
            part = slice(begin, end)
            if begin or end < len(messages):
                self._run(messages[part], arrived_at[part], steady_at[part], outcome)
            else:
                self._run(messages, arrived_at, steady_at, outcome)
            if end < len(messages):
                for stream in self._streams:
                    stream.set_clock()
            begin = end
        return outcome

    def _do_due(self, arrived_at: Int64, outcome: Outcome) -> None:
        """Do what was due by the gateway's clock before these messages came, as a tick would have done."""
        for stream in self._streams:
            due = stream.verdicts.deadline()
            if due is not None and len(arrived_at) and due <= arrived_at[0]:
                stream.verdicts.expire(int(arrived_at[0]), outcome)

    def _clock_steps(self, offset: Int64) -> list[int]:
        """Return the messages before which the gateway's clock was set.

        Args:
            offset: Shape ``(n,)``, how far it is ahead of the clock that never jumps, ns.
        """
        if not len(offset):
            return []
        before, self._clock_offset = self._clock_offset, int(offset[-1])
        if before is None:
            before = int(offset[0])
        if abs(int(offset[0]) - before) <= _CLOCK_STEP_NS and int(np.ptp(offset)) <= _CLOCK_STEP_NS:
            return []
        steps = np.abs(np.diff(offset, prepend=before)) > _CLOCK_STEP_NS
        return [int(row) for row in np.flatnonzero(steps)]

    def _run(
        self, messages: Sequence[Message], arrived_at: Int64, steady_at: Int64, outcome: Outcome
    ) -> None:
        routed, refused = self._router.route(messages, arrived_at, steady_at)
        if refused:
            self._counted("refused").update(refused)
            for reason in refused:
                self._examples.setdefault(f"refused/{reason}", self._router.examples[reason])
        handed_on = sum(len(part.payloads) for part in routed if part is not None)
        totals = self._counted("totals")
        totals["messages"] += len(messages)
        totals["copies"] += handed_on + sum(refused.values()) - len(messages)
        for stream, part in zip(self._streams, routed, strict=True):
            for piece in () if part is None else stream.parts(part):
                self._run_stream(stream, piece, outcome)

    def advance(self, now: int, steady_now: int) -> Outcome:
        """Do what is due because nothing came: silent devices, open windows of idle ones, ends of shelvings.

        Args:
            now: Gateway clock, ns since the Unix epoch.
            steady_now: The same by the clock that never jumps.
        """
        outcome = Outcome()
        for stream in self._streams:
            stream.expire(now, steady_now, outcome)
        return outcome

    def hear(self, broker: str, topic: str, payload: bytes, at: int) -> Outcome:
        """Take in what was said to the gateway from upstream, on one of ``listens_to``.

        Args:
            broker: Name of the upstream broker.
            topic: Of the message.
            payload: Of the message.
            at: Gateway clock, ns since the Unix epoch.
        """
        outcome = Outcome()
        if (broker, topic) == self._commands:
            outcome.answer = self._obey(payload, at, outcome)
        for stream in self._streams:
            if (
                stream.plan.settings.publish.to == broker
                and topic == stream.birth_topic
                and payload == b"online"
            ):
                stream.verdicts.announce(outcome)
        node = self._edge_nodes.get(broker)
        if node is not None and topic == node.command_topic and node.asks_rebirth(payload):
            outcome.publications.extend(node.rebirth(at))
        return outcome

    def listens_to(self, broker: str) -> list[str]:
        """Return the topics that the gateway wants to hear from an upstream broker, each once."""
        topics = [self._commands[1]] if self._commands is not None and self._commands[0] == broker else []
        topics += [
            stream.birth_topic
            for stream in self._streams
            if stream.plan.settings.publish.to == broker and stream.birth_topic is not None
        ]
        if broker in self._edge_nodes:
            topics.append(self._edge_nodes[broker].command_topic)
        return list(dict.fromkeys(topics))

    def _obey(self, payload: bytes, at: int, outcome: Outcome) -> bytes:
        """Do what a person says to an alert, docs/alerts.md, "Commands"; return the answer."""
        try:
            command = parse_command(payload)
        except RejectedInputError as error:
            self._counted("commands")[error.reason] += 1
            detail = str(error).partition(": ")[2]
            return answer(None, result="refused", reason=error.reason, detail=detail, changed=0, at=at)
        given = self._command(command, at, outcome)
        self._counted("commands")[given.refusal or "done"] += 1
        return answer(
            command,
            result="refused" if given.refusal is not None else "done",
            reason=given.refusal,
            detail=None,
            changed=len(given.changes),
            at=at,
        )

    def deadlines(self) -> tuple[int | None, int | None]:
        """Return when ``advance`` has something to do, by the gateway clock and by the steady one; None: never."""
        shelved = [stream.verdicts.deadline() for stream in self._streams]
        silent = [stream.steps.deadline() for stream in self._streams]
        return (
            min((at for at in shelved if at is not None), default=None),
            min((at for at in silent if at is not None), default=None),
        )

    def state(self) -> State:
        """Copy out all that the flow remembers."""
        return {
            "streams": {stream.name: stream.state() for stream in self._streams},
            "edge_nodes": {broker: node.state() for broker, node in self._edge_nodes.items()},
            "counters": {name: dict(counts) for name, counts in self._counters.items()},
            "examples": dict(self._examples),
        }

    def alerts_state(self) -> State:
        """Copy out what must not be lost with the process: devices, alerts, what is usual; no windows, no counters."""
        return {"streams": {stream.name: stream.alerts_state() for stream in self._streams}}

    def restore(self, state: State) -> list[str]:
        """Go on where another flow stopped, with this one's configuration.

        Returns:
            Names of the streams whose open windows could not be kept.

        Raises:
            ValueError: The state isn't one, or of another version; this flow may have taken half of it over.
        """
        try:
            return self._go_on(state, lambda stream, its: stream.restore(its))
        except _NO_STATE as error:
            raise ValueError(f"no state of this version: {type(error).__name__} {error}") from error

    def adopt(self, old: "Flow") -> list[str]:
        """Go on where another configuration's flow stopped, in the same process.

        Returns:
            Names of the streams whose open windows could not be kept.
        """
        before = {stream.name: stream for stream in old._streams}  # noqa: SLF001  # its own kind
        after = {stream.name: stream for stream in self._streams}
        for name, stream in before.items():
            if name not in after or not after[name].speaks_like(stream):
                self.last_words.publications.extend(stream.last_words())
        return self._go_on(old.state(), lambda stream, its: stream.adopt(before[stream.name], its))

    def begin_sessions(self) -> None:
        """Say that this process is new: whoever follows births is told all again."""
        for node in self._edge_nodes.values():
            node.begin_session()

    def figures(self) -> LineFigures:
        """Return what was done so far; ``is_subscribed``, ``unstored`` and ``refused_frames`` are the shell's."""
        counted = {name: Counter(counts) for name, counts in self._counters.items()}
        examples = dict(self._examples)
        for stream in self._streams:
            for name, counts in stream.counters().items():
                counted.setdefault(name, Counter()).update(counts)
            examples = {**stream.told_examples(), **examples}

        def by_reason(name: str) -> dict[str, int]:
            return {reason: count for reason, count in counted.get(name, Counter()).items() if count}

        totals, alerts = counted.get("totals", Counter()), counted.get("counts", Counter())
        return LineFigures(
            messages=totals["messages"],
            copies=totals["copies"],
            refused=by_reason("refused"),
            rejected=by_reason("rejected"),
            unread=by_reason("unread"),
            accepted=totals["accepted"],
            readings=totals["readings"],
            untimed=by_reason("untimed"),
            dropped=by_reason("dropped"),
            clipped=by_reason("clipped"),
            marked=by_reason("marked"),
            removed=by_reason("removed"),
            merged=totals["used"],
            grid_rows=totals["made"],
            unfilled=totals["unfilled"],
            waiting=sum(stream.steps.waiting for stream in self._streams),
            scored=totals["scored"],
            windows=alerts["windows"],
            unscored=by_reason("unscored"),
            predictions=alerts["predictions"],
            alerts_raised=alerts["raised"],
            alerts_cleared=alerts["cleared"],
            alerts_withheld=by_reason("withheld"),
            commands=by_reason("commands"),
            alerts_standing=sum(stream.verdicts.decider.standing for stream in self._streams),
            devices=sum(len(stream.devices.known) for stream in self._streams),
            saturated=by_reason("saturated"),
            unasked={s.name: told for s in self._streams if (told := s.unasked()) is not None},
            examples=examples,
        )

    def _run_stream(self, stream: Stream, routed: Routed, outcome: Outcome) -> None:
        readings = stream.decode(routed)
        if self.on_readings is not None:
            self.on_readings(stream, readings)
        if readings.rejected:
            self._counted("rejected").update(reason for _, reason in readings.rejected)
        if readings.untimed:
            self._counted("untimed").update(dict(readings.untimed))
        totals = self._counted("totals")
        totals["accepted"] += len(routed.payloads) - len(readings.rejected)
        totals["readings"] += len(readings.batch)
        stream.take(readings, outcome, now=int(routed.arrived_at[0]))

    def _command(self, command: Command, at: int, outcome: Outcome) -> Answer:
        given = Answer(refusal="unknown_alert")
        for stream in self._streams:
            target = stream.target(command)
            if target is None:
                continue
            given = stream.verdicts.command(
                command.command, target, outcome, at=at, by=command.by, for_ns=command.for_ns
            )
            if given.refusal != "unknown_alert":
                break
        return given

    def _go_on(self, state: State, take: Callable[[Stream, State], bool]) -> list[str]:
        states = {name: as_state(value) for name, value in as_state(state["streams"]).items()}
        if "counters" in state:
            self._count_on(state)
        restarted: list[str] = []
        self.abandoned_alerts = {}
        for stream in self._streams:
            earlier = states.pop(stream.name, None)
            if earlier is None:
                continue
            if not take(stream, earlier):
                restarted.append(stream.name)
            stream.verdicts.withdraw(self.last_words)
            stream.verdicts.tell_again(self.last_words)
            lost = _standing(earlier) - stream.verdicts.decider.standing
            if lost > 0:
                self.abandoned_alerts[stream.name] = lost
        for name, gone in states.items():
            for counter, counts in _last_counters(gone):
                self._counted(counter).update(counts)
            if _standing(gone):
                self.abandoned_alerts[name] = _standing(gone)
        self._bury()
        return restarted

    def _bury(self) -> None:
        """Tell Sparkplug's hosts of devices whose stream is gone."""
        streams = [stream for stream in self._streams if stream.plan.edge_node is not None]
        for node in self._edge_nodes.values():
            here = {stream.name for stream in streams if stream.plan.edge_node is node}
            for device in node.devices:
                if stream_of(device) not in here:
                    self.last_words.publications.append(node.remove(device, node.told_at(device)))

    def _count_on(self, state: State) -> None:
        for broker, node in as_state(state["edge_nodes"]).items():
            if broker in self._edge_nodes:
                self._edge_nodes[broker].restore(as_state(node))
        counters = as_state(state["counters"])
        self._counters = {name: Counter(as_counts(counts)) for name, counts in counters.items()}
        self._examples = {name: str(example) for name, example in as_state(state["examples"]).items()}

    def _counted(self, name: str) -> Counter[str]:
        return self._counters.setdefault(name, Counter())


def _standing(stream: State) -> int:
    return as_int(stream["standing"])


def _last_counters(stream: State) -> Iterator[tuple[str, Mapping[str, int]]]:
    """Yield the counters of a stream that is no longer configured; what waited in its windows is given up."""
    if "counters" not in stream:
        return
    for name, counts in as_state(stream["counters"]).items():
        yield name, as_counts(counts)
    yield "dropped", {"reload": as_int(stream["waiting"])}
