"""JPEG through simplejpeg (`pip install 'imgret[fast]'`), for pictures that are not resized after it.

Pillow keeps four bytes a pixel and packs them into three when numpy asks; simplejpeg writes the three at once. Both
call libjpeg-turbo, so the pixels are the same. Where a resize follows there is nothing to gain, for Pillow resizes its
own four bytes (docs/benchmarks.md).
"""

from __future__ import annotations

import numpy as np


def pixels(data: bytes, size: tuple[int, int]) -> np.ndarray | None:
    """[H, W, 3] uint8 RGB of a three-channel JPEG, decoded at the scale that makes it `size` (width, height).

    `size` is what Pillow's `draft` chose: the whole picture, or 1/2, 1/4, 1/8 of it rounded up. None when simplejpeg is
    not installed or complains about anything at all: Pillow then reads the file, or says what is wrong with it.
    """
    try:
        from simplejpeg import decode_jpeg
    except ImportError:
        return None
    width, height = size
    try:
        found = decode_jpeg(data, "RGB", min_height=height, min_width=width, strict=True)
    except Exception:  # ValueError for most things, and a native library is behind it
        return None
    return found if found.shape == (height, width, 3) else None
