"""Source: the images that a map is made of, from an open index or store, or from anything that gives blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from imgret.indexes.files import Index
from imgret.indexes.parts.files import Parts

Blocks = Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]
_FEWEST = 10  # neighbours a row in a stored graph, below which it is better to look for them again
_NUMBERS = 4_000_000  # of a block, 16 MB


@dataclass(frozen=True)
class Source:
    """N descriptors that can be read more than once.

    count   N; an image's place is its number in the order of the blocks, from 0
    dim     D
    blocks  gives all images whenever it is called, some at a time: (rows [n], not looked at, unit float32 [n, D]),
            always in the same order
    graph   nearest others that are known already, by place: (places [N, K] int32, cosines [N, K] float32), best first,
            each at most once in a row, -1 and 0 where there are fewer; None where they are to be looked for
    """

    count: int
    dim: int
    blocks: Blocks
    graph: tuple[np.ndarray, np.ndarray] | None = None

    @classmethod
    def of(cls, database: Any) -> Source:
        """All that is searched of an Index, Parts, a Store or a whitened one, in the order of `Searched.ids()`.

        An index's stored graph is used where it knows all rows, and ten neighbours of each or more.
        """
        size = max(1, min(16384, _NUMBERS // max(1, database.dim)))
        if isinstance(database, Index):
            return cls(database.count, database.dim, lambda: database.blocks(size), _graph(database))
        if isinstance(database, Parts):
            return cls(database.count, database.dim, lambda: database.blocks(size))
        return cls(
            database.count,
            database.dim,
            lambda: ((block.rows, block.descriptors) for block in database.blocks(size)),
        )

    def vectors(self) -> Iterator[np.ndarray]:
        """All descriptors, [n, D] some at a time. ValueError where they are not as many, or as wide, as was said."""
        count = 0
        for _, block in self.blocks():
            count += len(block)
            if block.ndim != 2 or block.shape[1] != self.dim or count > self.count:
                break
            yield block
        else:
            if count == self.count:
                return
        raise ValueError(f"blocks must give {self.count} rows of {self.dim} dimensions in all")

    def chosen(self, places: np.ndarray) -> np.ndarray:
        """Descriptors [n, D] at the given places, which rise."""
        found = np.empty((len(places), self.dim), np.float32)
        start = 0
        for block in self.vectors():
            begin, end = np.searchsorted(places, [start, start + len(block)])
            found[begin:end] = block[places[begin:end] - start]
            start += len(block)
        return found


def _graph(index: Index) -> tuple[np.ndarray, np.ndarray] | None:
    """The graph of an index with places for rows: a row that no longer counts has no place."""
    if index.neighbours is None or index.tail is not None or index.neighbours[0].shape[1] < _FEWEST:
        return None
    near, cosines = index.neighbours
    live = index.live_rows
    if len(live) == len(near):
        return near, cosines
    place = np.full(len(near) + 1, -1, np.int32)  # the last is that of -1
    place[live] = np.arange(len(live), dtype=np.int32)
    near = place[near[live]]
    return near, np.where(near < 0, np.float32(0), cosines[live])
