"""Forces: what pulls images of a map together and pushes them apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

A, B = 1.5769, 0.8951
"""q(d) = 1 / (1 + a d^2b) fitted to 1 for d < 0.1 and exp(-(d - 0.1)) beyond: spread 1, min_dist 0.1 of the paper."""
_NEAREST = 1e-3  # added to d^2, so that what lies upon another is not pushed away to infinity; as in the authors' code
_PUSH = 4.0  # the strongest push of one image, as in the authors' code


@dataclass(frozen=True)
class Edges:
    """Edges of a graph of N images, each once: ends `first` and `second` [E] int32, and `weight` [E] float32.

    degree  [N] float32, the weights at each image
    """

    first: np.ndarray
    second: np.ndarray
    weight: np.ndarray
    degree: np.ndarray

    @classmethod
    def of(cls, graph: sparse.csr_array) -> Edges:
        """Those of a symmetric [N, N]."""
        upper = sparse.triu(graph, 1).tocoo()
        first, second = upper.row.astype(np.int32), upper.col.astype(np.int32)
        count = graph.shape[0]
        degree = np.bincount(first, upper.data, count) + np.bincount(second, upper.data, count)
        return cls(first, second, upper.data.astype(np.float32), degree.astype(np.float32))


def attraction(at: np.ndarray, edges: Edges) -> np.ndarray:
    """[2, N] float32, how each image is pulled along its edges, for positions `at` [2, N] float32.

    The sum over j of -2 w_ij 2ab d^(2b - 2) / (1 + a d^2b) (y_i - y_j): minus the gradient of -w log q, counted for
    (i, j) and for (j, i), as in the paper both edges move both ends (arXiv:1802.03426, section 3.2).
    """
    x, y = (axis[edges.first] - axis[edges.second] for axis in at)
    squared = x * x + y * y
    np.maximum(squared, 1e-12, out=squared)
    power = squared**B
    pull = (-4 * A * B) * power / (squared * (1 + A * power)) * edges.weight
    count = at.shape[1]
    forces = np.empty((2, count), np.float32)
    for axis, along in enumerate((x, y)):
        along *= pull  # np.bincount is several times as fast as np.add.at
        forces[axis] = np.bincount(edges.first, along, count) - np.bincount(edges.second, along, count)
    return forces


def repulsion(at: np.ndarray, others: np.ndarray) -> np.ndarray:
    """[2, N] float32, how each image is pushed away from one other, `others` [N], for positions `at` [2, N] float32.

    2b / ((0.001 + d^2) (1 + a d^2b)) (y_i - y_j), at most 4 long: minus the gradient of -log(1 - q)
    (arXiv:1802.03426, section 3.2). Only the image moves, not the other.

    Differs from the authors' code: the length is limited, not each coordinate, which would favour the diagonals.
    """
    away = at - at[:, others]
    squared = away[0] * away[0] + away[1] * away[1]
    push = 2 * B / ((_NEAREST + squared) * (1 + A * squared**B))
    np.minimum(push, _PUSH / np.sqrt(np.maximum(squared, 1e-12)), out=push)
    return push * away
