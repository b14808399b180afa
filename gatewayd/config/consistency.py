"""What several options must agree on: found all at once, each at the very option that is wrong.

A finding says which options it has looked at, so that one that was drawn from an option already known to be
wrong is left out: one mistake, one message.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from pydantic import BaseModel

from gatewayd.config.settings import BrokerSettings, ChannelSettings, Settings, StreamSettings
from gatewayd.domain.topic import TopicFilter, TopicTemplate, filters_overlap

Loc = tuple[str, ...]

# What makes sense of readings in time, or of values that mean something alone: neither is true of pixels.
_NOT_OF_PICTURES: tuple[Loc, ...] = (
    ("also",),
    ("time",),
    ("lateness_s",),
    ("idle_timeout_s",),
    ("align",),
    *(("window", option) for option in ("duration_s", "hop_s", "partial", "hop", "max_gap_s")),
    ("alert", "out_of_range"),
)
_OF_COLOURS = frozenset({"unit", "resolution"})
# Formats whose messages never name a device, and those of which an option says where they do.
_NAME_NO_DEVICE = frozenset({"json", "number", "image", "flat_json", "flat_cbor", "flat_messagepack"})
_NAME_ONE_BY_OPTION = frozenset({"csv", "json_list"})


@dataclass(frozen=True, slots=True)
class Finding:
    """An option's path, what is wrong with it, and the paths of the options that show it."""

    loc: Loc
    message: str
    reads: tuple[Loc, ...]


def find_problems(settings: Settings) -> list[Finding]:
    """Return everything in which options of the file contradict each other, in no particular order."""
    found: list[Finding] = []
    for name, broker in settings.brokers.items():
        found += _broker(("brokers", name), broker)
    for name, stream in settings.streams.items():
        at = ("streams", name)
        found += _stream_topic(at, stream)
        found += _stream_format(at, stream)
        found += _pictures(at, stream)
        found += _ranges(at, stream)
        found += _time(at, stream)
        found += _durations(at, stream)
        found += _windows(at, stream)
        found += _alerts(at, stream)
        found += _results(at, stream, settings)
        found += _stream_links(at, stream, settings)
        found += _loops(name, stream, settings)
    found += _status_topics(settings)
    found += _sources(settings)
    found += _edge_nodes(settings)
    found += _client_ids(settings)
    found += _commands(settings)
    return found


def _broker(at: Loc, broker: BrokerSettings) -> Iterator[Finding]:
    def finding(option: Loc, message: str, *reads: Loc) -> Finding:
        return Finding(at + option, message, tuple(at + read for read in (option, *reads)))

    if broker.password_file is not None and broker.username is None:
        yield finding(("password_file",), "needs a username beside it (MQTT 3.1.1, 3.1.2.9)", ("username",))
    if broker.reconnect_max_s < broker.reconnect_min_s:
        least = f"{broker.reconnect_min_s:g} (reconnect_min_s)"
        message = f"must be at least {least}, not {broker.reconnect_max_s:g}"
        yield finding(("reconnect_max_s",), message, ("reconnect_min_s",))
    if broker.tls is not None:
        for given, missing in (("cert_file", "key_file"), ("key_file", "cert_file")):
            if getattr(broker.tls, given) is not None and getattr(broker.tls, missing) is None:
                yield finding(("tls", given), f"needs {missing} beside it", ("tls", missing))


def _stream_topic(at: Loc, stream: StreamSettings) -> Iterator[Finding]:
    pattern = TopicFilter.parse(stream.topic)
    topic, device, form = (*at, "topic"), (*at, "device"), (*at, "format")
    if "device" in pattern.names and stream.device is not None:
        yield Finding(device, "the topic has {device} already: leave this out", (topic, device))
    is_wild = "+" in pattern.filter or "#" in pattern.filter
    if "device" not in pattern.names and is_wild and stream.device is None and not _names_devices(stream):
        message = (
            "write the level that tells devices apart as {device}, or name the one device under 'device'"
        )
        yield Finding(topic, message, (topic, device, form, (*at, "format_options")))
    for reserved in ("gateway", "stream", "kind"):
        if reserved in pattern.names:
            yield Finding(
                topic, f"{{{reserved}}} is gatewayd's own name: call this level otherwise", (topic,)
            )
    known = ["device", "gateway", "kind", "stream", *(n for n in pattern.names if n != "device")]
    where = (*at, "publish", "topic")
    for name in TopicTemplate.parse(stream.publish.topic).names:
        if name not in known:
            yield Finding(where, _unknown_placeholder(name, known), (topic, where))


def _names_devices(stream: StreamSettings) -> bool:
    if stream.format in _NAME_ONE_BY_OPTION:
        return "device" in stream.format_options
    return stream.format not in _NAME_NO_DEVICE


def _unknown_placeholder(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    expected = (
        f"did you mean {{{near[0]}}}?" if near else f"known here: {', '.join(f'{{{k}}}' for k in known)}"
    )
    return f"{{{name}}} is not known here; {expected}"


def _stream_format(at: Loc, stream: StreamSettings) -> Iterator[Finding]:
    form = (*at, "format")
    if stream.format in ("json", "number"):
        for option in ("also", "format_options"):
            if getattr(stream, option):
                message = f"format {stream.format} has no use for it: leave this out"
                yield Finding((*at, option), message, (form, (*at, option)))
    if stream.format == "number":
        channels, time = (*at, "channels"), (*at, "time")
        if len(stream.channels) != 1:
            message = f"format number carries one channel, not {len(stream.channels)}"
            yield Finding(channels, message, (form, channels))
        if stream.time is not None:
            yield Finding(time, "format number carries no time stamp: leave this out", (form, time))
        for name, channel in stream.channels.items():
            field = (*channels, name, "field")
            if channel.field is not None:
                yield Finding(field, "format number has no fields: leave this out", (form, field))


def _pictures(at: Loc, stream: StreamSettings) -> Iterator[Finding]:
    if stream.format != "image":
        return
    form = (*at, "format")
    given = [(option, _at(stream, option)) for option in _NOT_OF_PICTURES]
    for name, channel in stream.channels.items():
        options = [option for option in ChannelSettings.model_fields if option not in _OF_COLOURS]
        given += [(("channels", name, option), _at(channel, (option,))) for option in options]
    for option, (value, default) in given:
        if value != default:
            yield Finding(at + option, "format image has no use for it: leave this out", (form, at + option))
    if stream.model is None:
        message = "format image needs a model of pictures: name its folder under 'model'"
        yield Finding(form, message, (form, (*at, "model")))


def _at(section: BaseModel, option: Loc) -> tuple[object, object]:
    """Return an option's value and its default."""
    *above, last = option
    for name in above:
        section = getattr(section, name)
    return getattr(section, last), type(section).model_fields[last].default


def _ranges(at: Loc, stream: StreamSettings) -> Iterator[Finding]:
    for name, channel in stream.channels.items():
        least, most = ((*at, "channels", name, option) for option in ("min", "max"))
        if channel.min is not None and channel.max is not None and channel.min >= channel.max:
            message = f"must be less than {channel.max:g} (max), not {channel.min:g}"
            yield Finding(least, message, (least, most))

    for name, channel in stream.channels.items():
        denoise = channel.denoise
        if denoise is not None and (denoise.median is None) == (denoise.ema is None):
            where = (*at, "channels", name, "denoise")
            yield Finding(where, "give one of median and ema", (where,))
        if channel.out_of_range != "drop" and channel.min is None and channel.max is None:
            where = (*at, "channels", name, "out_of_range")
            yield Finding(where, "needs min or max beside it", (where, (*at, "channels", name)))


_MOST_GRID_ROWS = 10_000  # that one reading after a pause may fill, and that wait for a channel


def _time(at: Loc, stream: StreamSettings) -> Iterator[Finding]:
    align = stream.align
    if align is not None and align.max_gap_s / align.every_s > _MOST_GRID_ROWS:
        where = (*at, "align", "max_gap_s")
        most = align.every_s * _MOST_GRID_ROWS
        message = f"must be at most {most:g} ({_MOST_GRID_ROWS} times every_s), not {align.max_gap_s:g}"
        yield Finding(where, message, (where, (*at, "align", "every_s")))


_SHORTEST_S, _LONGEST_S = 1e-6, 1e9  # counted in nanoseconds, in 64 bits: thirty years leave room to add two


def _durations(at: Loc, section: BaseModel) -> Iterator[Finding]:
    for name in type(section).model_fields:
        value, where = getattr(section, name), (*at, name)
        if isinstance(value, BaseModel):
            yield from _durations(where, value)
        elif name.endswith("_s") and isinstance(value, float) and value:  # 0 is none, where it may be
            if _SHORTEST_S <= value <= _LONGEST_S:
                continue
            message = f"must be at least {_SHORTEST_S:f} and at most {_LONGEST_S:.0f}, not {value:g}"
            yield Finding(where, message, (where,))


def _windows(at: Loc, stream: StreamSettings) -> Iterator[Finding]:
    window, where = stream.window, (*at, "window")
    if window.duration_s is None:
        if window.hop_s is not None:
            yield Finding((*where, "hop_s"), "needs duration_s beside it", ((*where, "hop_s"), where))
        if window.partial != "drop":
            yield Finding((*where, "partial"), "needs duration_s beside it", ((*where, "partial"), where))
        return
    reads = ((*where, "hop_s"), (*where, "duration_s"), (*where, "hop"))
    if window.hop is not None:
        message = "belongs to windows of so many readings: windows of a duration have hop_s"
        yield Finding((*where, "hop"), message, reads)
    if window.hop_s is not None and window.hop_s > window.duration_s:
        message = f"must be at most {window.duration_s:g} (duration_s), not {window.hop_s:g}"
        yield Finding((*where, "hop_s"), message, reads)


def _alerts(at: Loc, stream: StreamSettings) -> Iterator[Finding]:
    alert, where = stream.alert, (*at, "alert")
    has_range = any(
        channel.min is not None or channel.max is not None for channel in stream.channels.values()
    )
    if alert.out_of_range and not has_range and stream.format != "image":
        option, channels = (*where, "out_of_range"), (*at, "channels")
        yield Finding(
            option, "no channel has min or max: give one the range that it must keep", (option, channels)
        )
    if alert.adaptive is not None and alert.threshold is not None:
        message = "either this or adaptive: an adaptive threshold is found from the scores"
        yield Finding((*where, "threshold"), message, ((*where, "threshold"), (*where, "adaptive")))
    factors = sorted(alert.severities.values())
    severities = (*where, "severities")
    if factors and factors[0] != 1:
        message = f"the least severity begins at the threshold: its multiple is 1, not {factors[0]:g}"
        yield Finding(severities, message, (severities,))
    if len(set(factors)) != len(factors):
        yield Finding(severities, "two severities have one multiple", (severities,))


def _results(at: Loc, stream: StreamSettings, settings: Settings) -> Iterator[Finding]:
    publish, where = stream.publish, (*at, "publish")
    encoding = (*where, "encoding")
    if publish.home_assistant is not None and publish.encoding != "json":
        option = (*where, "home_assistant")
        message = f"Home Assistant reads JSON, and encoding is {publish.encoding}"
        yield Finding(option, message, (option, encoding))
    if publish.alert_state and publish.encoding == "sparkplug_b":
        option = (*where, "alert_state")
        yield Finding(option, "Sparkplug retains nothing: births say where alerts stand", (option, encoding))
    if settings.outbox.order == "live_first" and publish.encoding == "sparkplug_b":
        option = ("outbox", "order")
        message = (
            f"Sparkplug numbers its messages in order, and stream {at[-1]} is encoded by it: use oldest_first"
        )
        yield Finding(option, message, (option, encoding))
    broker = settings.brokers.get(publish.to)
    if publish.expires_s is not None and broker is not None and broker.protocol != "5":
        option = (*where, "expires_s")
        protocol = ("brokers", publish.to, "protocol")
        message = f"needs MQTT 5: set protocol: 5 for broker '{publish.to}'"
        yield Finding(option, message, (option, (*where, "to"), protocol))


def _commands(settings: Settings) -> Iterator[Finding]:
    commands = settings.commands
    if commands is None:
        return
    upstreams = list(dict.fromkeys(stream.publish.to for stream in settings.streams.values()))
    if commands.from_ not in upstreams:
        where = ("commands", "from")
        message = f"commands come from a broker that results go to: {', '.join(upstreams)}"
        yield Finding(where, message, (where, ("streams",)))
    where = ("commands", "topic")
    for placeholder in TopicTemplate.parse(commands.topic).names:
        if placeholder != "gateway":
            yield Finding(where, _unknown_placeholder(placeholder, ["gateway"]), (where,))


def _stream_links(at: Loc, stream: StreamSettings, settings: Settings) -> Iterator[Finding]:
    for option, broker in (((*at, "from"), stream.from_), ((*at, "publish", "to"), stream.publish.to)):
        if broker not in settings.brokers:
            near = get_close_matches(broker, settings.brokers, n=1)
            expected = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(settings.brokers)}"
            yield Finding(option, f"no broker '{broker}' under brokers; {expected}", (option, ("brokers",)))


def _loops(name: str, stream: StreamSettings, settings: Settings) -> Iterator[Finding]:
    template = TopicTemplate.parse(stream.publish.topic)
    suffixes = ("",) if "kind" in template.names else ("/prediction", "/alert", "/alert/state/#")
    results = template.as_filter({"gateway": settings.gateway.id, "stream": name})
    where = ("streams", name, "publish", "topic")
    for other, source in settings.streams.items():
        if source.from_ != stream.publish.to:
            continue
        wanted = [TopicFilter.parse(pattern).filter for pattern in (source.topic, *source.also)]
        if any(filters_overlap(results + suffix, one) for suffix in suffixes for one in wanted):
            message = f"stream '{other}' subscribes to what this publishes"
            reads = (where, ("streams", other, "topic"), ("streams", other, "from"), (*where[:-1], "to"))
            yield Finding(where, message, reads)


def _status_topics(settings: Settings) -> Iterator[Finding]:
    for name, broker in settings.brokers.items():
        where = ("brokers", name, "status_topic")
        template = TopicTemplate.parse(broker.status_topic)
        for placeholder in template.names:
            if placeholder != "gateway":
                yield Finding(where, _unknown_placeholder(placeholder, ["gateway"]), (where,))
        topic = template.as_filter({"gateway": settings.gateway.id})
        for stream, source in settings.streams.items():
            at = ("streams", stream)
            if source.from_ == name and filters_overlap(topic, TopicFilter.parse(source.topic).filter):
                message = f"covers the status topic of broker '{name}', which is no reading"
                yield Finding((*at, "topic"), message, ((*at, "topic"), (*at, "from"), where))


def _sources(settings: Settings) -> Iterator[Finding]:
    first, *others = settings.streams.items()
    for name, stream in others:
        if stream.from_ != first[1].from_:
            where = ("streams", name, "from")
            message = (
                f"all streams come from one broker, and stream '{first[0]}' comes from '{first[1].from_}'; "
                "bridge the other broker to it"
            )
            yield Finding(where, message, (where, ("streams", first[0], "from")))


def _edge_nodes(settings: Settings) -> Iterator[Finding]:
    """Streams that publish in Sparkplug to one broker are one edge node there: of one group, with one QoS."""
    first: dict[str, str] = {}
    for name, stream in settings.streams.items():
        publish = stream.publish
        if publish.encoding != "sparkplug_b":
            continue
        other = first.setdefault(publish.to, name)
        for option in ("group", "qos"):
            theirs, ours = getattr(settings.streams[other].publish, option), getattr(publish, option)
            if theirs != ours:
                where, reads = ("streams", name, "publish", option), ("streams", other, "publish", option)
                message = f"one edge node publishes to '{publish.to}', and stream '{other}' has {theirs}"
                yield Finding(where, message, (where, reads))


def _client_ids(settings: Settings) -> Iterator[Finding]:
    seen: dict[tuple[str, int, str | None], str] = {}
    for name, broker in settings.brokers.items():
        first = seen.setdefault((broker.host, broker.effective_port, broker.client_id), name)
        if first != name and broker.client_id is not None:
            where = ("brokers", name, "client_id")
            message = f"broker '{first}' uses this id at the same address: each would cut the other off"
            reads = tuple(
                ("brokers", n, option) for n in (first, name) for option in ("host", "port", "client_id")
            )
            yield Finding(where, message, reads)
