"""What was found: millions of images as compact records, in memory or in a temporary file."""

from __future__ import annotations

import hashlib
import struct
import tempfile
import threading
import weakref
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, overload

import numpy as np

from imgret.errors import InputError, SpaceError
from imgret.ids import escape, from_bytes, to_bytes
from imgret.images.image_file import ImageFile, Packed

IN_MEMORY = 32 << 20  # bytes of records; more go to a temporary file
_AHEAD = 64 << 10
_HEAD = struct.Struct("<IBIIqq")  # size of the record, flags, root, length of the id, bytes, mtime_ns
_BOX = struct.Struct("<4i")
_OFFSET = struct.Struct("<Q")
_PACKED = struct.Struct("<HQI?")
_HAS_BOX, _HAS_OFFSET, _IS_PACKED, _HAS_PATH = 1, 2, 4, 8


class _Names:
    """Texts by number: the roots and the archives, of which there are few."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._number: dict[str, int] = {}

    def number(self, name: str) -> int:
        number = self._number.setdefault(name, len(self.all))
        if number == len(self.all):
            self.all.append(name)
        return number


class _Records:
    """Bytes that are only ever added to: in memory, past `IN_MEMORY` in an anonymous temporary file."""

    def __init__(self) -> None:
        # not in a `with`: it lives as long as the images do
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115
        self._lock = threading.Lock()
        self._fresh = bytearray()  # not yet in the file: one write for many records
        self._end = 0
        weakref.finalize(self, self._file.close)

    def add(self, record: bytes) -> int:
        """Append a record and return where it begins."""
        start = self._end
        self._end += len(record)
        self._fresh += record
        if len(self._fresh) > _AHEAD:
            with self._lock:
                self._settle()
        return start

    def read(self, start: int, size: int) -> bytes:
        with self._lock:
            self._settle()
            self._file.seek(start)
            return self._file.read(size)

    def _settle(self) -> None:
        if not self._fresh:
            return
        try:
            self._file.seek(0, 2)
            self._file.write(self._fresh)
        except OSError as error:
            raise SpaceError(
                f"the list of images needs more room in {tempfile.gettempdir()} ({error.strerror}); "
                "free some, or name another folder with the variable TMPDIR"
            ) from error
        self._fresh.clear()


class Images(Sequence[ImageFile]):
    """Images in order, iterated as often as one likes: sixteen bytes each in memory, the rest in records.

    An ImageFile is made when it is asked for. A slice is a list of them, `select` another `Images`.
    """

    def __init__(self) -> None:
        self._records = _Records()
        self._roots, self._archives = _Names(), _Names()
        self._starts = array("Q")
        self._hashes = array("q")

    def append(self, image: ImageFile) -> None:
        """Add an image at the end."""
        flags, parts, raw = 0, [], to_bytes(image.id)
        if image.box is not None:
            flags |= _HAS_BOX
            parts.append(_BOX.pack(*image.box))
        if image.packed is not None:
            flags |= _IS_PACKED
            parts.append(_PACKED.pack(*image.packed))
        parts.append(raw)
        if image.offset is not None:
            flags |= _HAS_OFFSET
            parts += [_OFFSET.pack(image.offset), _OFFSET.pack(self._archives.number(image.path))]
        elif image.path != f"{image.root}/{image.id}":
            flags |= _HAS_PATH
            parts.append(to_bytes(image.path))
        rest = b"".join(parts)
        root = self._roots.number(image.root)
        head = _HEAD.pack(_HEAD.size + len(rest), flags, root, len(raw), image.bytes, image.mtime_ns)
        self._starts.append(self._records.add(head + rest))
        self._hashes.append(hash(image.id))

    @property
    def roots(self) -> list[str]:
        """Roots in order of first use."""
        return list(self._roots.all)

    def select(self, rows: Sequence[int] | np.ndarray) -> Images:
        """The images of some rows, in that order; the records are shared, not copied."""
        chosen = Images.__new__(Images)
        chosen._records, chosen._roots, chosen._archives = self._records, self._roots, self._archives
        places = np.asarray(rows, np.int64)
        chosen._starts = array("Q", np.asarray(self._starts)[places].tobytes())
        chosen._hashes = array("q", np.asarray(self._hashes)[places].tobytes())
        return chosen

    def repeats(self, start: int = 0) -> Iterator[tuple[int, int]]:
        """(row, later row) of images with one id, from row `start` on, in order of the later one.

        Equal hashes only point at candidates; their ids are read back and compared.
        """
        hashes = np.asarray(self._hashes)[start:]
        ordered = np.sort(hashes)
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        rows = start + np.flatnonzero(np.isin(hashes, twice)) if len(twice) else twice
        del hashes, ordered  # while an array looks at them, no image can be appended
        last: dict[str, int] = {}
        for row in rows.tolist():
            image_id = self[row].id
            if image_id in last:
                yield last[image_id], row
            last[image_id] = row

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[ImageFile]:
        data, begin = b"", 0
        for row in range(len(self._starts)):
            at = self._starts[row] - begin
            if not 0 <= at <= len(data) - _HEAD.size or at + _HEAD.unpack_from(data, at)[0] > len(data):
                begin, at = self._starts[row], 0
                data = self._read(begin, _AHEAD)
            yield self._image(data, at)

    @overload
    def __getitem__(self, row: int) -> ImageFile: ...
    @overload
    def __getitem__(self, row: slice) -> list[ImageFile]: ...
    def __getitem__(self, row: int | slice) -> ImageFile | list[ImageFile]:
        if isinstance(row, slice):
            return [self[one] for one in range(len(self))[row]]
        return self._image(self._read(self._starts[row], 512), 0)

    def _read(self, start: int, size: int) -> bytes:
        """At least the record that begins at `start`."""
        data = self._records.read(start, size)
        needed = _HEAD.unpack_from(data)[0]
        return data if needed <= len(data) else self._records.read(start, needed)

    def _image(self, data: bytes, at: int) -> ImageFile:
        size, flags, number, length, bytes_, mtime_ns = _HEAD.unpack_from(data, at)
        end, at = at + size, at + _HEAD.size
        box, packed, offset = None, None, None
        if flags & _HAS_BOX:
            box = _BOX.unpack_from(data, at)
            at += _BOX.size
        if flags & _IS_PACKED:
            packed = Packed(*_PACKED.unpack_from(data, at))
            at += _PACKED.size
        image_id, root = from_bytes(data[at : at + length]), self._roots.all[number]
        at += length
        if flags & _HAS_OFFSET:
            offset = _OFFSET.unpack_from(data, at)[0]
            path = self._archives.all[_OFFSET.unpack_from(data, at + _OFFSET.size)[0]]
        else:
            path = from_bytes(data[at:end]) if flags & _HAS_PATH else f"{root}/{image_id}"
        return ImageFile(image_id, path, root, bytes_, mtime_ns, box, offset, packed)


@dataclass
class Listing:
    """What was found: images in order, and what was passed over.

    images      those of `part` (I, N), all without one
    found       how many there are in all parts
    others      files that are no images
    notes       what could not be looked at, in words
    looked_in   roots in the order in which they were looked in, whatever was there
    archives    absolute paths or URLs of the archives that were read to their end, whatever they hold
    """

    images: Images = field(default_factory=Images)
    others: int = 0
    notes: list[str] = field(default_factory=list)
    part: tuple[int, int] | None = None
    found: int = 0
    looked_in: dict[str, None] = field(default_factory=dict)
    archives: set[str] = field(default_factory=set)

    @property
    def roots(self) -> list[str]:
        """Roots in order of first use, those where nothing was found or taken among them."""
        return list(self.looked_in | dict.fromkeys(self.images.roots))

    def takes(self, image_id: str) -> bool:
        """Count an image that was found; False when it belongs to another part."""
        self.found += 1
        return self.part is None or in_part(image_id, self.part)

    def keep_last(self, start: int) -> None:
        """Of the images from row `start` on, let the last with an id count, as archives do."""
        earlier = [row for row, _ in self.images.repeats(start)]
        if earlier:
            self.images = self.images.select(np.delete(np.arange(len(self.images)), earlier))
            self.found -= len(earlier)

    def refuse_repeats(self) -> None:
        """InputError when two images have one id."""
        for row, later in self.images.repeats():
            one, other = self.images[row], self.images[later]
            raise InputError(
                f"two images have the id {escape(one.id)}: {escape(one.path)} and {escape(other.path)}; "
                "ids are paths relative to each folder given, so give a common folder with --root"
            )


def in_part(image_id: str, part: tuple[int, int]) -> bool:
    """Whether an image belongs to part I of N: sha256(id) mod N == I - 1."""
    index, count = part
    return int.from_bytes(hashlib.sha256(to_bytes(image_id)).digest(), "big") % count == index - 1
