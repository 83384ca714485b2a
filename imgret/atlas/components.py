"""Components: the first two principal components of descriptors that are read a block at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from scipy import linalg


def first_two(blocks: Callable[[], Iterable[np.ndarray]], dim: int) -> np.ndarray:
    """[N, 2] float64, centred rows along the two directions in which they vary most; zeros where they do not.

    blocks  gives all rows each time it is asked, [n, D] float32 unit rows some at a time; it is asked twice
    dim     D

    Memory is O(D^2 + block + N). Of each direction the largest entry is positive. Directions and positions are rounded
    to 1e-6 and 1e-7, far above what the order of a sum may change, so neither the blocks nor the number of threads
    shows, unless the second and the third direction vary alike to the last bits.
    """
    count, total, scatter = 0, np.zeros(dim), np.zeros((dim, dim))
    for block in blocks():
        wide = block.astype(np.float64)
        count += len(wide)
        total += wide.sum(0)
        scatter += wide.T @ wide
    if not count or not dim:
        return np.zeros((count, 2))
    mean = np.round(total / count, 9)
    directions = _directions(scatter / count - np.outer(total / count, total / count))
    along = np.zeros((count, 2))
    end = 0
    for block in blocks():
        begin, end = end, end + len(block)
        # einsum and not a matrix product, whose last bits depend on what stands beside a row
        along[begin:end, : directions.shape[1]] = np.einsum("nd,dc->nc", block - mean, directions)
    return np.round(along, 7)


def _directions(covariance: np.ndarray) -> np.ndarray:
    """[D, 2] (or [1, 1]), the eigenvectors of the largest eigenvalues, the largest first."""
    dim = len(covariance)
    _, vectors = linalg.eigh(covariance, subset_by_index=(max(0, dim - 2), dim - 1))
    vectors = np.round(vectors[:, ::-1], 6)
    largest = np.abs(vectors).argmax(0)
    return vectors * np.where(vectors[largest, np.arange(vectors.shape[1])] < 0, -1, 1)
