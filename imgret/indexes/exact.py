"""Exact: the whole database ranked for every query, a few queries at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from imgret.ids import IdTable
from imgret.indexes.files import Index
from imgret.indexes.search import checked
from imgret.ranking import Ranking
from imgret.store.store import Store

_MEMORY = 256_000_000  # bytes for the scores and rows of a block of queries


def exact(
    database: Index | Store, queries: np.ndarray, query_ids: Sequence[str], depth: int | None = None
) -> Iterator[Ranking]:
    """Rank every live row of an index or a store; `depth` keeps the first places only.

    queries    [Q, D] float32 rows, made unit length here
    query_ids  Q ids

    Gives rankings of some queries each, in the order of the queries. Memory is O(block x N): the scores
    and rows of a block, never all of them, and never the vectors. Equal rows have equal scores, and
    equal scores stand in order of their ids. A store's rows are numbered in the order of its blocks;
    row numbers of an index are its own. ValueError as for `search`.
    """
    queries = checked(queries, database.dim, query_ids)
    if depth is not None and depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    return _exact(database, queries, query_ids, depth)


def _exact(
    database: Index | Store, queries: np.ndarray, query_ids: Sequence[str], depth: int | None
) -> Iterator[Ranking]:
    count = database.count
    if not count:
        yield Ranking(query_ids, np.zeros((len(queries), 0), np.int32), np.zeros((len(queries), 0), np.float32), [])
        return
    ids, live = _ids(database)
    same = _first_equal(database)
    by_id = np.array(sorted(range(count), key=[ids.raw(int(row)) for row in live].__getitem__), np.int64)
    step = min(1024, max(1, _MEMORY // (24 * count)))
    for start in range(0, len(queries), step):
        asked = queries[start : start + step]
        scores = np.empty((len(asked), count), np.float32)
        end = 0
        for block in _matrices(database):
            scores[:, end : end + len(block)] = asked @ block.T
            end += len(block)
        scores = np.clip(scores, -1, 1, out=scores)
        if same is not None:  # a matrix product may give equal rows other last bits
            scores[:, same[0]] = scores[:, same[1]]
        best = np.stack([_best(line, by_id, depth) for line in scores]) if count else np.zeros((len(asked), 0), int)
        yield Ranking(
            list(query_ids[start : start + step]),
            live[best].astype(np.int32),
            np.take_along_axis(scores, best, 1),
            ids,
        )


def _best(scores: np.ndarray, by_id: np.ndarray, depth: int | None) -> np.ndarray:
    """Places of the best scores, best first, equal ones in the order of `by_id`."""
    scores = scores[by_id]
    if depth is None or depth >= len(scores):
        return by_id[np.argsort(-scores, kind="stable")]
    worst = np.partition(scores, len(scores) - depth)[len(scores) - depth]
    near = np.flatnonzero(scores >= worst)
    return by_id[near[np.argsort(-scores[near], kind="stable")][:depth]]


def _ids(database: Index | Store) -> tuple[IdTable, np.ndarray]:
    """Ids by row, and the rows that are live."""
    if isinstance(database, Index):
        return database.ids, database.live_rows
    ids = IdTable.of(image_id for block in database.blocks() for image_id in block.ids)
    return ids, np.arange(len(ids))


def _matrices(database: Index | Store) -> Iterator[np.ndarray]:
    if isinstance(database, Index):
        yield from (matrix for _, matrix in database.blocks())
    else:
        yield from (block.descriptors for block in database.blocks(16384))


def _first_equal(database: Index | Store) -> tuple[np.ndarray, np.ndarray] | None:
    """Places of rows that repeat an earlier row bit for bit, and of the rows they repeat; None for none."""
    hashes = np.fromiter(
        (hash(row.tobytes()) for matrix in _matrices(database) for row in matrix), np.int64, database.count
    )
    _, first, which = np.unique(hashes, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[which] != np.arange(len(hashes)))
    return (again, first[which[again]]) if len(again) else None
