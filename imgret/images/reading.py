"""Read the bytes of one image, or say why they cannot be had. Imports the standard library only; fsspec for URLs."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from imgret.images import zips
from imgret.images.image_file import ImageFile
from imgret.places import is_url

_MOST_BYTES = 2 << 30  # of a file; it is read whole


@dataclass(frozen=True, slots=True)
class Undecodable:
    """Why there are no pixels; `retry` says that the reason may pass without the file changing."""

    reason: str
    message: str
    retry: bool = False


class RefusedError(Exception):
    """Raised while one image is read and decoded; never leaves `decode`, which returns `why`."""

    def __init__(self, reason: str, message: str, retry: bool = False) -> None:
        super().__init__(message)
        self.why = Undecodable(reason, message, retry)


def content_sha256(image: ImageFile) -> bytes | None:
    """SHA-256 of the image's bytes, None when they cannot be read."""
    try:
        return hashlib.sha256(read_bytes(image)).digest()
    except RefusedError:
        return None


def read_bytes(image: ImageFile) -> bytes:
    """The bytes of a file, URL or member of an archive; RefusedError with the reason when they cannot be had."""
    if max(image.bytes, 0 if image.packed is None else image.packed.bytes) > _MOST_BYTES:
        raise RefusedError("too_large", f"the file has {image.bytes / 1e9:.1f} GB", retry=True)
    if is_url(image.path):
        from imgret.images import remote

        data = _content(image, lambda start, size: remote.read(image.path, start, size))
    else:
        data = _read_local(image)
    if not data:
        raise RefusedError("empty", "the file has no bytes")
    return data


def _read_local(image: ImageFile) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(image.path).st_mode):
            raise RefusedError("unreadable", "not a regular file")
        with open(image.path, "rb") as file:

            def read(start: int, size: int | None) -> bytes:
                file.seek(start)
                return file.read(size)

            return _content(image, read)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise RefusedError("missing", "no such file", retry=True) from None
        raise RefusedError("unreadable", f"cannot be read: {error.strerror}", retry=True) from None


def _content(image: ImageFile, read: Callable[[int, int | None], bytes]) -> bytes:
    """The image's bytes by `read(start, size)`, which may give fewer than `size` at the end of the file."""
    if image.offset is None:
        return read(0, None)
    packed = image.packed
    if packed is None:
        data = read(image.offset, image.bytes)
        if len(data) < image.bytes:
            raise RefusedError("truncated", "the archive ends inside this member")
        return data
    if packed.encrypted:
        raise RefusedError("unsupported", "the member is encrypted; unpack the archive with its password", retry=True)
    if packed.method not in (zips.STORED, zips.DEFLATED):
        raise RefusedError(
            "unsupported", f"packed by method {packed.method} of zip, only stored and deflated are read", retry=True
        )
    try:
        start = image.offset + zips.data_offset(read(image.offset, zips.LOCAL_HEADER))
        return zips.unpack(read(start, packed.bytes), packed, image.bytes)
    except EOFError as error:
        raise RefusedError("truncated", str(error)) from None
    except zips.BadZipError as error:
        raise RefusedError("unreadable", str(error)) from None
