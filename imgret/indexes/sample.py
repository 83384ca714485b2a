"""Sample: some vectors of a collection, queries held out of them, and the share of it that they are.

A sample is easier than the collection it was drawn from. What is measured on it is made fair where it
can be: a query's true neighbours are as large a share of the sample as ten are of the collection, and
so are candidates and visited lists. A code that ranks the neighbours among the best hundredth of the
sample is trusted to rank them among the best hundredth of everything.
"""

# faiss ships type stubs that do not know the Python layer it adds to its own classes.
# mypy: disable-error-code="attr-defined"

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import cached_property, partial

import numpy as np

from imgret.indexes.kinds import lists
from imgret.indexes.structure import create
from imgret.indexes.tuning import SAME
from imgret.store.store import unit

QUERIES = 200  # held out, at most
_ROWS_PER_LIST = 16  # fewer and the lists say nothing of the vectors
_TRAINING = 256  # rows for each list that a build trains on
_ROUNDS, _FULL_ROUNDS = 5, 10  # of k-means, here and in a build


class Sample:
    """Vectors to try kinds on.

    rows     [n, D] unit float32, as half precision keeps them
    queries  [Q, D] unit float32, not among the rows
    count    vectors in the whole collection; `growth` is how many times as many as there are rows
    """

    def __init__(self, vectors: np.ndarray, count: int, seed: int) -> None:
        order = np.random.default_rng([seed, 2]).permutation(len(vectors))
        held_out = max(1, min(QUERIES, len(vectors) // 10))
        self.queries = np.ascontiguousarray(vectors[order[:held_out]])
        self._half = vectors[order[held_out:]].astype(np.float16)
        self.rows = unit(self._half)
        self.count, self.seed = count, seed
        self.growth = max(count / len(self.rows), 1.0)
        self._scores = self.queries @ self.rows.T  # [Q, n]

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Unit float32 rows by number, read from half precision as a search reads them beside an index."""
        return unit(self._half[rows])

    def recall(self, found: np.ndarray, depth: int, size: int) -> float:
        """Mean share of the `depth` nearest of the first `size` rows that is among the rows found [Q, K]."""
        scores = self._scores[:, :size]
        worst = np.partition(scores, size - depth, axis=1)[:, size - depth]
        there = np.where(found >= 0, np.take_along_axis(scores, np.maximum(found, 0), 1), -np.inf)
        return float(np.minimum((there >= worst[:, None] - SAME).sum(1) / depth, 1).mean())

    @cached_property
    def centroids(self) -> tuple[np.ndarray, float]:
        """[lists, D] that all kinds with lists share here, and the seconds a build takes to learn its own.

        They are as many as the collection's, or as few as the sample can fill.
        """
        wanted = lists(self.count)
        number = min(wanted, 2 ** int(math.log2(max(1, len(self.rows) / _ROWS_PER_LIST))))
        index = create(f"IVF{number},Flat", self.rows.shape[1], self.seed)
        index.cp.niter = _ROUNDS
        seconds = timed(lambda: index.train(self.rows))
        trained_on = min(self.count, _TRAINING * max(wanted, _TRAINING), 200_000)
        work = trained_on * wanted * _FULL_ROUNDS / (len(self.rows) * number * _ROUNDS)
        return index.quantizer.reconstruct_n(0, number), seconds * work


def timed(call: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def pace(queries: np.ndarray, together: int, call: Callable[[np.ndarray], object]) -> float:
    """Seconds a query when `together` are asked at a time: the better of two rounds for each, after a first query."""
    call(queries[:1])
    parts = [queries[start : start + together] for start in range(0, len(queries), together)]
    return sum(min(timed(partial(call, part)), timed(partial(call, part))) for part in parts) / len(queries)
