"""Images in folders and files on the disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import lru_cache

from imgret.ids import escape
from imgret.images.image_file import Box, ImageFile, is_image
from imgret.images.listing import Listing


def add_folder(listing: Listing, folder: str, root: str) -> None:
    """The images below a folder, in byte order of their ids."""
    prefix = relative(os.path.abspath(folder), root)
    prefix = "" if prefix == "." else prefix + "/"
    for name in walk(os.path.abspath(folder), listing.notes):
        if not is_image(name):
            listing.others += 1
        elif listing.takes(prefix + name):
            image = look(prefix + name, os.path.join(os.path.abspath(folder), name), root)
            if image is None:
                listing.found -= 1
            else:
                listing.images.append(image)


def place(path: str, start: str, root: str) -> tuple[str, str]:
    """Id and absolute path of a file whose path is relative to `start`."""
    # by hand where it is plain: os.path takes longer than all the rest, and there are millions
    plain = os.sep == "/" and "./" not in path and "//" not in path and not path.endswith((".", "/"))
    if plain and start == root != "/" and not path.startswith("/"):
        return path, f"{root}/{path}"
    full = path if plain and path.startswith("/") else os.path.abspath(os.path.join(start, path))
    folder, name = os.path.split(full)
    below = relative(folder, root)
    return name if below == "." else f"{below}/{name}", full


@lru_cache(1024)
def relative(folder: str, root: str) -> str:
    """A folder as seen from the root, with '/' between its parts; '.' for the root itself."""
    return os.path.relpath(folder, root).replace(os.sep, "/")


def look(image_id: str, path: str, root: str, box: Box | None = None) -> ImageFile | None:
    """The image at a path, missing or not; None for folders, pipes, devices and the like."""
    try:
        status = os.stat(path)
    except OSError:
        return ImageFile(image_id, path, root, -1, 0, box)
    if not stat.S_ISREG(status.st_mode):
        return None
    return ImageFile(image_id, path, root, status.st_size, status.st_mtime_ns, box)


def walk(folder: str, notes: list[str]) -> Iterator[str]:
    """Paths of every visible file below a folder, relative to it, in byte order; only open folders are held.

    Links are followed, loops are not: `notes` says so, and which folders cannot be read.
    """
    yield from _walk(os.fsencode(folder), b"", (), set(), notes)


def _walk(
    folder: bytes, prefix: bytes, above: tuple[tuple[int, int], ...], linked: set[tuple[int, int]], notes: list[str]
) -> Iterator[str]:
    """`above` are the folders on the way here, `linked` those that a link has led to already."""
    shown = escape(os.fsdecode(folder))
    try:
        status = os.stat(folder)
        here = (status.st_dev, status.st_ino)
        if here in above or (os.path.islink(folder) and here in linked):
            notes.append(f"{shown} links to a folder that is looked at already; not followed")
            return
        if os.path.islink(folder):
            linked.add(here)
        with os.scandir(folder) as entries:
            visible = (entry for entry in entries if not entry.name.startswith(b"."))
            # with its '/' a folder stands among its neighbours where the paths of its files do
            inside = sorted(entry.name + b"/" if _is_folder(entry) else entry.name for entry in visible)
    except OSError as error:
        notes.append(f"{shown} cannot be read: {error.strerror}")
        return
    for name in inside:
        if name.endswith(b"/"):
            yield from _walk(os.path.join(folder, name[:-1]), prefix + name, (*above, here), linked, notes)
        else:
            yield os.fsdecode(prefix + name)


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or to what cannot be reached: listed as a file, reported as missing
        return False
