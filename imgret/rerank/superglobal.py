"""SuperGlobal re-ranking: the first images, each refined by its nearest among them, compared again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from imgret.rerank.chain import Head, Searched

_AT_ONCE = 1024  # rows of the M x M similarities


def superglobal(query: np.ndarray, candidates: np.ndarray, k: int = 9, beta: float = 0.15) -> np.ndarray:
    """New scores [M] of the first M images of one query, higher is better.

    query       [D], unit length
    candidates  [M, D], unit rows

    With N(i) the image i (weight w_ii = 1) and its k nearest other candidates (w_ij = beta x_i.x_j):

        z_i = sum_j w_ij x_j / sum_j w_ij        refined, not made unit length again
        S1_i = q.z_i                             e = element-wise max of z over the first k + 1 by S1
        S2_i = e.z_i                             score_i = (S1_i + S2_i) / 2

    S1 = W (X q) / W 1 and S2 = W (X e) / W 1, so of z only the k + 1 rows that make e are formed. A k beyond
    M - 1 means all others; where negative similarities leave no positive sum of weights, z_i = x_i.

    Shao et al., "Global Features are All You Need for Image Retrieval and Reranking" (arXiv:2308.06954).
    Like the released code, e does not include q. Unlike it, an image is left out of its own k nearest by its
    number: the code takes the first of its own list to be itself, which exact duplicates may replace (to no
    effect but rounding), and computes beta-scaled scores in the second stage that it does not use.
    """
    M = len(candidates)
    k = min(k, M - 1)
    nearest, weights, total = _neighbourhoods(candidates, k, beta)

    def refined(values: np.ndarray) -> np.ndarray:  # what z_i would have where x_i has values_i: [M] -> [M]
        return (values + (weights * values[nearest]).sum(1)) / total

    s1 = refined(candidates @ query)
    first = np.argsort(-s1, kind="stable")[: k + 1]
    W = np.zeros((len(first), M), candidates.dtype)
    np.put_along_axis(W, nearest[first], weights[first], axis=1)
    W[np.arange(len(first)), first] = 1
    e = (W @ candidates / total[first, None]).max(0)
    return (s1 + refined(candidates @ e)) / 2


def _neighbourhoods(candidates: np.ndarray, k: int, beta: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k nearest others of every candidate [M, k], their weights [M, k], and the sums [M] with the own 1."""
    nearest = np.empty((len(candidates), k), np.intp)
    weights = np.empty((len(candidates), k), candidates.dtype)
    for start in range(0, len(candidates) if k else 0, _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        similarity = candidates[some] @ candidates.T
        np.fill_diagonal(similarity[:, start:], -np.inf)
        nearest[some] = np.argpartition(similarity, -k, axis=1)[:, -k:]
        weights[some] = beta * np.take_along_axis(similarity, nearest[some], axis=1)
    total = 1 + weights.sum(1)
    weights[total < 1e-6] = 0
    return nearest, weights, np.where(total < 1e-6, 1, total).astype(candidates.dtype)


class SuperGlobal:
    """The stage `superglobal`."""

    def __init__(self, parameters: Mapping[str, float], searched: Searched) -> None:
        self.depth = int(parameters["m"])
        self._k = int(parameters["k"])
        self._beta = parameters["beta"]
        self._searched = searched

    def scores(self, head: Head) -> np.ndarray:
        """The new score of each of the M places."""
        return superglobal(head.query, self._searched.vectors(head.rows), self._k, self._beta)
