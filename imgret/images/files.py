"""Find the images of a collection: folders, files, globs, archives, lists, standard input, URLs."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import IO

from imgret.errors import InputError
from imgret.ids import escape
from imgret.images import archives, folders, lists, remote
from imgret.images.braces import expand
from imgret.images.image_file import EXTENSIONS, RAW_EXTENSIONS, Box, ImageFile, is_image
from imgret.images.listing import Images, Listing, in_part
from imgret.images.lists import Listed
from imgret.places import is_archive, is_url, local, unfolded

__all__ = ["EXTENSIONS", "RAW_EXTENSIONS", "Box", "ImageFile", "Images", "Listing", "find", "in_part"]


def find(
    inputs: Sequence[str],
    *,
    list_file: Path | None = None,
    root: Path | str | None = None,
    part: tuple[int, int] | None = None,
    offline: bool = False,
) -> Listing:
    """The images named by `inputs`: folders, files, globs, `.tar` and `.zip` files, URLs, '-' for a list on stdin.

    Folders give their images in byte order of the ids; everything else keeps the order given. Names may have braces.
    `root` is what ids are relative to; otherwise each folder or folder's URL itself, the folder of a file's URL, the
    server or bucket of URLs in lists, and the current folder for the rest. A folder is no root of URLs, nor a URL of
    files. `part` (I, N) keeps the images with sha256(id) mod N == I - 1. `offline` refuses URLs of other machines.
    Memory stays bounded: a list or archive is read as a stream, of folders the names in one of them are held.
    InputError for a path that does not exist, an id that occurs twice, or when nothing was found.
    """
    base = None if root is None else local(unfolded(root)).rstrip("/") or "/"
    if base is not None and not is_url(base):
        if not os.path.isdir(base):
            raise InputError(f"--root {root}: no such folder")
        base = os.path.abspath(base)
    search = _Search(Listing(part=part), base, offline)
    for given in inputs:
        if given == "-":
            search.add_list(sys.stdin.buffer, "standard input")
        else:
            search.add_given(given)
    if list_file is not None:
        search.add_list_file(list_file)
    listing = search.listing
    if not listing.found:
        looked = ", ".join(escape(str(name)) for name in (*inputs, *([list_file] if list_file else [])))
        found = f" ({listing.others} other files are there)" if listing.others else ""
        why = "; ".join(listing.notes[:3]) or "files count by their extension (.jpg, .png, .webp, .tif, ...)"
        raise InputError(f"no images found in {looked}{found}; {why}")
    listing.refuse_repeats()
    return listing


class _Search:
    """Where a search stands: what was found, `base` as the root that was asked for, and whether URLs are allowed."""

    def __init__(self, listing: Listing, base: str | None, offline: bool) -> None:
        self.listing = listing
        self._base = base
        self._offline = offline
        self._cwd = os.getcwd()

    def _root(self, otherwise: str) -> str:
        """The root to look in: that asked for, unless it is a URL and the place is not, or the other way round."""
        root = self._base if self._base is not None and is_url(self._base) == is_url(otherwise) else otherwise
        self.listing.looked_in[root] = None
        return root

    def add_given(self, given: str) -> None:
        """Add what a word of the command line names."""
        given = local(given)
        for name in [given] if _is_there(given) else expand(given):
            if is_url(name):
                remote.check(name, self._offline)
                archives.refuse_compressed(name)
                folder = not is_archive(name) and remote.is_folder(name)
                self._add_urls(
                    [Listed(name.rstrip("/") + "/" if folder else name)], name if folder else remote.parent(name)
                )
            elif os.path.isdir(name):
                folders.add_folder(self.listing, name, self._root(os.path.abspath(name)))
            elif os.path.exists(name):
                self._add_file(Listed(name), self._cwd)
            elif glob.has_magic(name):
                self._add_glob(name)
            else:
                raise InputError(f"{escape(name)}: no such file or folder")

    def _add_glob(self, pattern: str) -> None:
        matches = sorted(glob.glob(pattern, recursive=True), key=os.fsencode)
        for match in matches:
            if os.path.isdir(match):
                folders.add_folder(self.listing, match, self._root(self._cwd))
            elif is_image(match) or is_archive(match):
                self._add_file(Listed(match), self._cwd)
            else:
                self.listing.others += 1
        if not matches:
            raise InputError(f"no file matches {escape(pattern)}; quote the pattern, and use ** to look into folders")

    def add_list_file(self, path: Path) -> None:
        """Add what a list names."""
        try:
            file = open(path, "rb")  # noqa: SIM115  # closed below: only its opening is tried
        except OSError as error:
            raise InputError(f"the list {path} cannot be read: {error.strerror}") from error
        with file:
            self.add_list(file, str(path))

    def add_list(self, file: IO[bytes], what: str) -> None:
        """Add what the list in an open file names. Relative paths start at the root asked for, or here."""
        start = self._base or self._cwd
        entries = (found for entry in lists.entries(file, what) for found in _expanded(entry, start))
        while some := list(islice(entries, remote.BATCH)):
            for of_urls, together in groupby(some, lambda entry: is_url(_joined(start, entry.path))):
                if of_urls:
                    self._add_urls([entry._replace(path=_joined(start, entry.path)) for entry in together])
                else:
                    for entry in together:
                        self._add_file(entry._replace(path=local(entry.path)), start)

    def _add_file(self, entry: Listed, start: str) -> None:
        """Add a file, an archive or, from a list, a folder, its path relative to `start`. Missing ones count too."""
        root = self._root(self._cwd)
        image_id, path = folders.place(entry.path, start, root)
        plain = entry.id is None and entry.box is None
        # looked at in every part: a folder or archive has images of parts that its own name is not in
        image = folders.look(entry.id or _boxed(image_id, entry.box), path, root, entry.box)
        if image is None:
            if not (plain and os.path.isdir(path)):
                raise InputError(f"{escape(entry.path)} is neither a file nor a folder")
            folders.add_folder(self.listing, path, root)
            return
        if plain:
            archives.refuse_compressed(path)
        if plain and is_archive(path) and not image.missing:
            archives.add_archive(self.listing, path, image_id, root)
        elif self.listing.takes(image.id):
            self.listing.images.append(image)

    def _add_urls(self, entries: Sequence[Listed], root: str | None = None) -> None:
        """Add files, archives and folders (ending with '/') by their URLs; those of files are asked for together."""
        waiting: list[tuple[Listed, str, str]] = []
        for entry in entries:
            url = entry.path
            remote.check(url, self._offline)
            base = self._root((root or remote.server(url)).rstrip("/"))
            plain = entry.id is None and entry.box is None
            if plain:
                archives.refuse_compressed(url)
            if plain and is_archive(url):
                archives.add_archive(self.listing, url, remote.relative_id(url, base), base)
            elif plain and url.endswith("/"):
                remote.add_folder(self.listing, url, base)
            elif self.listing.takes(image_id := entry.id or _boxed(remote.relative_id(url, base), entry.box)):
                waiting.append((entry, image_id, base))
        facts = remote.look([entry.path for entry, _, _ in waiting])
        for (entry, image_id, base), (size, changed) in zip(waiting, facts, strict=True):
            self.listing.images.append(ImageFile(image_id, entry.path, base, size, changed, entry.box))


def _is_there(name: str) -> bool:
    """Whether a name, or files that match it, are there with its braces as they are."""
    globbed = "{" in name and not is_url(name) and glob.has_magic(name)
    return os.path.lexists(name) or (globbed and any(True for _ in glob.iglob(name, recursive=True)))


def _joined(start: str, path: str) -> str:
    return path if is_url(path) or os.path.isabs(path) or not is_url(start) else f"{start}/{path}"


def _expanded(entry: Listed, start: str) -> Iterator[Listed]:
    """An entry, or those that its braces stand for."""
    if "{" not in entry.path or entry != Listed(entry.path) or os.path.lexists(os.path.join(start, entry.path)):
        yield entry
    else:
        yield from map(Listed, expand(entry.path))


def _boxed(image_id: str, box: Box | None) -> str:
    return image_id if box is None else f"{image_id}#{box[0]},{box[1]},{box[2]},{box[3]}"
