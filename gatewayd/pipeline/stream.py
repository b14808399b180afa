"""One stream's steps, built from its settings and its model: what ``flow`` runs."""

import math
from collections import Counter
from dataclasses import dataclass

from gatewayd.config.settings import StreamSettings, parse_n_of_m
from gatewayd.domain.model import ModelSpec
from gatewayd.domain.topic import TopicFilter, TopicTemplate
from gatewayd.formats.decoded import Format
from gatewayd.formats.json_object import JsonObjectFormat
from gatewayd.formats.number import NumberFormat
from gatewayd.pipeline.clean import Cleaner
from gatewayd.pipeline.decide import Decider, Rule
from gatewayd.pipeline.decode import Devices
from gatewayd.pipeline.encode import Encoder, Origin
from gatewayd.pipeline.infer import Model
from gatewayd.pipeline.window import Windower

_SECOND = 10**9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamPlan:
    """What a stream is made from. ``model`` belongs to the line's thread from here on."""

    name: str
    settings: StreamSettings
    spec: ModelSpec
    model: Model


class Stream:
    """One stream's steps and their state. Owned by the line.

    Raises:
        ValueError: Neither the settings nor the model have a threshold (found earlier by ``startup``).
    """

    def __init__(self, plan: StreamPlan, *, gateway: str) -> None:
        settings, spec = plan.settings, plan.spec
        self.plan, self.name, self.model, self.spec = plan, plan.name, plan.model, spec
        self.is_timed = settings.time is not None
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
        )
        self.format = _format(settings, spec)
        limits = [settings.channels[channel.name] for channel in spec.channels]
        self.cleaner = Cleaner(
            least=[-math.inf if limit.min is None else limit.min for limit in limits],
            greatest=[math.inf if limit.max is None else limit.max for limit in limits],
            max_future_ns=round(settings.max_future_s * _SECOND),
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

    def adopt(self, old: "Stream") -> bool:
        """Go on where an earlier form of this stream stopped: devices, open windows, standing alerts.

        Returns:
            False where the two differ so much that windows begin anew; the readings in open windows are then
            dropped with the reason ``reload``.
        """
        mine, theirs = self.plan, old.plan
        self.dropped = old.dropped
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
                and mine.settings.time == theirs.settings.time
                and mine.settings.format == theirs.settings.format
                and self.windower.is_like(old.windower)
            )
            if keeps_windows:
                old.windower.max_gap_ns = self.windower.max_gap_ns
                old.cleaner.max_future_ns = self.cleaner.max_future_ns
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


def _format(settings: StreamSettings, spec: ModelSpec) -> Format:
    if settings.format == "number":
        return NumberFormat()
    # Columns stand in the model's order from here on, whatever the order in the configuration.
    paths = [settings.channels[channel.name].field or channel.name for channel in spec.channels]
    if settings.time is None:
        return JsonObjectFormat(paths, time_path=None)
    return JsonObjectFormat(paths, time_path=settings.time.field, time_unit=settings.time.unit)
