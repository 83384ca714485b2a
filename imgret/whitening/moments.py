"""Moments: count, mean and scatter of rows that arrive in blocks, in float64 whatever their number."""

from __future__ import annotations

import numpy as np


class Moments:
    """What the covariance of N rows needs, gathered a block at a time.

    count    N
    mean     [D] float64
    scatter  [D, D] float64, sum over the rows of (x - mean)(x - mean)^T; the covariance is scatter / N

    Blocks are centred on their own mean and joined by the exact formula for two sets, so nothing large is
    subtracted from something large: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances" (1979).
    """

    def __init__(self, dim: int) -> None:
        self.count = 0
        self.mean = np.zeros(dim)
        self.scatter = np.zeros((dim, dim))

    def add(self, rows: np.ndarray) -> None:
        """Take in rows [n, D]; ValueError for another D, NaN or infinity."""
        if rows.ndim != 2 or rows.shape[1] != len(self.mean):
            raise ValueError(f"rows must be [n, {len(self.mean)}], got {list(rows.shape)}")
        if not np.isfinite(rows).all():
            raise ValueError("rows hold NaN or infinity")
        if not len(rows):
            return
        rows = rows.astype(np.float64)
        mean = rows.mean(0)
        rows -= mean
        total = self.count + len(rows)
        apart = mean - self.mean
        self.scatter += rows.T @ rows + np.outer(apart, apart) * (self.count * len(rows) / total)
        self.mean += apart * (len(rows) / total)
        self.count = total

    def scatter_about(self, point: np.ndarray) -> np.ndarray:
        """[D, D], sum over the rows of (x - point)(x - point)^T."""
        apart = self.mean - point
        return self.scatter + self.count * np.outer(apart, apart)


class PairMoments:
    """What learned whitening needs of n matching pairs (q, p), gathered a block at a time.

    count        n
    query_mean   [D] float64, mean of the query side
    differences  [D, D] float64, S = (1/n) sum of (q - p)(q - p)^T, not centred
    """

    def __init__(self, dim: int) -> None:
        self.count = 0
        self._queries = np.zeros(dim)
        self._squares = np.zeros((dim, dim))

    def add(self, queries: np.ndarray, positives: np.ndarray) -> None:
        """Take in pairs: rows [n, D] of the one side and of the other; ValueError when they do not match."""
        if queries.shape != positives.shape or queries.ndim != 2 or queries.shape[1] != len(self._queries):
            raise ValueError(
                f"queries and positives must be [n, {len(self._queries)}], got {list(queries.shape)} "
                f"and {list(positives.shape)}"
            )
        apart = queries.astype(np.float64) - positives
        if not np.isfinite(apart).all():
            raise ValueError("queries or positives hold NaN or infinity")
        self.count += len(apart)
        self._queries += queries.sum(0, dtype=np.float64)
        self._squares += apart.T @ apart

    @property
    def query_mean(self) -> np.ndarray:
        return self._queries / self.count

    @property
    def differences(self) -> np.ndarray:
        return self._squares / self.count
