"""Rankings of what is searched, an index or a store, with or without re-ranking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from imgret.indexes.files import Index
    from imgret.indexes.parts.files import Parts
    from imgret.ranking import Ranking
    from imgret.rerank import Step
    from imgret.store.rows import StoreRows
    from imgret.store.store import Store
    from imgret.whitening.transform import Whitening


_OWN = 2  # images that may be the query itself: the whole one, and the same crop


@dataclass(frozen=True)
class IndexSearched:
    """An index as `imgret.rerank.chain` sees it; `exactly` compares with every row whatever the kind."""

    index: Index
    exactly: bool = False

    @property
    def count(self) -> int:
        """Images that a whole ranking holds."""
        return self.index.count

    @property
    def neighbours(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The stored neighbour graph."""
        return self.index.neighbours

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Unit float32 [n, D] of the given rows."""
        return self.index.vectors(rows)

    def rank(self, queries: np.ndarray, query_ids: Sequence[str], depth: int | None) -> Iterator[Ranking]:
        """Rankings of queries [Q, D] or of variants [Q, V, D]; None is the whole database, always exactly."""
        from imgret.indexes.exact import MANY, exact

        if depth is None or self.exactly or (self.index.structure.flat and len(queries) >= MANY):
            return exact(self.index, queries, query_ids, depth)
        from imgret.indexes.search import search

        return iter([search(self.index, queries, query_ids, depth)])


@dataclass(frozen=True)
class PartsSearched:
    """An index in parts as `imgret.rerank.chain` sees it; `exactly` compares with every row whatever the kind."""

    index: Parts
    exactly: bool = False

    @property
    def count(self) -> int:
        """Images that a whole ranking holds."""
        return self.index.count

    @property
    def neighbours(self) -> None:
        """There is no graph: InputError, as only what needs one asks."""
        return self.index.neighbours

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Unit float32 [n, D] of the given rows."""
        return self.index.vectors(rows)

    def rank(self, queries: np.ndarray, query_ids: Sequence[str], depth: int | None) -> Iterator[Ranking]:
        """Rankings of queries [Q, D] or of variants [Q, V, D]; None is the whole database, always exactly."""
        return self.index.rank(queries, query_ids, depth, exactly=self.exactly)


@dataclass(frozen=True)
class StoreSearched:
    """A store as `imgret.rerank.chain` sees it: rows are numbered in the order of its blocks."""

    store: Store
    whitening: Whitening | None = None
    neighbours: None = None

    @property
    def count(self) -> int:
        """Images that a whole ranking holds."""
        return self.store.count

    @cached_property
    def _rows(self) -> StoreRows:
        from imgret.store.rows import StoreRows

        return StoreRows(self.store)

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Unit float32 [n, D] of the given rows."""
        from imgret.store.store import unit

        found = self._rows.vectors(rows)
        return found if self.whitening is None else unit(self.whitening.apply(found))

    def rank(self, queries: np.ndarray, query_ids: Sequence[str], depth: int | None) -> Iterator[Ranking]:
        """Rankings of queries [Q, D] or of variants [Q, V, D]; None is the whole database."""
        from imgret.indexes.exact import exact
        from imgret.whitening.stores import WhitenedStore

        database = self.store if self.whitening is None else WhitenedStore(self.store, self.whitening)
        return exact(database, queries, query_ids, depth)


def rankings(
    searched: IndexSearched | PartsSearched | StoreSearched,
    queries: np.ndarray,
    query_ids: Sequence[str],
    depth: int | None,
    *,
    variants: np.ndarray | None = None,
    rerank: Sequence[Step] = (),
) -> Iterator[Ranking]:
    """Rankings of some queries [Q, D] each.

    variants  [Q, V, D] of each query (turned, mirrored): an image's score is the highest of the variants'
    rerank    stages that order anew; with variants, each query is then the variant whose best image scores highest
    """
    if variants is not None and not rerank:
        return searched.rank(variants, query_ids, depth)
    if variants is not None:
        queries = _upright_as_the_database(searched, variants, query_ids)
    if not rerank:
        return searched.rank(queries, query_ids, depth)
    from imgret.rerank.chain import reranked

    return reranked(rerank, searched, queries, query_ids, depth)


def _upright_as_the_database(
    searched: IndexSearched | PartsSearched | StoreSearched, variants: np.ndarray, query_ids: Sequence[str]
) -> np.ndarray:
    """[Q, D], of each query the variant whose best image, its own left out, scores highest."""
    import numpy as np

    from imgret.rerank.query_expansion import is_own

    if not searched.count:
        return np.ascontiguousarray(variants[:, 0])
    tops = []
    for number in range(variants.shape[1]):
        found = searched.rank(np.ascontiguousarray(variants[:, number]), query_ids, _OWN + 1)
        tops.append(
            [
                next((score for row, score in ranking.hits(line) if not is_own(query, ranking.database[row])), -1.0)
                for ranking in found
                for line, query in enumerate(ranking.queries)
            ]
        )
    return variants[np.arange(len(variants)), np.argmax(tops, 0)]
