"""Filling: the shard that is being filled."""

from __future__ import annotations

import numpy as np

from imgret.extraction.stream import Described
from imgret.ids import to_bytes
from imgret.images.files import ImageFile
from imgret.store.shard import Shard


class Filling:
    """Rows in the making: columns that are made once and filled again, so that a shard costs the same every time.

    size   rows that fit
    """

    def __init__(self, size: int, dim: int, dtype: str) -> None:
        self._ids: list[bytes] = []
        self._descriptors = np.empty((size, dim), dtype)
        self._shape = np.empty((size, 2), np.int32)
        self._facts = np.empty((size, 2), np.int64)
        self._root = np.empty(size, np.uint16)
        self._sha256 = np.empty((size, 32), np.uint8)
        self._box = np.empty((size, 4), np.int32)

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, image: ImageFile, described: Described, root: int) -> None:
        """Put down one image as the next row."""
        row = len(self._ids)
        self._descriptors[row] = described.descriptor
        self._shape[row] = described.width, described.height
        self._facts[row] = image.bytes, image.mtime_ns
        self._root[row] = root
        self._sha256[row] = np.frombuffer(described.sha256, np.uint8)
        self._box[row] = image.box or -1
        self._ids.append(to_bytes(image.id))

    def shard(self) -> Shard:
        """The rows so far, valid until `clear`."""
        rows = len(self._ids)
        box = self._box[:rows]
        return Shard(
            ids=self._ids,
            descriptors=self._descriptors[:rows],
            width=self._shape[:rows, 0],
            height=self._shape[:rows, 1],
            bytes=self._facts[:rows, 0],
            mtime_ns=self._facts[:rows, 1],
            root=self._root[:rows],
            sha256=self._sha256[:rows],
            box=box if (box[:, 0] >= 0).any() else None,
        )

    def clear(self) -> None:
        """Begin anew."""
        self._ids = []
