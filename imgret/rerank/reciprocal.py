"""k-reciprocal re-ranking: images by the mutual neighbours that they share with the query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from imgret.rerank.chain import Head, Searched


def reciprocal_distances(
    query: np.ndarray, candidates: np.ndarray, k1: int = 20, k2: int = 6, weight: float = 0.3
) -> np.ndarray:
    """Distances [M] in [0, 1] of the first M images of one query, lower is better.

    query       [D], unit length
    candidates  [M, D], unit rows
    weight      lambda, the share of the original distance

    Among the query and its candidates, each its own first neighbour:

        d_ij = (2 - 2 x_i.x_j) / max_j (2 - 2 x_i.x_j)           scaled row by row, as the authors' code does
        R(i, k) = {j : j in the first k others of i, and i in those of j}, with i itself
        R*(i) = R(i, k1) with every R(j, k1/2), j in R(i, k1), two thirds of which or more lie in R(i, k1)
        V_ij = exp(-d_ij) for j in R*(i), else 0; rows scaled to sum 1 (the code's step, the paper has none)
        V_i <- mean of V over the first k2 of i, i included
        Jaccard_i = 1 - sum_j min(V_qj, V_ij) / sum_j max(V_qj, V_ij)
        distance_i = (1 - lambda) Jaccard_i + lambda d_qi

    k1 and k2 beyond the candidates mean all of them. Memory is a few matrices of (M + 1)^2.

    Zhong, Zheng, Cao, Li, "Re-ranking person re-identification with k-reciprocal encoding" (arXiv:1701.08398).
    Differs from the paper: it looks for neighbours in the whole gallery, and the authors' code among all queries
    too. Here neighbours are looked for among the candidates of the one query, so no query changes another's
    answer and nothing grows with the database. The code asks for more than two thirds; the paper, and this, for
    two thirds or more.
    """
    x = np.concatenate([query[None], candidates])
    distance = np.maximum(2 - 2 * (x @ x.T), 0).astype(np.float64)
    np.fill_diagonal(distance, -1)  # itself first, before its duplicates
    near = np.argsort(distance, axis=1, kind="stable")[:, : max(k1 + 1, k2)]
    np.fill_diagonal(distance, 0)
    distance /= np.maximum(distance.max(1, keepdims=True), 1e-12)

    V = np.where(reciprocal_sets(near, k1), np.exp(-distance), 0)
    V /= V.sum(1, keepdims=True)
    first = near[:, :k2]
    V = sum(V[first[:, place]] for place in range(first.shape[1])) / first.shape[1]
    smaller = np.minimum(V[0], V[1:]).sum(1)
    jaccard = 1 - smaller / (2 - smaller)  # rows sum to 1, so min and max together sum to 2
    return (1 - weight) * jaccard + weight * distance[0, 1:]


def reciprocal_sets(near: np.ndarray, k1: int) -> np.ndarray:
    """R* of every image: [n, k1 + 1 or more] numbers, nearest first and itself foremost -> [n, n] bool."""
    mutual = _mutual(near[:, : k1 + 1])
    half = _mutual(near[:, : round(k1 / 2) + 1])
    shared = mutual @ half.T  # [i, j]: how many of R(j, k1/2) lie in R(i, k1)
    joins = mutual * (3 * shared >= 2 * half.sum(1))
    return (mutual > 0) | (joins @ half > 0)


def _mutual(near: np.ndarray) -> np.ndarray:
    """[n, n] float32, 1 where i and j stand in each other's lists; float so that products count members."""
    n = len(near)
    among = np.zeros((n, n), np.float32)
    np.put_along_axis(among, near, 1, axis=1)
    return among * among.T


class Reciprocal:
    """The stage `reciprocal`. Its scores are negated distances."""

    def __init__(self, parameters: Mapping[str, float], searched: Searched) -> None:
        self.depth = int(parameters["m"])
        self._k1 = int(parameters["k1"])
        self._k2 = int(parameters["k2"])
        self._lambda = parameters["lambda"]
        self._searched = searched

    def scores(self, head: Head) -> np.ndarray:
        """The new score of each of the M places."""
        candidates = self._searched.vectors(head.rows)
        return 0.0 - reciprocal_distances(head.query, candidates, self._k1, self._k2, self._lambda)
