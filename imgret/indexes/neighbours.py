"""Neighbours: the rows nearest to every row of an index, found by searching the index with its own vectors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from imgret.indexes.files import Index
from imgret.indexes.rows import Progress
from imgret.indexes.search import SHARE, search

_AT_ONCE = 1024  # rows searched between two words of progress


def nearest(index: Index, k: int, progress: Progress | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The k nearest other live rows of every row, some rows at a time, in order of the rows.

    Gives (rows [n, k] int32, cosines [n, k] float32), best first, equal ones in order of their ids; -1 and 0
    where there are fewer, as for all of a deleted row. A flat index finds the true neighbours, any other
    those that a search finds. ValueError for k below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    # With fewer rows looked at, most rows would be searched again, a level deeper.
    looks_at = SHARE[False] * (k + 1)
    wide = {"candidates": looks_at, "nprobe": -(-looks_at * index.structure.lists // max(index.count, 1))}
    index = index.with_parameters({name: max(value, wide[name]) for name, value in index.parameters.items()})
    total = len(index.ids)
    live = np.ones(total, bool)
    live[index.deleted] = False
    for start in range(0, total, _AT_ONCE):
        end = min(start + _AT_ONCE, total)
        near, cosines = np.full((end - start, k), -1, np.int32), np.zeros((end - start, k), np.float32)
        alive = np.flatnonzero(live[start:end])
        rows = start + alive
        if len(rows):
            found = search(index, index.vectors(rows), [""] * len(rows), k + 1)
            others = others_of(rows, found.rows)
            width = found.depth - 1
            near[alive, :width] = found.rows[others].reshape(len(rows), width)
            cosines[alive, :width] = found.scores[others].reshape(len(rows), width)
            cosines[near < 0] = 0
        yield near, cosines
        if progress is not None:
            progress("finding neighbours", end, total)


def others_of(rows: np.ndarray, found: np.ndarray) -> np.ndarray:
    """[Q, K] bool, all but one place in every line of what was found [Q, K] for the rows [Q] themselves.

    The place left out is that of the row itself, by its number; where copies of it hid it, the last.
    """
    itself = found == rows[:, None]
    itself[~itself.any(1), -1] = True
    return ~itself
