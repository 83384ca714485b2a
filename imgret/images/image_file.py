"""One image as it was found, and the names that count as images."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import NamedTuple

_RAW = "cr2 cr3 nef arw dng raf orf rw2 pef srw"
_PICTURES = (
    "jpg jpeg jpe jfif png apng webp gif bmp dib tif tiff ppm pgm pbm pnm pcx tga jp2 j2k jpx jpf avif avifs "
    "heic heics heif heifs hif jxl ico icns sgi dds psd qoi mpo"
)
RAW_EXTENSIONS = frozenset(_RAW.split())
EXTENSIONS = RAW_EXTENSIONS | frozenset(_PICTURES.split())
Box = tuple[int, int, int, int]


class Packed(NamedTuple):
    """How a zip archive holds a member.

    method      0 stored, 8 deflated; others are not read
    bytes       its size in the archive
    crc         CRC-32 of the unpacked bytes
    encrypted   whether it takes a password
    """

    method: int
    bytes: int
    crc: int
    encrypted: bool


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One image of a collection, as found: not yet opened.

    id          POSIX path relative to `root`
    path        the file or URL to open (the archive, for a member of one)
    root        folder or URL
    bytes       its size, -1 when there is no such file, 0 where a remote place does not tell
    mtime_ns    when it was last changed, 0 where a remote place does not tell
    box         crop x1, y1, x2, y2 in pixels of the upright image, right and bottom exclusive
    offset      where a tar member's bytes, or a zip member's local header, begin in the archive
    packed      how a zip member is held
    """

    id: str
    path: str
    root: str
    bytes: int
    mtime_ns: int
    box: Box | None = None
    offset: int | None = None
    packed: Packed | None = None

    @property
    def missing(self) -> bool:
        return self.bytes < 0


def extension(name: str) -> str:
    """The part after the last dot, in small letters: 'jpg', '' without one."""
    return os.path.splitext(name)[1][1:].lower()


def is_image(name: str) -> bool:
    """Whether a file counts as an image by its name."""
    return extension(name) in EXTENSIONS


def is_hidden(name: str) -> bool:
    """Whether a path inside a folder or archive is hidden, or lies in a hidden folder (a Mac's __MACOSX too)."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))
