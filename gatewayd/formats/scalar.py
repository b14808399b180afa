"""A number, as firmware writes it: JSON's, text's, a switch's, or a word that means absent.

Strict on purpose: Python's ``float`` takes ``1_000`` and ``infinity``, and ``23,5`` read leniently becomes 235. What
is not plainly a decimal number is rejected, never guessed.
"""

import math
import re

from gatewayd.errors import RejectedInputError

_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_SWITCH = {"on": 1.0, "true": 1.0, "off": 0.0, "false": 0.0}
_ABSENT = frozenset(
    {"", "nan", "-nan", "null", "none", "unavailable", "unknown", "inf", "-inf", "infinity", "-infinity"}
)
_LONGEST = 400  # characters; float64's longest exact literals are shorter than any sane payload


def number(value: object) -> float:
    """Read a decoded value as a reading.

    Args:
        value: What a parser made of it: a number, a boolean, a text or None.

    Returns:
        The number; 1.0 and 0.0 for a switch; NaN where the value says that it is absent.

    Raises:
        RejectedInputError: ``not_a_number``.
    """
    if isinstance(value, str):
        return text_number(value)
    if value is None:
        return math.nan
    if isinstance(value, bool | int | float):
        try:
            result = float(value)
        except OverflowError:
            return math.nan
        return result if math.isfinite(result) else math.nan
    raise RejectedInputError("not_a_number", type(value).__name__)


def text_number(text: str) -> float:
    """Read a text as a reading; see ``number``.

    Raises:
        RejectedInputError: ``not_a_number``.
    """
    if len(text) > _LONGEST:
        raise RejectedInputError("not_a_number", "too long")
    text = text.strip(" \t\r\n\x00")
    if _DECIMAL.fullmatch(text):
        result = float(text)
        return result if math.isfinite(result) else math.nan
    word = text.lower()
    if word in _ABSENT:
        return math.nan
    if word in _SWITCH:
        return _SWITCH[word]
    raise RejectedInputError("not_a_number", text[:40])
