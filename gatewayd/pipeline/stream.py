"""One stream's steps, built from its settings and its model: what ``flow`` runs."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from gatewayd.config.settings import StreamSettings, parse_n_of_m
from gatewayd.domain.model import ModelSpec
from gatewayd.domain.topic import TopicFilter, TopicTemplate
from gatewayd.domain.window import WindowBatch
from gatewayd.formats.json_object import JsonObjectFormat
from gatewayd.formats.number import NumberFormat
from gatewayd.formats.sample import Request, SampleFormat
from gatewayd.pipeline.clean import Cleaner
from gatewayd.pipeline.decide import Decider, Rule
from gatewayd.pipeline.decode import ColumnDecoder, Devices, Readings, Routed
from gatewayd.pipeline.encode import Encoder, Origin
from gatewayd.pipeline.infer import Model
from gatewayd.pipeline.rows import Column, RowDecoder
from gatewayd.pipeline.window import Windower

_SECOND = 10**9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamPlan:
    """What a stream is made from. ``model`` and ``free_format`` belong to the line's thread from here on.

    ``free_format`` is the format where the settings name one of free shape; None for ``json`` and ``number``.
    """

    name: str
    settings: StreamSettings
    spec: ModelSpec
    model: Model
    free_format: SampleFormat | None = None


class Stream:
    """One stream's steps and their state. Owned by the line.

    Raises:
        ValueError: Neither the settings nor the model have a threshold (found earlier by ``startup``).
    """

    def __init__(self, plan: StreamPlan, *, gateway: str) -> None:
        settings, spec = plan.settings, plan.spec
        self.plan, self.name, self.model, self.spec = plan, plan.name, plan.model, spec
        self.is_free = plan.free_format is not None
        self.is_timed = settings.time is not None or self.is_free
        self.publishes = settings.publish.predictions
        self.threshold = settings.alert.threshold if settings.alert.threshold is not None else spec.threshold
        if self.threshold is None:
            raise ValueError(f"stream {plan.name} has no threshold")
        pattern = TopicFilter.parse(settings.topic)
        origin = Origin(
            gateway=gateway,
            stream=plan.name,
            model=spec.name,
            version=spec.version,
            runtime=plan.model.runtime,
        )
        self.encoder = Encoder(
            origin,
            broker=settings.publish.to,
            topic=TopicTemplate.parse(settings.publish.topic),
            qos=settings.publish.qos,
        )
        self.devices = Devices(
            pattern,
            name=settings.device or plan.name,
            limit=settings.window.max_devices,
            fits=self.encoder.fits,
            also=[TopicFilter.parse(pattern) for pattern in settings.also],
        )
        self._decoder = self._make_decoder()
        limits = [settings.channels[channel.name] for channel in spec.channels]
        self.cleaner = Cleaner(
            least=[-math.inf if limit.min is None else limit.min for limit in limits],
            greatest=[math.inf if limit.max is None else limit.max for limit in limits],
            max_future_ns=round(settings.max_future_s * _SECOND),
            max_age_ns=None if settings.max_age_s is None else round(settings.max_age_s * _SECOND),
            is_ordered=self.is_timed,
        )
        gap = settings.window.max_gap_s
        self.windower = Windower(
            length=spec.length,
            hop=settings.window.hop if settings.window.hop is not None else spec.hop,
            channels=len(spec.channels),
            max_gap_ns=None if gap is None else round(gap * _SECOND),
        )
        self.decider = Decider(
            Rule.of(
                threshold=self.threshold,
                raise_=parse_n_of_m(settings.alert.raise_),
                clear=parse_n_of_m(settings.alert.clear),
                clear_below=settings.alert.clear_below,
            ),
            identify=self._alert_id,
        )
        self.dropped: Counter[str] = Counter()
        self.unread: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.requests: list[Request] = []

    def decode(self, routed: Routed) -> Readings:
        """Decode this run's messages."""
        readings = self._decoder.decode(routed)
        for index, reason in readings.rejected:
            topic = routed.topics[index].decode() if routed.topics else None
            self._note("rejected", reason, int(routed.device[index]) if topic is None else topic)
        if isinstance(self._decoder, RowDecoder):
            self.unread.update(self._decoder.unread)
            for reason, example in self._decoder.examples.items():
                self._note("unread", reason, example)
            self.requests += self._decoder.requests
        return readings

    def take(self, readings: Readings) -> Iterator[WindowBatch]:
        """Take decoded readings through all steps up to the window; yield the windows that became complete."""
        batch, dropped = self.cleaner.clean(readings.batch, readings.arrived_at, readings.has_own_time)
        self.dropped.update(dropped)
        for reason, device in self.cleaner.examples.items():
            self._note("dropped", reason, device)
        windows = self.windower.add(batch)
        if len(windows):
            yield windows

    def _make_decoder(self) -> RowDecoder | ColumnDecoder:
        settings, spec = self.plan.settings, self.plan.spec
        channels = [(channel.name, settings.channels[channel.name]) for channel in spec.channels]
        # Columns stand in the model's order from here on, whatever the order in the configuration.
        if self.plan.free_format is not None:
            columns = [Column(field=limit.field or name, unit=limit.unit) for name, limit in channels]
            return RowDecoder(self.plan.free_format, self.devices, columns)
        if settings.format == "number":
            return ColumnDecoder(NumberFormat())
        paths = [limit.field or name for name, limit in channels]
        if settings.time is None:
            return ColumnDecoder(JsonObjectFormat(paths, time_path=None))
        return ColumnDecoder(
            JsonObjectFormat(paths, time_path=settings.time.field, time_unit=settings.time.unit)
        )

    def _note(self, what: str, reason: str, where: int | str) -> None:
        """Remember the first device or topic that something happened to, for the log."""
        key = f"{what}/{reason}"
        if key not in self.examples:
            levels = self.devices.known[where].levels.values() if isinstance(where, int) else (where,)
            self.examples[key] = "/".join((self.name, *levels))

    def adopt(self, old: "Stream") -> bool:
        """Go on where an earlier form of this stream stopped: devices, open windows, standing alerts.

        Returns:
            False where the two differ so much that windows begin anew; the readings in open windows are then
            dropped with the reason ``reload``.
        """
        mine, theirs = self.plan, old.plan
        self.dropped, self.unread, self.examples = old.dropped, old.unread, old.examples
        before = old._decoder  # noqa: SLF001  # its own kind
        is_same_format = (mine.settings.format, mine.settings.format_options, mine.settings.time) == (
            theirs.settings.format,
            theirs.settings.format_options,
            theirs.settings.time,
        )
        if is_same_format and isinstance(self._decoder, RowDecoder) and isinstance(before, RowDecoder):
            self._decoder.adopt(before)
        if mine.settings.topic == theirs.settings.topic and mine.settings.device == theirs.settings.device:
            self.devices.adopt(old.devices)
            is_same_measure = (mine.spec.name, mine.spec.version, self.threshold) == (
                theirs.spec.name,
                theirs.spec.version,
                old.threshold,
            )
            self.decider.adopt(old.decider, keeps_history=is_same_measure)
            keeps_windows = (
                [c.name for c in mine.spec.channels] == [c.name for c in theirs.spec.channels]
                and mine.settings.channels == theirs.settings.channels
                and is_same_format
                and self.windower.is_like(old.windower)
            )
            if keeps_windows:
                old.windower.max_gap_ns = self.windower.max_gap_ns
                old.cleaner.max_future_ns = self.cleaner.max_future_ns
                old.cleaner.max_age_ns = self.cleaner.max_age_ns
                self.windower, self.cleaner = old.windower, old.cleaner
                return True
            if mine.settings.time == theirs.settings.time:
                self.cleaner.adopt(old.cleaner)
        self.dropped["reload"] += old.windower.waiting
        self.dropped["gap"] += old.windower.abandoned
        self.windower.scored = old.windower.scored
        return False

    def _alert_id(self, device: int, first_out_at: int) -> str:
        return self.encoder.identify("alert", self.devices.known[device], first_out_at)
