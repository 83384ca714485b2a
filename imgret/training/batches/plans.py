"""Which images go together, and in which order: decided by (seed, epoch) alone, before anything is read.

Workers and ranks carry a plan out and cannot change it. To go on in the middle of an epoch, take
`plan.batches(epoch)[done:]`: nothing before it needs reading. Orders come from sorting the raw
output of PCG64, which numpy promises to keep, so they are the same on every machine and version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from imgret.errors import ImgretError
from imgret.training.batches.sizes import Template, size_group

Size = tuple[int, int]


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Images that are loaded at one size.

    rows     int64 [B], rows of the training set
    size     (width, height) in pixels
    seed     what the randomness of its images comes from
    first    place of rows[0] in the global batch
    whole    rows of the global batch where this is a rank's share of one, else None
    """

    rows: np.ndarray
    size: Size
    seed: int
    first: int = 0
    whole: np.ndarray | None = None


class BatchPlan(Protocol):
    """A source of batches; `len` is their number in every epoch."""

    def __len__(self) -> int: ...

    def batches(self, epoch: int) -> list[Batch]:
        """The batches of an epoch, in order."""
        ...


def for_rank(batch: Batch, rank: int, world: int) -> Batch:
    """The share of process `rank` of `world`: rows in a stretch, the ranks' stretches in order make up the batch.

    ImgretError when the batch does not divide equally: gradients are averaged over ranks with equal weight.
    """
    if not 0 <= rank < world:
        raise ValueError(f"rank must be from 0 to {world - 1}, got {rank}")
    if world == 1:
        return batch
    share, rest = divmod(len(batch.rows), world)
    if rest:
        raise ImgretError(
            f"a batch of {len(batch.rows)} images cannot be shared equally by {world} processes; "
            f"choose a batch size that is a multiple of {world}"
        )
    first = rank * share
    return replace(batch, rows=batch.rows[first : first + share], first=first, whole=batch.rows)


class SizeGroups:
    """Batches whose images have like aspects, each at its group's size; every image at most once an epoch.

    `aspects` [N] are heights over widths; images with nan are in no batch. With `drop_last` the uneven last
    batch of each group is dropped: other images every epoch, but a group of fewer than `batch_size` images is
    then never seen. ImgretError when that leaves no batch.
    """

    def __init__(
        self, aspects: np.ndarray, batch_size: int, template: Template, drop_last: bool = True, seed: int = 0
    ) -> None:
        self._groups = size_group(aspects)
        self._batch_size = _at_least_1(batch_size)
        self._sizes = template.sizes
        self._drop_last = drop_last
        self._seed = seed
        counts = np.bincount(self._groups[self._groups >= 0], minlength=len(self._sizes))
        self._length = sum(_batches_of(int(count), batch_size, drop_last) for count in counts)
        if not self._length:
            raise ImgretError(
                f"no size group has the {batch_size} images of a batch (the largest has {counts.max()} of "
                f"{counts.sum()}); choose a smaller batch size, or batches of one fixed size"
            )

    def __len__(self) -> int:
        return self._length

    def batches(self, epoch: int) -> list[Batch]:
        """Batches in random order over all groups."""
        bits = random_bits(self._seed, epoch)
        order = shuffled(bits, len(self._groups))
        groups = self._groups[order]
        pieces = [
            (rows, size)
            for group, size in enumerate(self._sizes)
            for rows in _cut(order[groups == group], self._batch_size, self._drop_last)
        ]
        return sealed(bits, pieces)


class FixedSize:
    """Batches at side x side pixels, whatever the aspect; every image at most once an epoch.

    ImgretError when `drop_last`, which drops the uneven last batch, leaves none.
    """

    def __init__(self, count: int, batch_size: int, side: int, drop_last: bool = True, seed: int = 0) -> None:
        self._count = count
        self._batch_size = _at_least_1(batch_size)
        self._size = side, side
        self._drop_last = drop_last
        self._seed = seed
        if not len(self):
            raise ImgretError(f"{count} images do not fill a batch of {batch_size}; choose a smaller batch size")

    def __len__(self) -> int:
        return _batches_of(self._count, self._batch_size, self._drop_last)

    def batches(self, epoch: int) -> list[Batch]:
        """Batches in random order."""
        bits = random_bits(self._seed, epoch)
        order = shuffled(bits, self._count)
        return sealed(bits, [(rows, self._size) for rows in _cut(order, self._batch_size, self._drop_last)])


def random_bits(seed: int, epoch: int) -> np.random.PCG64:
    """The source of an epoch's order; ValueError for a negative seed or epoch."""
    if seed < 0 or epoch < 0:
        raise ValueError(f"seed and epoch must not be negative, got {seed} and {epoch}")
    return np.random.PCG64(np.random.SeedSequence([seed, epoch]))


def shuffled(bits: np.random.PCG64, count: int) -> np.ndarray:
    """The numbers 0 to count - 1 in random order: int64 [count]."""
    return np.argsort(bits.random_raw(count), kind="stable")


def sealed(bits: np.random.PCG64, pieces: Sequence[tuple[np.ndarray, Size]]) -> list[Batch]:
    """Batches out of (rows, size) in random order, each with a seed of its own."""
    order = shuffled(bits, len(pieces))
    seeds = bits.random_raw(len(pieces))
    return [Batch(*pieces[int(piece)], seed=int(seed)) for piece, seed in zip(order, seeds, strict=True)]


def _cut(rows: np.ndarray, batch_size: int, drop_last: bool) -> list[np.ndarray]:
    """Rows in pieces of `batch_size`, the last one shorter or dropped."""
    pieces = _batches_of(len(rows), batch_size, drop_last)
    return [rows[batch_size * piece : batch_size * (piece + 1)] for piece in range(pieces)]


def _batches_of(count: int, batch_size: int, drop_last: bool) -> int:
    return count // batch_size if drop_last else -(-count // batch_size)


def _at_least_1(batch_size: int) -> int:
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    return batch_size
