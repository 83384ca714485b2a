"""Tail: the rows that came after the base of an INDEX was written; a search compares with every one of them."""

# faiss ships type stubs that do not know the Python layer it adds to its own classes.
# mypy: disable-error-code="attr-defined,call-arg,arg-type"

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np

from imgret.ids import IdTable
from imgret.indexes.structure import Structure
from imgret.store.store import unit


def selector_of(live: np.ndarray) -> tuple[np.ndarray, Any]:
    """What FAISS needs to leave out rows where `live` [N] is False; it points into the array, which must stay."""
    bits = np.packbits(live, bitorder="little")
    return bits, faiss.IDSelectorBitmap(bits)


class Tail:
    """N rows numbered from 0, searched like a flat index of their own.

    stored   [N, D] float16 or float32, as the base keeps them; what is searched are `vectors`
    origin   [N, 3] int32, as in `Index`
    count    live rows
    """

    serves_all = False

    def __init__(self, ids: IdTable, origin: np.ndarray, stored: np.ndarray, live: np.ndarray) -> None:
        self.parameters: dict[str, int] = {}
        self.ids = ids
        self.origin = origin
        self.stored = stored
        self.live_rows = np.flatnonzero(live)
        self.count = len(self.live_rows)
        self.selector: Any = None
        if self.count < len(live):
            self._bits, self.selector = selector_of(live)

    def __len__(self) -> int:
        return len(self.ids)

    @functools.cached_property
    def structure(self) -> Structure:
        """The vectors in memory, when they are first searched."""
        flat = faiss.IndexFlatIP(self.stored.shape[1])
        for start in range(0, len(self), 16384):
            flat.add(self.vectors(slice(start, start + 16384)))
        return Structure(flat)

    def vectors(self, rows: np.ndarray | slice) -> np.ndarray:
        """Unit float32 descriptors [n, D] of the given rows."""
        return whole(self.stored[rows])

    def blocks(self, rows: int = 16384) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All live rows, as `Index.blocks` gives them."""
        for start in range(0, self.count, rows):
            yield (chosen := self.live_rows[start : start + rows]), self.vectors(chosen)


def whole(stored: np.ndarray) -> np.ndarray:
    """Unit float32 rows from what an INDEX keeps of them: those in half precision are off by up to 1e-3."""
    if stored.dtype == np.float16:
        return unit(stored)
    return np.require(stored, requirements=["C", "A"])  # FAISS files are not aligned, and slow to multiply by


class JoinedIds(IdTable):
    """Tables of ids, one after the other, without a copy of any."""

    def __init__(self, *tables: IdTable) -> None:
        self._tables = tables
        self._starts = [0, *itertools.accumulate(map(len, tables[:-1]))]

    def raw(self, row: int) -> bytes:
        """The id of a row as bytes."""
        table = bisect.bisect_right(self._starts, row) - 1
        return self._tables[table].raw(row - self._starts[table])

    def __len__(self) -> int:
        return sum(map(len, self._tables))

    def blocks(self, rows: int = 65536) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """As those of one table."""
        for start, table in zip(self._starts, self._tables, strict=True):
            for first, blob, edges in table.blocks(rows):
                yield start + first, blob, edges

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IdTable):
            return NotImplemented
        return len(self) == len(other) and all(map(bytes.__eq__, self.iter_raw(), other.iter_raw()))

    __hash__ = None
