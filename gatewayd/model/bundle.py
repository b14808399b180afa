"""A model bundle: a folder in which a model and its numbers travel together, checked against each other.

``bundle.yaml`` holds the numbers and the SHA-256 of every other file; ``model.tflite`` is the model;
``golden.json`` has windows with the outputs they must give. docs/models.md draws the format in full. A bundle
is read whole or not at all: no mixture of two versions passes the hashes. Needs no runtime;
``interpreter.open_model`` does the rest.
"""

import contextlib
import ctypes
import errno
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import orjson

from gatewayd.domain.arrays import Float64, Raw
from gatewayd.domain.model import ModelSpec, TensorSpec
from gatewayd.errors import ModelError
from gatewayd.model.manifest import (
    GOLDEN_FILE,
    MODEL_FILE,
    FileEntry,
    Manifest,
    parse_manifest,
    render_manifest,
)
from gatewayd.model.tflite import read_model

MANIFEST_FILE = "bundle.yaml"
_MAX_MANIFEST_BYTES = 1 << 20
_PAUSE_S = 0.01
_ATTEMPTS = 10  # a deployer that replaces the bundle over and over needs this many hits in a row
_NUMPY = orjson.OPT_SERIALIZE_NUMPY
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Golden:
    """Windows and what the model must make of them.

    Attributes:
        windows: Shape ``(g, length, channels)``, in channel units; finite; g >= 1.
        outputs: Shape ``(g, *output.shape)``, as they lie in the output tensor.
        runtime: The runtime that gave the outputs, as ``Interpreter.runtime`` names it.
    """

    windows: Float64
    outputs: Raw
    runtime: str

    def __post_init__(self) -> None:
        """Make the arrays read-only."""
        self.windows.setflags(write=False)
        self.outputs.setflags(write=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bundle:
    """A bundle whose files, numbers and tensors agree.

    Attributes:
        spec: The model's numbers.
        model: The model file.
        sha256: Of the model file, in hexadecimal.
        folder: Where it was read.
        golden: What a runtime must reproduce.
        training: Where the model came from; free-form.
        input: The model's input tensor.
        output: The model's output tensor.
    """

    spec: ModelSpec
    model: bytes = field(repr=False)
    sha256: str
    folder: Path
    golden: Golden = field(repr=False)
    training: Mapping[str, object] = field(repr=False)
    input: TensorSpec
    output: TensorSpec


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle and check all of it that needs no runtime.

    Files in the folder that ``bundle.yaml`` does not list are ignored. A bundle that is replaced in the
    meantime (``write_bundle``) is read again.

    Raises:
        ModelError: One line: the file, what is wrong with it, what was expected.
    """
    for attempt in range(_ATTEMPTS):
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise ModelError(f"{folder}: no model bundle: {_reason(error)}") from error
        try:
            return _load(folder, descriptor)
        except ModelError:
            if attempt == _ATTEMPTS - 1 or not _was_replaced(folder, descriptor):
                raise
        finally:
            os.close(descriptor)
        time.sleep(_PAUSE_S)
    raise AssertionError  # pragma: no cover  # the last attempt returns or raises


def _load(folder: Path, descriptor: int) -> Bundle:
    """Read through the folder's descriptor: a folder that takes its place meanwhile cannot mix in."""
    with _named(folder / MANIFEST_FILE):
        manifest = parse_manifest(_read(descriptor, MANIFEST_FILE, _MAX_MANIFEST_BYTES))
    contents: dict[str, bytes] = {}
    for name, entry in manifest.files.items():
        with _named(folder / name):
            contents[name] = _read_listed(descriptor, name, entry)
    return _assemble(folder, manifest, contents[MODEL_FILE], contents[GOLDEN_FILE])


def _assemble(folder: Path, manifest: Manifest, model: bytes, golden: bytes) -> Bundle:
    spec = manifest.spec()
    with _named(folder / MODEL_FILE):
        file = read_model(model)
        check_tensors(spec, file.input, file.output)
    with _named(folder / GOLDEN_FILE):
        vectors = _parse_golden(golden, spec, file.output)
    return Bundle(
        spec=spec,
        model=model,
        sha256=manifest.files[MODEL_FILE].sha256,
        folder=folder,
        golden=vectors,
        training=manifest.training,
        input=file.input,
        output=file.output,
    )


def check_tensors(spec: ModelSpec, given: TensorSpec, result: TensorSpec) -> None:
    """Hold a model's tensors to its numbers.

    Args:
        spec: The bundle's numbers.
        given: The model's input.
        result: The model's output.

    Raises:
        ModelError: One line without a file name.
    """
    length, channels = spec.length, len(spec.channels)
    shapes: list[tuple[int, ...]] = [(length, channels), (length * channels,)]
    what = f"{length} readings of {channels} channels"
    if spec.image is not None:
        shapes.append((spec.image.height, spec.image.width, channels))
        what = f"{spec.image.height} rows of {spec.image.width} pixels in {channels} colours"
    if given.shape not in shapes:
        raise ModelError(
            f"wants {_size(given)} values a window (shape {list(given.shape)}), but the bundle gives "
            f"{length * channels} ({what})"
        )
    found = _size(result)
    if spec.task == "reconstruction" and found != length * channels:
        raise ModelError(f"gives {found} values a window, but a window has {length * channels}")
    if spec.task == "score" and found != 1:
        raise ModelError(f"gives {found} values a window, but a score is one")
    if spec.task == "classification":
        is_binary = found == 1 and len(spec.labels) == 2 and spec.activation != "softmax"  # noqa: PLR2004
        if found != len(spec.labels) and not is_binary:
            raise ModelError(f"gives {found} values a window, but the bundle has {len(spec.labels)} labels")


def _size(tensor: TensorSpec) -> int:
    return int(np.prod(tensor.shape))


def write_bundle(
    folder: Path, *, spec: ModelSpec, model: bytes, golden: Golden, training: Mapping[str, object]
) -> None:
    """Write a bundle, or put it in another one's place, in one step.

    Whoever loads the folder meanwhile gets the old bundle or the new one. A crash leaves one of the two, and
    at most a hidden folder beside it.

    Args:
        folder: Where; its parent must exist.
        spec: The model's numbers.
        model: The model file.
        golden: Windows and outputs; see ``Golden``.
        training: Where the model came from; free-form, plain values.

    Raises:
        ModelError: The parts don't agree with each other, or cannot be written.
    """
    vectors = _render_golden(golden)
    contents = {MODEL_FILE: model, GOLDEN_FILE: vectors}
    files = {
        name: FileEntry(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
        for name, data in contents.items()
    }
    with _named(folder / MANIFEST_FILE):
        text = render_manifest(spec, files=files, training=training)
    _assemble(folder, parse_manifest(text), model, vectors)
    place = folder.resolve()
    try:
        fresh = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    except OSError as error:
        raise ModelError(f"{folder}: cannot be written: {_reason(error)}") from error
    try:
        for name, data in {**contents, MANIFEST_FILE: text}.items():
            _write(fresh / name, data)
        fresh.chmod(0o755)  # mkdtemp gives 0700, and the daemon's user is another one
        _sync_folder(fresh)
        _put_in_place(fresh, place)
        _sync_folder(place.parent)
    except OSError as error:
        raise ModelError(f"{folder}: cannot be written: {_reason(error)}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _put_in_place(fresh: Path, place: Path) -> None:
    """Rename ``fresh`` to ``place``; afterwards ``fresh`` is gone, or is what stood there before."""
    if not place.exists():
        fresh.rename(place)
        return
    if not (place / MANIFEST_FILE).exists() and any(place.iterdir()):
        raise OSError(errno.EEXIST, "the folder holds something else")
    # rename(2) replaces empty folders only; exchanging two names in one step is Linux's renameat2(2)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(fresh), _AT_FDCWD, os.fsencode(place), _RENAME_EXCHANGE) == 0:
        return
    if ctypes.get_errno() not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    # A file system without exchange: for an instant there is no bundle, and the loader says so
    aside = fresh.with_name(fresh.name + ".old")
    place.rename(aside)
    fresh.rename(place)
    aside.rename(fresh)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _was_replaced(folder: Path, descriptor: int) -> bool:
    with contextlib.suppress(OSError):
        return not os.path.samestat(folder.stat(), os.fstat(descriptor))
    return False


def _read(folder: int, name: str, limit: int) -> bytes:
    """Read one regular file, never waiting for a pipe that stands in its place."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ModelError("is not a regular file")
            if found.st_size > limit:
                raise ModelError(f"must have at most {limit} bytes, not {found.st_size}")
            return file.read(limit)
    except OSError as error:
        raise ModelError(_reason(error)) from error


def _read_listed(folder: int, name: str, entry: FileEntry) -> bytes:
    data = _read(folder, name, entry.bytes + (1 << 20))
    if not data and entry.bytes:
        raise ModelError("is empty")
    if len(data) != entry.bytes:
        raise ModelError(f"must have {entry.bytes} bytes as {MANIFEST_FILE} says, not {len(data)}")
    found = hashlib.sha256(data).hexdigest()
    if found != entry.sha256:
        raise ModelError(f"must have SHA-256 {entry.sha256} as {MANIFEST_FILE} says, not {found}")
    return data


def _render_golden(golden: Golden) -> bytes:
    values = {
        "golden": 1,
        "runtime": golden.runtime,
        "windows": np.ascontiguousarray(golden.windows),
        "outputs": np.ascontiguousarray(golden.outputs),
    }
    lines = [
        b'"%s": %s' % (key.encode(), orjson.dumps(value, option=_NUMPY)) for key, value in values.items()
    ]
    # one window a line: short enough to read, and a diff shows what changed
    return b"{" + b",\n".join(lines).replace(b"]],[[", b"]],\n[[") + b"}\n"


def _parse_golden(data: bytes, spec: ModelSpec, output: TensorSpec) -> Golden:
    try:
        values = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ModelError(f"is not JSON: {error}") from error
    if not isinstance(values, dict) or set(values) != {"golden", "runtime", "windows", "outputs"}:
        raise ModelError("must be an object with golden, runtime, windows and outputs")
    runtime = values["runtime"]
    if values["golden"] != 1 or not isinstance(runtime, str):
        raise ModelError("must have golden: 1 and runtime as text")
    windows = _numbers(values["windows"], "windows")
    outputs = _numbers(values["outputs"], "outputs")
    wanted = (spec.length, len(spec.channels))
    if windows.shape[1:] != wanted or not len(windows):
        raise ModelError(
            f"windows must have shape [1 or more, {wanted[0]}, {wanted[1]}], not {list(windows.shape)}"
        )
    if outputs.shape != (len(windows), *output.shape):
        raise ModelError(
            f"outputs must have shape {[len(windows), *output.shape]}, not {list(outputs.shape)}"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        raw = outputs.astype(output.dtype)
    if output.dtype != "float32" and not np.array_equal(raw, outputs):
        raise ModelError(f"outputs must be whole numbers that fit {output.dtype}")
    if not np.isfinite(raw).all():
        raise ModelError("outputs must be finite float32 numbers")
    return Golden(windows=windows, outputs=cast("Raw", raw), runtime=runtime)


def _numbers(value: object, what: str) -> Float64:
    try:
        array = np.asarray(value)
    except ValueError as error:  # nested lists of different lengths
        raise ModelError(f"{what} must be a regular array of numbers") from error
    if array.dtype.kind not in "iuf":
        raise ModelError(f"{what} must be a regular array of numbers")
    return array.astype(np.float64)


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) else None
    return (text or str(error)).lower()


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Put a file's name before what is wrong with it."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
