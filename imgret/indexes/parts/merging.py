"""Merging: what parts found for the same queries, as one ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from imgret.ids import IdTable
from imgret.indexes.scores import ordered


@dataclass(frozen=True)
class Found:
    """The best rows of one part, or of several, for Q queries. Plain arrays, to be sent about.

    rows    [Q, K] int64, best first, equal scores in order of their ids' bytes; -1, last, where there are fewer
    scores  [Q, K] float32; -inf where rows is -1
    known   [n] int64, all those rows, each once, rising
    ids     their n ids
    """

    rows: np.ndarray
    scores: np.ndarray
    known: np.ndarray
    ids: IdTable

    @classmethod
    def of(cls, rows: np.ndarray, scores: np.ndarray, ids: IdTable) -> Found:
        """Rows and scores [Q, K] with their ids out of the table `ids` of all rows."""
        rows = rows.astype(np.int64)
        known = np.unique(rows[rows >= 0])
        return cls(rows, scores, known, IdTable.of(map(ids.raw, known.tolist())))

    def moved(self, by: int) -> Found:
        """The same with row numbers that are higher by `by`."""
        return replace(self, rows=np.where(self.rows >= 0, self.rows + by, -1), known=self.known + by)


def merged(found: Sequence[Found], k: int) -> Found:
    """The k best of what was found for the same Q queries: highest score first, equal ones in order of id bytes.

    Row numbers of different parts must differ (`Found.moved`). Lines have min(k, all columns) places.
    """
    names = _Names(found)  # not their own tables, which know their rows by other numbers
    rows, scores = (np.concatenate(parts, 1) for parts in zip(*((one.rows, one.scores) for one in found), strict=True))
    rows, scores = ordered(rows, scores, names)
    return Found.of(rows[:, :k], scores[:, :k], names)


class _Names(IdTable):
    """Ids by row number, of the rows that were found."""

    def __init__(self, found: Sequence[Found]) -> None:
        self._raw = {row: raw for one in found for row, raw in zip(one.known.tolist(), one.ids.iter_raw(), strict=True)}

        self._end = max(self._raw, default=-1) + 1

    def __len__(self) -> int:
        return self._end

    def raw(self, row: int) -> bytes:
        return self._raw[row]
