"""Candidates: the rows that a graph or a lossy kind proposes, and the few of them that can be among the best.

Scoring every candidate as it will be shown takes most of a search. FAISS compares a query with half-precision
vectors, where they lie in their mapped file, in a fraction of that time, and is off by what rounding to half precision
does to the length of a row. So only those whose rough score is near enough to the last place wanted are scored again.
"""

# faiss ships type stubs that do not know the Python layer it adds to its own classes.
# mypy: disable-error-code="attr-defined,call-arg,arg-type,assignment"

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from imgret.indexes.rows import ROUNDING
from imgret.indexes.scores import SLACK, Vectors, cosines, ordered
from imgret.indexes.structure import Structure

_PIECES = 8  # into which queries are parted by how many of their candidates are scored again


class Candidates:
    """What a structure proposes, with rough scores.

    structure  the FAISS index, which must outlive this
    kept       [N, D] vectors as the INDEX keeps them, likewise
    slack      the most by which rough scores may order two rows wrongly, None where there are no rough scores
    """

    def __init__(self, structure: Structure, kept: np.ndarray) -> None:
        self._structure = structure
        self._refine: Any = None
        self.slack: float | None = SLACK if structure.products else None
        if structure.products and structure.matrix is None:
            self.slack = 2 * ROUNDING + SLACK  # one row may be longer, the other shorter
            if structure.half_matrix is None:
                self._refine = _refine(structure, kept)
                self.slack = None if self._refine is None else self.slack

    def fetch(
        self, queries: np.ndarray, depth: int, nprobe: int, selector: Any
    ) -> tuple[np.ndarray | None, np.ndarray]:
        """(rough scores or None, rows) [Q, depth], best first by those scores; -1 where fewer rows were found."""
        if self._refine is not None:
            params = self._structure.refining(depth, nprobe, selector)
            try:
                return self._refine.search(queries, depth, params=params)
            except RuntimeError:  # this kind cannot leave rows out; `Structure.fetch` does it for it
                self._refine = self.slack = None
        near, rows = self._structure.fetch(queries, depth, nprobe, selector)
        return (None if self.slack is None else near), rows


def _refine(structure: Structure, kept: np.ndarray) -> Any:
    """FAISS comparing what a structure proposes with half-precision vectors in their own place; None if it cannot."""
    if kept.dtype != np.float16 or not len(kept):
        return None
    half = faiss.IndexScalarQuantizer(kept.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    try:
        codes = faiss.swig_ptr(kept.reshape(-1).view(np.uint8))
        half.codes = faiss.MaybeOwnedVectorUInt8.create_view(codes, kept.nbytes, half.codes.owner)
    except (AttributeError, TypeError):  # a FAISS that cannot look at memory of others
        return None
    half.ntotal = len(kept)
    return structure.refined(half)


def best_of(
    source: Vectors, queries: np.ndarray, near: np.ndarray, rows: np.ndarray, want: int, slack: float, ids: Any
) -> tuple[np.ndarray, np.ndarray]:
    """`ordered` for the first `want` places of candidates [Q, K] that stand in order of their rough scores `near`."""
    want = min(want, rows.shape[1])
    chosen = ((near >= near[:, want - 1 : want] - slack) & (rows >= 0)).sum(1)
    best = np.full((len(rows), want), -1, rows.dtype)
    scores = np.full((len(rows), want), -np.inf, np.float32)
    for piece in np.array_split(np.argsort(chosen, kind="stable"), min(_PIECES, max(1, len(rows)))):
        width = int(chosen[piece].max(initial=0))
        some = np.where(np.arange(width) < chosen[piece, None], rows[piece, :width], -1)
        found, values = ordered(some, cosines(source, queries[piece], some), ids)
        width = min(width, want)
        best[piece, :width], scores[piece, :width] = found[:, :width], values[:, :width]
    return best, scores
