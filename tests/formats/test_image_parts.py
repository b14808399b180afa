"""Pictures cut into their parts; made here byte by byte, beside those that an encoder makes (test_image.py)."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import RejectedInputError
from gatewayd.formats.image_parts import MAX_BYTES, MAX_PARTS, MAX_PIXELS, MAX_SCANS, cut_out
from tests.support.any_message import damaged

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind, data=b""):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def ihdr(width, height, colour_type=0):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0))


def png(*chunks):
    return SIGNATURE + b"".join(chunks)


def segment(marker, data=b""):
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def frame(width, height, marker=0xC0):
    return segment(marker, struct.pack(">BHHB", 8, height, width, 1) + b"\x01\x11\x00")


SCAN = segment(0xDA, b"\x01\x01\x00\x00\x3f\x00") + b"\x12\xff\x00\x34"


def jpeg(*segments, end=b"\xff\xd9"):
    return b"\xff\xd8" + b"".join(segments) + SCAN + end


def exif(value, *, order=">", kind=3, before=0):
    """A TIFF structure with the orientation after so many other tags."""
    tags = [struct.pack(f"{order}HHIHH", 0x200 + index, 3, 1, 7, 0) for index in range(before)]
    tags.append(struct.pack(f"{order}HHIHH", 0x112, kind, 1, value, 0))
    mark = b"MM\0*" if order == ">" else b"II*\0"
    return mark + struct.pack(f"{order}IH", 8, len(tags)) + b"".join(tags)


DATA, END = chunk(b"IDAT", b"data"), chunk(b"IEND")
GOOD = [
    png(ihdr(7, 5), chunk(b"eXIf", exif(6)), chunk(b"PLTE", b"abc"), DATA, END),
    jpeg(segment(0xE1, b"Exif\0\0" + exif(3)), segment(0xDB, b"q"), frame(7, 5)),
]


def reason(payload):
    with pytest.raises(RejectedInputError) as caught:
        cut_out(payload)
    return caught.value.reason


@given(
    st.binary()
    | st.binary().map(lambda rest: SIGNATURE + rest)
    | st.binary().map(lambda rest: b"\xff\xd8" + rest)
    | damaged(GOOD)
)
def test_any_bytes_give_a_picture_within_the_limits_or_a_reason(payload):
    try:
        picture = cut_out(payload)
    except RejectedInputError as error:
        found = error.reason
    else:
        assert len(picture.data) <= len(payload)
        assert 1 <= picture.width * picture.height <= MAX_PIXELS
        found = None
    assert found in (None, "not_an_image", "truncated", "broken_image", "too_many_parts", "too_large")


def test_of_a_png_the_parts_that_hold_the_picture_are_kept_as_they_are():
    kept = [ihdr(7, 5), chunk(b"PLTE", b"abc"), chunk(b"tRNS", b"a"), DATA, DATA, END]
    noise = [chunk(kind, b"x" * 40) for kind in (b"tEXt", b"iCCP", b"acTL", b"fcTL", b"fdAT", b"eXIf")]
    mixed = [kept[0], *noise, *kept[1:4], *noise, *kept[4:], b"behind the end"]
    picture = cut_out(png(*mixed))
    assert picture.data == png(*kept)
    assert (picture.kind, picture.width, picture.height, picture.is_whole) == ("png", 7, 5, True)


def test_of_a_jpeg_metadata_and_comments_are_left_out():
    kept = [
        segment(0xE0, b"JFIF\0"),
        segment(0xEE, b"Adobe"),
        segment(0xDB, b"q"),
        segment(0xC4, b"h"),
        frame(7, 5),
    ]
    noise = [segment(marker, b"Exif\0\0 ICC MPF") for marker in (0xE1, 0xE2, 0xED, 0xEF, 0xFE)]
    picture = cut_out(jpeg(*noise, *kept[:3], *noise, *kept[3:], b"\xff" * 3))  # fill bytes
    assert picture.data == jpeg(*kept)
    assert (picture.kind, picture.width, picture.height, picture.is_whole) == ("jpeg", 7, 5, True)


@pytest.mark.parametrize("marker", [0xC0, 0xC1, 0xC2, 0xC9, 0xCA])
def test_the_size_stands_in_any_kind_of_frame_header(marker):
    picture = cut_out(
        jpeg(segment(0xC4, b"huffman tables"), segment(0xCC, b"conditioning"), frame(640, 480, marker))
    )
    assert (picture.width, picture.height) == (640, 480)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_the_orientation_is_read_from_exif_in_both_byte_orders(order, value):
    tiff = exif(value, order=order, before=3)
    assert cut_out(jpeg(segment(0xE1, b"Exif\0\0" + tiff), frame(7, 5))).orientation == value
    assert cut_out(png(ihdr(7, 5), chunk(b"eXIf", tiff), DATA, END)).orientation == value


@pytest.mark.parametrize(
    "tiff",
    [
        b"",
        b"II*\0",
        exif(0),
        exif(9),
        exif(6, kind=4),  # a long
        exif(6)[:-3],
        exif(6)[:9],
        b"XX" + exif(6)[2:],
        exif(6, before=600),
        exif(6)[:-12] + b"\0" * 12,  # another tag
    ],
)
def test_an_orientation_that_cannot_be_read_is_none(tiff):
    assert cut_out(jpeg(segment(0xE1, b"Exif\0\0" + tiff), frame(7, 5))).orientation == 1


@pytest.mark.parametrize("payload", [b"", b"\xff", b"GIF89a", b"\x89PNG\n", b"BM" + b"\0" * 60])
def test_what_is_neither_jpeg_nor_png_is_no_image(payload):
    assert reason(payload) == "not_an_image"


@pytest.mark.parametrize("make", [lambda w, h: png(ihdr(w, h), DATA, END), lambda w, h: jpeg(frame(w, h))])
def test_the_size_is_limited_before_anything_is_decoded(make):
    assert cut_out(make(4096, MAX_PIXELS // 4096)).width == 4096
    assert reason(make(4096, MAX_PIXELS // 4096 + 1)) == "too_large"
    assert reason(make(65_535, 65_535)) == "too_large"
    assert reason(make(0, 5)) == "broken_image"
    assert reason(make(5, 0)) == "broken_image"


def test_bytes_parts_and_scans_are_limited():
    assert reason(SIGNATURE + b"x" * MAX_BYTES) == "too_large"
    assert reason(png(ihdr(7, 5), *[chunk(b"tEXt")] * MAX_PARTS, DATA, END)) == "too_many_parts"
    assert reason(jpeg(*[segment(0xE1, b"Exif\0\0")] * MAX_PARTS, frame(7, 5))) == "too_many_parts"
    assert cut_out(jpeg(frame(7, 5), *[SCAN] * (MAX_SCANS - 1))).width == 7
    assert reason(jpeg(frame(7, 5), *[SCAN] * MAX_SCANS)) == "too_many_parts"


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (png(), "truncated"),
        (png(ihdr(7, 5)), "truncated"),
        (png(ihdr(7, 5), END), "broken_image"),
        (png(DATA, ihdr(7, 5), END), "broken_image"),
        (png(ihdr(7, 5), ihdr(7, 5), DATA, END), "broken_image"),
        (png(chunk(b"IHDR", b"short"), DATA, END), "broken_image"),
        (png(ihdr(7, 5), DATA[:-1] + b"!", END), "broken_image"),  # the checksum
        (
            png(ihdr(7, 5, 3), DATA, END),
            "broken_image",
        ),  # numbers of no palette's colours: found by tools/fuzz
        (b"\xff\xd8", "truncated"),
        (b"\xff\xd8" + frame(7, 5), "truncated"),
        (b"\xff\xd8" + frame(7, 5)[:-1], "truncated"),
        (b"\xff\xd8" + frame(7, 5) + b"\xff\xff\xff", "truncated"),
        (b"\xff\xd8" + frame(7, 5) + b"\xff\xdb\x00", "truncated"),
        (jpeg(), "broken_image"),
        (jpeg(frame(7, 5), frame(7, 5)), "broken_image"),
        (jpeg(segment(0xC0, b"\x08\x00")), "broken_image"),
        (jpeg(b"stray"), "broken_image"),
        (jpeg(b"\xff\xd8\x00\x04"), "broken_image"),
        (jpeg(b"\xff\xe1\x00\x01"), "broken_image"),
        (jpeg(b"\xff\x02\x00\x04"), "broken_image"),
    ],
)
def test_what_is_cut_off_or_broken_says_so(payload, expected):
    assert reason(payload) == expected


@pytest.mark.parametrize(
    "payload", [png(ihdr(7, 5), DATA), png(ihdr(7, 5), DATA[:-2]), jpeg(frame(7, 5), end=b"")]
)
def test_a_picture_without_its_end_is_known_as_such(payload):
    assert not cut_out(payload).is_whole
