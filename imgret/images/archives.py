"""Members of .tar and .zip archives: read in place, nothing is unpacked to the disk."""

from __future__ import annotations

import math
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from imgret.errors import InputError
from imgret.ids import escape
from imgret.images import remote, zips
from imgret.images.image_file import ImageFile, is_hidden, is_image
from imgret.images.listing import Listing
from imgret.places import is_url

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst", ".7z", ".rar")
"""Endings of archives whose members cannot be read in place."""

_NAMED = 5  # members that a note names
_LONGEST = 2.0**62  # nanoseconds: 146 years from 1970, within 64 bits


def refuse_compressed(path: str) -> None:
    """InputError for an archive that would have to be decompressed from its beginning for every image."""
    if path.lower().endswith(COMPRESSED):
        raise InputError(
            f"{escape(path)} is compressed as a whole, so its images cannot be read in place; unpack it, or make it "
            "a plain .tar (gunzip) or a .zip"
        )


def add_archive(listing: Listing, path: str, archive: str, root: str) -> None:
    """The images of the archive at a path or URL, whose own id is `archive`. Of members with one name the last counts.

    InputError for one that cannot be opened and a tar that is none; one that is cut short or damaged is a note.
    """
    start = len(listing.images)
    add = _add_zip if path.lower().endswith(".zip") else _add_tar
    with _opened(path) as file:
        add(listing, file, path, archive, root)
    listing.keep_last(start)


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    if is_url(path):
        with remote.opened(path) as file:
            yield file
        return
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise InputError(f"{escape(path)} cannot be read: {error.strerror}") from error


def _is_wanted(listing: Listing, name: str) -> bool:
    """Whether a member is an image to list; others are counted, and with them what lies outside of the archive."""
    if ".." in name.split("/") or not (is_hidden(name) or is_image(name)):
        listing.others += 1
        return False
    return not is_hidden(name)


def _add_tar(listing: Listing, file: IO[bytes], path: str, archive: str, root: str) -> None:
    links: list[tuple[str, str]] = []
    sparse: list[str] = []

    def add(name: str, member: tarfile.TarInfo) -> None:
        if not _is_wanted(listing, name):
            return
        if member.issparse():  # a map of its holes stands before its bytes, or elsewhere
            sparse.append(escape(name))
        elif listing.takes(image_id := f"{archive}/{name}"):
            changed = _nanoseconds(member.mtime)
            listing.images.append(ImageFile(image_id, path, root, member.size, changed, offset=member.offset_data))

    begun, count = len(listing.images), 0
    try:
        for member in _tar_members(file):
            count += 1
            if member.isreg():
                add(_plain(member.name), member)
            elif member.islnk():
                links.append((_plain(member.name), _plain(member.linkname)))
        if links:  # a second name of a member: rare, so its bytes are looked for in a second pass
            wanted = {target for _, target in links}
            places = {_plain(one.name): one for one in _tar_members(file) if one.isreg() and _plain(one.name) in wanted}
            for name, target in links:
                if target in places and is_image(target):
                    add(name, places[target])
        listing.archives.add(path)
    except tarfile.ReadError as error:
        if not count:
            raise InputError(
                f"{escape(path)} is not a sound, uncompressed tar archive ({error}); unpack or decompress it first"
            ) from error
        listing.notes.append(
            f"{escape(path)} is cut short or damaged ({error}); {len(listing.images) - begun} images of it are listed"
        )
    if sparse:
        more = f" and {len(sparse) - _NAMED} more" if len(sparse) > _NAMED else ""
        listing.notes.append(
            f"{escape(path)} holds sparse members, which cannot be read in place: {', '.join(sparse[:_NAMED])}{more} "
            "left out; unpack it, or make it without tar --sparse"
        )


def _nanoseconds(seconds: float) -> int:
    """A time as the records hold it. A tar may write any number, or none, for it."""
    return 0 if math.isnan(seconds) else int(max(-_LONGEST, min(seconds * 1e9, _LONGEST)))


def _tar_members(file: IO[bytes]) -> Iterator[tarfile.TarInfo]:
    """The members of a tar, in order. ReadError where it ends early or is damaged."""
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:", errors="surrogateescape") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # tarfile would keep them all
                if member.size < 0 or not member.offset < archive.offset <= 2**62:
                    raise tarfile.ReadError("a member of impossible size")
                yield member
    except OverflowError as error:  # as tarfile says of a size that no file has
        raise tarfile.ReadError(str(error)) from error


def _plain(name: str) -> str:
    return name.lstrip("/").removeprefix("./")  # an absolute name is meant below wherever it is unpacked


def _add_zip(listing: Listing, file: IO[bytes], path: str, archive: str, root: str) -> None:
    begun = len(listing.images)
    try:
        for member in zips.members(file):
            if not (member.is_file and _is_wanted(listing, member.name)):
                continue
            if listing.takes(image_id := f"{archive}/{member.name}"):
                listing.images.append(
                    ImageFile(
                        image_id,
                        path,
                        root,
                        member.bytes,
                        member.mtime_ns,
                        offset=member.header,
                        packed=member.packed,
                    )
                )
        listing.archives.add(path)
    except zips.BadZipError as error:  # with nothing found anywhere the note is the error
        listed = f"; {count} images of it are listed" if (count := len(listing.images) - begun) else ""
        listing.notes.append(
            f"{escape(path)} is not a sound zip archive ({error}){listed}; repair it (zip -FF) or unpack it"
        )
