"""Pairs: images that are alike and among each other's nearest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ROUNDING = 1e-6
"""A cosine that is reckoned in another order may differ by so much."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows [P, 2] int64, the smaller first, with their cosines [P] float32; most alike first."""

    rows: np.ndarray
    cosines: np.ndarray


def mutual(near: np.ndarray, cosines: np.ndarray, threshold: float) -> Pairs:
    """The pairs of `threshold` or more in which each is among the nearest of the other.

    near, cosines  [N, k] the k nearest others of every row and their cosines, best first; -1 where there are fewer

    An image that is as near as the last that was kept is among the nearest too: of a thousand copies each keeps k, and
    not the same ones. Equal pairs stand in order of their rows.
    """
    count, k = near.shape
    if not count or not k:
        return Pairs(np.zeros((0, 2), np.int64), np.zeros(0, np.float32))
    farthest = np.where(near[:, -1] < 0, -np.inf, cosines[:, -1])  # fewer than k: everything is among them
    first, column = np.nonzero((near >= 0) & (cosines >= threshold))
    second, found = near[first, column].astype(np.int64), cosines[first, column]
    both = found >= farthest[second] - ROUNDING
    rows = np.sort(np.stack([first[both], second[both]], 1), 1)
    rows, at = np.unique(rows, axis=0, return_index=True)
    found = found[both][at]
    order = np.argsort(-found, kind="stable")
    return Pairs(rows[order], found[order])
