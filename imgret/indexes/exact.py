"""Exact: the whole database ranked for every query, a few queries at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from imgret.ids import IdTable
from imgret.indexes.files import Index
from imgret.indexes.search import checked_variants
from imgret.ranking import Ranking
from imgret.store.store import Store
from imgret.whitening.stores import WhitenedStore

Database = Index | Store | WhitenedStore

_MEMORY = 1_000_000_000  # bytes for a block of queries
_PER_PLACE = 12  # bytes: a score, and a row with its score in order


def exact(
    database: Database, queries: np.ndarray, query_ids: Sequence[str], depth: int | None = None
) -> Iterator[Ranking]:
    """Rank every live row of an index or a store; `depth` keeps the first places only.

    queries    [Q, D] float32 rows, made unit length here, or [Q, V, D]: V variants of each, of whose scores the
               highest counts
    query_ids  Q ids

    Gives rankings of some queries each, in the order of the queries. Memory is O(block x N): the scores
    and rows of a block, never all of them, and never the vectors. Equal rows have equal scores, and
    equal scores stand in order of their ids. A store's rows are numbered in the order of its blocks;
    row numbers of an index are its own. ValueError as for `search`.
    """
    if depth is not None and depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    return _exact(database, checked_variants(queries, database.dim, query_ids), query_ids, depth)


def _exact(database: Database, queries: np.ndarray, query_ids: Sequence[str], depth: int | None) -> Iterator[Ranking]:
    """`queries` are [Q, V, D]."""
    count, variants = database.count, queries.shape[1]
    if not count:
        yield Ranking(query_ids, np.zeros((len(queries), 0), np.int32), np.zeros((len(queries), 0), np.float32), [])
        return
    known: _Known | None = None
    places = min(count, depth or count)
    step = max(1, _MEMORY // ((_PER_PLACE + 4 * (variants - 1)) * count))
    for start in range(0, len(queries), step):
        asked = queries[start : start + step].reshape(-1, queries.shape[2])
        scores = np.empty((len(asked), count), np.float32)
        if known is None:
            known = _first_pass(database, asked, scores)
        else:
            end = 0
            for _, block in _blocks(database):
                np.matmul(asked, block.T, out=scores[:, end : end + len(block)])
                end += len(block)
        scores = scores.reshape(-1, variants, count).max(1) if variants > 1 else scores
        np.clip(scores, -1, 1, out=scores)
        scores[:, known.again] = scores[:, known.first]
        rows = np.empty((len(scores), places), np.int32)
        best = np.empty((len(scores), places), np.float32)
        for number, line in enumerate(scores):
            order = _best(line, known.id_rank, depth)
            rows[number], best[number] = known.live[order], line[order]
        yield Ranking(list(query_ids[start : start + step]), rows, best, known.ids)


@dataclass(frozen=True)
class _Known:
    """What one reading of the database tells.

    ids      by row; `live` are the rows that are searched, in the order of their scores
    id_rank  place of each of them among the sorted ids
    again    of them, those that repeat an earlier one bit for bit, and `first` which: a matrix product may
             give equal rows other last bits
    """

    ids: IdTable
    live: np.ndarray
    id_rank: np.ndarray
    again: np.ndarray
    first: np.ndarray


def _first_pass(database: Database, queries: np.ndarray, scores: np.ndarray) -> _Known:
    """Read everything once: fill `scores` [Q, N], and note ids and equal rows on the way."""
    hashes = np.empty(scores.shape[1], np.uint64)
    names: list[bytes] = []
    end = 0
    for ids, block in _blocks(database):
        np.matmul(queries, block.T, out=scores[:, end : end + len(block)])
        hashes[end : end + len(block)] = _hashes(block)
        names += ids
        end += len(block)
    table, live = (database.ids, database.live_rows) if isinstance(database, Index) else (IdTable.of(names), None)
    id_rank = np.empty(len(names), np.int32)
    id_rank[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names), dtype=np.int32)
    _, first, which = np.unique(hashes, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[which] != np.arange(len(hashes)))
    rows = np.arange(len(names)) if live is None else live
    return _Known(table, rows.astype(np.int32), id_rank, again, first[which[again]])


def _blocks(database: Database) -> Iterator[tuple[list[bytes], np.ndarray]]:
    """Ids and unit descriptors of what is searched, some rows at a time."""
    if isinstance(database, Index):
        for rows, matrix in database.blocks():
            yield [database.ids.raw(row) for row in rows.tolist()], matrix
    else:
        for block in database.blocks(16384):
            yield block.ids, block.descriptors


def _hashes(rows: np.ndarray) -> np.ndarray:
    """A 64-bit hash of the bits of each row: sums with random odd factors, modulo 2^64."""
    factors = np.random.default_rng(0).integers(0, 1 << 63, rows.shape[1], np.uint64) * np.uint64(2) + np.uint64(1)
    return np.einsum("nd,d->n", np.ascontiguousarray(rows, np.float32).view(np.uint32), factors)


def _best(scores: np.ndarray, id_rank: np.ndarray, depth: int | None) -> np.ndarray:
    """Places of the best scores, best first, equal ones in order of id."""
    if depth is None or depth >= len(scores):
        order = np.argsort(-scores)
    else:
        worst = np.partition(scores, len(scores) - depth)[len(scores) - depth]
        near = np.flatnonzero(scores >= worst)
        order = near[np.argsort(-scores[near])]
    found = scores[order]
    equal = found[1:] == found[:-1]
    if equal.any():  # the quick sort leaves equals in any order: sort them, run by run, by id
        tied = np.zeros(len(order), bool)
        tied[1:] |= equal
        tied[:-1] |= equal
        places = np.flatnonzero(tied)
        among = order[places]
        order[places] = among[np.lexsort((id_rank[among], -found[places]))]
    return order[:depth]
