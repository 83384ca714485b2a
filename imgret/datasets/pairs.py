"""Pairs: images that show the same thing two by two, and the clusters in which no negative may be looked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imgret.images.files import ImageFile


@dataclass(frozen=True)
class Pairs:
    """P matching pairs among N images.

    images     the pool, negatives included
    clusters   [N] int64: images of one cluster may match, so none is a negative of another; -1: not known
    queries    [P] int64, rows of `images`; a query stands here once for each of its positives
    positives  [P] int64, rows of `images`: the match of the query in the same place

    ValueError when these do not fit together.
    """

    images: tuple[ImageFile, ...]
    clusters: np.ndarray
    queries: np.ndarray
    positives: np.ndarray

    def __post_init__(self) -> None:
        if self.clusters.shape != (len(self.images),):
            raise ValueError(f"clusters must be [{len(self.images)}], got {list(self.clusters.shape)}")
        if self.queries.ndim != 1 or self.queries.shape != self.positives.shape:
            raise ValueError(
                f"queries and positives must be [P], got {list(self.queries.shape)} and {list(self.positives.shape)}"
            )
        for rows in (self.queries, self.positives):
            if len(rows) and (rows.min() < 0 or rows.max() >= len(self.images)):
                raise ValueError(f"queries and positives must be from 0 to {len(self.images) - 1}")

    def __len__(self) -> int:
        return len(self.queries)
