"""What of a JPEG or PNG its decoder needs to see, and how large the picture will be.

A picture comes from anybody, and its decoder is a lot of old C and Python around it. So it's cut into its parts here,
in bounded time, and only the parts that hold the picture are handed on: no metadata, no profiles, no further pictures.
Size, number of parts and number of scans are limited before anything is decoded; the orientation is read from the Exif
part by ourselves.

::

    PNG    signature, then chunks: length (4, big-endian), type (4), data, CRC-32 of type and data (4)
    JPEG   FF D8, then segments: FF, marker, length (2, big-endian, itself included), data; after each SOS (FF DA) its
           scan, up to the next FF that is followed by neither 00 nor D0..D7 (restarts); FF D9 is the end

Reference:
    PNG (W3C, third edition), 5 "Datastream structure"; JPEG (ITU-T T.81), annex B; Exif 2.32, 4.6 "Tags"; TIFF 6.0.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from gatewayd.errors import RejectedInputError

MAX_BYTES = 8 * 1024 * 1024
MAX_PIXELS = 16_777_216  # decoded 48 MiB, for as long as it takes to make it small
MAX_PARTS = 4096  # chunks of a PNG, segments before a JPEG's first scan
MAX_SCANS = 64  # of a progressive JPEG; encoders make about ten, and each costs a pass over all pixels

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_CHUNK = struct.Struct(">I4s")
_CRC_BYTES = 4
_IHDR = struct.Struct(">IIBBBBB")  # width, height, depth, colour type, three methods
_INDEXED = 3  # the colour type whose pixels are numbers of a palette's colours

_JPEG = b"\xff\xd8"
_SOS, _EOI, _APP0, _APP1, _APP14, _APP15, _COM = 0xDA, 0xD9, 0xE0, 0xE1, 0xEE, 0xEF, 0xFE
_STARTS_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # DHT, JPG, DAC
_FRAME = struct.Struct(">BHH")
_EXIF = b"Exif\0\0"
_ORIENTATION_TAG, _SHORT = 0x0112, 3
_MAX_TAGS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A JPEG or PNG, cut down to its picture.

    Attributes:
        kind: ``jpeg`` or ``png``.
        width: In pixels, before it's turned.
        height: Likewise.
        orientation: 1..8, as Exif has it; 1 where nothing is said.
        is_whole: Whether the file has its end.
        data: The file with the parts that hold the picture.
    """

    kind: str
    width: int
    height: int
    orientation: int
    is_whole: bool
    data: bytes


def cut_out(payload: bytes) -> Picture:
    """Cut a picture out of a JPEG or PNG file.

    Raises:
        RejectedInputError: ``too_large`` (bytes or pixels), ``not_an_image`` (neither JPEG nor PNG), ``truncated``
            (before there was any picture), ``too_many_parts``, ``broken_image``.
    """
    if len(payload) > MAX_BYTES:
        raise RejectedInputError("too_large")
    if payload.startswith(_PNG):
        picture = _png(payload)
    elif payload.startswith(_JPEG):
        picture = _jpeg(payload)
    else:
        raise RejectedInputError("not_an_image")
    if not (picture.width and picture.height):
        raise RejectedInputError("broken_image", "no size")
    if picture.width * picture.height > MAX_PIXELS:
        raise RejectedInputError("too_large", f"{picture.width} x {picture.height}")
    return picture


def _png(payload: bytes) -> Picture:
    needed = [_PNG]
    header: tuple[int, ...] = ()
    orientation, seen = 1, set()
    for kind, data, whole in _chunks(payload):
        if (kind == b"IHDR") is bool(header):
            raise RejectedInputError("broken_image", "one IHDR must lead")
        if kind == b"IHDR":
            if len(data) != _IHDR.size:
                raise RejectedInputError("broken_image", "IHDR")
            header = _IHDR.unpack(data)
        elif kind == b"eXIf":
            orientation = _orientation(data)
        elif kind == b"IDAT" and header[3] == _INDEXED and b"PLTE" not in seen:
            raise RejectedInputError("broken_image", "no palette")
        if kind in _PNG_NEEDED:
            needed.append(whole)
            seen.add(kind)
        if kind == b"IEND":
            break
    is_whole = b"IEND" in seen
    if not header or b"IDAT" not in seen:
        raise RejectedInputError("broken_image" if is_whole else "truncated")
    return Picture(
        kind="png",
        width=header[0],
        height=header[1],
        orientation=orientation,
        is_whole=is_whole,
        data=b"".join(needed),
    )


def _chunks(payload: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Go through a PNG's chunks: type, data, and the whole chunk. The last one may be cut off.

    Raises:
        RejectedInputError: ``too_many_parts``, ``broken_image`` (a wrong checksum).
    """
    position = len(_PNG)
    for _ in range(MAX_PARTS):
        if position + _CHUNK.size > len(payload):
            return
        length, kind = _CHUNK.unpack_from(payload, position)
        start = position + _CHUNK.size
        data, position = payload[start : start + length], start + length + _CRC_BYTES
        whole = payload[start - _CHUNK.size : position]
        is_cut = position > len(payload)
        if not is_cut and zlib.crc32(kind + data) != int.from_bytes(whole[-_CRC_BYTES:], "big"):
            raise RejectedInputError("broken_image", "checksum")
        yield kind, data, whole
    raise RejectedInputError("too_many_parts")


def _jpeg(payload: bytes) -> Picture:
    needed = [_JPEG]
    size: tuple[int, int] | None = None
    orientation, scans = 1, b""
    for marker, data, whole in _segments(payload):
        if marker == _SOS:
            scans = whole
        elif marker in _STARTS_OF_FRAME:
            if size is not None or len(data) < _FRAME.size:
                raise RejectedInputError("broken_image", "one frame header must be there")
            _, height, width = _FRAME.unpack_from(data)
            size = (width, height)
        elif marker == _APP1 and data.startswith(_EXIF):
            orientation = _orientation(data[len(_EXIF) :])
        if marker in (_APP0, _APP14) or not (_APP0 <= marker <= _APP15 or marker == _COM):
            needed.append(whole)  # APP0 and APP14 say what the colours mean
    if not scans:
        raise RejectedInputError("truncated")
    if size is None:
        raise RejectedInputError("broken_image", "no frame header")
    return Picture(
        kind="jpeg",
        width=size[0],
        height=size[1],
        orientation=orientation,
        is_whole=b"\xff\xd9" in scans,
        data=b"".join(needed),
    )


def _segments(payload: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Go through a JPEG's segments up to its first scan: marker, data, and the whole segment.

    Of the first SOS the whole is all that follows, whose scans are counted here.

    Raises:
        RejectedInputError: ``too_many_parts``, ``broken_image``.
    """
    position = len(_JPEG)
    for _ in range(MAX_PARTS):
        if position + 4 > len(payload):
            return
        if payload[position] != 0xFF:  # noqa: PLR2004  # every marker begins so
            raise RejectedInputError("broken_image", "no marker")
        marker = payload[position + 1]
        if marker == 0xFF:  # noqa: PLR2004  # fill bytes may stand before a marker
            position += 1
            continue
        length = int.from_bytes(payload[position + 2 : position + 4], "big")
        if marker == _SOS:
            if payload.count(b"\xff\xda", position) > MAX_SCANS:
                raise RejectedInputError("too_many_parts", "scans")
            yield marker, b"", payload[position:]
            return
        if marker < 0xC0 or 0xD0 <= marker <= _EOI or length < 2:  # noqa: PLR2004  # markers without length, none here
            raise RejectedInputError("broken_image", "no segment")
        end = position + 2 + length
        if end > len(payload):
            return
        yield marker, payload[position + 4 : end], payload[position:end]
        position = end
    raise RejectedInputError("too_many_parts")


def _orientation(exif: bytes) -> int:
    """Read the orientation from a TIFF structure; 1 where there is none to be found."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for index in range(min(count, _MAX_TAGS)):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, start + 2 + 12 * index)
            if tag == _ORIENTATION_TAG:
                return value if kind == _SHORT and 1 <= value <= 8 else 1  # noqa: PLR2004  # the eight ways to turn
    except struct.error:
        pass  # cut off
    return 1
