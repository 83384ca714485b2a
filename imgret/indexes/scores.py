"""Scores: one cosine for a query and a row, whoever asks, and one order of rows for a query.

A matrix product gives two equal rows scores that differ in the last bit, depending on where they
stand. What is shown and ordered is therefore computed once more, row by row, always in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from imgret.ids import to_bytes

# Twice what FAISS's score and ours may differ by (float32 sums of a few thousand products).
SLACK = 4e-6
_AT_ONCE = 8_000_000  # numbers gathered at a time, 32 MB


class Vectors(Protocol):
    """Anything that gives unit float32 rows by number."""

    def vectors(self, rows: np.ndarray) -> np.ndarray: ...


def cosines(source: Vectors, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Scores [Q, K] float32 of the rows [Q, K] for unit queries [Q, D], in [-1, 1]; -inf where rows is -1.

    The same query and row give the same bits whatever stands beside them.
    """
    scores = np.empty(rows.shape, np.float32)
    dim = queries.shape[1]
    step = max(1, _AT_ONCE // max(1, rows.shape[1] * dim))
    for start in range(0, len(rows), step):
        chosen = rows[start : start + step]
        # A row of -1 is "nothing here"; row 0 stands in for it and is blotted out below.
        matrix = source.vectors(np.maximum(chosen, 0).ravel()).reshape(*chosen.shape, dim)
        part = np.einsum("qd,qkd->qk", queries[start : start + step], matrix)
        scores[start : start + step] = np.where(chosen >= 0, np.clip(part, -1, 1), -np.inf)
    return scores


def ordered(rows: np.ndarray, scores: np.ndarray, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and scores [Q, K] with the best first, equal scores in order of their ids' bytes, -1 last."""
    order = np.argsort(-scores, axis=1, kind="stable")
    rows, scores = np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)
    equal = np.pad((scores[:, 1:] == scores[:, :-1]) & (rows[:, 1:] >= 0), ((0, 0), (1, 1)))
    lines, places = np.nonzero(equal[:, 1:] | equal[:, :-1])
    if len(lines):
        tied = rows[lines, places]
        ranks = id_ranks(tied, lambda distinct: [to_bytes(ids[row]) for row in distinct.tolist()])
        rows[lines, places] = tied[np.lexsort((ranks, -scores[lines, places], lines))]
    return rows, scores


def id_ranks(rows: np.ndarray, names: Callable[[np.ndarray], list[bytes]]) -> np.ndarray:
    """[n] int64, the place of each row's id among all of theirs; `names` is asked once for each row there is."""
    distinct, which = np.unique(rows, return_inverse=True)
    raw = names(distinct)
    ranks = np.empty(len(raw), np.int64)
    ranks[sorted(range(len(raw)), key=raw.__getitem__)] = np.arange(len(raw))
    return ranks[which]


def settled(
    source: Vectors,
    queries: np.ndarray,
    rows: np.ndarray,
    near: np.ndarray,
    want: int,
    ids: Sequence[str],
) -> tuple[np.ndarray, np.ndarray]:
    """`ordered` for rows [Q, K] that FAISS has sorted by its own scores `near`, re-scoring few of them.

    Only neighbours that may be equal are scored again; the scores of all others, and their order, are
    FAISS's. For FAISS scores that do not depend on what else is asked. Only the first `want` places,
    and what may tie with them, are made sure of.
    """
    scores = np.where(rows >= 0, np.clip(near, -1, 1), -np.inf)
    close = (scores[:, :-1] <= scores[:, 1:] + SLACK) & (rows[:, 1:] >= 0)
    close &= scores[:, 1:] >= scores[:, want - 1 : want] - 2 * SLACK
    lines = np.flatnonzero(close.any(1))
    if len(lines):
        doubtful = np.pad(close[lines], ((0, 0), (0, 1))) | np.pad(close[lines], ((0, 0), (1, 0)))
        again = cosines(source, queries[lines], rows[lines])
        rows = rows.copy()
        rows[lines], scores[lines] = ordered(rows[lines], np.where(doubtful, again, scores[lines]), ids)
    return rows, scores
