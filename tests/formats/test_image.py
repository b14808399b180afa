"""Pictures against the arrays that they were made from."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from gatewayd.formats.decoded import NO_TIME
from gatewayd.formats.image import ImageFormat
from tests.support.any_message import damaged
from tools.fuzz_parts.png import mended

RANDOM = np.random.default_rng(7)
COLOUR = RANDOM.integers(0, 256, (6, 9, 3), dtype=np.uint8)
GREY = RANDOM.integers(0, 256, (6, 9), dtype=np.uint8)
NOISE = RANDOM.integers(0, 256, (64, 64, 3), dtype=np.uint8)
SMOOTH = np.add.outer(np.arange(64), np.arange(96)).astype(np.uint8)
REASONS = {"not_an_image", "too_large", "too_many_parts", "truncated", "broken_image"}


def encoded(array, kind="PNG", **options):
    file = io.BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(file, kind, **options)
    return file.getvalue()


def pixels(payload, *, width=9, height=6, colours=3, **options):
    """The one picture's values, as height x width x colours."""
    decoded = ImageFormat(width=width, height=height, colours=colours, **options).decode([payload])
    assert decoded.rejected == ()
    assert (decoded.values.dtype, decoded.values.shape) == (np.float64, (1, height * width * colours))
    return decoded.values.reshape(height, width, colours)


def reason(payload):
    decoded = ImageFormat(width=4, height=4, colours=3).decode([payload])
    ((index, found),) = decoded.rejected
    assert (index, decoded.values.shape, decoded.source.shape) == (0, (0, 48), (0,))
    return found


class TestSameSize:
    """What needs no other size passes unchanged."""

    @given(st.integers(1, 12), st.integers(1, 12), st.randoms())
    def test_a_png_gives_the_array_that_it_was_made_from(self, width, height, random):
        array = np.array([random.randrange(256) for _ in range(width * height * 3)], dtype=np.uint8)
        array = array.reshape(height, width, 3)
        assert np.array_equal(pixels(encoded(array), width=width, height=height), array)
        grey = array[:, :, :1]
        assert np.array_equal(pixels(encoded(grey[:, :, 0]), width=width, height=height, colours=1), grey)

    @pytest.mark.parametrize("fit", ["stretch", "crop", "letterbox"])
    def test_however_it_would_be_fitted(self, fit):
        assert np.array_equal(pixels(encoded(COLOUR), fit=fit), COLOUR)

    def test_a_jpeg_gives_what_libjpeg_decodes(self):
        payload = encoded(COLOUR, "JPEG", quality=95)
        assert np.array_equal(pixels(payload), np.asarray(Image.open(io.BytesIO(payload))))
        flat = pixels(encoded(np.full((6, 9, 3), 128, dtype=np.uint8), "JPEG", quality=100))
        assert np.array_equal(flat, np.full((6, 9, 3), 128.0))

    def test_a_palette_gives_its_colours(self):
        image = Image.fromarray(COLOUR).quantize(16)
        assert np.array_equal(pixels(encoded(image)), np.asarray(image.convert("RGB")))

    def test_one_bit_is_black_and_white(self):
        payload = encoded(Image.fromarray(GREY > 127))
        assert np.array_equal(pixels(payload, colours=1)[:, :, 0], np.where(GREY > 127, 255.0, 0.0))

    def test_grey_fills_all_colours(self):
        assert np.array_equal(pixels(encoded(GREY)), np.repeat(GREY[:, :, None], 3, axis=2))

    def test_grey_is_made_of_colour_by_bt_601(self):
        expected = COLOUR @ np.array([0.299, 0.587, 0.114])
        assert (
            np.abs(pixels(encoded(COLOUR), colours=1)[:, :, 0] - expected).max() <= 0.51
        )  # rounded to whole

    def test_grey_of_16_bits_keeps_its_fractions(self):
        deep = RANDOM.integers(0, 65536, (6, 9)).astype(np.uint16)
        deep[0, :2] = 0, 65535
        assert np.array_equal(pixels(encoded(deep), colours=1)[:, :, 0], deep / 257)
        assert np.array_equal(pixels(encoded(deep))[:, :, 2], deep / 257)

    def test_colours_of_16_bits_lose_their_lower_byte(self):
        rows = b"".join(
            b"\0" + struct.pack(">6H", 0xABCD, 1, 0xFFFF, 0x0100, 0x00FF, 0x8000) for _ in range(2)
        )
        found = pixels(png_of(2, 2, 16, 2, rows), width=2, height=2)
        assert np.array_equal(found[1], [[0xAB, 0, 0xFF], [1, 0, 0x80]])

    def test_a_cmyk_jpeg_is_read_as_colours(self):
        flat = Image.new("CMYK", (9, 6), (0, 255, 255, 0))
        assert (
            np.abs(pixels(encoded(flat, "JPEG", quality=100)) - [255, 0, 0]).max() <= 2
        )  # JPEG loses a little


SHARES = {
    "plain": {},
    "progressive": {"progressive": True},
    "subsampled": {"subsampling": "4:2:0"},
    "not subsampled": {"subsampling": "4:4:4"},
    "optimised": {"optimize": True},
    "restarts": {"restart_marker_rows": 1},
    "not turned into YCbCr": {"keep_rgb": True},
    "metadata": {
        "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0",
        "icc_profile": b"x" * 70_000,
        "comment": b"c",
        "dpi": (1, 2),
    },
}


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", SHARES.values(), ids=SHARES)
def test_what_is_cut_away_of_a_jpeg_changes_no_pixel(mode, options):
    """Reference: the same decoder, given the whole file."""
    array = np.random.default_rng(1).integers(0, 256, (40, 24, 3), dtype=np.uint8)
    payload = encoded(Image.fromarray(array).convert(mode), "JPEG", **options)
    whole = np.asarray(Image.open(io.BytesIO(payload)).convert("RGB"))
    assert np.array_equal(pixels(payload, width=24, height=40), whole)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "RGBA", "LA"])
def test_what_is_cut_away_of_a_png_changes_no_pixel(mode):
    image = Image.fromarray(NOISE).convert(mode)
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 1000, zip=True)
    bare = encoded(image)
    full = encoded(
        image, pnginfo=info, icc_profile=b"x" * 5000, dpi=(1, 2), exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"
    )
    assert len(full) > len(bare)
    assert np.array_equal(pixels(full, width=64, height=64), pixels(bare, width=64, height=64))


class TestTransparency:
    """What can be seen through stands in front of black."""

    def test_alpha_dims(self):
        alpha = RANDOM.integers(0, 256, (6, 9), dtype=np.uint8)
        alpha[0, :2] = 0, 255
        found = pixels(encoded(np.dstack([COLOUR, alpha])))
        assert np.abs(found - COLOUR * (alpha[:, :, None] / 255)).max() <= 1.0  # rounded to whole
        assert found[0, 0].tolist() == [0.0, 0.0, 0.0]
        assert np.array_equal(found[0, 1], COLOUR[0, 1])

    def test_alpha_beside_grey_dims_it(self):
        found = pixels(
            encoded(Image.merge("LA", [Image.new("L", (9, 6), 200), Image.new("L", (9, 6), 51)])), colours=1
        )
        assert np.array_equal(found, np.full((6, 9, 1), 40.0))

    def test_a_transparent_colour_of_a_palette_is_black(self):
        image = Image.fromarray((GREY % 2).astype(np.uint8))
        image.putpalette([200, 100, 50, 10, 20, 30])
        found = pixels(encoded(image, transparency=0))
        assert np.array_equal(found[GREY % 2 == 0], np.zeros((np.sum(GREY % 2 == 0), 3)))
        assert np.array_equal(np.unique(found[GREY % 2 == 1], axis=0), [[10, 20, 30]])

    @pytest.mark.parametrize("depth", [8, 16])
    def test_a_transparent_grey_is_black(self, depth):
        values = [7, 8, 9]
        row = b"\0" + struct.pack(">3H" if depth == 16 else ">3B", *values)
        payload = png_of(3, 1, depth, 0, row, transparent=struct.pack(">H", 8))
        scale = 257 if depth == 16 else 1
        assert pixels(payload, width=3, height=1, colours=1).ravel().tolist() == [7 / scale, 0.0, 9 / scale]


def png_of(width, height, depth, colour_type, rows, *, transparent=None):
    """A PNG from its raw rows, for what the encoder at hand doesn't write."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))]
    parts += [] if transparent is None else [(b"tRNS", transparent)]
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def turned(orientation):
    """The array that is stored so that the picture, once turned, is COLOUR (Exif 2.32, 4.6.5, by numpy alone)."""
    return {
        1: COLOUR,
        2: COLOUR[:, ::-1],
        3: COLOUR[::-1, ::-1],
        4: COLOUR[::-1],
        5: COLOUR.transpose(1, 0, 2),
        6: np.rot90(COLOUR, 1),
        7: COLOUR[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(COLOUR, -1),
    }[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_exif_says(orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    stored = np.ascontiguousarray(turned(orientation))
    assert np.array_equal(pixels(encoded(stored, exif=exif)), COLOUR)
    payload = encoded(np.kron(stored, np.ones((8, 8, 1), dtype=np.uint8)), "JPEG", quality=95, exif=exif)
    found = pixels(payload, width=72, height=48)
    assert (
        np.abs(found - np.kron(COLOUR, np.ones((8, 8, 1)))).mean() < 20
    )  # JPEG of noise; any other turn: > 70


class TestOtherSizes:
    """The filter is the triangle one pixel of the smaller picture wide; shapes are brought to fit."""

    def test_halving_weighs_by_a_triangle(self):
        """Independent reference: the triangle's weights, written out."""
        line = np.array([[10, 20, 90, 200, 30, 60, 0, 255]], dtype=np.uint8)
        weights = np.maximum(
            0, 1 - np.abs((np.arange(8) + 0.5)[None, :] - (np.arange(4) * 2 + 1)[:, None]) / 2
        )
        expected = (weights / weights.sum(axis=1, keepdims=True)) @ line[0]
        found = pixels(encoded(line), width=4, height=1, colours=1).ravel()
        assert np.abs(found - expected).max() <= 0.51  # rounded to whole

    def test_a_flat_picture_stays_flat_at_any_size(self):
        for width, height in ((1, 1), (100, 3), (7, 50)):
            flat = pixels(encoded(np.full((6, 9), 77, dtype=np.uint8)), width=width, height=height)
            assert np.array_equal(flat, np.full((height, width, 3), 77.0))

    def test_crop_cuts_evenly_on_both_sides(self):
        wide = np.repeat(np.arange(8, dtype=np.uint8)[None, :] * 10, 4, axis=0)
        assert pixels(encoded(wide), width=4, height=4, colours=1, fit="crop")[0].ravel().tolist() == [
            20,
            30,
            40,
            50,
        ]
        tall = np.ascontiguousarray(wide.T)
        found = pixels(encoded(tall), width=4, height=4, colours=1, fit="crop")
        assert found[:, 0].ravel().tolist() == [20, 30, 40, 50]

    def test_letterbox_fills_with_black_evenly(self):
        wide = np.full((2, 8), 200, dtype=np.uint8)
        found = pixels(encoded(wide), width=8, height=6, colours=1, fit="letterbox")
        assert found[:, 0, 0].tolist() == [0, 0, 200, 200, 0, 0]
        found = pixels(encoded(np.ascontiguousarray(wide.T)), width=6, height=8, colours=1, fit="letterbox")
        assert found[0, :, 0].tolist() == [0, 0, 200, 200, 0, 0]

    def test_a_line_is_not_lost_by_letterbox(self):
        found = pixels(
            encoded(np.full((1, 1000), 99, dtype=np.uint8)), width=10, height=9, colours=1, fit="letterbox"
        )
        assert found[:, 0, 0].tolist() == [0, 0, 0, 0, 99, 0, 0, 0, 0]

    def test_grey_of_16_bits_may_change_its_size(self):
        deep = np.full((6, 9), 12_850, dtype=np.uint16)
        assert np.array_equal(
            pixels(encoded(deep), width=4, height=4, fit="letterbox")[1], np.full((4, 3), 50.0)
        )


GOOD = [
    encoded(COLOUR), encoded(GREY), encoded(GREY.astype(np.uint16) * 257), encoded(np.dstack([COLOUR, GREY])),
    encoded(Image.fromarray(COLOUR).quantize(16), transparency=3), encoded(Image.fromarray(GREY > 127)),
    encoded(SMOOTH, "JPEG"), encoded(COLOUR, "JPEG", progressive=True), encoded(Image.new("CMYK", (9, 6)), "JPEG"),
    encoded(SMOOTH, save_all=True, append_images=[Image.fromarray(SMOOTH)]),
]  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.binary() | damaged(GOOD) | damaged(GOOD).map(mended) | st.sampled_from(GOOD),
    st.sampled_from(["stretch", "crop", "letterbox"]),
    st.sampled_from([1, 3]),
)
def test_any_bytes_give_a_row_or_a_reason(payload, fit, colours):
    decoded = ImageFormat(width=5, height=4, colours=colours, fit=fit).decode([payload])
    assert decoded.values.shape == (len(decoded.source), 20 * colours)
    assert len(decoded.source) + len(decoded.rejected) == 1
    assert {found for _, found in decoded.rejected} <= REASONS
    assert np.isfinite(decoded.values).all()
    assert ((decoded.values >= 0) & (decoded.values <= 255)).all()


@given(st.permutations(range(len(GOOD))), st.data())
def test_a_picture_gives_the_same_whatever_it_comes_with(order, data):
    payloads = [GOOD[index] for index in order]
    payloads.insert(data.draw(st.integers(0, len(payloads))), b"no picture")
    decoder = ImageFormat(width=5, height=4, colours=3)
    together = decoder.decode(payloads)
    assert [payloads[index] for index, _ in together.rejected] == [b"no picture"]
    for source, row in zip(together.source.tolist(), together.values, strict=True):
        assert row.tobytes() == decoder.decode([payloads[source]]).values[0].tobytes()
    assert (together.taken_at == NO_TIME).all()
    assert together.source.tolist() == sorted(together.source.tolist())


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_file_that_is_cut_off_says_so(kind, share):
    payload = encoded(NOISE, kind)
    assert reason(payload[: int(len(payload) * share)]) == "truncated"


def test_damage_in_a_png_is_noticed():
    payload = bytearray(encoded(COLOUR))
    payload[-30] ^= 1
    assert reason(bytes(payload)) == "broken_image"


def test_too_many_pixels_are_refused_before_they_are_decoded():
    assert reason(png_of(60_000, 60_000, 8, 2, b"")) == "too_large"
    assert reason(b"") == "not_an_image"
    assert reason(b"GIF89a" + b"\0" * 100) == "not_an_image"


def test_a_palette_behind_the_pixels_is_none():
    """Found by tools/fuzz: the decoder asserts that there's a palette before the first pixel."""
    payload = encoded(Image.fromarray(COLOUR).quantize(16))
    start, end = payload.index(b"PLTE") - 4, payload.index(b"IDAT") - 4
    without = payload[:start] + payload[end:]
    assert reason(without) == "broken_image"
    behind = without[:-12] + payload[start:end] + without[-12:]
    assert reason(behind) == "broken_image"


def test_a_picture_whose_parts_disagree_is_broken():
    """12 bits per sample, and a size that only the decoder sees."""
    payload = encoded(SMOOTH, "JPEG")
    start = payload.index(b"\xff\xc0")
    assert reason(payload[: start + 4] + b"\x0c" + payload[start + 5 :]) == "broken_image"


def test_no_pictures_give_no_readings():
    decoded = ImageFormat(width=2, height=3, colours=1).decode([])
    assert (decoded.values.shape, decoded.rejected) == ((0, 6), ())


@pytest.mark.parametrize("options", [{"width": 0}, {"height": -1}, {"colours": 4}, {"fit": "squeeze"}])
def test_an_option_that_cannot_be_is_refused(options):
    with pytest.raises(ValueError, match=str(next(iter(options)))):
        ImageFormat(**{"width": 4, "height": 4, "colours": 3, **options})
