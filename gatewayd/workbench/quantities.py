"""What sensors call things: which words are quantities, times, counters, and which units their names give away.

Only what a name says beyond doubt is taken from it: ``temp_c`` is in °C, ``temperature`` may be in °F as well.
"""

import re
import unicodedata
from collections.abc import Collection
from functools import lru_cache


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_UNITS_BY_ENDING = {
    "degc": "°C",
    "celsius": "°C",
    "degf": "°F",
    "fahrenheit": "°F",
    "kelvin": "K",
    "pct": "%",
    "percent": "%",
    "ppm": "ppm",
    "ppb": "ppb",
    "rpm": "rpm",
    "hz": "Hz",
    "khz": "kHz",
    "mv": "mV",
    "volt": "V",
    "volts": "V",
    "ma": "mA",
    "amp": "A",
    "amps": "A",
    "ampere": "A",
    "kw": "kW",
    "watt": "W",
    "watts": "W",
    "wh": "Wh",
    "kwh": "kWh",
    "kva": "kVA",
    "bar": "bar",
    "mbar": "mbar",
    "hpa": "hPa",
    "kpa": "kPa",
    "mpa": "MPa",
    "psi": "psi",
    "mm": "mm",
    "cm": "cm",
    "lux": "lx",
    "dbm": "dBm",
    "db": "dB",
    "kg": "kg",
    "nm": "Nm",
    "kn": "kN",
    "lpm": "l/min",
    "humidity": "%",
    "rh": "%",
}
# Single letters count only as the last of several words: `temp_c`, but not `c`.
_UNITS_BY_LETTER = {"c": "°C", "f": "°F", "v": "V", "a": "A", "w": "W", "g": "g", "k": "K"}
_PHRASES = {"mm_s": "mm/s", "m_s": "m/s", "m_s2": "m/s²", "ms2": "m/s²", "l_min": "l/min", "m3_h": "m³/h"}

_QUANTITIES = frozenset(
    _words(
        "acceleration accel altitude amperage angle battery brightness co co2 concentration conductivity consumption "
        "current density depth dewpoint displacement distance dust energy fill flow force frequency fuel gas gravity "
        "humidity hum illuminance intensity level load lux mass moisture motion noise o2 o3 orientation oxygen "
        "particulate ph pm1 pm10 pm25 position power precipitation pressure radiation rain range resistance "
        "rh rotation rpm salinity sound speed strain stress temp temperature thrust tilt torque turbidity tvoc uv "
        "velocity vibration visibility voc volt voltage volume weight wind"
    )
)
_TIMES = _words(
    "ts timestamp time datetime date_time time_stamp t epoch last_seen lastseen sampled_at measured_at measured "
    "event_time eventtime taken_at observed_at created_at created recorded_at sent_at sent updated_at published_at "
    "date unixtime unix_time utc when at _t _ts @timestamp ts_ms time_ms timestamp_ms ts_us ts_ns time_ns timestamp_ns"
)
_COUNTERS = frozenset(
    _words(
        "count counter cnt seq sequence seqno msgid msg_id message_id uptime uptimesec total cycles frame frames heap "
        "fcnt f_cnt f_port packets errors starts runtime hours mqttcount bootcount index energy aenergy "
        "sequence_number movement_counter"
    )
)
_DIAGNOSTICS = frozenset(
    _words(
        "linkquality lqi rssi snr signal uptime uptimesec heap loadavg sleep mqttcount battery_low free_heap "
        "ram_free ram_size fs_free fs_size cfg_rev kvs_rev schedule_rev webhook_rev ap channel linkcount "
        "last_seen fcnt f_cnt f_port bootcount restart_required_rev ram_min_free utc_offset"
    )
)
_GENERIC = frozenset(
    _words("value val v reading data measurement result state current_value raw sample y present_value")
)
_IDENTITIES = frozenset(
    _words(
        "id serial serialno serial_number sn mac address addr version ver fw firmware imei ip port pid device_id "
        "deviceid dev_id node_id nodeid code status state_code error errors alarm alarms flags mode type msgid msg_id"
    )
)
_WORD = re.compile(r"[^0-9A-Za-zµ°%@_]+")
_UNNAMEABLE = re.compile(r"[^A-Za-z0-9_.-]+")
_MAX_NAME = 64


def legal_name(text: str, taken: Collection[str] = (), *, otherwise: str) -> str:
    """Make of any text a name that a configuration may hold (``settings.Name``), and that is not taken.

    Args:
        text: What to call it.
        taken: Names that are in use.
        otherwise: What to call it where nothing of the text can stand; a legal name.
    """
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    name = _UNNAMEABLE.sub("_", bare).lstrip("_.-").rstrip("_")[:_MAX_NAME] or otherwise
    unique, number = name, 1
    while unique in taken:
        number += 1
        unique = f"{name[: _MAX_NAME - 6]}-{number}"
    return unique


@lru_cache(maxsize=4096)
def last_word(path: str) -> str:
    """Return what a path of keys calls its value, in snake case: ``env.airTemp.0`` → ``air_temp``."""
    parts = [part for part in path.split(".") if part and not part.isdecimal()]
    name = parts[-1] if parts else path
    name = re.sub(r"(?<=[a-z][a-z0-9])(?=[A-Z](?:[a-z]|$))", "_", name)
    return _WORD.sub("_", name).strip("_").lower() if name.strip("_") else name


def known_unit(path: str) -> str:
    """Return the unit that a channel's name gives away; empty: none."""
    name = last_word(path)
    for phrase, unit in _PHRASES.items():
        if name.endswith(f"_{phrase}"):
            return unit
    words = name.split("_")
    unit = _UNITS_BY_ENDING.get(words[-1], "")
    if not unit and len(words) > 1:
        return _UNITS_BY_LETTER.get(words[-1], "")
    return unit


def is_quantity(word: str) -> bool:
    """Tell whether a word, such as a level of a topic, names a quantity: ``temperature``, ``oil-temp2``, ``flow_lpm``.

    What counts is the last word that is no unit: a ``load-cell`` is a device.
    """
    words = [part.rstrip("0123456789") or part for part in re.split(r"[^a-z0-9]+", last_word(word))]
    words = [part for part in words if part and not part.isdecimal()]
    while len(words) > 1 and (words[-1] in _UNITS_BY_ENDING or words[-1] in _UNITS_BY_LETTER):
        words.pop()
    return bool(words) and not _QUANTITIES.isdisjoint((words[-1], last_word(word)))


def is_generic(path: str) -> bool:
    """Tell whether a name says nothing of what is measured: ``value``."""
    return last_word(path) in _GENERIC


def time_rank(path: str) -> int | None:
    """Tell how surely a field of this name is the time of a reading, 0 for the surest; None: not at all."""
    name = last_word(path)
    return _TIMES.index(name) if name in _TIMES else None


def is_counter(path: str) -> bool:
    """Tell whether a name is one of a counter, whose values only grow."""
    name = last_word(path)
    return name in _COUNTERS or any(word in _COUNTERS for word in name.split("_"))


def is_diagnostic(path: str) -> bool:
    """Tell whether a name is one of the sensor's own health: radio, memory, uptime."""
    return last_word(path) in _DIAGNOSTICS


def is_identity(path: str) -> bool:
    """Tell whether a name is one of a number that measures nothing: a serial, a status code, a version."""
    return last_word(path) in _IDENTITIES
