"""Landmarks: of a large collection some images are laid out, and all others are put beside those nearest to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from imgret.atlas.fuzzy import memberships
from imgret.atlas.neighbours import nearest_among

NEAREST = 5
"""Landmarks that an image is put between."""

_REACH = 0.05  # of the side of the map: landmarks farther from the nearest one do not draw an image away from it
_AROUND = 4  # the distance to so many landmarks says how far apart they are there
_SPREAD = 0.5  # of that distance: standard deviation of where images are put around the mean


def chosen(count: int, landmarks: int, seed: int) -> np.ndarray:
    """[landmarks] int64, rising: places in a collection of `count` that are drawn at random, each once."""
    return np.sort(np.random.default_rng(seed).choice(count, landmarks, replace=False))


@dataclass(frozen=True)
class Landmarks:
    """L images with their unit descriptors [L, D] float32 and their places [L, 2] float32 on the map.

    nearest  [L] float32, cosine of each to the nearest other
    """

    vectors: np.ndarray
    positions: np.ndarray
    nearest: np.ndarray

    def gaps(self) -> np.ndarray:
        """[L] float64, how far each is from its fourth nearest other on the map."""
        around = min(_AROUND + 1, len(self.positions))
        return KDTree(self.positions).query(self.positions, [around])[0][:, 0]

    def place(self, vectors: np.ndarray, gaps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """[n, 2] float32 in the unit square, for images [n, D] that are no landmarks.

        Each is put at the mean of its nearest landmarks, weighted by their memberships (`imgret.atlas.fuzzy`), of those
        only that lie near the nearest one on the map: between two clusters there may be nothing or another cluster. It
        is moved from there by a normal deviate, as far as its landmarks are from others (half the median of their
        `gaps`): less if it is more like its nearest one than any other landmark is, and not at all if it is a copy.
        `rng` gives two numbers an image, so the blocks of images make no difference.
        """
        near, cosines = nearest_among(vectors, self.vectors, NEAREST)
        first = near[:, 0]
        there = np.linalg.norm(self.positions[near] - self.positions[first][:, None], axis=2) <= _REACH
        weights = memberships(cosines, np.ones(near.shape, bool)) * there
        weights /= weights.sum(1, keepdims=True)  # the nearest has weight 1 or is a copy of one that has
        at = np.einsum("nk,nkc->nc", weights, self.positions[near])
        unlike = 1 - np.minimum(cosines[:, 0].astype(np.float64), 1)
        usual = np.maximum(1 - self.nearest[first].astype(np.float64), 1e-6)
        far = _SPREAD * np.median(gaps[near], axis=1) * np.minimum(1, unlike / usual)
        return np.clip(at + far[:, None] * rng.standard_normal(at.shape), 0, 1).astype(np.float32)
