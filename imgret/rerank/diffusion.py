"""Diffusion: similarity that flows from the query's nearest images along the neighbour graph of the database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg

from imgret.errors import InputError
from imgret.rerank.joining import below

if TYPE_CHECKING:
    from imgret.rerank.chain import Head, Searched

TOLERANCE = 1e-6  # of the residual, relative to y


def affinity(neighbours: np.ndarray, similarities: np.ndarray, gamma: float = 3) -> sparse.csr_array:
    """A [M, M], symmetric: max(0, x_i.x_j)^gamma where i and j are among each other's neighbours, else 0.

    neighbours    [M, k] integers, numbers of other nodes; -1 where there is none. A node's own number is ignored
    similarities  [M, k] their similarities
    """
    M, k = neighbours.shape
    own = np.arange(M)[:, None]
    edges = np.flatnonzero((neighbours >= 0) & (neighbours != own) & (similarities > 0))
    weights = similarities.ravel()[edges].astype(np.float64)
    directed = sparse.csr_array((weights, (edges // k, neighbours.ravel()[edges])), shape=(M, M))
    # No entry is 0, so the smaller of both directions is 0 unless both are there.
    mutual = directed.minimum(directed.T.tocsr())
    mutual.data **= gamma
    return mutual


def diffused(graph: sparse.csr_array, y: np.ndarray, alpha: float = 0.99, iterations: int = 20) -> np.ndarray:
    """f [M] with (I - alpha D^-1/2 A D^-1/2) f = y, by conjugate gradient.

    graph       A, [M, M], symmetric affinity; D is its degrees + 1e-12, so f = y at a node without neighbours
    y           [M], where the query enters the graph
    iterations  at most; the residual may be 1e-6 of y

    Iscen et al., "Efficient Diffusion on Region Manifolds" (arXiv:1611.05113).
    """
    scale = 1 / np.sqrt(graph.sum(1) + 1e-12)

    def times(v: np.ndarray) -> np.ndarray:
        return v - alpha * scale * (graph @ (scale * v))

    laplacian = LinearOperator(graph.shape, times, dtype=np.float64)
    f, _ = cg(laplacian, y, rtol=TOLERANCE, atol=0.0, maxiter=iterations)
    return f


def entry(cosines: np.ndarray, kq: int = 10, gamma: float = 3) -> np.ndarray:
    """y [M]: max(0, cosine)^gamma at the kq best of the candidates, 0 at the others."""
    y = np.zeros(len(cosines))
    best = np.argsort(-cosines, kind="stable")[:kq]
    y[best] = np.maximum(cosines[best].astype(np.float64), 0) ** gamma
    return y


class Diffusion:
    """The stage `diffusion`, on the sub-graph of a query's candidates.

    Two candidates are joined when each is among the neighbours stored with the other, which the rows of
    the candidates alone tell. So the graph is cut out of the stored lists for each query, in O(M k), and
    no matrix over the database is made.
    """

    def __init__(self, parameters: Mapping[str, float], searched: Searched) -> None:
        if searched.neighbours is None:
            raise InputError(
                "diffusion needs the neighbour graph of an index: make one with "
                "`imgret index STORE -o INDEX --graph 20` and give that INDEX"
            )
        self._neighbours, self._similarities = searched.neighbours
        self._place = np.full(len(self._neighbours), -1, np.int32)  # of a database row among the candidates
        self.depth = int(parameters["m"])
        self._kq = int(parameters["kq"])
        self._alpha = parameters["alpha"]
        self._gamma = parameters["gamma"]
        self._iterations = int(parameters["iterations"])

    def scores(self, head: Head) -> np.ndarray:
        """The new score of each of the M places: f where it is positive.

        Images that nothing flowed to follow in order of their cosines, below the others. Where no cosine
        is positive nothing flows, and the scores are the cosines.
        """
        cosines = head.cosines
        y = entry(cosines, self._kq, self._gamma)
        if not y.any():
            return cosines
        f = diffused(self._graph(head.rows), y, self._alpha, self._iterations).astype(np.float32)
        dry = np.flatnonzero(~(f > 0))  # a few iterations may end a little below 0
        dry = dry[np.argsort(-cosines[dry], kind="stable")]
        f[dry] = below(cosines[dry], f[f > 0].min(initial=np.inf))
        return f

    def _graph(self, rows: np.ndarray) -> sparse.csr_array:
        self._place[rows] = np.arange(len(rows))
        stored = np.asarray(self._neighbours[rows])
        among = np.where(stored >= 0, self._place[stored], -1)
        self._place[rows] = -1
        return affinity(among, np.asarray(self._similarities[rows]), self._gamma)
