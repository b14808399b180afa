"""A belt as a camera sees it, four times as large as tests/golden/models/camera_int8 looks at it."""

import io

import numpy as np
from PIL import Image, ImageDraw

LARGER = 4
HEIGHT, WIDTH = 16, 24  # the model's


def belt(left=8, *, light=1.0, parcel="orange"):
    """Draw a belt with a parcel at ``left`` (1..16): ``orange`` as all of them are, ``blue``, or ``none``."""
    image = Image.new("RGB", (WIDTH * LARGER, HEIGHT * LARGER))
    draw = ImageDraw.Draw(image)
    for row in range(HEIGHT):
        box = (0, row * LARGER, image.width - 1, (row + 1) * LARGER - 1)
        draw.rectangle(box, fill=(40 + 4 * row, 60 + 4 * row, 50 + 2 * row))
    colours = {"orange": (200, 120, 40), "blue": (30, 60, 220)}
    if parcel in colours:
        box = (left * LARGER, 5 * LARGER, (left + 6) * LARGER - 1, 12 * LARGER - 1)
        draw.rectangle(box, fill=colours[parcel])
    return image.point(lambda value: round(value * light))


def encoded(image, kind="JPEG", **options):
    """Write an image as a file's bytes."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels(image):
    """Return an image's values as a format gives them: row by row, red, green, blue."""
    return np.asarray(image, dtype=np.float64).reshape(-1)
