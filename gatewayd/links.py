"""Which broker a configuration listens to, for what, and how it is reached."""

from gatewayd.config.settings import BrokerSettings, Settings
from gatewayd.domain.topic import TopicFilter
from gatewayd.startup import Prepared


def source_name(settings: Settings) -> str:
    """Name the broker that the streams come from; they all come from one."""
    return next(iter(settings.streams.values())).from_


def subscriptions(prepared: Prepared) -> list[tuple[str, int]]:
    """Return each topic filter once, with the highest QoS that a stream asks for."""
    wanted: dict[str, int] = {}
    for stream in prepared.settings.streams.values():
        for pattern in (stream.topic, *stream.also):
            name = TopicFilter.parse(pattern).filter
            wanted[name] = max(stream.qos, wanted.get(name, 0))
    return list(wanted.items())


def broker_settings(prepared: Prepared, name: str) -> BrokerSettings:
    """Return one broker's settings, with its files' paths resolved."""
    broker = prepared.settings.brokers[name]
    if broker.tls is None:
        return broker
    files = {
        option: str(prepared.loaded.resolve(path))
        for option in ("ca_file", "cert_file", "key_file")
        if (path := getattr(broker.tls, option)) is not None
    }
    return broker.model_copy(update={"tls": broker.tls.model_copy(update=files)})
