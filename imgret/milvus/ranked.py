"""Rankings from a collection: Milvus proposes, the cosines are those of a store or an index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from imgret.errors import InputError
from imgret.ids import escape, unescape
from imgret.indexes.scores import SLACK, cosines, ordered
from imgret.milvus.collection import MOST, Collection
from imgret.ranking import Ranking
from imgret.store.store import unit

_SPARE = 16  # places more than asked for, so that equal scores at the end are seen
_NUMBERS = 16_000_000  # of descriptors fetched at a time, 64 MB


@dataclass(frozen=True)
class RankedCollection:
    """A collection as `imgret.workflows.ranked` sees it. Rows are numbered as they are met: `ids`, `roots` by row."""

    collection: Collection
    say: Callable[[str], object]
    ids: list[str] = field(default_factory=list)
    roots: list[str] = field(default_factory=list)
    neighbours: None = None
    _row_of: dict[str, int] = field(default_factory=dict)

    @cached_property
    def count(self) -> int:
        """Images that it holds."""
        return self.collection.count()

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Unit float32 [n, D] of the given rows; each is fetched once, however often it is asked for."""
        distinct, which = np.unique(rows, return_inverse=True)
        return self.collection.vectors([escape(self.ids[row]) for row in distinct.tolist()])[which]

    def rank(self, queries: np.ndarray, query_ids: Sequence[str], depth: int | None) -> Iterator[Ranking]:
        """Rankings of queries [Q, D], or of variants [Q, V, D] of which the best counts, some queries at a time.

        Equal scores stand in order of their ids. InputError for a whole ranking (None) of more than 16,384 rows.
        """
        if depth is None:
            depth = self.count
            if depth > MOST:
                raise InputError(f"{self.collection} gives no more than {MOST:,} results a query; it has {depth:,}")
        if depth > MOST:
            self.say(f"Milvus gives no more than {MOST:,} results a query.")
        depth = min(depth, MOST, self.count)
        queries = unit(queries.reshape(-1, queries.shape[-1])).reshape(len(queries), -1, queries.shape[-1])
        if queries.shape[2] != self.collection.dim:
            raise ValueError(f"queries must be [Q, {self.collection.dim}], got {list(queries.shape)}")
        step = max(1, _NUMBERS // (max(1, depth + _SPARE) * self.collection.dim * queries.shape[1]))
        for start in range(0, len(queries), step):
            yield self._best(queries[start : start + step], query_ids[start : start + step], depth)

    def _best(self, queries: np.ndarray, query_ids: Sequence[str], depth: int) -> Ranking:
        """The `depth` best for queries [Q, V, D]."""
        count, variants, dim = queries.shape
        if not depth:
            return Ranking(query_ids, np.zeros((count, 0), np.int32), np.zeros((count, 0), np.float32), self.ids)
        lines = self._candidates(queries.reshape(-1, dim), depth)
        merged = [
            list(dict.fromkeys(row for line in lines[first : first + variants] for row in line))
            for first in range(0, len(lines), variants)
        ]
        rows = np.full((count, max(depth, *map(len, merged))), -1, np.int32)
        for number, line in enumerate(merged):
            rows[number, : len(line)] = line
        there = rows[rows >= 0]
        distinct = np.unique(there)
        source = _Fetched(distinct, self.vectors(distinct))
        # row 0 stands in for places where there is nothing
        filled = np.where(rows >= 0, rows, distinct[0])
        scores = np.max([cosines(source, queries[:, number], filled) for number in range(variants)], 0)
        rows, scores = ordered(rows, np.where(rows >= 0, scores, -np.inf), self.ids)
        return Ranking(query_ids, rows[:, :depth], scores[:, :depth], self.ids)

    def _candidates(self, queries: np.ndarray, depth: int) -> list[list[int]]:
        """Of each query [Q, D] at least `depth` rows, and all that may have the score of the last."""
        lines: list[list[int]] = [[] for _ in queries]
        pending = list(range(len(queries)))
        most = min(MOST, self.count)
        limit = min(depth + _SPARE, most)
        while pending:
            again = []
            for number, hits in zip(pending, self.collection.search(queries[pending], limit, ["root"]), strict=True):
                lines[number] = [self._row(hit.id, hit.facts["root"]) for hit in hits]
                cut = len(hits) == limit < most and hits[-1].score >= hits[depth - 1].score - 2 * SLACK
                again += [number] if cut else []
            pending, limit = again, min(4 * limit, most)
        return lines

    def _row(self, escaped: str, root: str) -> int:
        row = self._row_of.setdefault(escaped, len(self.ids))
        if row == len(self.ids):
            self.ids.append(unescape(escaped))
            self.roots.append(unescape(root))
        return row


@dataclass(frozen=True)
class _Fetched:
    """Rows that are here already."""

    rows: np.ndarray
    matrix: np.ndarray

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        return self.matrix[np.searchsorted(self.rows, rows)]
