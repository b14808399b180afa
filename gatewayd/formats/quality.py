"""Whether a value's quality flag lets it be used, in every spelling that industrial gateways send.

A flag is a boolean or 0 and 1; a word, ``good`` or ``BadNoCommunication``; OPC DA's quality, 192 for good, whose bits
7 and 6 are 11 for good, 01 for uncertain; or OPC UA's status code, whose bits 31 and 30 are 00 for good, 01 for
uncertain, 10 for bad. Uncertain values are used: the sender gives them away for use. Absent is good: OPC UA's JSON
leaves a good status out.

A plain 0 is bad, as a flag and in OPC DA; in OPC UA it would be good. Who sends that form should be read by the
status' text beside it, or as the object ``{"Code":0}``, which is OPC UA's alone.

Reference:
    OPC DA 3.00, 6.8 "Quality flags"; OPC UA 1.05 part 4, 7.39 "StatusCode"; part 6, 5.4.2.12 (as JSON).
"""

from gatewayd.errors import RejectedInputError

_DA_STATUS, _DA_BITS = 0xC0, 16
_DA_USABLE = (0xC0, 0x40)
_UA_BAD, _UA_BITS = 0x8000_0000, 32
_USABLE = ("good", "uncertain")  # how such a text begins: "Good, non-specific", "UncertainLastUsableValue"
_WORDS = {
    **dict.fromkeys(("ok", "true", "valid", "on"), True),
    **dict.fromkeys(("", "false", "invalid", "off", "error"), False),
}
_LONGEST = 11  # characters of a number: 32 bits and a sign


def is_usable(flag: object) -> bool:
    """Tell whether a value with this flag may be used.

    Args:
        flag: As a JSON parser made it.

    Raises:
        RejectedInputError: ``unknown_quality``: neither good nor bad by any of these spellings.
    """
    if isinstance(flag, dict) and isinstance(flag.get("Code"), int):
        return not flag["Code"] & _UA_BAD
    if isinstance(flag, str):
        return _text(flag.strip().lower())
    if isinstance(flag, float) and flag.is_integer():
        flag = int(flag)
    if flag is None or isinstance(flag, bool):
        return flag is not False
    if isinstance(flag, int):
        return _number(flag)
    raise RejectedInputError("unknown_quality", type(flag).__name__)


def _text(text: str) -> bool:
    if text in _WORDS:
        return _WORDS[text]
    if text.startswith("bad"):
        return False
    if text.startswith(_USABLE):
        return True
    if text.isascii() and text.isdigit() and len(text) < _LONGEST:
        return _number(int(text))
    raise RejectedInputError("unknown_quality", text[:40])


def _number(flag: int) -> bool:
    if flag in (0, 1):
        return flag == 1
    code = flag + (1 << _UA_BITS) if flag < 0 else flag  # a status code in a signed integer
    if not 0 < code < 1 << _UA_BITS:
        raise RejectedInputError("unknown_quality")
    if code < 1 << _DA_BITS:
        return code & _DA_STATUS in _DA_USABLE
    return not code & _UA_BAD
