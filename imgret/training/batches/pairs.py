"""Queries and their positives, drawn for an epoch: out of a list of pairs, or within the classes."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from imgret.training.batches.plans import shuffled


class PairSource(Protocol):
    """Something to draw pairs from; `len` is the most that one epoch can have."""

    def __len__(self) -> int: ...

    def draw(self, bits: np.random.PCG64, count: int) -> tuple[np.ndarray, np.ndarray]:
        """`count` queries and their positives in random order: int64 [count] each, rows of the training set."""
        ...


class ListedPairs:
    """Pairs [P, 2] that a set is published with: (query, positive), drawn without repeats.

    Only pairs within one cluster count, `clusters` [N] being -1 where it is not known, and only between `usable`
    images, bool [N]: a positive of another cluster could be mined as a negative. `left_out` is how many do not.
    """

    def __init__(self, pairs: np.ndarray, clusters: np.ndarray, usable: np.ndarray) -> None:
        queries, positives = pairs.T
        sound = usable[queries] & usable[positives] & (clusters[queries] >= 0)
        self._pairs = pairs[sound & (clusters[queries] == clusters[positives]) & (queries != positives)]
        self.left_out = len(pairs) - len(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def draw(self, bits: np.random.PCG64, count: int) -> tuple[np.ndarray, np.ndarray]:
        """See `PairSource`. An image is a query once for each of its pairs that is drawn."""
        queries, positives = self._pairs[shuffled(bits, len(self))[:count]].T
        return queries, positives


class ClassPairs:
    """Every `usable` image of a class with two or more is a query once; its positive is any other one of the class.

    `labels` [N], -1 for none.
    """

    def __init__(self, labels: np.ndarray, usable: np.ndarray) -> None:
        rows = np.flatnonzero(usable & (labels >= 0))
        rows = rows[np.argsort(labels[rows], kind="stable")]  # class after class
        _, place, counts = np.unique(labels[rows], return_inverse=True, return_counts=True)
        starts = np.cumsum(counts) - counts
        self._rows, self._starts, self._counts = rows, starts[place], counts[place]
        self._queries = np.flatnonzero(self._counts > 1)  # places in _rows

    def __len__(self) -> int:
        return len(self._queries)

    def draw(self, bits: np.random.PCG64, count: int) -> tuple[np.ndarray, np.ndarray]:
        """See `PairSource`."""
        queries = self._queries[shuffled(bits, len(self))[:count]]
        starts, counts = self._starts[queries], self._counts[queries]
        # 1 to n - 1 places further in the circle of the class: never the query itself
        further = 1 + (bits.random_raw(len(queries)) % (counts - 1).astype(np.uint64)).astype(np.int64)
        return self._rows[queries], self._rows[starts + (queries - starts + further) % counts]
