"""One stream's steps, built from its settings and its model: what ``flow`` runs."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayd import __version__
from gatewayd.config.settings import StreamSettings
from gatewayd.domain.model import ModelSpec
from gatewayd.domain.state import State, as_counts, as_state
from gatewayd.domain.topic import TopicFilter, TopicTemplate
from gatewayd.domain.verdict import Publication
from gatewayd.formats.decoded import Format
from gatewayd.formats.json_object import JsonObjectFormat
from gatewayd.formats.number import NumberFormat
from gatewayd.formats.sample import Request, SampleFormat
from gatewayd.pipeline.commands import Command
from gatewayd.pipeline.decode import ColumnDecoder, Devices, Readings, Routed
from gatewayd.pipeline.encode import Encoder, Origin
from gatewayd.pipeline.home_assistant import HomeAssistant
from gatewayd.pipeline.infer import Model
from gatewayd.pipeline.lifecycle import Key
from gatewayd.pipeline.pictures import Pictures
from gatewayd.pipeline.rows import Column, RowDecoder
from gatewayd.pipeline.steps import Steps
from gatewayd.pipeline.verdicts import Outcome, Verdicts, watched_by

if TYPE_CHECKING:
    from gatewayd.pipeline.sparkplug_node import EdgeNode


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamPlan:
    """What a stream is made from. ``model`` and the formats belong to the line's thread from here on.

    ``free_format`` is the format where the settings name one of free shape, ``image_format`` where they name
    ``image``; both None for ``json`` and ``number``.
    ``status_topic`` is where the upstream link says ``online``. ``edge_node`` belongs to all streams of one broker that
    publish in Sparkplug; None for the others.
    """

    name: str
    settings: StreamSettings
    spec: ModelSpec
    model: Model
    free_format: SampleFormat | None = None
    image_format: Format | None = None
    status_topic: str = ""
    edge_node: "EdgeNode | None" = None


class Stream:
    """One stream's steps and their state. Owned by the line.

    Raises:
        ValueError: Neither the settings nor the model have a threshold (found earlier by ``startup``).
    """

    def __init__(self, plan: StreamPlan, *, gateway: str) -> None:
        settings, spec = plan.settings, plan.spec
        self.plan, self.name, self.spec = plan, plan.name, spec
        self.is_free = plan.free_format is not None
        self.is_timed = settings.time is not None or self.is_free
        origin = Origin(
            gateway=gateway,
            stream=plan.name,
            model=spec.name,
            version=spec.version,
            runtime=plan.model.runtime,
        )
        encoder = Encoder(
            origin,
            broker=settings.publish.to,
            topic=TopicTemplate.parse(settings.publish.topic),
            qos=settings.publish.qos,
            encoding=settings.publish.encoding,
            edge_node=plan.edge_node,
            retains_alerts=settings.publish.alert_state,
            expires_s=settings.publish.expires_s,
        )
        self.devices = Devices(
            TopicFilter.parse(settings.topic),
            name=settings.device or plan.name,
            limit=settings.window.max_devices,
            fits=encoder.fits,
            also=[TopicFilter.parse(pattern) for pattern in settings.also],
        )
        self._decoder = self._make_decoder()
        self.steps = Steps(settings, spec, is_timed=self.is_timed)
        self.verdicts = Verdicts(
            name=plan.name,
            settings=settings,
            spec=spec,
            model=plan.model,
            encoder=encoder,
            devices=self.devices,
            home_assistant=_home_assistant(plan, encoder),
        )
        self.unread: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.requests: list[Request] = []
        self._gone: list[tuple[int, int, int]] = []

    def parts(self, routed: Routed) -> Iterable[Routed]:
        """Return a run's messages as many at once as memory allows to decode: all of them, unless they are pictures."""
        windower = self.steps.windower
        return routed.parts(windower.most) if isinstance(windower, Pictures) else (routed,)

    def decode(self, routed: Routed) -> Readings:
        """Decode messages of this run."""
        readings = self._decoder.decode(routed)
        for index, reason in readings.rejected:
            where = routed.topics[index].decode() if routed.topics else int(routed.device[index])
            self._note("rejected", reason, where)
        if isinstance(self._decoder, RowDecoder):
            self.unread.update(self._decoder.unread)
            for reason, example in self._decoder.examples.items():
                self._note("unread", reason, example)
            self.requests += self._decoder.requests
            self._gone = self._decoder.offline
        return readings

    def take(self, readings: Readings, outcome: Outcome, *, now: int) -> None:
        """Take decoded readings through all steps; add what came of them to ``outcome``.

        Args:
            readings: Of one run.
            outcome: Takes what comes of them.
            now: Gateway clock, ns since the Unix epoch, when the first of them arrived.
        """
        for happening in self.steps.take(readings, self._gone):
            self.verdicts.take(happening, outcome, now=now)
        self._gone = []
        outcome.requests.extend(self.requests)
        self.requests = []

    def expire(self, now: int, steady_now: int, outcome: Outcome) -> None:
        """Do what is due because nothing came; see ``Flow.advance``."""
        for happening in self.steps.expire(steady_now):
            self.verdicts.take(happening, outcome, now=now)
        self.verdicts.expire(now, outcome)

    def unasked(self) -> str | None:
        """Return what channels came where none that was asked for did; None where some did, or nothing came."""
        if not isinstance(self._decoder, RowDecoder) or not self._decoder.unasked:
            return None
        channels = self.plan.settings.channels
        wanted = [channels[channel.name].field or channel.name for channel in self.spec.channels]
        return f"{', '.join(self._decoder.unasked)}; wanted: {', '.join(wanted)}"

    def told_examples(self) -> dict[str, str]:
        """Return the first device or topic of each kind of loss, as ``stream/levels``."""
        found = {
            f"dropped/{reason}": "/".join((self.name, *self.devices.known[device].levels.values()))
            for reason, device in self.steps.examples.items()
        }
        return {**found, **self.examples}

    def set_clock(self) -> None:
        """Begin windows anew: the gateway's clock was set, and no time passed between what it stamped before and after.

        Streams whose readings carry the sensors' time have no use for the gateway's.
        """
        if self.is_timed:
            return
        fresh = Steps(self.plan.settings, self.spec, is_timed=False)
        fresh.begin_anew(self.steps.state(), reason="clock_set", keeps_times=False)
        fresh.take_silences(self.steps)
        fresh.take_conditions(self.verdicts.decider.alarms.lasting)
        self.steps = fresh

    def counters(self) -> dict[str, dict[str, int]]:
        """Return all counters that are the stream's own, by name, each by reason."""
        steps, verdicts = self.steps, self.verdicts.counters()
        return {
            **verdicts,
            "saturated": {f"{self.name}/{name}": count for name, count in verdicts["saturated"].items()},
            "unread": dict(self.unread),
            "dropped": dict(steps.all_dropped),
            "clipped": dict(steps.clipped),
            "marked": dict(steps.all_marked + Counter(verdicts["marked"])),
            "removed": dict(steps.removed),
            "totals": {
                "scored": steps.windower.scored,
                "used": steps.used,
                "made": steps.made,
                "unfilled": steps.unfilled,
            },
        }

    def state(self) -> State:
        """Copy out all that the stream remembers, and what it was configured as."""
        return {
            **self.alerts_state(),
            "shape": self._shape(),
            "time": repr(self.plan.settings.time),
            "steps": self.steps.state(),
            "counters": self.counters(),
            "waiting": self.steps.waiting,
            "unread": dict(self.unread),
            "examples": self.told_examples(),
        }

    def alerts_state(self) -> State:
        """Copy out devices, alerts, what is usual and what the format has learnt, without windows and counters."""
        return {
            "reads": self._reads(),
            "decoder": self._decoder.state() if isinstance(self._decoder, RowDecoder) else None,
            "place": [self.plan.settings.topic, self.plan.settings.device],
            "devices": self.devices.state(),
            "verdicts": self.verdicts.state(),
            "standing": self.verdicts.decider.standing,
        }

    def restore(self, state: State) -> bool:
        """Go on where an earlier form of this stream stopped: devices, open windows, standing alerts.

        Returns:
            False where the two differ so much that windows begin anew; the readings in open windows are then
            dropped with the reason ``reload``.
        """
        learnt = state.get("decoder")
        if learnt is not None and state["reads"] == self._reads() and isinstance(self._decoder, RowDecoder):
            self._decoder.restore(as_state(learnt))
        return self._go_on(state)

    def _go_on(self, state: State) -> bool:
        """Do what ``restore`` does, but for the format: within one process it missed nothing."""
        verdicts = as_state(state["verdicts"])
        is_whole = "steps" in state  # otherwise from ``alerts_state``
        if is_whole:
            self.unread = Counter(as_counts(state["unread"]))
            self.examples = {name: str(example) for name, example in as_state(state["examples"]).items()}
            self.verdicts.count_on(verdicts)
        is_same_place = state["place"] == [self.plan.settings.topic, self.plan.settings.device]
        if is_same_place:
            self.devices.restore(as_state(state["devices"]))
            self.verdicts.restore(verdicts)
        lasting, devices = self.verdicts.decider.alarms.lasting, len(self.devices.known)
        if not is_whole:
            self.steps.take_up(devices, lasting)
            return True
        steps = as_state(state["steps"])
        if is_same_place and state["shape"] == self._shape():
            self.steps.restore(steps)
            return True
        self.steps.begin_anew(
            steps,
            reason="reload",
            keeps_times=is_same_place and state["time"] == repr(self.plan.settings.time),
        )
        if is_same_place:
            self.steps.take_up(devices, lasting, steps)
        return False

    def adopt(self, old: "Stream", state: State) -> bool:
        """Go on where an earlier form of this stream stopped, in the same process; see ``restore``.

        Args:
            old: The other one.
            state: Its state.
        """
        before = old._decoder  # noqa: SLF001  # its own kind
        if (
            state["reads"] == self._reads()
            and isinstance(self._decoder, RowDecoder)
            and isinstance(before, RowDecoder)
        ):
            self._decoder.adopt(before)
        return self._go_on(state)

    def _reads(self) -> str:
        """Tell what the format was made of, and with it what it has learnt."""
        settings = self.plan.settings
        return repr((settings.format, settings.format_options, settings.time))

    def _shape(self) -> list[str]:
        """Tell what open windows and the memories of the steps depend on."""
        settings, spec = self.plan.settings, self.spec
        window = settings.window
        return [
            repr([(c.name, settings.channels[c.name]) for c in spec.channels]),
            self._reads(),
            repr((settings.lateness_s > 0, settings.align)),
            repr((settings.idle_timeout_s is None, settings.alert.silent_after_s is None)),
            repr((settings.alert.out_of_range, spec.normalise, window.duration_s, window.hop_s)),
            repr((spec.length, window.hop if window.hop is not None else spec.hop)),
        ]

    def _make_decoder(self) -> RowDecoder | ColumnDecoder:
        settings, spec = self.plan.settings, self.plan.spec
        channels = [(channel.name, settings.channels[channel.name]) for channel in spec.channels]
        # Columns stand in the model's order from here on, whatever the order in the configuration.
        if self.plan.free_format is not None:
            columns = [Column(field=limit.field or name, unit=limit.unit) for name, limit in channels]
            return RowDecoder(self.plan.free_format, self.devices, columns)
        if self.plan.image_format is not None:
            return ColumnDecoder(self.plan.image_format)
        if settings.format == "number":
            return ColumnDecoder(NumberFormat())
        paths = [limit.field or name for name, limit in channels]
        if settings.time is None:
            return ColumnDecoder(JsonObjectFormat(paths, time_path=None))
        return ColumnDecoder(
            JsonObjectFormat(
                paths,
                time_path=settings.time.field,
                time_unit=settings.time.unit,
                timezone=settings.time.timezone,
            )
        )

    @property
    def birth_topic(self) -> str | None:
        """Where Home Assistant says that it has begun to listen; None: nobody asked for it."""
        options = self.plan.settings.publish.home_assistant
        return None if options is None else f"{options.prefix}/status"

    def speaks_like(self, other: "Stream") -> bool:
        """Tell whether this one's publications stand where another one's stood."""
        mine, theirs = self.plan.settings, other.plan.settings
        return (mine.topic, mine.device, mine.publish) == (theirs.topic, theirs.device, theirs.publish)

    def last_words(self) -> list[Publication]:
        """Return what takes back what was retained of the stream: alerts that stand, devices in Home Assistant."""
        return self.verdicts.last_words()

    def target(self, command: Command) -> str | Key | None:
        """Return the alert that a command names; None where it can't be one of this stream's."""
        if command.alert is not None:
            return command.alert
        if command.stream != self.name or command.condition is None:
            return None
        if not self.verdicts.watches(command.condition, command.channel):
            return None  # nor is anything remembered of it, however often somebody says so
        found = [index for index, device in enumerate(self.devices.known) if device.name == command.device]
        return (found[0], command.condition, command.channel) if len(found) == 1 else None

    def _note(self, what: str, reason: str, where: int | str) -> None:
        """Remember the first device or topic that something happened to, for the log."""
        key = f"{what}/{reason}"
        if key not in self.examples:
            levels = (where,) if isinstance(where, str) else self.devices.known[where].levels.values()
            self.examples[key] = "/".join((self.name, *levels))


def _home_assistant(plan: StreamPlan, encoder: Encoder) -> HomeAssistant | None:
    options = plan.settings.publish.home_assistant
    if options is None:
        return None
    return HomeAssistant(
        encoder,
        status_topic=plan.status_topic,
        version=__version__,
        prefix=options.prefix,
        watched=watched_by(plan.settings, plan.spec),
        has_scores=plan.settings.publish.predictions == "all",
    )
