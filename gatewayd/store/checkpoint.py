r"""What the line remembers, in one file: written whole, or not at all.

::

    "gwstate\n"        8 bytes
    version            4 bytes, little-endian; 1
    length             8 bytes, little-endian: of the tree
    digest             32 bytes, BLAKE2b of all else
    tree               JSON; an array stands as {"$array": [dtype, shape, offset, bytes]}, bytes as {"$bytes": base64},
                       a number that JSON lacks as {"$float": "nan"}, a mapping with a key that begins with $ as
                       {"$map": [[key, value], ...]}
    arrays             one behind the other, little-endian

A new file takes the old one's place by a rename, so a power cut leaves one of the two. A file that fails its digest is
set aside as ``NAME.damaged-N``; one of a newer version is left alone and refused.
"""

import base64
import contextlib
import json
import math
import os
import struct
from hashlib import blake2b
from pathlib import Path

import numpy as np

from gatewayd.domain.arrays import Bool, Float64, Int64
from gatewayd.domain.state import State, Value, as_state
from gatewayd.errors import StartupError, TransientError
from gatewayd.store.database import set_aside

_MAGIC = b"gwstate\n"
_VERSION = 1
_HEAD = struct.Struct("<8sIQ")
_DIGEST_BYTES = 32
_DTYPES = {"int64": "<i8", "float64": "<f8", "bool": "|b1"}


class DamagedError(Exception):
    """The bytes are no checkpoint, or not the ones that were written; the message says what is wrong."""


class Checkpoint:
    """One state in one file. Not thread-safe.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._new = path.with_name(f"{path.name}.new")

    def save(self, state: State) -> int:
        """Write a state in place of the one before; durable on return.

        Returns:
            Bytes written.

        Raises:
            TransientError: The disk would not take it; the state before is still there.
        """
        data = encode(state)
        try:
            with self._new.open("wb") as file:
                self._new.chmod(0o600)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            self._new.rename(self._path)
            _sync_folder(self._path.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._new.unlink(missing_ok=True)
            raise TransientError(f"{self._path}: {error.strerror or error}") from error
        return len(data)

    def load(self) -> State | None:
        """Read the state; None where there is none.

        Raises:
            DamagedError: It was damaged, and has been set aside; the message says what and where.
            StartupError: It is of a newer version, or can't be read.
        """
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StartupError(f"{self._path} cannot be read: {error.strerror}") from error
        try:
            return decode(data)
        except DamagedError as error:
            try:
                aside = set_aside(self._path)
            except OSError as failure:
                raise StartupError(
                    f"{self._path}: {error}, and can't be set aside: {failure.strerror}"
                ) from error
            raise DamagedError(f"{error}; set aside as {aside}") from error
        except NewerError as error:
            raise StartupError(f"{self._path}: {error}; run that version, or move the file away") from error


class NewerError(Exception):
    """The bytes are of a version that this program doesn't know."""


def encode(state: State) -> bytes:
    """Write a state down; the same state gives the same bytes."""
    arrays: list[bytes] = []
    offset = 0

    def array(value: Int64 | Float64 | Bool) -> object:
        nonlocal offset
        kind = str(value.dtype)
        data = np.ascontiguousarray(value).astype(_DTYPES[kind]).tobytes()
        arrays.append(data)
        offset += len(data)
        return {"$array": [kind, list(value.shape), offset - len(data), len(data)]}

    def plain(value: Value) -> object:
        if isinstance(value, np.ndarray):
            return array(value)
        if isinstance(value, dict):
            pairs = {key: plain(inner) for key, inner in value.items()}
            is_clear = not any(key.startswith("$") for key in pairs)
            return pairs if is_clear else {"$map": [[key, inner] for key, inner in pairs.items()]}
        if isinstance(value, (list, tuple)):
            return [plain(inner) for inner in value]
        if isinstance(value, bytes):
            return {"$bytes": base64.b64encode(value).decode()}
        if isinstance(value, float) and not math.isfinite(value):
            return {"$float": repr(float(value))}
        assert value is None or type(value) in (bool, int, float, str), type(value)
        return value

    tree = json.dumps(plain(dict(state)), allow_nan=False, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )
    body = b"".join([tree, *arrays])
    head = _HEAD.pack(_MAGIC, _VERSION, len(tree))
    return head + _digest(head, body) + body


def decode(data: bytes) -> State:
    """Read what ``encode`` wrote.

    Raises:
        DamagedError: It is something else, or not whole.
        NewerError: Another version wrote it.
    """
    if len(data) < _HEAD.size or not data.startswith(_MAGIC):
        raise DamagedError("no state of gatewayd")
    _, version, length = _HEAD.unpack_from(data)
    if version > _VERSION:
        raise NewerError(f"written by a newer gatewayd (version {version} of the file, {_VERSION} is known)")
    head, digest = data[: _HEAD.size], data[_HEAD.size : _HEAD.size + _DIGEST_BYTES]
    body = data[_HEAD.size + _DIGEST_BYTES :]
    if version < 1 or _digest(head, body) != digest:
        raise DamagedError("cut off, or changed since it was written")
    arrays = memoryview(body)[length:]

    def value_of(node: object) -> Value:
        if isinstance(node, list):
            return [value_of(inner) for inner in node]
        if not isinstance(node, dict):
            assert node is None or isinstance(node, bool | int | float | str)
            return node
        if "$array" in node:
            kind, shape, offset, size = node["$array"]
            flat = np.frombuffer(arrays[offset : offset + size], dtype=_DTYPES[kind])
            return flat.astype(kind).reshape(shape)
        if "$bytes" in node:
            return base64.b64decode(node["$bytes"])
        if "$float" in node:
            return float(node["$float"])
        pairs = node["$map"] if "$map" in node else node.items()
        return {key: value_of(inner) for key, inner in pairs}

    return as_state(value_of(json.loads(body[:length].decode("utf-8", "surrogatepass"))))


def _digest(head: bytes, body: bytes) -> bytes:
    digest = blake2b(head, digest_size=_DIGEST_BYTES)
    digest.update(body)
    return digest.digest()


def _sync_folder(path: Path) -> None:
    """Make a rename durable (rename(2) alone leaves that to the file system)."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
