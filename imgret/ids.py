r"""Image ids: bytes on disk, surrogate-escaped text in Python, one reversible escape in text output.

A file name need not be valid UTF-8 and may hold a newline, so ids are printed with `escape`:
a backslash becomes ``\\``, and every control character or undecodable byte becomes ``\xNN``.
Ordinary names, whatever their script, are printed as they are.
"""

from __future__ import annotations

import itertools
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from imgret import atomic

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff\\]")
_ESCAPED = re.compile(r"\\(?:\\|x([0-9a-f]{2}))")


def to_bytes(image_id: str) -> bytes:
    """The id as stored: UTF-8, undecodable bytes as they were."""
    return image_id.encode("utf-8", "surrogateescape")


def from_bytes(raw: bytes) -> str:
    """The id as used in Python; the inverse of `to_bytes`."""
    return raw.decode("utf-8", "surrogateescape")


def escape(image_id: str) -> str:
    r"""The id as printed: ``a\nb`` -> ``a\x0ab``. Valid UTF-8 on one line; `unescape` undoes it."""

    def one(match: re.Match[str]) -> str:
        if match[0] == "\\":
            return "\\\\"
        return "".join(f"\\x{byte:02x}" for byte in to_bytes(match[0]))

    return _UNPRINTABLE.sub(one, image_id)


def unescape(text: str) -> str:
    r"""The id that `escape` printed. A backslash that starts no escape stays as it is."""
    raw = bytearray()
    end = 0
    for match in _ESCAPED.finditer(text):
        raw += to_bytes(text[end : match.start()])
        raw += bytes([int(match[1], 16)]) if match[1] else b"\\"
        end = match.end()
    return from_bytes(bytes(raw + to_bytes(text[end:])))


class IdTable(Sequence[str]):
    """Ids in row order, ten million of them without ten million Python objects.

    Held as one blob of bytes and N + 1 offsets, which may be memory-mapped.
    """

    def __init__(self, blob: np.ndarray, offsets: np.ndarray) -> None:
        if offsets.ndim != 1 or not len(offsets) or int(offsets[-1]) != len(blob):
            raise ValueError("offsets must be [N + 1] and end at the length of the blob")
        self._blob = np.asarray(blob)  # slices of a memmap are slower to make
        self._offsets = np.asarray(offsets)

    @classmethod
    def of(cls, ids: Iterable[str | bytes]) -> IdTable:
        """A table of the given ids, in their order."""
        blob, offsets = bytearray(), array("q", [0])  # no list: ten million bytes objects take half a gigabyte
        for item in ids:
            blob += item if isinstance(item, bytes) else to_bytes(item)
            offsets.append(len(blob))
        return cls(np.frombuffer(blob, np.uint8), np.frombuffer(offsets, np.int64))

    @classmethod
    def load(cls, blob_file: Path, offsets_file: Path) -> IdTable:
        """Map a table that `save` wrote. OSError or ValueError when it is not one."""
        offsets = np.load(offsets_file, mmap_mode="r", allow_pickle=False)
        size = int(offsets[-1])
        blob = np.memmap(blob_file, np.uint8, "r") if size else np.zeros(0, np.uint8)
        return cls(blob, offsets)

    def save(self, blob_file: Path, offsets_file: Path) -> None:
        """Write the two files, each whole or not at all."""
        atomic.write_bytes(blob_file, np.ascontiguousarray(self._blob).data)
        atomic.write_with(offsets_file, lambda file: np.save(file, self._offsets))

    def raw(self, row: int) -> bytes:
        """The id of a row as bytes."""
        return self._blob[int(self._offsets[row]) : int(self._offsets[row + 1])].tobytes()

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        row = int(row)
        if row < 0:
            row += len(self)
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} ids")
        return from_bytes(self.raw(row))

    def __iter__(self) -> Iterator[str]:
        return (from_bytes(raw) for raw in self.iter_raw())

    def blocks(self, rows: int = 65536) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """(first row, bytes uint8, edges [n + 1]) of some ids at a time: id i is bytes[edges[i] : edges[i + 1]]."""
        for start in range(0, len(self), rows):
            offsets = np.asarray(self._offsets[start : start + rows + 1])
            yield start, self._blob[int(offsets[0]) : int(offsets[-1])], offsets - offsets[0]

    def iter_raw(self) -> Iterator[bytes]:
        """All ids as bytes, in row order, a block of rows at a time."""
        for _, blob, edges in self.blocks():
            block = blob.tobytes()
            for first, last in itertools.pairwise(edges.tolist()):
                yield block[first:last]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IdTable):
            return NotImplemented
        return np.array_equal(self._offsets, other._offsets) and np.array_equal(self._blob, other._blob)

    __hash__ = None  # type: ignore[assignment]
