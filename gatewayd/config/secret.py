"""A secret: read from a file, handed to the one call that needs it, shown nowhere else.

Every way in which Python turns a value into text (``repr``, ``str``, ``format``, pickling) shows stars or
fails, so a secret cannot reach a log, a traceback or a dump by accident; only ``reveal`` gives it away, and
is easy to search for.
"""

import re
from pathlib import Path
from typing import NoReturn

from gatewayd.errors import StartupError

MAX_SECRET_BYTES = 65_535  # a password's length field has 16 bits (MQTT 3.1.1, 3.1.3.5)
_SECRET_KEY = re.compile(
    r"pass(word|wd|phrase|code)?|pwd|secret|token|credential|api_?key|private_?key|psk", re.IGNORECASE
)
_USERINFO = re.compile(r"://[^/\s]*@|^[^/\s@:]+:[^@\s]*@")


class Secret:
    """A text that hides from ``repr``, ``str``, ``format`` and ``pickle``."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text itself; the only way to it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: object) -> "Secret":
        return self

    def __reduce__(self) -> NoReturn:
        """Refuse to be written anywhere."""
        raise TypeError("a secret is not to be pickled")


def read_secret(path: Path) -> Secret:
    """Read a secret from a file whose only line it is; one trailing line break is not part of it.

    Raises:
        StartupError: Missing, unreadable, empty, too long, not UTF-8, or more than one line. The message
            names neither path nor content: a secret written in place of the path must not reach a log.
    """
    try:
        if not path.is_file():
            raise StartupError("no such file" if not path.exists() else "not a file")
        with path.open("rb") as file:
            data = file.read(MAX_SECRET_BYTES + 3)
    except (OSError, ValueError) as error:
        raise StartupError(f"cannot be read: {getattr(error, 'strerror', None) or 'not a path'}") from None
    data = data.removesuffix(b"\n").removesuffix(b"\r")
    if not data.strip():
        raise StartupError("the file is empty; expected the secret as its only line")
    if len(data) > MAX_SECRET_BYTES:
        raise StartupError(f"the file is too long; a secret has at most {MAX_SECRET_BYTES} bytes")
    if b"\n" in data:
        raise StartupError("the file has more than one line; expected the secret as its only line")
    try:
        return Secret(data.decode())
    except UnicodeDecodeError:
        raise StartupError("the file is not UTF-8 text") from None


def looks_secret(key: str) -> bool:
    """Tell whether what stands under a key of this name is likely to be a secret."""
    return _SECRET_KEY.search(key) is not None


def holds_userinfo(text: str) -> bool:
    """Tell whether a text is likely to carry a password in the way URLs do (RFC 3986, 3.2.1)."""
    return _USERINFO.search(text) is not None
