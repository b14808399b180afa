"""Rows of a Parquet file, a few thousand in memory at a time (extra 'parquet').

The reader (arro3, the Rust implementation of Arrow) panics where a file has no sound footer, and a panic prints a
trace. So the footer's frame is looked at first: ``PAR1``, ..., its length in 4 bytes, ``PAR1`` (parquet-format, "File
format").
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from gatewayd.workbench.recording import RecordingError

_T = TypeVar("_T")
_BATCH_ROWS: Final = 4096
_MAGIC: Final = b"PAR1"
_FRAME_BYTES: Final = 12  # both magics and the footer's length


class Nanoseconds(int):
    """A time stamp of which the file itself says that it is in ns since the Unix epoch."""

    __slots__ = ()


def read_parquet_rows(path: Path) -> Iterator[tuple[tuple[str, ...], tuple[object, ...]]]:
    """Read a file.

    Returns:
        Titles and cells of each row; nulls are None, time stamps ``Nanoseconds``.

    Raises:
        RecordingError: The file can't be read, or the extra isn't installed.
    """
    try:
        from arro3.core import DataType  # noqa: PLC0415  # an extra
        from arro3.io import read_parquet  # noqa: PLC0415
    except ImportError as error:
        raise RecordingError(
            f"{path}: Parquet needs the extra 'parquet': pip install 'gatewayd[parquet]'"
        ) from error
    _check_frame(path)
    reader = iter(_sound(path, lambda: read_parquet(path, batch_size=_BATCH_ROWS)))
    ns, whole = DataType.timestamp("ns"), DataType.int64()
    while (batch := _sound(path, lambda: next(reader, None))) is not None:
        titles, columns = tuple(batch.column_names), []
        for name in titles:
            column = batch.column(name)
            if DataType.is_timestamp(column.type):
                stamps = column.cast(ns).cast(whole).to_pylist()
                columns.append([None if stamp is None else Nanoseconds(stamp) for stamp in stamps])
            else:
                columns.append(column.to_pylist())
        for cells in zip(*columns, strict=True):
            yield titles, cells


def _sound(path: Path, read: Callable[[], _T]) -> _T:
    """Return what a step of reading gives."""
    try:
        return read()
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a panic is no Exception, and its class can't be imported (PyO3)
        reason = str(error).partition("\n")[0][:200]
        raise RecordingError(f"{path}: is no Parquet file that can be read: {reason}") from error


def _check_frame(path: Path) -> None:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            head = file.read(4)
            file.seek(max(0, size - 8))
            tail = file.read(8)
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror}") from error
    footer_bytes = int.from_bytes(tail[:4], "little")
    if (
        size < _FRAME_BYTES
        or head != _MAGIC
        or tail[4:] != _MAGIC
        or not 0 < footer_bytes <= size - _FRAME_BYTES
    ):
        raise RecordingError(f"{path}: is no Parquet file, or is cut off")
