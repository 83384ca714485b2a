"""Thumbnails as data URIs, made by the same decoder that feeds the models."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image

from imgret.images.decode import DecodeRule, Undecodable, decode
from imgret.images.located import Located
from imgret.places import is_url
from imgret.report.rows import Box

SIZE = 240
"""Longer side of a thumbnail, pixels."""

QUALITY = 80


@dataclass(frozen=True)
class Thumbnail:
    """A small picture, or `reason` why there is none.

    uri            JPEG as a data URI, "" when there is none
    width, height  of the thumbnail, pixels
    frame          the box drawn on it, as left, top, width and height in percent
    """

    uri: str = ""
    width: int = SIZE
    height: int = SIZE * 3 // 4
    frame: tuple[float, float, float, float] | None = None
    reason: str = ""


class Thumbnails:
    """Makes each thumbnail once, however often it is shown."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str, Box | None], Thumbnail] = {}
        self._located = Located()

    def cropped(self, path: str | None, image_id: str, box: Box | None) -> Thumbnail:
        """The part of an image inside `box`; all of it without one."""
        if path is None:
            return Thumbnail(reason="file not found")
        if is_url(path):
            return Thumbnail(reason="elsewhere, not fetched for this page")
        key = (path, image_id, box)
        if key not in self._made:
            self._made[key] = self._make(path, image_id, box)
        return self._made[key]

    def framed(self, path: str | None, image_id: str, box: Box | None) -> Thumbnail:
        """A whole image with `box` drawn on it."""
        if path is None or box is None or is_url(path):
            return self.cropped(path, image_id, None)
        return self._make(path, image_id, None, shown=box)

    def _make(self, path: str, image_id: str, box: Box | None, shown: Box | None = None) -> Thumbnail:
        image = self._located.file(path, image_id, box)
        if image is None:
            return Thumbnail(reason="not in its archive")
        found = decode(image, DecodeRule(SIZE))
        if isinstance(found, Undecodable):
            return Thumbnail(reason=f"{found.reason.replace('_', ' ')}: {found.message}")
        file = io.BytesIO()
        Image.fromarray(found.pixels).save(file, "JPEG", quality=QUALITY, optimize=True)
        height, width = found.pixels.shape[:2]
        frame = None
        if shown is not None:
            x1, y1 = max(0, shown[0]) / found.width, max(0, shown[1]) / found.height
            x2, y2 = min(1.0, shown[2] / found.width), min(1.0, shown[3] / found.height)
            frame = (100 * x1, 100 * y1, 100 * max(0.0, x2 - x1), 100 * max(0.0, y2 - y1))
        uri = "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
        return Thumbnail(uri, width, height, frame)
