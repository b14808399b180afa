"""Whether a stream's configuration fits its model bundle, and how their channels map onto each other.

The bundle rules: what a model was trained on cannot be configured away. Pure; ``startup.py`` gives each
problem its place.
"""

from difflib import get_close_matches

from gatewayd.config.settings import StreamSettings
from gatewayd.domain.model import ModelSpec
from gatewayd.formats.units import same_unit

Loc = tuple[str, ...]


def channel_order(stream: StreamSettings, spec: ModelSpec) -> tuple[int, ...]:
    """Return, for each of the model's channels, its position among the stream's.

    Raises:
        ValueError: The stream lacks one of them; ``fit_problems`` says which.
    """
    names = list(stream.channels)
    return tuple(names.index(channel.name) for channel in spec.channels)


def fit_problems(stream: StreamSettings, spec: ModelSpec) -> list[tuple[Loc, str]]:
    """Compare a stream with its model.

    Returns:
        The option that is wrong, as a path below the stream, and what is wrong with it.
    """
    return _kind(stream, spec) or [
        *_channels(stream, spec),
        *_window(stream, spec),
        *_threshold(stream, spec),
    ]


def _kind(stream: StreamSettings, spec: ModelSpec) -> list[tuple[Loc, str]]:
    """Compare what the stream brings, pictures or readings, with what the model looks at."""
    is_of_pictures = stream.format == "image"
    if spec.task == "deviation" or is_of_pictures == (spec.image is not None):
        return []
    if spec.image is None:
        return [(("model",), "looks at readings in time, and format image brings pictures")]
    size = f"{spec.image.width} x {spec.image.height}"
    return [
        (("format",), f"must be image: the model looks at pictures of {size} pixels, not {stream.format}")
    ]


def _channels(stream: StreamSettings, spec: ModelSpec) -> list[tuple[Loc, str]]:
    found: list[tuple[Loc, str]] = []
    if spec.task == "deviation":
        return found  # its channels are the stream's own
    wanted = [channel.name for channel in spec.channels]
    missing = [name for name in wanted if name not in stream.channels]
    for name in stream.channels:
        if name in wanted:
            continue
        near = get_close_matches(name, missing, n=1)
        if near:
            missing.remove(near[0])
        expected = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(wanted)}"
        found.append((("channels", name), f"the model has no such channel; {expected}"))
    found += [(("channels",), f"the model needs the channel '{name}' too") for name in missing]
    for index, channel in enumerate(spec.channels):
        settings = stream.channels.get(channel.name)
        if settings is None:
            continue
        if not same_unit(settings.unit, channel.unit):
            message = f"the model was trained on {channel.unit}, not {settings.unit}"
            found.append((("channels", channel.name, "unit"), message))
        mean = float(spec.mean[index])
        for option, limit in (("min", settings.min), ("max", settings.max)):
            if limit is not None and (mean < limit if option == "min" else mean > limit):
                message = f"would drop what is normal to the model: its training mean is {mean:g}"
                found.append((("channels", channel.name, option), message))
    return found


def _window(stream: StreamSettings, spec: ModelSpec) -> list[tuple[Loc, str]]:
    found: list[tuple[Loc, str]] = []
    hop, gap = stream.window.hop, stream.window.max_gap_s
    if hop is not None and hop > spec.length:
        found.append(
            (("window", "hop"), f"must lie in 1..{spec.length} (the model's window length), not {hop}")
        )
    if gap is not None and spec.interval_s is not None and gap < spec.interval_s:
        message = (
            f"must be at least {spec.interval_s:g} (the model's interval), not {gap:g}: no window would fill"
        )
        found.append((("window", "max_gap_s"), message))
    return found


def _threshold(stream: StreamSettings, spec: ModelSpec) -> list[tuple[Loc, str]]:
    where = ("alert", "threshold")
    threshold = stream.alert.threshold if stream.alert.threshold is not None else spec.threshold
    if threshold is None:
        return [(where, "the model brings no threshold: give one here")]
    if spec.task == "classification" and not 0 < threshold <= 1:
        message = f"must be a probability, greater than 0 and at most 1, not {threshold:g}"
        return [(where, message)]
    if spec.task == "reconstruction" and threshold <= 0:
        return [(where, f"must be greater than 0 (an error has no sign), not {threshold:g}")]
    if threshold <= 0 and stream.alert.clear_below < 1:
        message = "must be 1 where the threshold is not positive: a part of it lies above it"
        return [(("alert", "clear_below"), message)]
    return []
