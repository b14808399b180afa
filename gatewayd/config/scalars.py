"""A scalar as the type its option wants: how YAML's surprises are met.

==========  ==================================================================================================
option      what it takes
==========  ==================================================================================================
text        the text as written, quoted or not: ``0777``, ``no``, ``22:30``, ``1.10`` stay themselves
whole       plain decimal, unquoted: no octal, no ``1_000``, no leading zero
number      decimal with point or exponent, unquoted: ``1e3`` is 1000; no ``.nan``, no ``.inf``
switch      ``true false on off yes no``, unquoted
==========  ==================================================================================================

Nothing, ``~`` and ``null``, unquoted, leave an option at its default where the default is "none".
"""

import math
import re
from difflib import get_close_matches
from typing import Literal, get_args, get_origin

from gatewayd.config.document import Scalar
from gatewayd.config.secret import holds_userinfo

Value = str | int | float | bool
_WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_SWITCH = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}
_NOTHING = {"", "~", "null", "Null", "NULL"}
_SHOWN = 48
_MANY = 6  # choices: who misspells one of them wants no list


class UnreadableError(Exception):
    """The scalar is not what the option wants; the message says what was expected."""


def is_nothing(scalar: Scalar) -> bool:
    """Tell whether a scalar stands for "no value"."""
    return scalar.is_plain and scalar.text in _NOTHING


def read_scalar(scalar: Scalar, wanted: object) -> Value:
    """Read a scalar as ``str``, ``int``, ``float``, ``bool`` or one of a ``Literal``'s values.

    Raises:
        UnreadableError: It is not of that type.
    """
    if get_origin(wanted) is Literal:
        return _choice(scalar, get_args(wanted))
    if wanted is str:
        if is_nothing(scalar) and not scalar.text:
            raise UnreadableError("expected a text")
        return scalar.text
    if wanted is bool:
        if not scalar.is_plain or scalar.text.lower() not in _SWITCH:
            raise UnreadableError("expected true or false")
        return _SWITCH[scalar.text.lower()]
    if wanted is int:
        if not scalar.is_plain or not _WHOLE.fullmatch(scalar.text):
            raise UnreadableError("expected a whole number")
        return int(scalar.text)
    assert wanted is float, wanted
    if not scalar.is_plain or not _NUMBER.fullmatch(scalar.text) or not math.isfinite(float(scalar.text)):
        raise UnreadableError("expected a number")
    return float(scalar.text)


def _choice(scalar: Scalar, choices: tuple[Value, ...]) -> Value:
    for choice in choices:
        try:
            if read_scalar(scalar, type(choice)) == choice:
                return choice
        except UnreadableError:
            continue
    names = [str(choice) for choice in choices]
    if len(names) > _MANY and (near := get_close_matches(scalar.text, names, n=1)):
        raise UnreadableError(f"expected one of {len(names)} names, perhaps '{near[0]}'")
    raise UnreadableError(f"expected {', '.join(names[:-1])} or {names[-1]}")


def shown(scalar: Scalar) -> str:
    """Repeat a scalar in a message: on one line, never long, never a password in a URL."""
    if holds_userinfo(scalar.text):
        return "this value"
    if scalar.is_plain and not scalar.text:
        return "nothing"
    text = scalar.text if len(scalar.text) <= _SHOWN else f"{scalar.text[:_SHOWN]}…"
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if scalar.is_plain else f'"{text}"'
