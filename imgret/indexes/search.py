"""Search: ranked rows for query descriptors, the same for every kind of index.

A flat index gives its best k. Any other looks at a part of its rows, and at which part must not depend
on k, or a longer ranking would begin differently. So it is asked at fixed levels: level 0 looks at the
lists and candidates that were tuned for the index, each further level at 8 times as many, the last at
everything. A level serves the best quarter of what it looked at, since the rest may well be beaten by
rows it did not look at; a ranking that needs more goes on with the next level, adding what is not in it
yet and does not come before its end. Thus the first k1 places of a longer ranking are the ranking of k1
places, on every kind. A row that a shallow level missed, and that would have stood before the end of
what it served, is missed for good: complete rankings are the work of `exact`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imgret.ids import IdTable
from imgret.indexes.files import Index
from imgret.indexes.scores import SLACK, cosines, ordered, settled
from imgret.ranking import Ranking
from imgret.store.store import unit

CANDIDATES = 128  # looked at by the first level of a graph or a lossy kind, at least
DEEPER = 8  # how many times more the next level looks at
SHARE = 4  # a level serves one in so many
_AT_ONCE = {True: 1024, False: 256}  # queries; never depends on k, or k would change what FAISS computes
_RESULTS = 16_000_000  # rows held at a time while going deeper

Found = tuple[np.ndarray, np.ndarray]  # rows [Q, K] int64 and scores [Q, K] float32, best first


def search(index: Index, queries: np.ndarray, query_ids: Sequence[str], k: int) -> Ranking:
    """The k best rows of an index for each query.

    queries    [Q, D] float32 rows, made unit length here
    query_ids  Q ids

    Scores are cosines in [-1, 1], from half-precision vectors where the index is lossy; equal scores
    stand in order of their ids. The ranking has min(k, index.count) columns, -1 where an approximate
    index found fewer. ValueError for queries of another dimension, with NaN, or k below 1.
    """
    queries = checked(queries, index.dim, query_ids)
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    want = min(k, index.count)
    step = _AT_ONCE[_whole(index)]
    parts = [_search(index, queries[start : start + step], want) for start in range(0, len(queries), step)]
    rows = np.concatenate([np.zeros((0, want), np.int32), *(part[0].astype(np.int32) for part in parts)])
    scores = np.concatenate([np.zeros((0, want), np.float32), *(part[1] for part in parts)])
    return Ranking(query_ids, rows, scores, index.ids)


def checked(queries: np.ndarray, dim: int, query_ids: Sequence[str]) -> np.ndarray:
    """Queries as unit float32 rows; ValueError when they are not [Q, dim] finite numbers with Q ids."""
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise ValueError(f"queries must be [Q, {dim}], got {list(queries.shape)}")
    if len(query_ids) != len(queries):
        raise ValueError(f"{len(query_ids)} query ids for {len(queries)} queries")
    if not np.isfinite(queries).all():
        bad = int(np.flatnonzero(~np.isfinite(queries).all(1))[0])
        raise ValueError(f"query {bad} holds NaN or infinity")
    return unit(queries)


def _search(index: Index, queries: np.ndarray, want: int) -> Found:
    everyone = np.arange(len(queries))
    rows, scores = _look(index, queries, everyone, want, 0)
    rows, scores = _padded(rows, want, -1), _padded(scores, want, -np.inf)
    level = 0
    while (rows[:, -1] < 0).any() and not _everything(index, level):
        level += 1
        short = np.flatnonzero(rows[:, -1] < 0)
        pieces = -(-len(short) * index.count // _RESULTS) if _whole(index) else 1
        for piece in np.array_split(short, min(pieces, len(short))):
            deeper = _look(index, queries, piece, want, level)
            for line, more_rows, more_scores in zip(piece, *deeper, strict=True):
                _append(index.ids, rows[line], scores[line], more_rows, more_scores)
    return rows, scores


def _padded(part: np.ndarray, width: int, value: float) -> np.ndarray:
    missing = max(0, width - part.shape[1])
    return np.pad(part[:, :width], ((0, 0), (0, missing)), constant_values=value)


def _whole(index: Index) -> bool:
    """Whether every row looked at is compared in full precision, so that no candidates are needed."""
    return index.structure.flat or index.structure.listed


def _nprobe(index: Index, level: int) -> int:
    return min(index.parameters.get("nprobe", 1) * DEEPER**level, index.structure.lists)


def _candidates(index: Index, level: int) -> int:
    return min(index.parameters.get("candidates", CANDIDATES) * DEEPER**level, index.count)


def _everything(index: Index, level: int) -> bool:
    """Whether a level looks at all there is."""
    every_list = _nprobe(index, level) >= index.structure.lists
    return every_list and (_whole(index) or _candidates(index, level) >= index.count)


def _look(index: Index, queries: np.ndarray, lines: np.ndarray, want: int, level: int) -> Found:
    """What a level serves the queries numbered `lines`, best first, -1 after it.

    FAISS or its coarse quantizer is given all queries, as their number changes the last bits of what it
    computes. Level 0 may stop at `want` places; deeper ones give all they serve.
    """
    if not _whole(index):
        _, rows = index.structure.fetch(
            queries, _candidates(index, level), _nprobe(index, level), index.selector
        )
        rows = rows[lines]
        rows, scores = ordered(rows, cosines(index, queries[lines], rows), index.ids)
        looked_at = (rows >= 0).sum(1)
    elif index.structure.flat:
        return _best(index, queries[lines], want, None)
    else:
        near, numbers = index.structure.assign(queries, _nprobe(index, level))
        lists = near[lines], numbers[lines]
        looked_at = index.structure.visited(lists[1])
        if level > 0:
            want = int(looked_at.max())
        rows, scores = _best(index, queries[lines], min(want, index.count), lists)
    if not _everything(index, level):
        beyond = np.arange(rows.shape[1]) >= np.maximum(looked_at // SHARE, 1)[:, None]
        rows[beyond], scores[beyond] = -1, -np.inf
    return rows, scores


def _best(index: Index, queries: np.ndarray, want: int, lists: Found | None) -> Found:
    """The best of all rows, or of all rows in the lists given.

    A few rows more than wanted are fetched; where the last of them may still tie with the last one
    wanted, more of them are, so that ids decide among equals and not the order in the index.
    """
    depth = min(want + max(6, want // 8), index.count)
    rows = np.full((len(queries), want), -1, np.int64)
    scores = np.full((len(queries), want), -np.inf, np.float32)
    pending = np.arange(len(queries))
    while len(pending):
        asked = queries[pending]
        if lists is None:
            near, found = index.structure.fetch(asked, depth, 0, index.selector)
        else:
            chosen = lists[0][pending], lists[1][pending]
            near, found = index.structure.fetch_listed(asked, depth, chosen, index.selector)
        closed = (found[:, -1] < 0) | (near[:, -1] < near[:, want - 1] - SLACK) | (depth >= index.count)
        done, found = pending[closed], found[closed]
        asked, near = queries[done], near[closed]
        if lists is None:  # what a matrix product gives depends on the number of queries
            best, values = ordered(found, cosines(index, asked, found), index.ids)
        else:
            best, values = settled(index, asked, found, near, index.ids)
        rows[done], scores[done] = best[:, :want], values[:, :want]
        pending = pending[~closed]
        depth = min(depth * DEEPER, index.count)
    return rows, scores


def _append(
    ids: IdTable, rows: np.ndarray, scores: np.ndarray, more_rows: np.ndarray, more_scores: np.ndarray
) -> None:
    """Continue one line in place with what a deeper level found after the line's end."""
    start = int((rows >= 0).sum())
    fresh = (more_rows >= 0) & ~np.isin(more_rows, rows[:start])
    if start:
        last, end = scores[start - 1], ids.raw(int(rows[start - 1]))
        after = more_scores < last
        for place in np.flatnonzero(more_scores == last).tolist():
            after[place] = more_rows[place] >= 0 and ids.raw(int(more_rows[place])) > end
        fresh &= after
    chosen = np.flatnonzero(fresh)[: len(rows) - start]
    rows[start : start + len(chosen)] = more_rows[chosen]
    scores[start : start + len(chosen)] = more_scores[chosen]
