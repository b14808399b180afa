"""What a crash left of SQLite's write-ahead log, looked at before and after SQLite has recovered it.

SQLite recovers a log up to the last commit that is whole, and says nothing of what came behind; and a log whose
database file is missing or empty it deletes, with all that is in it. Both happen to a gateway whose power is cut while
the kernel still holds half of what was written (``durability: process``). So the outbox counts what was passed over,
and gives an orphaned log its database's first page back, which is all that SQLite asks for.

Reference:
    https://www.sqlite.org/fileformat2.html#the_write_ahead_log (header of 32 bytes; per frame a header of 24 and a
    page), https://www.sqlite.org/walformat.html (the index: ``mxFrame`` is its fifth word).
"""

import struct
from pathlib import Path
from typing import BinaryIO

_HEADER = struct.Struct(">8I")  # magic, version, page size, sequence, salt, salt, checksum, checksum
_FRAME = struct.Struct(">2I8s8s")  # page, database's size after a commit, salts, checksums
_MAGIC = (0x377F0682, 0x377F0683)
_INDEX = struct.Struct("=3I2BH2I")  # version, unused, change, is init, endianness, page size, mxFrame, pages
_PAGES = range(512, 65537)


def frames_written(path: Path, *, page_bytes: int) -> int:
    """Count the frames of the log's present generation, whole or not; to be asked before SQLite opens the database.

    Args:
        path: The database's file; the log lies beside it.
        page_bytes: Of the database, for a log whose header is not readable: all of it counts then.
    """
    try:
        with Path(f"{path}-wal").open("rb") as log:
            found = _generation(log)
            if found is not None:
                return len(_frames(log, *found))
            size = log.seek(0, 2)
    except FileNotFoundError:
        return 0
    return max(0, -(-(size - _HEADER.size) // (_FRAME.size + page_bytes)))


def frames_used(path: Path) -> int:
    """Return how many frames SQLite found to be whole and committed; to be asked after its first reading."""
    try:
        index = Path(f"{path}-shm").read_bytes()[: _INDEX.size]
    except FileNotFoundError:
        return 0
    return int(_INDEX.unpack(index)[6]) if len(index) == _INDEX.size else 0


def adopt_orphan(path: Path) -> bool | None:
    """Give a log whose database file is missing or empty that file back, as far as SQLite needs it to recover.

    Returns:
        Whether that was possible: the log holds the first page. None: there was no need.
    """
    if path.exists() and path.stat().st_size:
        return None
    try:
        with Path(f"{path}-wal").open("rb") as log:
            found = _generation(log)
            if found is None:
                return None if log.seek(0, 2) <= _HEADER.size else False
            page_bytes, _ = found
            offsets = [offset for offset, page in _frames(log, *found) if page == 1]
            if not offsets:
                return False
            log.seek(offsets[0])
            first = log.read(page_bytes)
    except FileNotFoundError:
        return None
    path.write_bytes(first)
    return len(first) == page_bytes


def _generation(log: BinaryIO) -> tuple[int, bytes] | None:
    """Return page size and salts, or None if the header is no log's."""
    header = log.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    magic, _, page_bytes, *_ = _HEADER.unpack(header)
    return (page_bytes, header[16:24]) if magic in _MAGIC and page_bytes in _PAGES else None


def _frames(log: BinaryIO, page_bytes: int, salts: bytes) -> list[tuple[int, int]]:
    """Return where each frame's page begins, and its number, up to the last frame of this generation.

    Of an older one may lie behind. One in between that is not of this generation never reached the disk: page 0.
    """
    frames: list[tuple[int, int]] = []
    known = 0  # so many, the last of which is of this generation
    offset = _HEADER.size
    while True:
        log.seek(offset)
        header = log.read(_FRAME.size)
        if len(header) < _FRAME.size:
            if header and known == len(frames):  # cut off in the middle of its header: the last one written
                return [*frames, (offset + _FRAME.size, 0)]
            return frames[:known]
        page, _, found, _ = _FRAME.unpack(header)
        frames.append((offset + _FRAME.size, page if found == salts else 0))
        if found == salts:
            known = len(frames)
        offset += _FRAME.size + page_bytes
