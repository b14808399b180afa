"""What is said to the person whose file is wrong: what was expected, what was found, the nearest key."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from types import UnionType
from typing import Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gatewayd.config.secret import looks_secret

Loc = tuple[str, ...]
# Options that people look for, and what to say instead of a guess.
_HINTS = {
    ("window", "length"): "the window's length is the model's: it stands in the bundle",
    ("window", "size"): "the window's length is the model's: it stands in the bundle",
}
_INLINE = "secrets do not stand in this file; put it into a file of its own, named under password_file"


def option_name(name: str, info: FieldInfo) -> str:
    """Return a field's name as it stands in the file: ``from``, not ``from_``."""
    return info.alias or name


def section_of(annotation: object) -> type[BaseModel] | None:
    """Return the section that an option holds, if it holds one (``X``, ``X | None``)."""
    is_union = get_origin(annotation) in (Union, UnionType)
    for candidate in get_args(annotation) if is_union else (annotation,):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def named_section_of(annotation: object) -> type[BaseModel] | None:
    """Return the section that a mapping from names holds (``dict[Name, X]``), if it is one."""
    return section_of(get_args(annotation)[1]) if get_origin(annotation) is dict else None


def walk_options(model: type[BaseModel], at: Loc = ()) -> Iterator[tuple[Loc, FieldInfo]]:
    """Yield every option below a section with its path, in order; a level that the user names is ``NAME``."""
    for name, info in model.model_fields.items():
        loc = (*at, option_name(name, info))
        yield loc, info
        named = named_section_of(info.annotation)
        inner = named or section_of(info.annotation)
        if inner is not None:
            yield from walk_options(inner, (*loc, "NAME") if named else loc)


def limits(info: FieldInfo) -> str | None:
    """Return an option's numeric range in words, e.g. ``lie in 1..64``; None if it has none."""
    bound: dict[str, float] = {}
    for item in info.metadata:
        bound |= {key: getattr(item, key) for key in ("ge", "gt", "le", "lt") if hasattr(item, key)}
    if "ge" in bound and "le" in bound:
        return f"lie in {_number(bound['ge'])}..{_number(bound['le'])}"
    words = {"ge": "at least", "gt": "greater than", "le": "at most", "lt": "less than"}
    parts = [f"{words[key]} {_number(bound[key])}" for key in words if key in bound]
    return f"be {' and '.join(parts)}" if parts else None


def _number(value: float) -> str:
    return f"{value:.15g}"


def unknown_option(key: str, *, at: Loc, known: list[str], root: type[BaseModel]) -> tuple[str, str | None]:
    """Say that a key is unknown, with the nearest known one.

    Returns:
        The message, and the known key of the same section that was probably meant.
    """
    hint = _HINTS.get((at[-1] if at else "", key))
    if hint:
        return f"unknown option; {hint}", None
    if looks_secret(key) and key not in known:
        near = get_close_matches(key, [k for k in known if k.endswith("_file")], n=1, cutoff=0.8)
        return (
            (f"unknown option; did you mean '{near[0]}'?", near[0])
            if near
            else (f"unknown option; {_INLINE}", None)
        )
    plain = key.lower().replace("-", "_")
    for cutoff in (0.8, 0.6):
        near = get_close_matches(plain, known, n=1, cutoff=cutoff)
        if near:
            return f"unknown option; did you mean '{near[0]}'?", near[0]
        homes = _homes(plain, at, root)
        if homes:
            return f"unknown option; '{plain}' belongs to {homes}", None
    parts = {part: name for name in known for part in name.split("_")}
    near = get_close_matches(plain, parts, n=1, cutoff=0.8)  # `verfy` for insecure_skip_verify
    if near:
        return f"unknown option; did you mean '{parts[near[0]]}'?", parts[near[0]]
    return f"unknown option; known here: {', '.join(known)}", None


def _homes(key: str, at: Loc, root: type[BaseModel]) -> str:
    """Name the sections that know a key, the nearest ones first."""
    homes = [loc[:-1] for loc, _ in walk_options(root) if loc[-1] == key]
    shape = {index: part for index, part in enumerate(at) if index != 1}

    def distance(home: Loc) -> int:
        return -sum(1 for index, part in shape.items() if home[index : index + 1] == (part,))

    names = [".".join(home) or "the top level" for home in sorted(homes, key=distance)]
    return " or ".join(names[:2])


def pydantic_message(error: Mapping[str, object], info: FieldInfo | None, found: str) -> str:
    """Say in our words what pydantic has found; ``found`` is the value as it may be shown."""
    kind = str(error["type"])
    if kind in {"greater_than", "greater_than_equal", "less_than", "less_than_equal"} and info:
        return f"must {limits(info)}, not {found}"
    if kind == "value_error":
        context = error.get("ctx")
        return str(context["error"]) if isinstance(context, dict) else str(error["msg"])
    if kind == "string_too_short":
        return "must not be empty"
    if kind == "string_too_long" and isinstance(error.get("ctx"), dict):
        return "is too long"
    if kind == "too_short":
        return "needs at least one entry"
    return "is not accepted"
