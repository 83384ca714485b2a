"""What a ground truth is read from: a file, a file in a folder, or the names of a folder's images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from imgret.errors import GroundTruthError
from imgret.ids import escape, to_bytes
from imgret.lines import lines, read_bytes

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def the_file(path: Path, content: bytes | None, *names: str) -> tuple[Path, bytes]:
    """The file `path` and its content, or in a folder (`content` None) the first of `names` that is there."""
    if content is not None:
        return path, content
    if not path.is_dir():
        return path, read_bytes(path, GroundTruthError)
    for name in names:
        if (path / name).is_file():
            return path / name, read_bytes(path / name, GroundTruthError)
    raise GroundTruthError(f"{escape(str(path))} is a folder without {' or '.join(names)}")


def image_names(path: Path, content: bytes | None) -> tuple[list[str], str]:
    """The names in a list, one a line, or of the images of a folder and its sub-folders; and their SHA-256.

    A folder's names are relative to it, in byte order. Hidden files and folders are left out; links to
    folders are not followed.
    """
    if content is not None or not path.is_dir():
        path, content = the_file(path, content)
        return [name for _, name in lines(content)], hashlib.sha256(content).hexdigest()
    names: list[str] = []
    for folder, folders, files in os.walk(path, onerror=_unreadable):
        folders[:] = [name for name in folders if name[0] != "."]
        below = Path(folder).relative_to(path)
        names += [(below / name).as_posix() for name in files if is_image(name)]
    names.sort(key=to_bytes)
    return names, sha256_of((name, b"") for name in names)


def _unreadable(error: OSError) -> None:
    raise GroundTruthError(f"{escape(str(error.filename))} cannot be read: {error.strerror}") from error


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image that is not hidden."""
    return name[0] != "." and name.lower().endswith(IMAGE_SUFFIXES)


def sha256_of(files: Iterable[tuple[str, bytes]]) -> str:
    """One hash, in hex, of names and contents in the order given."""
    whole = hashlib.sha256()
    for name, content in files:
        for part in (to_bytes(name), content):
            whole.update(len(part).to_bytes(8, "little") + part)
    return whole.hexdigest()
