"""What was expected against what came: the differences, in words.

Documents are matched in part: what the expected one doesn't name may be anything. Numbers match when they agree to six
digits, as published scores have seven. Where a number is found, a text may say more: ``> 2.5``, ``<= 1``, ``0.4..0.6``.
"""

import json
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from gatewayd.pipeline.trace import COUNTERS
from gatewayd.workbench.case import Expected, Json
from gatewayd.workbench.case_run import Found

# Counters that must be 0 unless a case says otherwise: what gets lost is a fault unless somebody meant it.
_STRICT: Final = ("refused", "rejected", "unread", "dropped")
_RELATIVE: Final = 1e-6
_ABSOLUTE: Final = 1e-9
_SHOWN: Final = 20  # differences of one case
_LONGEST: Final = 300  # characters of a document
_NUMBER = r"([+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"
_COMPARED = re.compile(rf"(<=|>=|<|>)\s*{_NUMBER}")
_BETWEEN = re.compile(rf"{_NUMBER}\s*\.\.\s*{_NUMBER}")
_COMPARE: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_IDS: Final = ("id", "kind", "gateway", "model")  # of a document that is shown: what tells nothing here


def differences(expected: Expected, found: Found) -> list[str]:
    """Compare what came with what was expected.

    Returns:
        One line for each difference; empty where there is none.
    """
    lines = [
        *_lists("readings", expected.readings, found.readings),
        *_counts(expected, found),
        *_lists("predictions", expected.predictions, found.predictions),
        *_lists("alerts", expected.alerts, found.alerts),
    ]
    if len(lines) > _SHOWN:
        lines[_SHOWN:] = [f"and {len(lines) - _SHOWN} more differences"]
    return lines


def _counts(expected: Expected, found: Found) -> Iterator[str]:
    for name in COUNTERS:
        wanted = expected.counts.get(name, {} if name in _STRICT else None)
        if wanted is None:
            continue
        have = found.counts.get(name, {})
        for reason in dict.fromkeys((*wanted, *have)):
            count, came = wanted.get(reason, 0), have.get(reason, 0)
            if count is not None and count != came:
                example = found.examples.get(f"{name}/{reason}")
                first = f", first {example}" if example and came else ""
                yield f"{name} {reason}: expected {count}, found {came}{first}"


def _lists(name: str, wanted: int | Sequence[Json] | None, found: Sequence[Json]) -> Iterator[str]:
    if wanted is None:
        return
    if isinstance(wanted, int):
        if wanted != len(found):
            yield f"{name}: expected {wanted}, found {len(found)}"
        return
    for index in range(max(len(wanted), len(found))):
        at = f"{name}[{index}]"
        if index >= len(found):
            yield f"{at}: expected {_shown(wanted[index])}, found nothing"
        elif index >= len(wanted):
            yield f"{at}: expected nothing, found {_shown(found[index])}"
        else:
            yield from _documents(at, wanted[index], found[index])


def _documents(at: str, wanted: Json, found: Json) -> Iterator[str]:
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key, value in wanted.items():
            here = f"{at}.{key}"
            if key in found:
                yield from _documents(here, value, found[key])
            else:
                yield f"{here}: expected {_shown(value)}, found nothing"
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for index, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from _documents(f"{at}[{index}]", one, other)
    elif not _is_same(wanted, found):
        yield f"{at}: expected {_shown(wanted)}, found {_shown(found)}"


def _is_same(wanted: Json, found: Json) -> bool:
    if isinstance(wanted, bool) or isinstance(found, bool) or not isinstance(found, int | float):
        return type(wanted) is type(found) and wanted == found
    if isinstance(wanted, int | float):
        return math.isclose(wanted, found, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
    return isinstance(wanted, str) and _holds(wanted.strip(), found)


def _holds(condition: str, number: float) -> bool:
    compared = _COMPARED.fullmatch(condition)
    if compared is not None:
        return _COMPARE[compared[1]](number, float(compared[2]))
    between = _BETWEEN.fullmatch(condition)
    return between is not None and float(between[1]) <= number <= float(between[2])


def _shown(value: Json) -> str:
    if isinstance(value, dict):
        value = {key: one for key, one in value.items() if key not in _IDS}
    text = json.dumps(value, ensure_ascii=False)
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
