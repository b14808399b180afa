"""Every option: one field with its unit, its default and its meaning.

Pure: knows nothing of files or YAML. ``parse.py`` builds these from a document and gives every problem its place.
Durations carry their unit in the key. Paths stay as written here; ``parse.py`` resolves them against the
configuration file's folder. Secrets are read from files by whoever needs them and never stand in here.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from gatewayd.domain.topic import TopicFilter, TopicTemplate, filters_overlap

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_N_OF_M = re.compile(r"([0-9]{1,2}) of ([0-9]{1,2})")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("a name has 1 to 64 letters, digits, '_', '-' or '.', and begins with a letter or digit")
    return text


def _topic_filter(text: str) -> str:
    TopicFilter.parse(text)
    return text


def _topic_template(text: str) -> str:
    TopicTemplate.parse(text)
    return text


def _n_of_m(text: str) -> str:
    parse_n_of_m(text)
    return text


def parse_n_of_m(text: str) -> tuple[int, int]:
    """Read ``3 of 5`` as ``(3, 5)``.

    Raises:
        ValueError: Not of that form, or not 1 <= N <= M <= 64.
    """
    match = _N_OF_M.fullmatch(text.strip())
    if not match:
        raise ValueError("expected N of M, such as '3 of 5'")
    n, m = int(match.group(1)), int(match.group(2))
    if not 1 <= n <= m <= 64:  # noqa: PLR2004  # a decision's history is one 64-bit word
        raise ValueError("N of M needs 1 <= N <= M <= 64")
    return n, m


Name = Annotated[str, AfterValidator(_name)]
TopicPattern = Annotated[str, AfterValidator(_topic_filter)]
PublishTopic = Annotated[str, AfterValidator(_topic_template)]
NOfM = Annotated[str, AfterValidator(_n_of_m)]


class _Section(BaseModel):
    """A part of the file: frozen, strict, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class GatewaySettings(_Section):
    """The gateway itself."""

    id: Name = Field(description="Name of this gateway; part of client ids, topics and payloads.")
    state_dir: str = Field("/var/lib/gatewayd", description="Folder for all state; must be writable.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe event logged.")
    figures_interval_s: float = Field(60.0, ge=1, le=86_400, description="Seconds between two 'figures' log lines.")
    stop_timeout_s: float = Field(
        8.0, ge=0.5, le=300, description="Seconds that a stop may take: drain, deliver what time allows, disconnect."
    )


class TlsSettings(_Section):
    """TLS of one broker link; an empty mapping means: verified against the system's authorities."""

    ca_file: str | None = Field(None, description="PEM file of the authorities to trust instead of the system's.")
    cert_file: str | None = Field(None, description="PEM file of the client certificate, for mutual TLS.")
    key_file: str | None = Field(None, description="PEM file of the client certificate's key.")
    insecure_skip_verify: bool = Field(
        False, description="Accept any certificate. Whoever sits in between can read and change everything."
    )

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together")
        return self


class BrokerSettings(_Section):
    """One MQTT broker."""

    host: str = Field(min_length=1, description="Host name or address.")
    port: int | None = Field(None, ge=1, le=65_535, description="TCP port; 1883, or 8883 with tls.")
    client_id: str | None = Field(
        None, min_length=1, max_length=128, description="MQTT client id; made from gateway id and broker name."
    )
    username: str | None = Field(None, min_length=1, description="User name.")
    password_file: str | None = Field(None, description="File whose first line is the password.")
    tls: TlsSettings | None = Field(None, description="Use TLS; `{}` for the system's authorities.")
    keepalive_s: int = Field(30, ge=5, le=3600, description="MQTT keep-alive interval.")
    connect_timeout_s: float = Field(5.0, ge=0.5, le=20, description="Longest wait for a connection.")
    reconnect_min_s: float = Field(1.0, ge=0.1, le=60, description="First delay after a lost link.")
    reconnect_max_s: float = Field(60.0, ge=1, le=3600, description="Longest delay between two attempts.")
    max_inflight: int = Field(64, ge=1, le=1000, description="Publications sent and not yet acknowledged.")
    status_topic: PublishTopic = Field(
        "gatewayd/{gateway}/status", description="Retained topic of `online` and `offline`."
    )
    tap: bool = Field(
        True, description="Cut PUBLISH frames out of the stream before paho parses them; off: slower, plain paho."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file needs a username (MQTT 3.1.1, 3.1.2.9)")
        if self.reconnect_max_s < self.reconnect_min_s:
            raise ValueError("reconnect_max_s must be at least reconnect_min_s")
        return self

    @property
    def effective_port(self) -> int:
        """The port, or the default of the transport."""
        return self.port if self.port is not None else (8883 if self.tls is not None else 1883)


class TimeSettings(_Section):
    """Where a reading's time stands in the payload."""

    field: str = Field(min_length=1, description="Path to the time stamp, levels joined by dots.")
    unit: Literal["auto", "s", "ms", "us", "ns", "iso"] = Field(
        "auto", description="Unit of the time stamp; auto: by its magnitude, or ISO 8601."
    )


class ChannelSettings(_Section):
    """One sensor quantity."""

    field: str | None = Field(
        None, min_length=1, description="Path in the payload, levels joined by dots; the channel's name."
    )
    unit: str = Field("", description="Unit of the readings; must be the one that the model was trained on.")
    min: float | None = Field(None, description="Least value that is physically possible.")
    max: float | None = Field(None, description="Greatest value that is physically possible.")

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError("min must be less than max")
        return self


class WindowSettings(_Section):
    """How readings become windows. The length is the model's."""

    hop: int | None = Field(None, ge=1, description="Readings between the starts of two windows; the model's.")
    max_gap_s: float | None = Field(
        None, gt=0, description="A longer time between two readings of a device starts its window anew; never."
    )
    max_devices: int = Field(10_000, ge=1, le=1_000_000, description="Devices of the stream; more are refused.")


class AlertSettings(_Section):
    """When an alert is raised, and when it is cleared."""

    threshold: float | None = Field(None, description="Score at and above which a window is anomalous; the model's.")
    raise_: NOfM = Field("3 of 5", alias="raise", description="Anomalous windows among the latest that raise.")
    clear: NOfM = Field("3 of 3", description="Calm windows among the latest that clear.")
    clear_below: float = Field(
        0.8, gt=0, le=1, description="A window is calm below this part of the threshold."
    )


class PublishSettings(_Section):
    """Where results go."""

    to: Name = Field(description="Name of the upstream broker.")
    topic: PublishTopic = Field(
        "plant/{gateway}/{stream}/{device}",
        description="Topic template; `/prediction` or `/alert` follows unless it holds {kind}.",
    )
    qos: Literal[0, 1] = Field(1, description="QoS of predictions and alerts.")
    predictions: Literal["all", "anomalous", "none"] = Field("all", description="Which predictions are published.")


class StreamSettings(_Section):
    """Readings of one kind: from where, how decoded, what model, what becomes of the scores."""

    from_: Name = Field(alias="from", description="Name of the broker to subscribe at.")
    topic: TopicPattern = Field(description="Topic filter; a level in braces is a `+` with a name, e.g. {device}.")
    qos: Literal[0, 1, 2] = Field(1, description="QoS of the subscription.")
    format: Literal["json", "number"] = Field("json", description="Payload format.")
    device: str | None = Field(
        None, min_length=1, description="Device name where the topic has no {device}; the stream's name."
    )
    time: TimeSettings | None = Field(None, description="Time stamp in the payload; absent: time of arrival.")
    max_future_s: float = Field(
        60.0, gt=0, description="A reading from further in the future than this is dropped."
    )
    channels: dict[Name, ChannelSettings] = Field(min_length=1, description="Channels by name.")
    model: str = Field(min_length=1, description="Folder of the model bundle.")
    runtime: Literal["auto", "tflite-runtime", "ai-edge-litert"] = Field("auto", description="TFLite runtime.")
    window: WindowSettings = Field(WindowSettings(), description="Windows.")
    alert: AlertSettings = Field(AlertSettings(), description="Decision.")
    publish: PublishSettings = Field(description="Results.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        pattern = TopicFilter.parse(self.topic)
        if "device" in pattern.names and self.device is not None:
            raise ValueError("the topic has {device} already: leave out `device`")
        if "device" not in pattern.names and ("+" in pattern.filter or "#" in pattern.filter) and self.device is None:
            raise ValueError("name the level of the topic that tells devices apart {device}")
        if self.format == "number" and len(self.channels) != 1:
            raise ValueError("format number carries one channel")
        if self.format == "number" and self.time is not None:
            raise ValueError("format number carries no time stamp: leave out `time`")
        known = {"gateway", "stream", "device", "kind", *pattern.names}
        unknown = [name for name in TopicTemplate.parse(self.publish.topic).names if name not in known]
        if unknown:
            raise ValueError(
                f"publish.topic: {{{unknown[0]}}} is not known here; known: {', '.join(sorted(known))}"
            )
        return self


class OutboxSettings(_Section):
    """The durable queue towards upstream."""

    max_bytes: int = Field(
        256 * 1024 * 1024, ge=1024, description="Payload bytes kept while upstream is away; the oldest predictions go first."
    )
    durability: Literal["power", "process", "none"] = Field(
        "process", description="What a stored result survives: power: a power cut; process: kill -9; none: nothing promised."
    )


class LineSettings(_Section):
    """How the line batches."""

    linger_ms: float = Field(2.0, ge=0, le=1000, description="Wait for more readings before a batch is run.")
    batch: int = Field(256, ge=1, le=65_536, description="Messages that end the wait.")


class Settings(_Section):
    """The whole file."""

    gateway: GatewaySettings
    brokers: dict[Name, BrokerSettings] = Field(min_length=1, description="Brokers by name.")
    streams: dict[Name, StreamSettings] = Field(min_length=1, description="Streams by name.")
    line: LineSettings = Field(LineSettings(), description="Batching.")
    outbox: OutboxSettings = Field(OutboxSettings(), description="Store and forward.")

    @model_validator(mode="after")
    def _links(self) -> Self:
        for name, stream in self.streams.items():
            for option, broker in (("from", stream.from_), ("publish.to", stream.publish.to)):
                if broker not in self.brokers:
                    known = ", ".join(self.brokers)
                    raise ValueError(f"streams.{name}.{option}: no broker '{broker}'; known: {known}")
        sources = {stream.from_ for stream in self.streams.values()}
        if len(sources) > 1:
            raise ValueError("all streams come from one broker; bridge the others to it")
        for name, stream in self.streams.items():
            template = TopicTemplate.parse(stream.publish.topic)
            for other, source in self.streams.items():
                if source.from_ != stream.publish.to:
                    continue
                wanted = TopicFilter.parse(source.topic).filter
                suffix = "" if "kind" in template.names else "/+"
                if filters_overlap(template.as_filter() + suffix, wanted):
                    raise ValueError(
                        f"streams.{name}.publish.topic: stream '{other}' subscribes to what this publishes"
                    )
        return self
