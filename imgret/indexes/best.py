"""Best: the highest scores of some queries while rows go by, a block at a time; all other rows are forgotten."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from imgret.indexes.scores import SLACK, id_ranks

_AT_ONCE = 1_000_000  # numbers gathered at a time, 4 MB


class Best:
    """The `depth` best of all rows that were added, for each of Q queries.

    queries  [Q, V, D] unit float32 rows: V variants of each query, of whose scores the highest counts
    names    the ids, as bytes, of rows; asked for only where equal scores are to be told apart

    Scores are those of `imgret.indexes.scores.cosines` to the last bit, and equal ones stand in order of their ids, so
    the blocks and the queries beside one another make no difference. Holds O(Q x depth) numbers between blocks, and
    a few matrices [Q, n] while n rows are added.
    """

    def __init__(self, queries: np.ndarray, depth: int, names: Callable[[np.ndarray], list[bytes]]) -> None:
        self._queries = queries
        self._depth = depth
        self._names = names
        self._floor = np.full(len(queries), -np.inf, np.float32)  # a row that scores lower is not among the best
        self._lines = np.zeros(0, np.int32)
        self._scores = np.zeros(0, np.float32)
        self.rows = np.zeros(0, np.int32)  # all that may still be among the best of some query

    def add(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Look at the rows numbered `rows` [n], whose unit float32 vectors are [n, D]."""
        lines, columns = self._near(vectors)
        if not len(lines):
            return
        self._lines = np.concatenate([self._lines, lines.astype(np.int32)])
        self.rows = np.concatenate([self.rows, rows[columns].astype(np.int32)])
        self._scores = np.concatenate([self._scores, self._cosines(lines, vectors, columns)])
        most = 2 * self._depth * len(self._queries)
        for by_id in (False, True):  # so many may tie with the last of the best that ids have to decide
            if len(self.rows) > most:
                self._keep_best(by_id)

    def ranked(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows int32 and scores float32, [Q, depth] each or as many as there were, best first."""
        self._keep_best(by_id=True)
        shape = len(self._queries), len(self.rows) // max(1, len(self._queries))
        return self.rows.reshape(shape), self._scores.reshape(shape)

    def _near(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(queries, rows) [m] each, by number: all pairs of a block that may be among the best."""
        count, variants, dim = self._queries.shape
        near = self._queries.reshape(-1, dim) @ vectors.T
        if variants > 1:
            near = near.reshape(count, variants, -1).max(1)
        wanted = near >= self._floor[:, None]
        beyond = len(vectors) - self._depth
        if beyond > 0 and np.count_nonzero(wanted) > count * self._depth:
            # a matrix product's last bits are not those of the scores
            np.maximum(self._floor, np.partition(near, beyond, axis=1)[:, beyond] - SLACK, out=self._floor)
            wanted = near >= self._floor[:, None]
        lines, columns = np.divmod(np.flatnonzero(wanted), len(vectors))
        return lines, columns

    def _cosines(self, lines: np.ndarray, vectors: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """[m] scores of pairs of a query and a row of a block."""
        _, variants, dim = self._queries.shape
        scores = np.full(len(lines), -1, np.float32)
        step = max(1, _AT_ONCE // dim)
        for start in range(0, len(lines), step):
            some = slice(start, start + step)
            chosen = vectors[columns[some]]
            for variant in range(variants):
                part = np.einsum("nd,nd->n", self._queries[lines[some], variant], chosen)
                np.maximum(scores[some], part, out=scores[some])
        return np.minimum(scores, 1, out=scores)

    def _keep_best(self, by_id: bool) -> None:
        """Sort by query and score, and forget what is not among the best; `by_id`, what ties with the last, too."""
        order = np.lexsort((-self._scores, self._lines))
        lines, rows, scores = self._lines[order], self.rows[order], self._scores[order]
        if by_id:
            equal = (lines[1:] == lines[:-1]) & (scores[1:] == scores[:-1])
            tied = np.flatnonzero(np.append(equal, False) | np.append(False, equal))
            by_name = np.lexsort((id_ranks(rows[tied], self._names), -scores[tied], lines[tied]))
            rows[tied] = rows[tied[by_name]]
        counts = np.bincount(lines, minlength=len(self._queries))
        firsts = np.cumsum(counts) - counts
        full = counts >= self._depth
        last = np.full(len(counts), -np.inf, np.float32)
        last[full] = scores[firsts[full] + self._depth - 1]
        np.maximum(self._floor, last - SLACK, out=self._floor)
        kept = np.arange(len(lines)) - firsts[lines] < self._depth
        if not by_id:
            kept |= scores == last[lines]
        self._lines, self.rows, self._scores = lines[kept], rows[kept], scores[kept]
