"""Mined tuples: at the start of an epoch the model describes a pool, and its hardest negatives make the tuples."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imgret.datasets.labelled import LabelledImages
from imgret.errors import ImgretError
from imgret.models.base import DescriptorModel
from imgret.training.batches.loading import load
from imgret.training.batches.plans import Batch
from imgret.training.batches.tuple_loading import TrainTuples, load_tuples
from imgret.training.batches.tuples import TuplePlan
from imgret.training.checkpoints import diverged
from imgret.training.forward import as_images, autocast
from imgret.training.losses.mining import hard_negatives
from imgret.training.processes import Processes

_SAY_EVERY = 60.0  # seconds


@dataclass
class Miner:
    """The tuples of the epoch under way, mined from (seed, epoch, model) and kept in checkpoints.

    A run that goes on in the middle of an epoch takes them from there: the model that mined them is gone. `note` hears
    (row, reason) of images that cannot be decoded.
    ImgretError when the processes cannot share a batch equally.
    """

    plan: TuplePlan
    images: LabelledImages
    device: torch.device
    precision: str
    workers: int
    processes: Processes
    folder: Path
    say: Callable[[str], object]
    note: Callable[[int, str], object]
    epoch: int = field(default=-1, init=False)
    tuples: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.int64), init=False)

    def __post_init__(self) -> None:
        world = self.processes.world
        if self.plan.per_batch % world:
            raise ImgretError(
                f"a batch of {self.plan.per_batch} tuples cannot be shared equally by {world} processes; "
                f"set batches.batch_size to a multiple of {world} x {2 + self.plan.asked.negatives}"
            )

    def state_dict(self) -> dict[str, Any]:
        """The epoch and its tuples, int64 [Q, 2 + k]."""
        return {"epoch": self.epoch, "tuples": torch.from_numpy(self.tuples)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take both back."""
        self.epoch, self.tuples = state["epoch"], state["tuples"].numpy()

    def mine(self, epoch: int, model: DescriptorModel) -> None:
        """Make the tuples of an epoch, unless they are here.

        Leaves the model in eval mode. Each process describes its share; rank 0 mines for all. ImgretError, one
        line, when the model has diverged.
        """
        if self.epoch == epoch:
            return
        draw = self.plan.draw(epoch)
        batches = self.plan.by_shape(np.union1d(draw.queries, draw.pool))
        ours = batches[self.processes.rank :: self.processes.world]
        rows, descriptors = self._described(ours, model.eval(), epoch)
        every = self.processes.gather((rows, descriptors))
        tuples = None
        if self.processes.first:
            described = np.concatenate([some for some, _ in every])
            tuples = self._mined(draw.queries, draw.positives, draw.pool, described, torch.cat([d for _, d in every]))
        tuples = self.processes.share(tuples)
        if tuples is None:
            raise diverged(self.folder, f"the descriptors are not finite at the start of epoch {epoch + 1}")
        self.epoch, self.tuples = epoch, tuples

    def load(self, done: int, augment: str, seed: int) -> Iterator[TrainTuples]:
        """This process's share of the epoch's batches, from the batch `done` on."""
        rank, world = self.processes.rank, self.processes.world
        batches = [batch.for_rank(rank, world) for batch in self.plan.batches(self.epoch, self.tuples)[done:]]
        images, labels = self.images.images, self.images.labels
        return load_tuples(images, labels, batches, augment, workers=self.workers, seed=seed, note=self.note)

    @torch.no_grad()
    def _described(self, batches: list[Batch], model: DescriptorModel, epoch: int) -> tuple[np.ndarray, Tensor]:
        """Rows [n] of the images that could be decoded, and their descriptors [n, D] on the CPU."""
        total = sum(len(batch.rows) for batch in batches)
        self.say(f"epoch {epoch + 1}: mining, {total * self.processes.world} images to describe")
        begun = said = time.monotonic()
        rows, descriptors, done = [], [torch.empty(0, model.dim)], 0
        images, labels = self.images.images, self.images.labels
        source: Any = load(images, labels, batches, "none", workers=self.workers, note=self.note)
        with closing(source):
            for batch in source:
                with autocast(self.device, self.precision):
                    found = model(as_images(batch.pixels, self.device))
                rows.append(batch.rows.numpy())  # where a damaged image was stood in for, a row occurs again
                descriptors.append(found.float().cpu())
                for row, why in batch.failed:
                    self.note(row, why)
                done += len(batch.rows)
                now = time.monotonic()
                if now - said >= _SAY_EVERY:
                    said = now
                    self.say(f"epoch {epoch + 1}: mining, {done} of {total}, {done / (now - begun):.1f} images/s")
        return np.concatenate([np.empty(0, np.int64), *rows]), torch.cat(descriptors)

    def _mined(
        self, queries: np.ndarray, positives: np.ndarray, pool: np.ndarray, described: np.ndarray, descriptors: Tensor
    ) -> np.ndarray | None:
        """Tuples int64 [Q, 2 + k]; None when a descriptor is not finite.

        An image that was not described gets no negative and is none.
        """
        if not bool(descriptors.isfinite().all()):
            return None
        place = np.full(len(self.images), -1, np.int64)
        place[described] = np.arange(len(described))
        asking, pool = np.flatnonzero(place[queries] >= 0), pool[place[pool] >= 0]

        def of(rows: np.ndarray) -> tuple[Tensor, Tensor]:
            clusters = torch.from_numpy(self.images.labels[rows])
            return descriptors[torch.from_numpy(place[rows])].to(self.device), clusters.to(self.device)

        k = self.plan.asked.negatives
        found = hard_negatives(*of(queries[asking]), *of(pool), k=k).cpu().numpy()
        tuples = np.full((len(queries), 2 + k), -1, np.int64)
        tuples[:, 0], tuples[:, 1] = queries, positives
        tuples[asking, 2:] = np.append(pool, -1)[found]  # the last is what -1, nothing found, looks up
        return tuples
