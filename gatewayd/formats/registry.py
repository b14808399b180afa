"""The formats of free shape by the name that stands in the configuration.

A format's module is imported when it's first asked for: some need a package that only the extra ``formats`` brings,
and whoever reads JSON shall not need it.
"""

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

from gatewayd.formats.sample import SampleFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Factory:
    """Makes one kind of format.

    Attributes:
        name: As in the configuration.
        module: Where it lives, below ``gatewayd.formats``.
        kind: Its class there.
        extra: The extra of this distribution that brings what the module needs; None: nothing.
    """

    name: str
    module: str
    kind: str
    extra: str | None = None

    def __call__(self, **options: object) -> SampleFormat:
        """Make a format with its own state, for one stream.

        Args:
            options: The format's own, by name; see its class.

        Raises:
            ValueError: The extra isn't installed, or an option is unknown or can't be; the message says which, in one
                line, without the option's place.
        """
        kind = self._load()
        try:
            inspect.signature(kind).bind(**options)
        except TypeError as error:
            raise ValueError(f"format '{self.name}': {error}") from error
        return cast("SampleFormat", kind(**options))

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options that ``__call__`` takes. Raises ValueError as it does."""
        return tuple(inspect.signature(self._load()).parameters)

    def _load(self) -> type:
        try:
            module = importlib.import_module(f"gatewayd.formats.{self.module}")
        except ModuleNotFoundError as error:
            if self.extra is None or (error.name or "").startswith("gatewayd"):
                raise  # a bug of ours
            raise ValueError(
                f"format '{self.name}' needs the package '{error.name}'; pip install '.[{self.extra}]' brings it"
            ) from error
        return cast("type", getattr(module, self.kind))


_ALL = (
    Factory(name="cloudevents", module="cloudevents", kind="CloudEventsFormat"),
    Factory(name="csv", module="csv_text", kind="CsvFormat"),
    Factory(name="edgex", module="edgex", kind="EdgeXFormat", extra="formats"),
    Factory(name="esphome", module="esphome", kind="EspHomeFormat"),
    Factory(name="flat_cbor", module="flat_cbor", kind="FlatCborFormat", extra="formats"),
    Factory(name="flat_json", module="flat", kind="FlatJsonFormat"),
    Factory(
        name="flat_messagepack", module="flat_messagepack", kind="FlatMessagePackFormat", extra="formats"
    ),
    Factory(name="homie", module="homie", kind="HomieFormat"),
    Factory(name="influx_line", module="influx", kind="InfluxLineFormat"),
    Factory(name="ruuvi_raw", module="ruuvi", kind="RuuviFormat"),
    Factory(name="senml_cbor", module="senml_cbor", kind="SenmlCborFormat", extra="formats"),
    Factory(name="senml_json", module="senml", kind="SenmlJsonFormat"),
    Factory(name="shelly_gen2", module="shelly", kind="ShellyFormat"),
    Factory(name="sparkplug_b", module="sparkplug", kind="SparkplugFormat", extra="formats"),
    Factory(name="tasmota", module="tasmota", kind="TasmotaFormat"),
    Factory(name="ttn_v3", module="ttn", kind="TtnFormat"),
    Factory(name="zigbee2mqtt", module="zigbee2mqtt", kind="Zigbee2MqttFormat"),
)
FORMATS: Mapping[str, Factory] = MappingProxyType({factory.name: factory for factory in _ALL})
