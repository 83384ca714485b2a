"""Exact: every row compared with every query. The best few of each while the rows go by, or complete rankings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from imgret.ids import IdTable
from imgret.indexes.best import Best
from imgret.indexes.id_order import id_places
from imgret.indexes.kinds import physical_memory
from imgret.indexes.scores import SLACK
from imgret.indexes.search import checked_variants
from imgret.indexes.store_ids import StoreIds
from imgret.ranking import Ranking
from imgret.store.store import Store
from imgret.whitening.stores import WhitenedStore


class Indexed(Protocol):
    """An index, undivided or in parts: see `Index` for what these are."""

    dim: int
    count: int

    @property
    def ids(self) -> IdTable: ...

    @property
    def live_rows(self) -> np.ndarray: ...

    def blocks(self, rows: int) -> Iterator[tuple[np.ndarray, np.ndarray]]: ...


Database = Indexed | Store | WhitenedStore

MANY = 20  # queries for which `exact` is several times as fast as a flat index of FAISS; both give the same bits
_MEMORY = 1_000_000_000  # bytes for the rankings of a block of queries, at most
_SHARE = 8  # and at most one in so many of the bytes that there are
_PER_PLACE = 12  # bytes: a score, and a row with its score in order
_PER_BEST = 128  # bytes: up to three rows that may be among the best, and what sorting them takes
_NUMBERS = 4_000_000  # of a block of rows, 16 MB
_SCORES = 4_000_000  # of a block of rows and some queries, 16 MB


def exact(
    database: Database, queries: np.ndarray, query_ids: Sequence[str], depth: int | None = None
) -> Iterator[Ranking]:
    """Rank every live row of an index or a store; `depth` keeps the first places only.

    queries    [Q, D] float32 rows, made unit length here, or [Q, V, D]: V variants of each, of whose scores the
               highest counts
    query_ids  Q ids

    Gives rankings of some queries each, in the order of the queries; equal scores stand in order of their ids. A
    store's rows are numbered in the order of its blocks; row numbers of an index are its own. ValueError as for
    `search`.

    With a depth, the database is read once for all queries whose places fit into memory, a block of rows at a
    time, and scores are those of `search`, so a flat index gives the same either way. Memory is O(block + Q x depth),
    and only the ids of what was found are read.

    Complete rankings take O(block of queries x N): the block is as large as an eighth of the memory that this
    process may use allows, and of one query at least, which is 12 bytes for each row. To this come the ids of all
    rows and 44 bytes for each of them while they are sorted. Equal rows have equal scores.
    """
    if depth is not None and depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    queries = checked_variants(queries, database.dim, query_ids)
    if not database.count:
        return iter([_nothing(query_ids)])
    if depth is None:
        return _complete(database, queries, query_ids)
    return _best(database, queries, query_ids, min(depth, database.count))


def _nothing(query_ids: Sequence[str]) -> Ranking:
    none = np.zeros((len(query_ids), 0))
    return Ranking(query_ids, none.astype(np.int32), none.astype(np.float32), [])


def _at_once(bytes_per_query: int) -> int:
    """Queries whose rankings fit into the memory for them."""
    return max(1, min(_MEMORY, physical_memory() // _SHARE) // bytes_per_query)


def _best(database: Database, queries: np.ndarray, query_ids: Sequence[str], depth: int) -> Iterator[Ranking]:
    """The `depth` best for queries [Q, V, D]."""
    ids, raw = _ids_of(database)
    step = _at_once(_PER_BEST * depth)
    few = max(1, _SCORES // (_rows(database) * queries.shape[1]))
    for start in range(0, len(queries), step):
        asked = queries[start : start + step]
        bests = [Best(asked[at : at + few], depth, raw) for at in range(0, len(asked), few)]
        for rows, block in _blocks(database):
            for best in bests:
                best.add(rows, block)
        raw(np.unique(np.concatenate([best.rows for best in bests])))
        rows, scores = (np.concatenate(parts) for parts in zip(*(best.ranked() for best in bests), strict=True))
        yield Ranking(list(query_ids[start : start + step]), rows, scores, ids)


def _ids_of(database: Database) -> tuple[Sequence[str], Callable[[np.ndarray], list[bytes]]]:
    """Ids by row, and how to ask for those of some rows at once."""
    if not isinstance(database, Store | WhitenedStore):
        table = database.ids
        return table, lambda rows: [table.raw(row) for row in rows.tolist()]
    ids = StoreIds(_store(database))
    return ids, ids.raw


def _store(database: Store | WhitenedStore) -> Store:
    return database if isinstance(database, Store) else database.store


def _rows(database: Database) -> int:
    """Rows of a block."""
    return max(1, min(16384, _NUMBERS // database.dim))


def _blocks(database: Database) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Row numbers and unit descriptors of what is searched, some rows at a time."""
    if not isinstance(database, Store | WhitenedStore):
        yield from database.blocks(_rows(database))
        return
    end = 0
    for block in database.blocks(_rows(database)):
        start, end = end, end + len(block.descriptors)
        yield np.arange(start, end), block.descriptors


def _complete(database: Database, queries: np.ndarray, query_ids: Sequence[str]) -> Iterator[Ranking]:
    """All rows in order for queries [Q, V, D]."""
    count, variants = database.count, queries.shape[1]
    known: _Known | None = None
    step = _at_once((_PER_PLACE + 4 * (variants - 1)) * count)
    for start in range(0, len(queries), step):
        asked = queries[start : start + step].reshape(-1, queries.shape[2])
        scores = np.empty((len(asked), count), np.float32)
        hashes = np.empty(count if known is None else 0, np.uint64)
        end = 0
        for _, block in _blocks(database):
            begin, end = end, end + len(block)
            np.matmul(asked, block.T, out=scores[:, begin:end])
            if known is None:
                hashes[begin:end] = _hashes(block)
        if known is None:
            known = _known(database, hashes)
        scores = scores.reshape(-1, variants, count).max(1) if variants > 1 else scores
        np.clip(scores, -1, 1, out=scores)
        own, twin = scores[:, known.again], scores[:, known.first]
        scores[:, known.again] = np.where(np.abs(own - twin) <= SLACK, twin, own)  # a hash alone proves nothing
        rows = np.empty(scores.shape, np.int32)
        best = np.empty(scores.shape, np.float32)
        for number, line in enumerate(scores):
            order = _in_order(line, known.id_rank)
            rows[number], best[number] = known.live[order], line[order]
        yield Ranking(list(query_ids[start : start + step]), rows, best, known.ids)


@dataclass(frozen=True)
class _Known:
    """What one reading of the database tells.

    ids      by row; `live` are the rows that are searched, in the order of their scores
    id_rank  of each of them, in order of their ids
    again    of them, those that repeat an earlier one bit for bit, and `first` which: a matrix product may
             give equal rows other last bits
    """

    ids: IdTable
    live: np.ndarray
    id_rank: np.ndarray
    again: np.ndarray
    first: np.ndarray


def _known(database: Database, hashes: np.ndarray) -> _Known:
    """`hashes` [N] of the rows that are searched."""
    if not isinstance(database, Store | WhitenedStore):
        ids, live = database.ids, database.live_rows.astype(np.int32)
    else:
        ids, live = IdTable.of(_store(database).ids()), np.arange(database.count, dtype=np.int32)
    ordered = np.sort(hashes)
    twins = ordered[1:][ordered[1:] == ordered[:-1]]
    alike = np.flatnonzero(np.isin(hashes, twins)) if len(twins) else np.zeros(0, np.int64)
    _, first, which = np.unique(hashes[alike], return_index=True, return_inverse=True)
    first = alike[first][which]
    again = first != alike
    return _Known(ids, live, id_places(ids)[live], alike[again], first[again])


def _hashes(rows: np.ndarray) -> np.ndarray:
    """A 64-bit hash of the bits of each row: sums with random odd factors, modulo 2^64.

    The bits are mixed before they are summed: vectors of few values differ in their highest bits only.
    """
    factors = np.random.default_rng(0).integers(0, 1 << 63, rows.shape[1], np.uint64) * np.uint64(2) + np.uint64(1)
    bits = np.ascontiguousarray(rows, np.float32).view(np.uint32).astype(np.uint64)
    mixed = bits * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    return np.einsum("nd,d->n", mixed, factors)


def _in_order(scores: np.ndarray, id_rank: np.ndarray) -> np.ndarray:
    """Places of all scores, best first, equal ones in order of id."""
    order = np.argsort(-scores)
    found = scores[order]
    equal = found[1:] == found[:-1]
    if equal.any():  # the quick sort leaves equals in any order: sort them, run by run, by id
        tied = np.zeros(len(order), bool)
        tied[1:] |= equal
        tied[:-1] |= equal
        places = np.flatnonzero(tied)
        among = order[places]
        order[places] = among[np.lexsort((id_rank[among], -found[places]))]
    return order
