"""Every option: one field with its unit, its default and its meaning.

Pure: knows nothing of files or YAML. ``parse.py`` builds these from a document and gives every problem its
place. A field's own limits stand beside it; what concerns several fields at once stands in
``consistency.py``. Durations carry their unit in the key. Paths stay as written here; ``Loaded.resolve``
lets relative ones begin at the configuration file's folder. Secrets are read from files by whoever needs
them and never stand in here.
"""

import re
from ipaddress import ip_address
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gatewayd.domain.topic import TopicFilter, TopicTemplate

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})")
_N_OF_M = re.compile(r"([0-9]{1,2}) of ([0-9]{1,2})")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(
            "a name has 1 to 64 letters, digits, '_', '-' or '.', and begins with a letter or digit"
        )
    return text


def _host(text: str) -> str:
    try:
        ip_address(text)
    except ValueError:
        if not _HOST.fullmatch(text):
            raise ValueError(
                "expected a host name or address alone; user, password and port have their own options"
            ) from None
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


def _time_zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a folder, or too long
        raise ValueError(
            "no such time zone; expected a name such as Europe/Berlin (are the system's time zones installed?)"
        ) from None
    return text


Name = Annotated[str, AfterValidator(_name)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
Host = Annotated[str, AfterValidator(_host)]
TopicPattern = Annotated[str, AfterValidator(_topic_filter)]
PublishTopic = Annotated[str, AfterValidator(_topic_template)]
NOfM = Annotated[str, AfterValidator(_n_of_m)]
# `json`, `number` and `image` read what the channels point out; the others say themselves what they hold
# (formats/registry.py).
FormatName = Literal[
    "json",
    "number",
    "cloudevents",
    "csv",
    "edgex",
    "esphome",
    "flat_cbor",
    "flat_json",
    "flat_messagepack",
    "homie",
    "image",
    "influx_line",
    "json_list",
    "ruuvi_raw",
    "senml_cbor",
    "senml_json",
    "shelly_gen2",
    "sparkplug_b",
    "tasmota",
    "ttn_v3",
    "zigbee2mqtt",
]


class _Section(BaseModel):
    """A part of the file: frozen, strict, and closed to unknown keys."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, populate_by_name=True
    )


class GatewaySettings(_Section):
    """The gateway itself."""

    id: Name = Field(description="Name of this gateway; part of client ids, topics and payloads.")
    state_dir: str = Field(default="/var/lib/gatewayd", description="Folder for all state; must be writable.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe event logged."
    )
    figures_interval_s: float = Field(
        default=60.0, ge=1, le=86_400, description="Seconds between two 'figures' log lines."
    )
    stop_timeout_s: float = Field(
        default=8.0,
        ge=0.5,
        le=300,
        description="Seconds that a stop may take: drain, deliver what time allows, disconnect.",
    )


class TlsSettings(_Section):
    """TLS of one broker link; an empty mapping means: verified against the system's authorities."""

    ca_file: str | None = Field(
        default=None, description="PEM file of the authorities to trust instead of the system's."
    )
    cert_file: str | None = Field(default=None, description="PEM file of the client certificate.")
    key_file: str | None = Field(default=None, description="PEM file of the client certificate's key.")
    insecure_skip_verify: bool = Field(
        default=False, description="Accept any certificate: whoever sits in between reads and changes all."
    )


class BrokerSettings(_Section):
    """One MQTT broker."""

    host: Host = Field(description="Host name or address.")
    port: int | None = Field(default=None, ge=1, le=65_535, description="TCP port; 1883, or 8883 with tls.")
    client_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=128,
        description="MQTT client id; made from gateway id and broker name.",
    )
    username: str | None = Field(default=None, min_length=1, description="User name.")
    password_file: str | None = Field(default=None, description="File whose only line is the password.")
    tls: TlsSettings | None = Field(default=None, description="Use TLS; `{}` for the system's authorities.")
    protocol: Literal["3.1.1", "5"] = Field(
        default="3.1.1", description="MQTT version; 5 carries content type, expiry and reasons."
    )
    keepalive_s: int = Field(default=30, ge=5, le=3600, description="MQTT keep-alive interval.")
    connect_timeout_s: float = Field(default=5.0, ge=0.5, le=20, description="Longest wait for a connection.")
    reconnect_min_s: float = Field(default=1.0, ge=0.1, le=60, description="First delay after a lost link.")
    reconnect_max_s: float = Field(default=60.0, ge=1, le=3600, description="Longest delay between attempts.")
    max_inflight: int = Field(
        default=64, ge=1, le=1000, description="Publications sent, not yet acknowledged."
    )
    max_message_bytes: int = Field(
        default=1_048_576,
        ge=1024,
        le=67_108_864,
        description="Messages from this broker that are larger are refused.",
    )
    status_topic: PublishTopic = Field(
        default="gatewayd/{gateway}/status", description="Retained topic of `online` and `offline`."
    )
    tap: bool = Field(
        default=True,
        description="Cut PUBLISH frames out of the stream before paho parses them; off: slower, plain paho.",
    )

    @property
    def effective_port(self) -> int:
        """The port, or the default of the transport."""
        return self.port if self.port is not None else (8883 if self.tls is not None else 1883)


class TimeSettings(_Section):
    """Where a reading's time stands in the payload."""

    field: str = Field(min_length=1, description="Path to the time stamp, levels joined by dots.")
    unit: Literal["auto", "s", "ms", "us", "ns", "iso"] = Field(
        default="auto", description="Unit of the time stamp; auto: by its magnitude, or ISO 8601."
    )
    timezone: TimeZone | None = Field(
        default=None,
        description="Zone of time stamps that are texts without an offset, e.g. Europe/Berlin; UTC.",
    )


Action = Literal["drop", "clip", "mark"]


class SpikeSettings(_Section):
    """Values far from those around them (Hampel)."""

    window: int = Field(default=7, ge=3, le=1001, description="Good values that a value is compared with.")
    deviations: float = Field(
        default=6.0, gt=0, description="Scaled median deviations from their median that make a spike."
    )
    action: Action = Field(default="drop", description="What becomes of a spike.")


class StuckSettings(_Section):
    """A value that no longer changes."""

    readings: int = Field(ge=2, le=1_000_000, description="Equal readings in a row that make it stuck.")
    action: Literal["drop", "mark"] = Field(default="mark", description="What becomes of stuck readings.")


class RateSettings(_Section):
    """A value that changes faster than it can."""

    per_s: float = Field(gt=0, description="Greatest change per second, in the channel's unit.")
    action: Action = Field(default="drop", description="What becomes of a reading that changed faster.")


class DenoiseSettings(_Section):
    """Smoothing, from past values alone; one of the two."""

    median: int | None = Field(default=None, ge=2, le=1001, description="Median of so many latest values.")
    ema: float | None = Field(
        default=None, gt=0, le=1, description="Weight of the newest value in a moving average."
    )


class ChannelSettings(_Section):
    """One sensor quantity."""

    field: str | None = Field(
        default=None,
        min_length=1,
        description="Path in the payload, joined by dots, or the format's name of it; the channel's name.",
    )
    unit: str = Field(default="", description="Unit of the readings; the one that the model was trained on.")
    min: float | None = Field(default=None, description="Least value that is physically possible.")
    max: float | None = Field(default=None, description="Greatest value that is physically possible.")
    resolution: float | None = Field(
        default=None,
        gt=0,
        description="Smallest difference that means something, in the unit: no standard deviation is taken for less.",
    )
    out_of_range: Action = Field(default="drop", description="What becomes of a reading outside min and max.")
    sentinels: tuple[float, ...] = Field(
        default=(), description="Values that the sensor sends instead of a reading, e.g. 85 or -127."
    )
    sentinel_jump: float = Field(
        default=0.0, ge=0, description="A sentinel only counts as one if reached by at least this jump."
    )
    spike: SpikeSettings | None = Field(default=None, description="Drop values far from those before; off.")
    stuck: StuckSettings | None = Field(default=None, description="Notice a value that stays equal; off.")
    rate: RateSettings | None = Field(default=None, description="Limit the rate of change; off.")
    denoise: DenoiseSettings | None = Field(default=None, description="Smooth the values; off.")


class AlignSettings(_Section):
    """Channels that come in separate messages, laid on one time grid."""

    every_s: float = Field(gt=0, description="Seconds between two rows of the grid.")
    method: Literal["last", "mean", "linear"] = Field(
        default="last", description="Latest value, mean since the row before, or between neighbours."
    )
    max_gap_s: float = Field(
        default=10.0,
        gt=0,
        description="A value older than this fills no row (linear: neighbours this far apart).",
    )


class BaselineSettings(_Section):
    """The running mean and standard deviation of models that are normalised by it, and of streams without model."""

    readings: int = Field(default=1000, ge=2, le=10_000_000, description="Readings that it remembers.")
    warm_up: int = Field(
        default=100, ge=2, le=100_000, description="Readings before the first score of a device."
    )
    length: int = Field(
        default=1, ge=1, le=4096, description="Readings in a window, for a stream without a model."
    )
    relearn_s: float | None = Field(
        default=3600.0,
        gt=0,
        description="Seconds of unbroken anomaly after which the new level is learnt as normal; `~` for never.",
    )


class WindowSettings(_Section):
    """How readings become windows. The length is the model's."""

    duration_s: float | None = Field(
        default=None, gt=0, description="Windows of so much time instead of so many readings."
    )
    hop_s: float | None = Field(
        default=None, gt=0, description="Seconds between the starts of two such windows; duration_s."
    )
    partial: Literal["drop", "hold"] = Field(
        default="drop",
        description="Such a window with too few readings: not scored, or its last reading held to the length.",
    )

    hop: int | None = Field(
        default=None, ge=1, description="Readings between the starts of two windows; the model's."
    )
    max_gap_s: float | None = Field(
        default=None,
        gt=0,
        description="A longer time between two readings of a device starts its window anew; never.",
    )
    max_devices: int = Field(
        default=10_000, ge=1, le=1_000_000, description="Devices of the stream; more are refused."
    )


class AdaptiveSettings(_Section):
    """A threshold that is found from the scores themselves, by peaks over threshold (SPOT, DSPOT)."""

    risk: float = Field(
        default=1e-4,
        gt=0,
        lt=0.02,
        description="Probability that a normal window's score reaches the threshold.",
    )
    calibrate: int = Field(
        default=1000, ge=100, le=1_000_000, description="Scores of a device before its first."
    )
    depth: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="Scores in the moving average that is taken off first (DSPOT); 0: none.",
    )


class DriftSettings(_Section):
    """Inputs or scores that have moved slowly away from what they were."""

    horizon: int = Field(
        default=5000, ge=10, le=10_000_000, description="Windows that the average looks back."
    )
    limit: float = Field(
        default=1.0, gt=0, description="Standard deviations by which the average must have moved."
    )


class FloodSettings(_Section):
    """More alerts than a person can read (ISA-18.2)."""

    most: int = Field(
        default=10, ge=1, le=100_000, description="Alerts within the time that are not yet a flood."
    )
    within_s: float = Field(default=600.0, gt=0, le=86_400, description="That time.")


class AlertSettings(_Section):
    """When an alert is raised, and when it is cleared."""

    threshold: float | None = Field(
        default=None, description="Score at and above which a window is anomalous; the model's."
    )
    raise_: NOfM = Field(
        default="3 of 5", alias="raise", description="Anomalous windows among the latest that raise."
    )
    clear: NOfM = Field(default="3 of 3", description="Calm windows among the latest that clear.")
    clear_below: float = Field(
        default=0.8, gt=0, le=1, description="A window is calm below this part of the threshold."
    )
    adaptive: AdaptiveSettings | None = Field(
        default=None, description="Find the threshold from the scores instead; off."
    )
    hold_off_s: float = Field(
        default=0.0, ge=0, description="Seconds after an alert was cleared in which it isn't raised again."
    )
    latch: bool = Field(default=False, description="An alert stays until a person resets it.")
    acknowledge: Literal["optional", "required"] = Field(
        default="optional", description="Whether an alert stays until a person acknowledges it."
    )
    severities: dict[Name, float] = Field(
        default={"medium": 1.0},
        min_length=1,
        description="Severities by name, each from a multiple of the threshold on; the least is 1.",
    )
    silent_after_s: float | None = Field(
        default=None, gt=0, description="Alert when a device has sent nothing for so long; never."
    )
    out_of_range: bool = Field(default=False, description="Alert when a channel leaves its min or max.")
    drift: DriftSettings | None = Field(default=None, description="Alert on slow drift; off.")
    flood: FloodSettings | None = Field(default=None, description="Hold back a flood of alerts; off.")


class HomeAssistantSettings(_Section):
    """Every device in Home Assistant, by MQTT discovery."""

    prefix: Name = Field(default="homeassistant", description="Home Assistant's discovery prefix.")


class PublishSettings(_Section):
    """Where results go."""

    to: Name = Field(description="Name of the upstream broker.")
    topic: PublishTopic = Field(
        default="plant/{gateway}/{stream}/{device}",
        description="Topic template; `/prediction` or `/alert` follows unless it holds {kind}.",
    )
    qos: Literal[0, 1] = Field(default=1, description="QoS of predictions and alerts.")
    predictions: Literal["all", "anomalous", "none"] = Field(
        default="all", description="Which predictions are published."
    )
    encoding: Literal["json", "cbor", "senml", "sparkplug_b"] = Field(
        default="json", description="How results are written; see docs/payloads.md."
    )
    group: Name = Field(default="gatewayd", description="Sparkplug group, where results are written so.")
    alert_state: bool = Field(
        default=False, description="Keep each alert that stands as a retained message, for late subscribers."
    )
    expires_s: int | None = Field(
        default=None,
        ge=1,
        le=4_294_967_295,
        description="Seconds a prediction is worth delivering (MQTT 5); always.",
    )
    home_assistant: HomeAssistantSettings | None = Field(
        default=None, description="Announce devices to Home Assistant; `{}` for its usual prefix."
    )


class StreamSettings(_Section):
    """Readings of one kind: from where, how decoded, what model, what becomes of the scores."""

    from_: Name = Field(alias="from", description="Name of the broker to subscribe at.")
    topic: TopicPattern = Field(
        description="Topic filter; a level in braces is a `+` with a name, e.g. {device}."
    )
    qos: Literal[0, 1, 2] = Field(default=1, description="QoS of the subscription.")
    also: tuple[TopicPattern, ...] = Field(
        default=(),
        description="Further topic filters, for formats that find units or devices there.",
    )
    format: FormatName = Field(default="json", description="Payload format; see docs/formats.md.")
    format_options: dict[Name, str] = Field(
        default={}, description="Options of the format itself; see docs/formats.md."
    )
    device: str | None = Field(
        default=None, min_length=1, description="Device where the topic has no {device}; the stream's name."
    )
    time: TimeSettings | None = Field(default=None, description="Time stamp in the payload; time of arrival.")
    max_future_s: float = Field(
        default=60.0, gt=0, description="A reading from further in the future than this is dropped."
    )
    max_age_s: float | None = Field(
        default=None, gt=0, description="A reading that was taken longer ago than this is dropped; never."
    )
    lateness_s: float = Field(
        default=0.0, ge=0, le=86_400, description="How long to wait for readings that come out of order."
    )
    idle_timeout_s: float | None = Field(
        default=None,
        gt=0,
        description="A device silent for so long: what waits for later readings goes on; never.",
    )
    align: AlignSettings | None = Field(
        default=None, description="Lay channels of separate messages on a time grid; off."
    )
    channels: dict[Name, ChannelSettings] = Field(min_length=1, description="Channels by name.")
    model: str | None = Field(
        default=None,
        min_length=1,
        description="Folder of the model bundle; none: the score is the greatest running z-score.",
    )
    runtime: Literal["auto", "tflite-runtime", "ai-edge-litert"] = Field(
        default="auto", description="TFLite runtime."
    )
    baseline: BaselineSettings = Field(default=BaselineSettings(), description="Running statistics.")
    window: WindowSettings = Field(default=WindowSettings(), description="Windows.")
    alert: AlertSettings = Field(default=AlertSettings(), description="Decision.")
    publish: PublishSettings = Field(description="Results.")


class CommandSettings(_Section):
    """What people may tell the gateway by MQTT: acknowledge, shelve, reset."""

    from_: Name = Field(alias="from", description="Name of the upstream broker that commands come from.")
    topic: PublishTopic = Field(
        default="gatewayd/{gateway}/command", description="Topic that commands are sent to."
    )


class OutboxSettings(_Section):
    """The durable queue towards upstream."""

    max_bytes: int = Field(
        default=256 * 1024 * 1024,
        ge=1024,
        description="Payload bytes kept while upstream is away; the oldest predictions go first.",
    )
    max_age_s: float | None = Field(
        default=None,
        gt=0,
        description="Predictions older than this are given up, alerts are not; any age.",
    )
    durability: Literal["power", "process", "none"] = Field(
        default="process",
        description="What stored results survive. power: a power cut; process: kill -9; none: no promise.",
    )
    order: Literal["oldest_first", "live_first"] = Field(
        default="oldest_first",
        description="oldest_first keeps each device's order; live_first: alerts, then new predictions, then old.",
    )
    backlog_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="By live_first: part of the predictions sent that old ones get while new ones wait.",
    )


class LineSettings(_Section):
    """How the line batches."""

    linger_ms: float = Field(default=2.0, ge=0, le=1000, description="Wait for more readings before a batch.")
    batch: int = Field(default=256, ge=1, le=65_536, description="Messages that end the wait.")


class Settings(_Section):
    """The whole file."""

    gateway: GatewaySettings
    brokers: dict[Name, BrokerSettings] = Field(min_length=1, description="Brokers by name.")
    streams: dict[Name, StreamSettings] = Field(min_length=1, description="Streams by name.")
    commands: CommandSettings | None = Field(default=None, description="Commands by MQTT; off.")
    line: LineSettings = Field(default=LineSettings(), description="Batching.")
    outbox: OutboxSettings = Field(default=OutboxSettings(), description="Store and forward.")
