"""Find the images of a collection: folders, files, globs, tar archives, lists, standard input."""

from __future__ import annotations

import csv
import glob
import io
import os
import stat
import sys
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from imgret.errors import InputError
from imgret.ids import escape

RAW_EXTENSIONS = frozenset(["cr2", "cr3", "nef", "arw", "dng", "raf", "orf", "rw2", "pef", "srw"])
EXTENSIONS = RAW_EXTENSIONS | frozenset(
    [
        "jpg",
        "jpeg",
        "jpe",
        "jfif",
        "png",
        "apng",
        "webp",
        "gif",
        "bmp",
        "dib",
        "tif",
        "tiff",
        "ppm",
        "pgm",
        "pbm",
        "pnm",
        "pcx",
        "tga",
        "jp2",
        "j2k",
        "jpx",
        "jpf",
        "avif",
        "avifs",
        "heic",
        "heics",
        "heif",
        "heifs",
        "hif",
        "jxl",
        "ico",
        "icns",
        "sgi",
        "dds",
        "psd",
        "qoi",
        "mpo",
    ]
)
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One image of a collection, as found: not yet opened.

    id          POSIX path relative to `root`
    path        the file to open (the archive, for a tar member)
    bytes       its size, -1 when there is no such file
    mtime_ns    when it was last changed
    box         crop x1, y1, x2, y2 in pixels of the upright image, right and bottom exclusive
    offset      where a tar member's bytes begin in the archive
    """

    id: str
    path: str
    root: str
    bytes: int
    mtime_ns: int
    box: Box | None = None
    offset: int | None = None

    @property
    def missing(self) -> bool:
        return self.bytes < 0


@dataclass
class Listing:
    """What was found: images in order, and what was passed over."""

    images: list[ImageFile] = field(default_factory=list)
    others: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def roots(self) -> list[str]:
        """Roots in order of first use."""
        return list(dict.fromkeys(image.root for image in self.images))


def find(
    inputs: Sequence[str],
    *,
    list_file: Path | None = None,
    root: Path | None = None,
    part: tuple[int, int] | None = None,
) -> Listing:
    """The images named by `inputs`: folders, files, globs, `.tar` files, '-' for a list on stdin.

    Folders give their images in byte order of the ids; everything else keeps the order given.
    `root` is what ids are relative to (otherwise: each folder itself, the current folder for the rest).
    `part` (I, N) keeps the images with sha256(id) mod N == I - 1.
    InputError for a path that does not exist, an id that occurs twice, or when nothing was found.
    """
    if root is not None and not os.path.isdir(root):
        raise InputError(f"--root {root}: no such folder")
    listing = Listing()
    base = os.path.abspath(root) if root is not None else None
    here = base or os.getcwd()
    for given in inputs:
        if given == "-":
            _add_list(listing, sys.stdin.buffer.read(), here, "standard input")
        elif os.path.isdir(given):
            _add_folder(listing, given, base or os.path.abspath(given))
        elif os.path.exists(given):
            _add_file(listing, given, here)
        elif glob.has_magic(given):
            matches = sorted(glob.glob(given, recursive=True), key=os.fsencode)
            for match in matches:
                if os.path.isdir(match):
                    _add_folder(listing, match, here)
                elif _extension(match) in EXTENSIONS or _extension(match) == "tar":
                    _add_file(listing, match, here)
                else:
                    listing.others += 1
            if not matches:
                raise InputError(f"no file matches {escape(given)}; quote the pattern, and use ** to look into folders")
        else:
            raise InputError(f"{escape(given)}: no such file or folder")
    if list_file is not None:
        try:
            content = list_file.read_bytes()
        except OSError as error:
            raise InputError(f"the list {list_file} cannot be read: {error.strerror}") from error
        _add_list(listing, content, here, str(list_file))
    if not listing.images:
        looked = ", ".join(escape(str(name)) for name in (*inputs, *([list_file] if list_file else [])))
        found = f" ({listing.others} other files are there)" if listing.others else ""
        raise InputError(
            f"no images found in {looked}{found}; files count by their extension (.jpg, .png, .webp, .tif, ...)"
        )
    _refuse_repeats(listing.images)
    if part is not None:
        listing.images = [image for image in listing.images if in_part(image.id, part)]
    return listing


def in_part(image_id: str, part: tuple[int, int]) -> bool:
    """Whether an image belongs to part I of N: sha256(id) mod N == I - 1."""
    import hashlib

    index, count = part
    digest = hashlib.sha256(image_id.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest, "big") % count == index - 1


def _id(path: str, root: str) -> str:
    return os.path.relpath(os.path.abspath(path), root).replace(os.sep, "/")


def _extension(name: str) -> str:
    return os.path.splitext(name)[1][1:].lower()


def _add_folder(listing: Listing, folder: str, root: str) -> None:
    found = []
    prefix = _id(folder, root)
    prefix = "" if prefix == "." else prefix + "/"
    for path, name in _walk(os.path.abspath(folder), "", (), set(), listing):
        if _extension(name) not in EXTENSIONS:
            listing.others += 1
        elif (image := _image(prefix + name, path, root)) is not None:
            found.append(image)
    found.sort(key=lambda image: os.fsencode(image.id))
    listing.images += found


def _walk(
    folder: str, prefix: str, above: tuple[tuple[int, int], ...], linked: set[tuple[int, int]], listing: Listing
) -> Iterator[tuple[str, str]]:
    """(path, id) of every visible file below a folder; links are followed, loops are not.

    `above` are the folders on the way here, `linked` those that a link has led to already.
    """
    try:
        status = os.stat(folder)
        here = (status.st_dev, status.st_ino)
        if here in above or (os.path.islink(folder) and here in linked):
            listing.notes.append(f"{escape(folder)} links to a folder that is looked at already; not followed")
            return
        if os.path.islink(folder):
            linked.add(here)
        with os.scandir(folder) as entries:
            inside = [(entry.name, entry.path, _is_folder(entry)) for entry in entries if entry.name[0] != "."]
    except OSError as error:
        listing.notes.append(f"{escape(folder)} cannot be read: {error.strerror}")
        return
    for name, path, is_folder in inside:
        if is_folder:
            yield from _walk(path, f"{prefix}{name}/", (*above, here), linked, listing)
        else:
            yield path, prefix + name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or to what cannot be reached: listed as a file, reported as missing
        return False


def _image(image_id: str, path: str, root: str, box: Box | None = None) -> ImageFile | None:
    """The image at a path, missing or not; None for pipes, devices and the like."""
    try:
        status = os.stat(path)
    except OSError:
        return ImageFile(image_id, path, root, -1, 0, box)
    if not stat.S_ISREG(status.st_mode):
        return None
    return ImageFile(image_id, path, root, status.st_size, status.st_mtime_ns, box)


def _add_file(listing: Listing, path: str, root: str, box: Box | None = None, image_id: str | None = None) -> None:
    if box is None and image_id is None and _extension(path) == "tar" and os.path.exists(path):
        _add_tar(listing, path, root)
        return
    default = _id(path, root) + (f"#{box[0]},{box[1]},{box[2]},{box[3]}" if box else "")
    image = _image(image_id or default, os.path.abspath(path), root, box)
    if image is None:
        raise InputError(f"{escape(path)} is neither a file nor a folder")
    listing.images.append(image)


def _add_tar(listing: Listing, path: str, root: str) -> None:
    """Members are read in place, by offset; nothing is unpacked. Of members with one name the last counts."""
    archive, full = _id(path, root), os.path.abspath(path)
    members: dict[str, ImageFile] = {}
    try:
        with tarfile.open(path, "r:", errors="surrogateescape") as file:
            for member in file:
                name = member.name.removeprefix("./")
                if member.islnk() and (target := members.get(member.linkname.removeprefix("./"))) is not None:
                    members[name] = replace(target, id=f"{archive}/{name}")
                if not member.isreg() or any(part.startswith(".") for part in name.split("/")):
                    continue
                if _extension(name) not in EXTENSIONS:
                    listing.others += 1
                    continue
                changed = int(member.mtime * 1e9)
                members[name] = ImageFile(
                    f"{archive}/{name}", full, root, member.size, changed, offset=member.offset_data
                )
    except (tarfile.ReadError, OSError) as error:
        if not members:
            raise InputError(
                f"{escape(path)} is not a sound, uncompressed tar archive ({error}); unpack or decompress it first"
            ) from error
        listing.notes.append(f"{escape(path)} is cut short ({error}); {len(members)} images of it are listed")
    listing.images += members.values()


def _add_list(listing: Listing, content: bytes, root: str, what: str) -> None:
    """One path a line (or NUL-separated), or CSV with a `path` column. Relative paths start at `root`."""
    first = content.split(b"\n", 1)[0].removeprefix(b"\xef\xbb\xbf").strip().lower()
    if b"path" in [column.strip(b' "') for column in first.split(b",")]:
        _add_csv(listing, content, root, what)
        return
    for line in content.split(b"\0" if b"\0" in content else b"\n"):
        name = os.fsdecode(line.rstrip(b"\r"))
        if name:
            _add_file(listing, os.path.join(root, name), root)


def _add_csv(listing: Listing, content: bytes, root: str, what: str) -> None:
    text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    table = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    corners = ("x1", "y1", "x2", "y2")
    for line in _lines(table, what):
        where = f"{what}, line {table.line_num}"
        if not line.get("path"):
            raise InputError(f"{where}: the path is empty")
        given = [line.get(corner) or None for corner in corners]
        try:
            numbers = [round(float(value)) for value in given if value is not None]
        except (ValueError, OverflowError):
            raise InputError(f"{where}: x1,y1,x2,y2 must be numbers, got {given}") from None
        if len(numbers) not in (0, 4):
            raise InputError(f"{where}: give all of x1,y1,x2,y2 or none")
        if numbers and not (0 <= numbers[0] < numbers[2] < 2**31 and 0 <= numbers[1] < numbers[3] < 2**31):
            raise InputError(f"{where}: the box {numbers} is empty or begins outside the image")
        box = (numbers[0], numbers[1], numbers[2], numbers[3]) if numbers else None
        _add_file(listing, os.path.join(root, line["path"]), root, box, line.get("id") or None)


def _lines(table: csv.DictReader[str], what: str) -> Iterator[dict[str, str]]:
    try:
        yield from table
    except csv.Error as error:
        raise InputError(f"{what}, line {table.line_num}: {error}") from error


def _refuse_repeats(images: Iterable[ImageFile]) -> None:
    seen: dict[str, ImageFile] = {}
    for image in images:
        other = seen.setdefault(image.id, image)
        if other is not image:
            raise InputError(
                f"two images have the id {escape(image.id)}: {escape(other.path)} and {escape(image.path)}; "
                "ids are paths relative to each folder given, so give a common folder with --root"
            )
