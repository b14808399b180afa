"""Units as formats and people write them: when two spellings are one unit.

SenML says ``Cel`` (RFC 8428, 12.1), EdgeX profiles ``degC`` or ``celsius``, Sparkplug what the engineer typed. Only
spellings are folded, never sizes: mV and V stay apart. Case counts in symbols (mW, MW), not in words (Celsius).
"""

import unicodedata
from functools import lru_cache

_SPELLINGS = {
    "°C": "C Cel degC deg_C celsius degreecelsius degreescelsius",
    "°F": "F Far degF deg_F fahrenheit degreefahrenheit degreesfahrenheit",
    "K": "kelvin",
    "%": "pct percent %RH",
    "V": "volt volts",
    "mV": "millivolt millivolts",
    "A": "amp amps ampere amperes",
    "mA": "milliamp milliamps milliampere milliamperes",
    "W": "watt watts",
    "kW": "kilowatt kilowatts",
    "Wh": "watthour watthours",
    "kWh": "kilowatthour kilowatthours",
    "Hz": "hertz 1/s",
    "rpm": "RPM 1/min min-1 r/min rev/min",
    "Pa": "pascal pascals",
    "hPa": "hectopascal hectopascals mbar millibar",
    "lx": "lux",
    "m/s2": "m/s^2 ms-2",
    "µg/m3": "ug/m3 ug/m^3",
    "m3": "m^3 cubicmeter cubicmetre",
    "s": "sec second seconds",
    "ms": "millisecond milliseconds",
    "min": "minute minutes",
    "h": "hour hours",
}


def _folded(unit: str) -> str:
    """Make the ways of typing one text equal: the micro sign and the letter mu, raised digits, blanks."""
    bare = "".join(unicodedata.normalize("NFKC", unit).split())
    return unicodedata.normalize("NFKC", bare)  # what a blank kept apart may have joined


_UNITS = {
    _folded(spelling): _folded(unit)
    for unit, spellings in _SPELLINGS.items()
    for spelling in spellings.split()
}
_SHORTEST_WORD = 4


@lru_cache(maxsize=1024)
def canonical(unit: str) -> str:
    """Return the spelling by which a unit is compared; what isn't known stays, but for blanks and the like."""
    text = _folded(unit)
    if text in _UNITS:
        return _UNITS[text]
    lowered = text.lower()
    return _UNITS.get(lowered, text) if len(text) >= _SHORTEST_WORD else text


def same_unit(first: str, second: str) -> bool:
    """Tell whether two units are one. An empty one says nothing, and agrees with any."""
    return not first or not second or canonical(first) == canonical(second)
