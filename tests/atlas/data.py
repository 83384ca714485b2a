"""Descriptors in clusters, and what to say of a map of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.spatial import KDTree

from imgret.atlas.source import Source

FLAT = 6  # directions in which a cluster is wide, as real ones are in a few


def clustered(count: int, dim: int = 64, clusters: int = 10, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit float32 rows [count, dim] and the number of each one's cluster [count]."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((clusters, dim))
    planes = rng.standard_normal((clusters, FLAT, dim)) / np.sqrt(FLAT)
    cluster = rng.integers(0, clusters, count)
    rows = np.empty((count, dim), np.float32)
    for number in range(clusters):
        here = np.flatnonzero(cluster == number)
        inside = rng.standard_normal((len(here), FLAT)) @ planes[number]
        rows[here] = centres[number] + inside + 0.2 * rng.standard_normal((len(here), dim))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), cluster


def source_of(rows: np.ndarray, at_once: int = 128) -> Source:
    """The rows some at a time."""

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(rows), at_once):
            yield np.arange(start, min(start + at_once, len(rows))), rows[start : start + at_once]

    return Source(len(rows), rows.shape[1], blocks)


def beside(positions: np.ndarray, k: int) -> np.ndarray:
    """[N, k], the nearest others on the map."""
    found = KDTree(positions).query(positions, k + 1)[1]
    itself = found == np.arange(len(found))[:, None]
    itself[~itself.any(1), -1] = True
    return found[~itself].reshape(len(found), k)


def agreement(positions: np.ndarray, near: np.ndarray, k: int = 10) -> float:
    """Share of the k nearest descriptors, `near` [N, k or more], that are among the k nearest on the map."""
    pairs = zip(beside(positions, k).tolist(), near[:, :k].tolist(), strict=True)
    return float(np.mean([len(set(here) & set(true)) / k for here, true in pairs]))


def purity(positions: np.ndarray, cluster: np.ndarray, k: int = 10) -> float:
    """Share of the k nearest on the map that are of the same cluster."""
    return float((cluster[beside(positions, k)] == cluster[:, None]).mean())
