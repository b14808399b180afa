"""The formats of free shape by the name that stands in the configuration.

A format's module is imported when it's first asked for: some need a package that only the extra ``formats`` brings,
and whoever reads JSON shall not need it.
"""

import importlib
import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Generic, Literal, TypeVar, cast, get_args, get_origin

from gatewayd.formats.decoded import Format
from gatewayd.formats.sample import SampleFormat

_SWITCH = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}


Made = TypeVar("Made")


@dataclass(frozen=True, slots=True, kw_only=True)
class Factory(Generic[Made]):
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

    def __call__(self, **options: object) -> Made:
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
        return cast("Made", kind(**options))

    def from_text(self, options: Mapping[str, str], **given: object) -> Made:
        """Make a format with options as a configuration file has them.

        Args:
            options: By name, as text: ``yes`` for a switch, ``a, b`` for a list.
            given: Further options, by name, as they are.

        Raises:
            ValueError: As ``__call__``; ``args[1]`` is then the option's name, where one option is to blame.
        """
        signature = inspect.signature(self._load()).parameters
        values = dict(given)
        for name, text in options.items():
            if name not in signature or name in given:
                known = [option for option in signature if option not in given]
                near = get_close_matches(name, known, n=1)
                expected = (
                    f"did you mean '{near[0]}'?"
                    if near
                    else f"it has {', '.join(known)}"
                    if known
                    else "it has none"
                )
                raise ValueError(f"format {self.name} has no option '{name}'; {expected}", name)
            values[name] = _converted(name, text, signature[name].annotation)
        return self(**values)

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


def _converted(name: str, text: str, annotation: object) -> object:
    """Read an option's text as the type that its parameter declares."""
    if annotation is bool:
        if text.lower() not in _SWITCH:
            raise ValueError(f"expected true or false, not {text!r}", name)
        return _SWITCH[text.lower()]
    if get_origin(annotation) is Literal and text not in get_args(annotation):
        raise ValueError(f"expected {', '.join(get_args(annotation))}, not {text!r}", name)
    members = [get_origin(member) for member in (annotation, *get_args(annotation))]
    if Sequence in members or Collection in members:
        # an empty one counts: it's a column of a CSV that isn't read
        return tuple(part.strip() for part in text.split(",")) if text.strip() else ()
    return text


_ALL: tuple[Factory[SampleFormat], ...] = (
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
    Factory(name="json_list", module="json_list", kind="JsonListFormat"),
    Factory(name="ruuvi_raw", module="ruuvi", kind="RuuviFormat"),
    Factory(name="senml_cbor", module="senml_cbor", kind="SenmlCborFormat", extra="formats"),
    Factory(name="senml_json", module="senml", kind="SenmlJsonFormat"),
    Factory(name="shelly_gen2", module="shelly", kind="ShellyFormat"),
    Factory(name="sparkplug_b", module="sparkplug", kind="SparkplugFormat", extra="formats"),
    Factory(name="tasmota", module="tasmota", kind="TasmotaFormat"),
    Factory(name="ttn_v3", module="ttn", kind="TtnFormat"),
    Factory(name="zigbee2mqtt", module="zigbee2mqtt", kind="Zigbee2MqttFormat"),
)
FORMATS: Mapping[str, Factory[SampleFormat]] = MappingProxyType({factory.name: factory for factory in _ALL})
# Not one of free shape: each message is a row of as many columns as its picture has values.
IMAGE: Factory[Format] = Factory(name="image", module="image", kind="ImageFormat", extra="formats")
