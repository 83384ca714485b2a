"""Chain: re-ranking stages one after the other, from queries to rankings, a few lines at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from imgret.ranking import Ranking
from imgret.rerank import RERANKERS, Step
from imgret.rerank.joining import below
from imgret.rerank.query_expansion import QueryExpansion
from imgret.tables import resolve

_PLACES = 8_000_000  # of rankings that are copied at a time


class Searched(Protocol):
    """What is searched, as stages see it: an index or a store."""

    @property
    def count(self) -> int:
        """Images that a whole ranking holds."""
        ...

    @property
    def neighbours(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The stored graph, by database row: rows [N, k] int32, -1 where there are fewer, without the image itself,
        and similarities [N, k] float32. None where none is stored.
        """
        ...

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Unit float32 [n, D] of row numbers as they stand in rankings."""
        ...

    def rank(self, queries: np.ndarray, query_ids: Sequence[str], depth: int | None) -> Iterator[Ranking]:
        """Blocks of queries [Q, D] in their order, best first, scores are cosines; None is the whole database."""
        ...


class Head(NamedTuple):
    """The first M places of one query's line.

    query    [D]
    rows     [M] database rows, best first
    cosines  [M] their scores in the search, whatever stages came since
    """

    query: np.ndarray
    rows: np.ndarray
    cosines: np.ndarray


class Reordering(Protocol):
    """A stage that orders the first `depth` places of a line anew."""

    depth: int

    def scores(self, head: Head) -> np.ndarray:
        """A new score for each of the M places, finite, higher is better."""
        ...


def reranked(
    steps: Sequence[Step], searched: Searched, queries: np.ndarray, query_ids: Sequence[str], depth: int | None
) -> Iterator[Ranking]:
    """Rankings of some queries each, in the order of the queries, after every stage of a chain.

    steps      as `imgret.rerank.parse_chain` gives them; none is the plain ranking
    queries    [Q, D] float32 unit rows
    query_ids  Q ids
    depth      places of a line that are kept; None: the whole database

    A stage orders the first m places of each line anew, by scores of its own; the rest follows in its order,
    its scores moved down by a constant where they would rise. An expansion makes new queries of the first
    places, and what comes after it searches anew. Stages look as deep as they need, whatever `depth` is, and
    see no ground truth: there is one ranking for all difficulty levels. Memory is that of a block of plain
    rankings and of one query's candidates.

    InputError, at once, where a stage needs what is not stored; ValueError for a depth below 1.
    """
    if depth is not None and depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    if queries.ndim != 2 or len(query_ids) != len(queries):
        raise ValueError(f"queries must be [Q, D] with Q ids, got {list(queries.shape)} and {len(query_ids)} ids")
    stages = [resolve(RERANKERS[step.name].target)(step.parameters, searched) for step in steps]
    return _reranked(stages, searched, queries, query_ids, depth)


def _reranked(
    stages: Sequence[Reordering | QueryExpansion],
    searched: Searched,
    queries: np.ndarray,
    query_ids: Sequence[str],
    depth: int | None,
) -> Iterator[Ranking]:
    pending: list[Reordering] = []
    for stage in stages:
        if isinstance(stage, QueryExpansion):
            queries = _expanded(stage, pending, searched, queries, query_ids)
            pending = []
        else:
            pending.append(stage)
    looks = None if depth is None else max([depth, *(stage.depth for stage in pending)])
    for ranking in _lines(pending, searched, queries, query_ids, looks):
        yield ranking if depth is None else ranking.top(depth)


def _expanded(
    expansion: QueryExpansion,
    stages: Sequence[Reordering],
    searched: Searched,
    queries: np.ndarray,
    query_ids: Sequence[str],
) -> np.ndarray:
    """The new queries [Q, D]."""
    if not expansion.depth:
        return queries
    looks = max([expansion.depth, *(stage.depth for stage in stages)])
    made = queries.copy()
    number = 0
    for ranking in _lines(stages, searched, queries, query_ids, looks):
        for query_id, line in zip(ranking.queries, ranking.rows, strict=True):
            made[number] = expansion.expand(queries[number], query_id, line[line >= 0], ranking.database)
            number += 1
    return made


def _lines(
    stages: Sequence[Reordering],
    searched: Searched,
    queries: np.ndarray,
    query_ids: Sequence[str],
    depth: int | None,
) -> Iterator[Ranking]:
    """Search, and order every line anew by one stage after the other."""
    end = 0
    for block in searched.rank(queries, query_ids, depth):
        asked, end = queries[end : end + len(block.rows)], end + len(block.rows)
        if not stages:
            yield block
            continue
        step = max(1, _PLACES // max(1, block.depth))
        for start in range(0, len(block.rows), step):
            some = slice(start, start + step)
            rows, scores = block.rows[some].copy(), block.scores[some].astype(np.float32)
            for query, line, values in zip(asked[some], rows, scores, strict=True):
                _reorder(stages, query, line, values)
            yield Ranking(block.queries[some], rows, scores, block.database)


def _reorder(stages: Sequence[Reordering], query: np.ndarray, line: np.ndarray, values: np.ndarray) -> None:
    """Order one line [K] and its scores [K] anew, in place."""
    found = int(np.count_nonzero(line >= 0))
    cosines = values[:found].copy()
    for stage in stages:
        m = min(stage.depth, found)
        if not m:
            return
        scores = stage.scores(Head(query, line[:m], cosines[:m]))
        order = np.argsort(-scores, kind="stable")
        line[:m], cosines[:m], values[:m] = line[order], cosines[order], scores[order]
        values[m:found] = below(values[m:found], values[m - 1])
