"""JPEG and PNG pictures: one reading each, whose values are the pixels.

``ImageFormat(width=96, height=96, colours=1)`` gives 9,216 values from 0 to 255 for each picture, row by row from the
top left, for each pixel its colours (``HWC``, red first). They are what a person would see: turned as Exif says, what
is transparent in front of black. A picture of the wanted size passes unchanged, to the last bit (a JPEG: as libjpeg
decodes it).

Another size is made the wanted one by a triangle filter as wide as one pixel of the smaller picture (bilinear,
antialiased), on 8-bit values, and so gives whole numbers. Before that, grey is made of colour as ITU-R BT.601 says,
``0.299 R + 0.587 G + 0.114 B``. Grey of 16 bits keeps its fractions, in steps of 1/257; colours of 16 bits lose their
lower byte.

When a picture was taken is not looked at: the clocks of cameras know no time zone. A JPEG has no checksum: damage
within it may go unnoticed. A PNG's are verified.
"""

import io
import struct
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from PIL import Image, JpegImagePlugin, PngImagePlugin

from gatewayd.domain.arrays import Float64, Int64
from gatewayd.errors import RejectedInputError
from gatewayd.formats.decoded import NO_TIME, Decoded
from gatewayd.formats.image_parts import Picture, cut_out

Fit = Literal["stretch", "crop", "letterbox"]

# What the decoder raises for bytes that are no picture; it has no error of its own, and asserts what bytes can break.
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    struct.error,
)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FILTER = Image.Resampling.BILINEAR
_GREY_16 = 257.0  # 65535 / 255


class ImageFormat:
    """Reads pictures. Keeps nothing between them.

    Args:
        width: Of what is given on, in pixels.
        height: Likewise.
        colours: 3: red, green, blue; 1: grey.
        fit: How another shape is made the wanted one: ``stretch`` changes the sides' ratio; ``crop`` cuts off what is
            too much, evenly on both sides; ``letterbox`` keeps all and fills with black, evenly on both sides.

    Raises:
        ValueError: An option can't be; the message says which.
    """

    def __init__(self, *, width: int, height: int, colours: Literal[1, 3], fit: Fit = "stretch") -> None:
        if width < 1 or height < 1:
            raise ValueError(f"width and height must be positive, not {width} and {height}")
        if colours not in (1, 3):
            raise ValueError(f"colours must be 1 or 3, not {colours}")
        if fit not in get_args(Fit):
            raise ValueError(f"fit must be {', '.join(get_args(Fit))}, not {fit!r}")
        self._size = (width, height)
        self._colours = colours
        self._fit = fit

    def decode(self, payloads: Sequence[bytes], arrived_at: Int64 | None = None) -> Decoded:  # noqa: ARG002  # the Protocol's
        """Decode pictures; see ``Format``. Values have the shape ``(n, height * width * colours)``.

        Rejected: ``not_an_image`` (neither JPEG nor PNG), ``too_large`` (bytes or pixels), ``too_many_parts``,
        ``truncated``, ``broken_image``.
        """
        rows: list[Float64] = []
        source: list[int] = []
        rejected: list[tuple[int, str]] = []
        for index, payload in enumerate(payloads):
            try:
                rows.append(self._row(payload))
            except RejectedInputError as error:
                rejected.append((index, error.reason))
            else:
                source.append(index)
        width, height = self._size
        values = np.empty((len(rows), height * width * self._colours), dtype=np.float64)
        for index, row in enumerate(rows):
            values[index] = row
        return Decoded(
            source=np.array(source, dtype=np.int64),
            taken_at=np.full(len(rows), NO_TIME, dtype=np.int64),
            values=values,
            rejected=tuple(rejected),
        )

    def _row(self, payload: bytes) -> Float64:
        picture = cut_out(payload)
        try:
            image = _upright(_opened(picture), picture.orientation)
            image = self._fitted(_in_colours(image, self._colours))
        except _UNREADABLE as error:
            reason = "broken_image" if picture.is_whole else "truncated"
            raise RejectedInputError(reason, str(error)[:80]) from error
        values = np.asarray(image, dtype=np.float64).reshape(-1)
        if image.mode != "F":
            return values
        return np.repeat(values / _GREY_16, self._colours)

    def _fitted(self, image: Image.Image) -> Image.Image:
        """Bring an image to the wanted size."""
        width, height = self._size
        if self._fit == "stretch":
            return image.resize(self._size, _FILTER)
        surplus = image.width * height - image.height * width  # > 0: wider than wanted
        if self._fit == "crop":
            kept = (
                (image.height * width / height, image.height)
                if surplus > 0
                else (image.width, image.width * height / width)
            )
            left, top = (image.width - kept[0]) / 2, (image.height - kept[1]) / 2
            return image.resize(self._size, _FILTER, box=(left, top, left + kept[0], top + kept[1]))
        inner = (
            (width, image.height * width / image.width)
            if surplus > 0
            else (image.width * height / image.height, height)
        )
        across, down = (max(round(side), 1) for side in inner)
        framed = Image.new(image.mode, self._size)  # black
        framed.paste(image.resize((across, down), _FILTER), ((width - across) // 2, (height - down) // 2))
        return framed


def _opened(picture: Picture) -> Image.Image:
    """Decode a picture. Just these two decoders: the others that Pillow has never see a byte."""
    file = io.BytesIO(picture.data)
    image: Image.Image = (
        PngImagePlugin.PngImageFile(file) if picture.kind == "png" else JpegImagePlugin.JpegImageFile(file)
    )
    image.load()
    return image


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _in_colours(image: Image.Image, colours: int) -> Image.Image:
    """Bring an image to ``L`` or ``RGB``, in front of black; grey of 16 bits to ``F``, whatever is wanted."""
    if image.mode.startswith("I"):
        grey = np.array(image, dtype=np.float32)  # which holds 16 bits exactly
        grey[grey == image.info.get("transparency")] = 0.0
        return Image.fromarray(grey)
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        black = Image.new("RGBA", coloured.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, coloured).convert("RGB")
    if colours == 1:
        return image if image.mode == "L" else image.convert("RGB").convert("L")
    return image.convert("RGB")
