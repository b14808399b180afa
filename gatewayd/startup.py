"""Everything that the file, the files it names and the model bundles can show to be wrong, found at once.

Runs before the first thread or socket exists, the same for ``check`` and ``run``. A relative
``password_file`` is looked for among systemd's credentials first (``LoadCredential=``, systemd.exec(5)),
then beside the file.
"""

import os
import ssl
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from gatewayd.config.parse import Examined, Loaded, examine
from gatewayd.config.secret import Secret, read_secret
from gatewayd.config.settings import Settings, StreamSettings, TlsSettings
from gatewayd.domain.model import ModelSpec
from gatewayd.domain.topic import TopicFilter, TopicTemplate
from gatewayd.errors import ConfigError, ModelError, Problem, StartupError
from gatewayd.formats.decoded import Format
from gatewayd.formats.registry import FORMATS, IMAGE, Factory, Made
from gatewayd.formats.sample import SampleFormat
from gatewayd.model.bundle import Bundle, load_bundle
from gatewayd.model.fit import fit_problems
from gatewayd.pipeline.deviation import deviation_spec

_TIME_OPTIONS = frozenset({"time", "time_unit"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A configuration that may run.

    Attributes:
        loaded: The file.
        bundles: By stream name, of the streams that have a model; each fits its stream.
        secrets: Passwords by broker name; brokers without one are left out.
        warnings: What a person should look at, though it runs; one line each.
    """

    loaded: Loaded
    bundles: Mapping[str, Bundle]
    secrets: Mapping[str, Secret]
    warnings: tuple[str, ...]

    @property
    def settings(self) -> Settings:
        """The options."""
        return self.loaded.settings

    def spec(self, stream: str) -> ModelSpec:
        """Return the numbers of a stream's model, or those that stand in where it has none."""
        bundle = self.bundles.get(stream)
        return bundle.spec if bundle is not None else deviation_spec(self.settings.streams[stream])


def prepare(path: Path, *, opens_links: bool = True) -> Prepared:
    """Read the configuration and all that it names.

    Args:
        path: The file.
        opens_links: Whether brokers will be connected to; without, the files of passwords and TLS may be elsewhere.

    Raises:
        ConfigError: With every problem of the file, of passwords, TLS files and bundles, in file order.
    """
    examined = examine(path)
    loaded = examined.loaded
    if loaded is None:
        raise ConfigError(list(examined.problems))
    problems = list(examined.problems)
    warnings: list[str] = []
    secrets = _read_secrets(loaded, problems, warnings) if opens_links else {}
    for name, broker in loaded.settings.brokers.items():
        if broker.tls is not None and opens_links:
            _check_tls(loaded, name, broker.tls, problems, warnings)
    _check_formats(examined, loaded, problems)
    bundles = _load_bundles(examined, loaded, problems)
    warnings += [*_shared_topics(loaded), *_sparse_grids(loaded), *_waits_for_nobody(loaded)]
    if problems:
        raise ConfigError(sorted(problems, key=lambda problem: (problem.line, problem.column)))
    return Prepared(loaded=loaded, bundles=bundles, secrets=secrets, warnings=tuple(warnings))


def open_format(settings: StreamSettings) -> SampleFormat | None:
    """Make a stream's format with its own memory; None where the channels are pointed out (``json``, ``number``).

    Raises:
        ValueError: The format can't be had like this; the message says why, ``args[1]`` the option to blame, if any.
    """
    factory = FORMATS.get(settings.format)
    if factory is None:
        return None
    given = {}
    if settings.time is not None:
        given = {
            "time": settings.time.field,
            "time_unit": settings.time.unit,
            "timezone": settings.time.timezone,
        }
        if "time" not in factory.options:
            raise ValueError(f"format {factory.name} finds the time stamps itself: leave this out", ("time",))
    options = {name: text for name, text in settings.format_options.items() if name not in _TIME_OPTIONS}
    for name in _TIME_OPTIONS & settings.format_options.keys():
        raise ValueError("stands under 'time' of the stream, as field and unit", ("format_options", name))
    return _opened(factory, options, given)


def open_image_format(settings: StreamSettings, spec: ModelSpec) -> Format | None:
    """Make the format of a stream of pictures, which brings them to its model's size; None for any other stream.

    Raises:
        ValueError: As ``open_format``.
    """
    if settings.format != IMAGE.name:
        return None
    assert spec.image is not None, "fit.py asks for it"
    return _image_format(
        settings, width=spec.image.width, height=spec.image.height, colours=len(spec.channels)
    )


def _image_format(settings: StreamSettings, **size: int) -> Format:
    return _opened(IMAGE, settings.format_options, size)


def _opened(factory: Factory[Made], options: Mapping[str, str], given: Mapping[str, object]) -> Made:
    try:
        return factory.from_text(options, **given)
    except ValueError as error:
        message, *option = error.args
        raise ValueError(message, ("format_options", *option) if option else ("format",)) from error


def _check_formats(examined: Examined, loaded: Loaded, problems: list[Problem]) -> None:
    for name, stream in loaded.settings.streams.items():
        at = ("streams", name)
        if examined.is_wrong((*at, "format")) or examined.is_wrong((*at, "format_options")):
            continue
        try:
            if stream.format == IMAGE.name:
                _image_format(stream, width=1, height=1, colours=1)  # no model has a size that can't be
            else:
                open_format(stream)
        except ValueError as error:
            message, loc = error.args
            problems.append(loaded.problem(at + loc, message))


def _read_secrets(loaded: Loaded, problems: list[Problem], warnings: list[str]) -> dict[str, Secret]:
    secrets: dict[str, Secret] = {}
    for name, broker in loaded.settings.brokers.items():
        if broker.password_file is None:
            continue
        loc = ("brokers", name, "password_file")
        try:
            file = _secret_path(loaded, broker.password_file)
            secrets[name] = read_secret(file)
            if file.stat().st_mode & stat.S_IROTH:
                warning = loaded.problem(loc, "every user of this machine can read the file; chmod o-r it")
                warnings.append(str(warning))
        except (StartupError, OSError) as error:
            reason = str(error) if isinstance(error, StartupError) else "cannot be read"
            where = f"; relative paths begin at {loaded.base}" if reason == "no such file" else ""
            problems.append(loaded.problem(loc, f"{reason}{where}"))
    return secrets


def _secret_path(loaded: Loaded, name: str) -> Path:
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and not Path(name).is_absolute():
        credential = Path(credentials) / name
        if credential.exists():
            return credential
    return loaded.resolve(name)


def _check_tls(
    loaded: Loaded, broker: str, tls: TlsSettings, problems: list[Problem], warnings: list[str]
) -> None:
    at = ("brokers", broker, "tls")
    files: dict[str, Path] = {}
    for option in ("ca_file", "cert_file", "key_file"):
        name = getattr(tls, option)
        if name is None:
            continue
        file = loaded.resolve(name)
        try:
            with file.open("rb"):
                files[option] = file
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a path"
            problems.append(loaded.problem((*at, option), f"{file} cannot be read: {reason}"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if "ca_file" in files:
        try:
            context.load_verify_locations(files["ca_file"])
        except (ssl.SSLError, OSError):
            message = f"{files['ca_file']} holds no certificate in PEM form"
            problems.append(loaded.problem((*at, "ca_file"), message))
    if "cert_file" in files and "key_file" in files:
        try:
            context.load_cert_chain(files["cert_file"], files["key_file"], password=_no_passphrase)
        except (ssl.SSLError, OSError, StartupError) as error:
            reason = _chain_reason(error)
            problems.append(loaded.problem((*at, "cert_file"), reason))
    if tls.insecure_skip_verify:
        message = "any certificate is accepted: whoever sits in between reads and changes all"
        warnings.append(str(loaded.problem((*at, "insecure_skip_verify"), message)))


def _shared_topics(loaded: Loaded) -> list[str]:
    """Tell where results of several devices go to one topic: all named levels together tell devices apart."""
    found = []
    for name, stream in loaded.settings.streams.items():
        held = TopicTemplate.parse(stream.publish.topic).names
        missing = [level for level in TopicFilter.parse(stream.topic).names if level not in held]
        if missing:
            message = (
                f"lacks {', '.join(f'{{{level}}}' for level in missing)} of the subscription: devices that differ "
                "in nothing else publish on one topic"
            )
            found.append(str(loaded.problem(("streams", name, "publish", "topic"), message)))
    return found


def _sparse_grids(loaded: Loaded) -> Iterator[str]:
    """Tell where a value is too old for the grid's next row before that is due."""
    for name, stream in loaded.settings.streams.items():
        align = stream.align
        if align is not None and align.max_gap_s < align.every_s:
            message = (
                f"shorter than every_s ({align.every_s:g}): a row is made only where each channel has a value of "
                f"the last {align.max_gap_s:g} s"
            )
            yield str(loaded.problem(("streams", name, "align", "max_gap_s"), message))


def _waits_for_nobody(loaded: Loaded) -> Iterator[str]:
    """Tell where alerts wait for people who have no way to speak."""
    if loaded.settings.commands is not None:
        return
    for name, stream in loaded.settings.streams.items():
        for option, waits in (
            ("acknowledge", stream.alert.acknowledge == "required"),
            ("latch", stream.alert.latch),
        ):
            if waits:
                message = "nobody can end such an alert: people speak by 'commands', which is off"
                yield str(loaded.problem(("streams", name, "alert", option), message))


def _no_passphrase() -> NoReturn:
    """Stand in for the terminal: nobody sits at a gateway."""
    raise StartupError("the key is encrypted, and nobody is here to type its passphrase; decrypt it")


def _chain_reason(error: Exception) -> str:
    if isinstance(error, StartupError):
        return str(error)
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        return "the certificate does not belong to the key in key_file"
    return "cert_file and key_file hold no certificate with its key in PEM form"


def _load_bundles(examined: Examined, loaded: Loaded, problems: list[Problem]) -> dict[str, Bundle]:
    bundles: dict[str, Bundle] = {}
    for name, stream in loaded.settings.streams.items():
        at = ("streams", name)
        if examined.is_wrong((*at, "model")):
            continue
        if stream.model is None:
            problems += _fit(examined, loaded, at, stream, deviation_spec(stream))
            continue
        try:
            bundle = load_bundle(loaded.resolve(stream.model))
        except ModelError as error:
            problems += [loaded.problem((*at, "model"), line) for line in str(error).splitlines()]
            continue
        bundles[name] = bundle
        problems += _fit(examined, loaded, at, stream, bundle.spec)
    return bundles


def _fit(
    examined: Examined, loaded: Loaded, at: tuple[str, ...], stream: StreamSettings, spec: ModelSpec
) -> list[Problem]:
    return [
        loaded.problem(at + loc, message)
        for loc, message in fit_problems(stream, spec)
        if not examined.is_wrong(at + loc)
    ]
