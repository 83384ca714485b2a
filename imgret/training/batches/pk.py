"""P x K batches: P classes with K images each, so that losses over pairs and triplets find positives.

Hermans, Beyer, Leibe, "In defense of the triplet loss for person re-identification" (arXiv:1703.07737), section 2.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from imgret.errors import ImgretError
from imgret.training.batches.plans import Batch, Size, random_bits, sealed, shuffled
from imgret.training.batches.sizes import Template, size_group


class PKBatches:
    """Batches of P x K rows, class after class; an epoch shows about as many images as there are.

    Every class occurs equally often, give or take one. A class with fewer than K images repeats them (each
    place is augmented by itself). `labels` is [N], -1 for none; `size` is one (width, height), or a template
    and then `aspects` [N] are needed: each batch is drawn within one size group, which counts for classes like a
    training set of its own.

    Classes with a single image (within the group) make no pair and are left out, as are groups with fewer
    than P classes; `left_out` lists the labels that occur in no batch at all. ImgretError when no batch is left.
    """

    def __init__(
        self,
        labels: np.ndarray,
        classes_per_batch: int,
        images_per_class: int,
        size: Size | Template,
        aspects: np.ndarray | None = None,
        seed: int = 0,
    ) -> None:
        if classes_per_batch < 2 or images_per_class < 2:
            raise ValueError(
                f"a batch needs at least 2 classes of 2 images, got {classes_per_batch} x {images_per_class}"
            )
        self._classes, self._images, self._seed = classes_per_batch, images_per_class, seed
        labels = np.asarray(labels, np.int64)
        groups: list[tuple[Size, np.ndarray]]
        if isinstance(size, Template):
            if aspects is None or aspects.shape != labels.shape:
                raise ValueError(f"a size template needs the aspects of all {len(labels)} images")
            found = size_group(aspects)
            groups = [(each, np.flatnonzero((found == group) & (labels >= 0))) for group, each in enumerate(size.sizes)]
        else:
            groups = [(size, np.flatnonzero(labels >= 0))]
        pools = [(each, _Pool(rows, labels[rows])) for each, rows in groups]
        self._pools = [(each, pool) for each, pool in pools if len(pool.classes) >= classes_per_batch]
        used = [pool.classes for _, pool in self._pools]
        if not used:
            most = max((len(pool.classes) for _, pool in pools), default=0)
            raise ImgretError(
                f"only {most} classes have the 2 images that a pair needs, and a batch shall have {classes_per_batch} "
                "classes; choose fewer classes a batch, or batches without classes"
            )
        self.left_out = np.setdiff1d(labels[labels >= 0], np.concatenate(used))

    def __len__(self) -> int:
        return sum(self._batches_of(pool) for _, pool in self._pools)

    def batches(self, epoch: int) -> list[Batch]:
        """Batches in random order."""
        bits = random_bits(self._seed, epoch)
        pieces = [
            (rows, size)
            for size, pool in self._pools
            for rows in pool.draw(bits, self._batches_of(pool), self._classes, self._images)
        ]
        return sealed(bits, pieces)

    def _batches_of(self, pool: _Pool) -> int:
        return max(1, len(pool.rows) // (self._classes * self._images))


class _Pool:
    """Rows of classes with at least two images, sorted by class."""

    def __init__(self, rows: np.ndarray, labels: np.ndarray) -> None:
        classes, counts = np.unique(labels, return_counts=True)
        self.classes, self._counts = classes[counts > 1], counts[counts > 1]
        inside = np.isin(labels, self.classes)
        self.rows, self._labels = rows[inside], labels[inside]
        self._starts = np.cumsum(self._counts) - self._counts  # where each class begins, once sorted by class

    def draw(
        self, bits: np.random.PCG64, batches: int, classes_per_batch: int, images_per_class: int
    ) -> Iterator[np.ndarray]:
        """Rows [P * K] of each batch. A class shows its next K images on each visit, round and round."""
        order = shuffled(bits, len(self.rows))
        rows = self.rows[order][np.argsort(self._labels[order], kind="stable")]  # random within each class
        visits = np.zeros(len(self.classes), np.int64)
        waiting: np.ndarray = np.empty(0, np.int64)
        for _ in range(batches):
            if len(waiting) < classes_per_batch:
                # Who waits from the last round goes first, and may not meet itself in the same batch.
                following = shuffled(bits, len(self.classes))
                again = np.isin(following, waiting)
                waiting = np.concatenate([waiting, following[~again], following[again]])
            chosen, waiting = waiting[:classes_per_batch], waiting[classes_per_batch:]
            places = visits[chosen, None] * images_per_class + np.arange(images_per_class)  # [P, K]
            visits[chosen] += 1
            yield rows[self._starts[chosen, None] + places % self._counts[chosen, None]].ravel()
