"""A database in memory, as the chain sees it, and data to fill it with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from imgret.ranking import Ranking


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def groups(seed: int, n: int, dim: int, spread: float = 0.6) -> np.ndarray:
    """n unit rows around a few centres, so that neighbours mean something."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(1, n // 8), dim))
    return unit(centres[np.arange(n) % len(centres)] + spread * rng.standard_normal((n, dim)))


def graph(vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest others of every row, padded with -1."""
    n = len(vectors)
    rows, similarities = np.full((n, k), -1, np.int32), np.zeros((n, k), np.float32)
    for i in range(n):
        cosines = vectors @ vectors[i]
        others = [j for j in np.argsort(-cosines, kind="stable") if j != i][:k]
        rows[i, : len(others)], similarities[i, : len(others)] = others, cosines[others]
    return rows, similarities


class Memory:
    """Exact search over the rows of a matrix; `asked` notes the depth of every search."""

    def __init__(self, vectors: np.ndarray, ids: Sequence[str] = (), k: int | None = None, padding: int = 0) -> None:
        self.matrix = vectors
        self.ids = list(ids) or [f"{row:04d}" for row in range(len(vectors))]
        self.neighbours = graph(vectors, k) if k else None
        self.asked: list[int | None] = []
        self._padding = padding

    @property
    def count(self) -> int:
        return len(self.matrix)

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        return self.matrix[rows]

    def rank(self, queries: np.ndarray, query_ids: Sequence[str], depth: int | None) -> Iterator[Ranking]:
        """Two queries at a time; each line ends with `padding` empty places."""
        self.asked.append(depth)
        for start in range(0, len(queries), 2):
            cosines = np.clip(queries[start : start + 2] @ self.matrix.T, -1, 1)
            rows = np.argsort(-cosines, axis=1, kind="stable")[:, :depth].astype(np.int32)
            scores = np.take_along_axis(cosines, rows, axis=1)
            rows = np.pad(rows, ((0, 0), (0, self._padding)), constant_values=-1)
            scores = np.pad(scores, ((0, 0), (0, self._padding)), constant_values=-np.inf)
            yield Ranking(query_ids[start : start + 2], rows, scores, self.ids)
