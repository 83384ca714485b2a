"""Images that a worker hands over unfinished, for the device to finish (`--decode device`).

Runs in worker processes: imports Pillow and numpy, never torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from imgret.images.image_file import Box

MOST_BYTES = 8 << 20  # of a JPEG that is handed over as it is: what waits for the device stays bounded
Transpose = Image.Transpose
_MOST_PIXELS = 64_000_000  # of such a JPEG: in floats it has twelve bytes each on the device


@dataclass(frozen=True, slots=True)
class Rest:
    """What is left to do to an image: decode it where its pixels are the bytes of a JPEG, then turn, cut and resize.

    size  (width, height) that it will have
    turn  that makes it upright
    box   x1, y1, x2, y2 in pixels of the upright image
    """

    size: tuple[int, int]
    turn: Transpose | None = None
    box: Box | None = None


def is_ordinary_jpeg(picture: Image.Image, data: bytes) -> bool:
    """Whether a picture just opened, not yet loaded, is a JPEG that every decoder understands alike.

    Three channels of 8 bits, Y, Cb and Cr, of a size that is handed over. What stands for RGB, CMYK, grey or 12 bits is
    Pillow's.
    """
    if picture.format != "JPEG" or picture.mode != "RGB" or picture.info.get("adobe_transform", 1) != 1:
        return False
    channels = [chr(layer[0]) for layer in getattr(picture, "layer", ())]
    return (
        len(channels) == 3
        and channels != ["R", "G", "B"]  # how libjpeg knows RGB without Adobe's mark
        and getattr(picture, "bits", 8) == 8
        and len(data) <= MOST_BYTES
        and picture.width * picture.height <= _MOST_PIXELS
    )


def nearly(picture: Image.Image, turn: Image.Transpose | None, box: Box | None, size: tuple[int, int]) -> Image.Image:
    """Upright, cut to its box, and by a whole factor smaller where it is twice as large as `size` or more."""
    picture = picture if turn is None else picture.transpose(turn)
    picture = picture if box is None else picture.crop(box)
    factor = min(picture.width // size[0], picture.height // size[1])
    return picture.reduce(factor) if factor > 1 else picture
