"""Another model that answers beside the student, each fixed view of an image once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from imgret.errors import ImgretError
from imgret.models import load_model
from imgret.models.base import DescriptorModel
from imgret.nn.recording import recorded
from imgret.training.batches.samples import TrainBatch
from imgret.training.forward import as_images, autocast
from imgret.training.recipe import Teacher
from imgret.training.teaching.answers import Answers
from imgret.training.teaching.lesson import Lesson, Taught


class Tutor:
    """A frozen teacher, the answers it has given, and the lesson a student takes from them.

    `labels` [N] of the training images say which are of one class. Every process has a folder of answers of its own:
    they would only cost time to share. ImgretError for random weights, and where maps are to be compared and either
    side has not one last map.
    """

    def __init__(
        self,
        asked: Teacher,
        student: DescriptorModel,
        labels: np.ndarray,
        folder: Path,
        device: torch.device,
        precision: str,
        seed: int,
    ) -> None:
        assert asked.model is not None
        loaded = load_model(asked.model, backbone=asked.backbone, weights=asked.weights)
        if not loaded.trained:
            raise ImgretError(f"teacher.model: {asked.model} has random weights, and nothing to teach")
        self.asked, self.labels, self.seed = asked, labels, seed
        self.device, self.precision = device, precision
        self.teacher = loaded.model.to(device).requires_grad_(False)
        self.projection: Tensor | None = None
        channels, shape = 0, (0, 0, 0)
        if asked.map_weight:
            channels = _map_channels("the student", student, device)
            theirs = _map_channels("the teacher", self.teacher, device)
            if asked.map_channels > theirs:
                raise ImgretError(f"teacher.map_channels must be at most the {theirs} of the teacher's map")
            self.projection = _projection(theirs, asked.map_channels).to(device)
            shape = asked.map_channels, asked.grid, asked.grid
        self.answers = Answers(folder, len(labels), asked.windows, self.teacher.dim, shape)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.lesson = Lesson(
                student.dim,
                channels,
                self.teacher.dim,
                shape[0],
                own=asked.own,
                label=asked.label,
                temperature=asked.temperature,
                scale=asked.scale,
                map_weight=asked.map_weight,
            ).to(device)

    def asks(self, rows: np.ndarray, windows: np.ndarray) -> bool:
        """Whether the teacher must look at a batch of these windows [B] of images [B]."""
        return not self.answers.known(rows, windows).all()

    def taught(self, batch: TrainBatch, step: int) -> Taught:
        """What there is to learn of a batch; the bank is drawn from (seed, step)."""
        assert batch.windows is not None
        images, windows = batch.rows.numpy(), batch.windows.numpy()
        if batch.plain is not None:
            self._ask(images, windows, batch.plain)
        rows, maps = self.answers.get(images, windows)
        bank, own = self._bank(images, step)
        same = (self.labels[images][:, None] == self.labels[bank]) & (self.labels[images] >= 0)[:, None]
        found = Taught(
            rows,
            maps,
            torch.from_numpy(self.answers.known(images, windows)),
            batch.placed,
            self.answers.means(bank),
            torch.from_numpy(own),
            torch.from_numpy(same),
        )
        return Taught(*(getattr(found, name).to(self.device) for name in Taught.__slots__))

    def _ask(self, images: np.ndarray, windows: np.ndarray, plain: Tensor) -> None:
        new = np.flatnonzero(~self.answers.known(images, windows))
        if len(new):
            trunks = [] if self.projection is None else [self.teacher.trunk]
            with torch.inference_mode(), recorded(trunks) as maps:
                with autocast(self.device, self.precision):
                    rows = self.teacher(as_images(plain[torch.from_numpy(new)], self.device))
                small = rows.new_empty(len(new), 0, 0, 0)
                if self.projection is not None:
                    grid = F.adaptive_avg_pool2d(maps[0].float(), (self.asked.grid, self.asked.grid))
                    small = torch.einsum("bchw,cd->bdhw", grid, self.projection)
            self.answers.put(images[new], windows[new], rows, small)

    def _bank(self, images: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the images of the bank [M], those of the batch first; the place in it of each image of the batch."""
        own, place = np.unique(images, return_inverse=True)
        others = np.setdiff1d(self.answers.answered(), own)
        random = np.random.default_rng([self.seed, step])
        drawn = random.choice(others, min(len(others), self.asked.bank), replace=False, shuffle=False)
        return np.concatenate([own, drawn]), place.astype(np.int64)


def _map_channels(who: str, model: DescriptorModel, device: torch.device) -> int:
    """Channels of the one map that the model's trunk gives, seen on a probe."""
    trunk = getattr(model, "trunk", None)
    if trunk is not None:
        with torch.inference_mode(), recorded([trunk]) as seen:
            model(torch.rand(1, 3, 64, 64, device=device))
        if isinstance(seen[0], Tensor) and seen[0].ndim == 4:
            return seen[0].shape[1]
    raise ImgretError(
        f"teacher.map_weight: {who} has not one last map to compare, as glam, gala, gsa and gem on a CNN have; to "
        "learn from descriptors alone: --set teacher.map_weight=0"
    )


def _projection(channels: int, to: int) -> Tensor:
    """[C, to], orthonormal columns, always the same: a fraction of the numbers keeps inner products but for noise."""
    random = torch.Generator().manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(channels, to, generator=random))
    return basis
