"""Search: ranked rows for query descriptors, the same for every kind of index.

A flat index gives its best k. Any other looks at a part of its rows, and at which part must not depend
on k, or a longer ranking would begin differently. So it is asked at fixed levels: level 0 looks at the
lists and candidates that were tuned for the index, each further level at 8 times as many, the last at
everything. A level serves the best half of what it looked at (of a graph or a lossy kind the best
quarter), since the rest may well be beaten by rows it did not look at; a ranking that needs more goes
on with the next level, adding what is not in it yet and does not come before its end. Thus the first k1
places of a longer ranking are the ranking of k1 places, on every kind. A row that a shallow level
missed, and that would have stood before the end of what it served, is missed for good: complete
rankings are the work of `exact`.

A part of an index serves all rows of the lists it visited: of what each part found, few are among the best of all.

Rows in the tail of an index are all compared, and the two rankings are merged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imgret.ids import IdTable
from imgret.indexes.best import Best
from imgret.indexes.candidates import best_of
from imgret.indexes.files import Index
from imgret.indexes.scores import SLACK, cosines, ordered, settled
from imgret.indexes.tail import Tail
from imgret.ranking import Ranking
from imgret.store.store import unit

CANDIDATES = 128  # looked at by the first level of a graph or a lossy kind, at least
DEEPER = 8  # how many times more the next level looks at
# By whether a kind compares in full precision:
SHARE = {True: 2, False: 4}  # a level serves one in so many of the rows it looked at
_AT_ONCE = 1024  # queries; never depends on k, or k would change what FAISS computes
_DEEP = 256  # queries of a graph or a lossy kind that go deeper at a time, likewise
_CROWD = 65536  # copies of one vector that a graph or a lossy kind looks for the first of, at most
_RESULTS = 16_000_000  # rows held at a time while going deeper

Searched = Index | Tail
Found = tuple[np.ndarray, np.ndarray]  # rows [Q, K] int64 and scores [Q, K] float32, best first


def search(index: Index, queries: np.ndarray, query_ids: Sequence[str], k: int) -> Ranking:
    """The k best rows of an index for each query.

    queries    [Q, D] float32 rows, made unit length here, or [Q, V, D]: V variants of each, of whose scores the
               highest counts
    query_ids  Q ids

    Scores are cosines in [-1, 1], from half-precision vectors where the index is lossy; equal scores
    stand in order of their ids. Of thousands of copies of one vector a graph, or lists that share them, may give others
    than the first by id; `exact` gives those. The ranking has min(k, index.count)
    columns, -1 where an approximate index found fewer.

    ValueError for queries of another dimension, with NaN, or k below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    queries, want = checked_variants(queries, index.dim, query_ids), min(k, index.count)
    variants, queries = queries.shape[1], queries.reshape(-1, index.dim)
    parts = [_each_once(index, queries[start : start + _AT_ONCE], want) for start in range(0, len(queries), _AT_ONCE)]
    rows = np.concatenate([np.zeros((0, want), np.int32), *(part[0].astype(np.int32) for part in parts)])
    scores = np.concatenate([np.zeros((0, want), np.float32), *(part[1] for part in parts)])
    if variants > 1:
        rows, scores = _highest(rows, scores, variants, index.ids)
    return Ranking(query_ids, rows, scores, index.ids)


def checked_variants(queries: np.ndarray, dim: int, query_ids: Sequence[str]) -> np.ndarray:
    """Queries [Q, dim] or [Q, V, dim] as unit float32 [Q, V, dim].

    ValueError when they are of another shape, no finite numbers, or not as many as the ids.
    """
    if queries.ndim not in (2, 3) or queries.shape[-1] != dim or 0 in queries.shape[1:]:
        raise ValueError(f"queries must be [Q, {dim}] or [Q, V, {dim}], got {list(queries.shape)}")
    if len(query_ids) != len(queries):
        raise ValueError(f"{len(query_ids)} query ids for {len(queries)} queries")
    variants = 1 if queries.ndim == 2 else queries.shape[1]
    rows = queries.reshape(-1, dim)
    if not np.isfinite(rows).all():
        bad = int(np.flatnonzero(~np.isfinite(rows).all(1))[0]) // variants
        raise ValueError(f"query {bad} holds NaN or infinity")
    return unit(rows).reshape(len(queries), variants, dim)


def _highest(rows: np.ndarray, scores: np.ndarray, variants: int, ids: IdTable) -> Found:
    """Lines [Q * V, K] of the variants as one line [Q, K] a query: each row with its highest score.

    A row among a query's best K is among the best K of the variant that gives it its highest score.
    """
    k = rows.shape[1]
    rows, scores = rows.reshape(-1, variants * k), scores.reshape(-1, variants * k)
    best_first = np.argsort(-scores, axis=1, kind="stable")
    rows, scores = np.take_along_axis(rows, best_first, 1).copy(), np.take_along_axis(scores, best_first, 1).copy()
    for line, values in zip(rows, scores, strict=True):
        again = np.ones(len(line), bool)
        again[np.unique(line, return_index=True)[1]] = False
        line[again], values[again] = -1, -np.inf
    rows, scores = ordered(rows, scores, ids)
    return rows[:, :k], scores[:, :k]


def _each_once(index: Index, queries: np.ndarray, want: int) -> Found:
    """`_ranked` for queries of which some are the same, as when copies in a collection are searched with each other."""
    places: dict[bytes, int] = {}
    which = [places.setdefault(query.tobytes(), len(places)) for query in queries]
    if len(places) == len(queries):
        return _ranked(index, queries, want)
    rows, scores = _ranked(index, queries[np.unique(which, return_index=True)[1]], want)
    return rows[which], scores[which]


def _ranked(index: Index, queries: np.ndarray, want: int) -> Found:
    """The best of base and tail."""
    if index.tail is None or not index.tail.count:
        return _search(index.base, queries, want)
    base, tail = index.base, index.tail
    late, late_scores = _search(tail, queries, min(want, tail.count))
    late = np.where(late >= 0, late + index.base_rows, -1)
    if not base.count:
        return late, late_scores
    rows, scores = _search(base, queries, min(want, base.count))
    rows, scores = np.concatenate([rows, late], 1), np.concatenate([scores, late_scores], 1)
    best_first = np.argsort(-scores, axis=1, kind="stable")
    rows, scores = np.take_along_axis(rows, best_first, 1), np.take_along_axis(scores, best_first, 1)
    rows, scores = settled(index, queries, rows, scores, want, index.ids)  # FAISS and we may differ on equal rows
    return rows[:, :want], scores[:, :want]


def _search(index: Searched, queries: np.ndarray, want: int) -> Found:
    everyone = np.arange(len(queries))
    rows, scores = _look(index, queries, everyone, want, 0)
    rows, scores = _padded(rows, want, -1), _padded(scores, want, -np.inf)
    level = 0
    while (rows[:, -1] < 0).any() and not _everything(index, level):
        level += 1
        short = np.flatnonzero(rows[:, -1] < 0)
        if _whole(index):
            looks_at = index.count * _nprobe(index, level) // index.structure.lists
            pieces = np.array_split(short, min(len(short) * looks_at // _RESULTS + 1, len(short)))
        else:
            pieces = [short[piece] for piece in _groups(short)]
        for piece in pieces:
            deeper = _look(index, queries, piece, want, level)
            for line, more_rows, more_scores in zip(piece, *deeper, strict=True):
                _append(index.ids, rows[line], scores[line], more_rows, more_scores)
    return rows, scores


def _padded(part: np.ndarray, width: int, value: float) -> np.ndarray:
    missing = max(0, width - part.shape[1])
    return np.pad(part[:, :width], ((0, 0), (0, missing)), constant_values=value)


def _whole(index: Searched) -> bool:
    """Whether every row looked at is compared in full precision, so that no candidates are needed."""
    return index.structure.flat or index.structure.listed


def _nprobe(index: Searched, level: int) -> int:
    return min(index.parameters.get("nprobe", 1) * DEEPER**level, index.structure.lists)


def _candidates(index: Searched, level: int) -> int:
    return min(index.parameters.get("candidates", CANDIDATES) * DEEPER**level, index.count)


def _everything(index: Searched, level: int) -> bool:
    """Whether a level looks at all there is."""
    every_list = _nprobe(index, level) >= index.structure.lists
    return every_list and (_whole(index) or _candidates(index, level) >= index.count)


def _look(index: Searched, queries: np.ndarray, lines: np.ndarray, want: int, level: int) -> Found:
    """What a level serves the queries numbered `lines`, best first, -1 after it.

    FAISS is given all queries where their number changes the last bits of what it computes. Level 0 may
    stop at `want` places; deeper ones give all they serve.
    """
    if index.structure.flat:
        return _from_all(index, queries[lines], want)
    if index.structure.listed and level == 0:
        rows, scores, looked_at = _from_first_lists(index, queries, want)
    elif index.structure.listed:
        rows, scores, looked_at = _from_more_lists(index, queries[lines], level)
    else:
        assert isinstance(index, Index)  # a tail is flat
        return _from_candidates(index, queries, lines, want, level)
    return _served(index, rows, scores, looked_at, level)


def _served(index: Searched, rows: np.ndarray, scores: np.ndarray, looked_at: np.ndarray, level: int) -> Found:
    """Without what a level does not serve of the `looked_at` [Q] rows it looked at."""
    if not _everything(index, level):
        whole = _whole(index)
        every = index.serves_all & (whole | (looked_at < _candidates(index, level)))
        share = np.where(every, 1, SHARE[whole])
        beyond = np.arange(rows.shape[1]) >= np.maximum(looked_at // share, 1)[:, None]
        rows[beyond], scores[beyond] = -1, -np.inf
    return rows, scores


def _from_candidates(index: Index, queries: np.ndarray, lines: np.ndarray, want: int, level: int) -> Found:
    """What a level of a graph or a lossy kind serves the queries numbered `lines`, as `_look` says.

    At level 0 the lines are all of the queries. Where a query's candidates beyond what is served are all alike, copies
    of one vector, those left out may be their like, with ids that come before: such a query gets what the next level
    serves.
    """
    depth = _candidates(index, level)
    start = int(lines[0]) // _DEEP * _DEEP
    group = queries[start : start + _DEEP] if level else queries  # level 0 is asked of all
    near, rows = index.candidates.fetch(group, depth, _nprobe(index, level), index.selector)
    asked, slack = queries[lines] if level else queries, index.candidates.slack
    rows = rows[lines - start] if level else rows
    looked_at = (rows >= 0).sum(1)
    if near is None or slack is None or level:
        rows, scores = ordered(rows, cosines(index, asked, rows), index.ids)
        near = scores
    else:
        rows, scores = best_of(index, asked, near, rows, want, slack, index.ids)
    alike = near[:, -1] >= near[:, max(depth // SHARE[False], 1) - 1] - SLACK
    crowded = np.flatnonzero(alike & (looked_at == depth))
    rows, scores = _served(index, rows, scores, looked_at, level)
    if _everything(index, level) or depth >= _CROWD or not len(crowded):
        return rows, scores
    found = [
        (crowded[piece], _look(index, queries, lines[crowded[piece]], want, level + 1))
        for piece in _groups(lines[crowded])
    ]
    width = max(rows.shape[1], *(part.shape[1] for _, (part, _) in found))
    rows, scores = _padded(rows, width, -1), _padded(scores, width, -np.inf)
    for which, (more_rows, more_scores) in found:
        rows[which], scores[which] = _padded(more_rows, width, -1), _padded(more_scores, width, -np.inf)
    return rows, scores


def _groups(lines: np.ndarray) -> list[np.ndarray]:
    """Places of query numbers [n] of which FAISS is asked together at a deeper level."""
    return [np.flatnonzero(lines // _DEEP == number) for number in np.unique(lines // _DEEP)]


def _closed(near: np.ndarray, found: np.ndarray, want: int) -> np.ndarray:
    """[Q] bool, whether no row beyond those found may tie with the last one wanted.

    Where one may, more rows are fetched, so that ids decide among equals and not the order in FAISS.
    """
    return (found[:, -1] < 0) | (near[:, -1] < near[:, want - 1] - SLACK)


def _from_all(index: Searched, queries: np.ndarray, want: int) -> Found:
    """The best of all rows."""
    depth = min(want + max(6, want // 8), index.count)
    near, found = index.structure.fetch(queries, depth, 0, index.selector)
    # A matrix product's last bits depend on the number of queries, so FAISS's scores are not kept.
    rows, scores = ordered(found, cosines(index, queries, found), index.ids)
    rows, scores = rows[:, :want], scores[:, :want]
    open_ones = np.flatnonzero(~_closed(near, found, want))
    if depth < index.count and len(open_ones):  # however many tie, only the best are held
        best = Best(queries[open_ones, None], want, lambda some: [index.ids.raw(row) for row in some.tolist()])
        for numbers, block in index.blocks():
            best.add(numbers, block)
        rows[open_ones], scores[open_ones] = best.ranked()
    return rows, scores


def _from_first_lists(index: Searched, queries: np.ndarray, want: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best of the lists of level 0, and how many rows those hold (or that they are enough)."""
    nprobe, depth = _nprobe(index, 0), min(SHARE[True] * want + 6, index.count)
    near, found = index.structure.fetch(queries, depth, nprobe, index.selector)
    looked_at = (found >= 0).sum(1)
    rows, scores = settled(index, queries, found, near, want, index.ids)
    rows, scores = rows[:, :want], scores[:, :want]
    open_ones = np.flatnonzero(~_closed(near, found, want))
    while depth < index.count and len(open_ones):
        depth = min(depth * DEEPER, index.count)
        still_open = []
        for piece in np.array_split(open_ones, min(len(open_ones) * depth // _RESULTS + 1, len(open_ones))):
            lists = index.structure.assign(queries[piece], nprobe)
            near, found = index.structure.fetch_listed(queries[piece], depth, lists, index.selector)
            looked_at[piece] = (found >= 0).sum(1)
            best, values = settled(index, queries[piece], found, near, want, index.ids)
            rows[piece], scores[piece] = best[:, :want], values[:, :want]
            still_open.append(piece[~_closed(near, found, want)])
        open_ones = np.concatenate(still_open)
    return rows, scores, looked_at


def _from_more_lists(index: Searched, queries: np.ndarray, level: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All rows in the lists of a deeper level, best first, and how many those are."""
    lists = index.structure.assign(queries, _nprobe(index, level))
    depth = max(1, int(index.structure.visited(lists[1]).max()))
    near, found = index.structure.fetch_listed(queries, depth, lists, index.selector)
    rows, scores = settled(index, queries, found, near, depth, index.ids)
    return rows, scores, (found >= 0).sum(1)


def _append(ids: IdTable, rows: np.ndarray, scores: np.ndarray, more_rows: np.ndarray, more_scores: np.ndarray) -> None:
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
