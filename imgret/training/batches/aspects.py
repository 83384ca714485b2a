"""The aspects of a collection, read from the images' headers alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, cast

import numpy as np
from PIL import Image
from PIL.ContainerIO import ContainerIO

from imgret.images.decode import Decoded, DecodeRule, decode
from imgret.images.files import ImageFile

_ORIENTATION = 0x0112
_LYING = frozenset([5, 6, 7, 8])  # orientations that swap width and height

Failure = tuple[int, str]


def aspects(images: Sequence[ImageFile], workers: int = 0) -> tuple[np.ndarray, list[Failure]]:
    """Height over width of every image, upright and within its box: float64 [N], and the (row, reason) of failures.

    nan where an image cannot be opened or its box lies outside. `workers` threads read ahead, which hides the
    latency of a disk or network; 0 reads here. Only headers are read, except where Pillow does not know the format by
    itself (HEIC): such a file is decoded. A damaged body is found when the image is loaded, not here.
    """
    with warnings.catch_warnings():  # once, outside: the filters belong to the process, not to a thread
        warnings.simplefilter("ignore")  # odd metadata and large images: loading judges them
        if workers < 1:
            found = [_aspect(image) for image in images]
        else:
            with ThreadPoolExecutor(workers) as pool:
                found = list(pool.map(_aspect, images))
    failures = [(row, why) for row, why in enumerate(found) if isinstance(why, str)]
    return np.array([np.nan if isinstance(value, str) else value for value in found], np.float64), failures


def _aspect(image: ImageFile) -> float | str:
    size = _header_size(image)
    if size is None:
        # Decoded to a single pixel, for the reason in the words used everywhere, or for a format of an extra's.
        slow = decode(image, DecodeRule(1))
        if not isinstance(slow, Decoded):
            return f"{slow.reason}: {slow.message}"
        size = slow.width, slow.height
    width, height = size
    if image.box is not None:
        x1, y1, x2, y2 = image.box
        width, height = min(x2, width) - max(x1, 0), min(y2, height) - max(y1, 0)
        if width <= 0 or height <= 0:
            return f"unreadable: the box {image.box} lies outside the {size[0]} x {size[1]} image"
    return height / width


def _header_size(image: ImageFile) -> tuple[int, int] | None:
    """Upright width and height, None when the header does not tell."""
    try:
        with open(image.path, "rb") as file:
            content = file if image.offset is None else ContainerIO(file, image.offset, image.bytes)
            with Image.open(cast(IO[bytes], content)) as picture:
                width, height = picture.size
                # Pillow gives the upright size of a TIFF by itself. Of a PNG it would load the pixels, in case
                # the orientation is noted behind them; the plain method reads what stands before.
                exif = Image.Image.getexif(picture) if picture.format == "PNG" else picture.getexif()
                lying = picture.format != "TIFF" and exif.get(_ORIENTATION) in _LYING
    except Exception:  # Pillow's readers raise nearly anything on damaged files
        return None
    return (height, width) if lying else (width, height)
