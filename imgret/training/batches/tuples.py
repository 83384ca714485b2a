"""Tuples (query, positive, negatives): what an epoch draws to mine from, and the mined tuples in batches.

What is drawn depends on (seed, epoch) alone, as in `plans`; which negatives are mined depends on the model too, so
mined tuples are handed in. Images keep their shapes: a batch has one part for each size group it meets.

Radenović, Tolias, Chum, "Fine-tuning CNN image retrieval with no human annotation" (arXiv:1711.02512), who
describe image after image at its own aspect: to warp it to the shape of its size group is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from imgret.errors import ImgretError, InputError
from imgret.training.batches.pairs import ClassPairs, ListedPairs, PairSource
from imgret.training.batches.plans import Batch, Size, random_bits, shuffled
from imgret.training.batches.sizes import Template, size_group
from imgret.training.recipe import Tuples


@dataclass(frozen=True, eq=False)
class Draw:
    """What negatives are mined for and from: rows of the training set.

    queries    int64 [Q]
    positives  int64 [Q]
    pool       int64 [N], each image once; all have a label
    """

    queries: np.ndarray
    positives: np.ndarray
    pool: np.ndarray


@dataclass(frozen=True, eq=False, slots=True)
class TupleBatch:
    """Tuples that make one step, and their images by shape.

    tuples  int64 [T, 2 + k], rows of the training set, -1 where a negative is missing
    parts   batches of one shape each, with the places of their images in `tuples.ravel()`, ascending
    """

    tuples: np.ndarray
    parts: tuple[tuple[np.ndarray, Batch], ...]

    def for_rank(self, rank: int, world: int) -> TupleBatch:
        """The share of process `rank` of `world`: whole tuples, in a stretch; ValueError unless they divide equally.

        Parts in which it has no image are left out. An image keeps its place in its whole part, and
        with it its augmentation.
        """
        share, rest = divmod(len(self.tuples), world)
        if rest or not 0 <= rank < world:
            raise ValueError(f"{len(self.tuples)} tuples cannot be shared equally by {world} processes")
        width = self.tuples.shape[1]
        first, last = rank * share * width, (rank + 1) * share * width
        parts = []
        for places, batch in self.parts:
            begin, end = np.searchsorted(places, [first, last]).tolist()
            if begin < end:
                ours = replace(batch, rows=batch.rows[begin:end], first=begin, whole=batch.rows)
                parts.append((places[begin:end] - first, ours))
        return TupleBatch(self.tuples[rank * share : (rank + 1) * share], tuple(parts))


class TuplePlan:
    """What each epoch draws, and the batches of the tuples mined for it; `len` is their number in every epoch.

    `labels` [N] are clusters or classes, -1 for none; `pairs` [P, 2] are rows (query, positive), None to draw a
    positive within each class. `batch_size` counts images: a multiple of 2 + asked.negatives. `size` is one
    (width, height) for all, or a template, and then `aspects` [N] are needed; images with nan are never drawn. `say`
    hears where there is less than was asked for. ImgretError when the pairs fill no batch or clusters are too few.
    """

    def __init__(
        self,
        labels: np.ndarray,
        batch_size: int,
        size: Size | Template,
        asked: Tuples,
        aspects: np.ndarray | None = None,
        pairs: np.ndarray | None = None,
        seed: int = 0,
        say: Callable[[str], object] = print,
    ) -> None:
        self.batch_size, self.asked = batch_size, asked
        self.per_batch, rest = divmod(batch_size, 2 + asked.negatives)
        if rest or not self.per_batch:
            raise ValueError(f"{batch_size} images are not whole tuples of {2 + asked.negatives}")
        self._labels, self._seed = labels, seed
        if isinstance(size, Template):
            if aspects is None or aspects.shape != labels.shape:
                raise ValueError(f"a size template needs the aspects of all {len(labels)} images")
            self._sizes, self._groups = size.sizes, size_group(aspects)
        else:
            self._sizes, self._groups = (size,), np.zeros(len(labels), np.int64)
        usable = self._groups >= 0
        self._source: PairSource = ClassPairs(labels, usable)
        if pairs is not None:
            self._source = listed = ListedPairs(pairs, labels, usable)
            if listed.left_out:
                say(f"{listed.left_out} pairs are left out: not of one cluster, or with an image that cannot be opened")
        self._pool = np.flatnonzero(usable & (labels >= 0))
        self._check(pairs is not None, say)

    def _check(self, listed: bool, say: Callable[[str], object]) -> None:
        asked, queries, pool = self.asked, len(self._source), len(self._pool)
        if not queries:
            why = "the set lists no pairs that can be used" if listed else "no class has two images"
            raise InputError(f"tuples need a query and a positive, but {why}: check the labels")
        clusters = len(np.unique(self._labels[self._pool]))
        if clusters <= asked.negatives:
            raise InputError(
                f"tuples.negatives = {asked.negatives} are of as many clusters, none of them the query's, but the set "
                f"has {clusters}: set tuples.negatives to at most {clusters - 1}"
            )
        if queries < asked.queries:
            say(f"every epoch asks with all {queries} queries there are, not with tuples.queries = {asked.queries}")
        if pool < asked.pool:
            say(f"every epoch mines in all {pool} images there are, not in tuples.pool = {asked.pool}")
        if not len(self):
            raise InputError(
                f"{min(queries, asked.queries)} queries an epoch do not fill a batch of {self.per_batch} tuples; "
                f"set batches.batch_size to {2 + asked.negatives} a tuple"
            )

    def __len__(self) -> int:
        return min(len(self._source), self.asked.queries) // self.per_batch

    def draw(self, epoch: int) -> Draw:
        """Queries, positives and pool of an epoch; queries that would not fill a last batch are left out.

        ImgretError when the images drawn are of too few clusters for the negatives of a tuple.
        """
        bits = random_bits(self._seed, epoch)
        queries, positives = self._source.draw(bits, len(self) * self.per_batch)
        pool = self._pool[shuffled(bits, len(self._pool))[: self.asked.pool]]
        clusters = len(np.unique(self._labels[pool]))
        if clusters <= self.asked.negatives:
            raise ImgretError(
                f"the {len(pool)} images drawn for epoch {epoch + 1} are of {clusters} clusters, too few for "
                f"tuples.negatives = {self.asked.negatives}: raise tuples.pool, in a new folder"
            )
        return Draw(queries, positives, pool)

    def by_shape(self, rows: np.ndarray) -> list[Batch]:
        """Batches of at most `batch_size` images of one shape, to describe `rows` once each, whatever the order."""
        found = []
        for group, size in enumerate(self._sizes):
            inside = rows[self._groups[rows] == group]
            cuts = range(self.batch_size, len(inside), self.batch_size)
            found += [Batch(some, size, seed=0) for some in np.split(inside, cuts) if len(some)]
        return found

    def batches(self, epoch: int, tuples: np.ndarray) -> list[TupleBatch]:
        """The batches of an epoch, in order, of its mined tuples int64 [Q, 2 + k] in the order of the draw."""
        bits = random_bits(self._seed, epoch)
        seeds = bits.random_raw(len(self) * len(self._sizes)).reshape(len(self), -1)
        cuts = [tuples[self.per_batch * number : self.per_batch * (number + 1)] for number in range(len(self))]
        return [self._in_parts(some, seeds[number].tolist()) for number, some in enumerate(cuts)]

    def _in_parts(self, tuples: np.ndarray, seeds: list[int]) -> TupleBatch:
        rows = tuples.ravel()
        groups = np.where(rows >= 0, self._groups[rows], -1)
        places = [np.flatnonzero(groups == group) for group in range(len(self._sizes))]
        return TupleBatch(
            tuples,
            tuple(
                (here, Batch(rows[here], size, seed))
                for here, size, seed in zip(places, self._sizes, seeds, strict=True)
                if len(here)
            ),
        )
