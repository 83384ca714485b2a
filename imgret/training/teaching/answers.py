"""What a teacher has answered, on disk: one row and one small map for each fixed window of each image."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from imgret import atomic
from imgret.errors import ImgretError

_KNOWN, _ROWS, _MAPS = "known.npy", "rows.f16", "maps.f16"


class Answers:
    """The teacher's rows [N, K, D] and maps [N, K, C, g, g] in float16, for N images in K windows each.

    The files are sparse and fill as the teacher is asked; `save` makes what is known so far outlive the process. A
    `map_shape` of zeros keeps no maps. A folder of another size is an ImgretError.
    """

    def __init__(self, folder: Path, images: int, windows: int, dim: int, map_shape: tuple[int, int, int]) -> None:
        self._folder = folder
        self._known = np.zeros((images, windows), bool)
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / _KNOWN).is_file():
            known = np.load(folder / _KNOWN, allow_pickle=False)
            if known.shape != self._known.shape:
                raise self._of_another_size()
            self._known = known
        self._rows = self._mapped(_ROWS, (images, windows, dim))
        self._maps = self._mapped(_MAPS, (images, windows, *map_shape))
        self._sums = np.zeros((images, dim), np.float32)
        for window in range(windows):
            rows = np.flatnonzero(self._known[:, window])
            self._sums[rows] += self._rows[rows, window]

    def _mapped(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """A file as an array; one that is there must be as large as that."""
        path, numbers = self._folder / name, int(np.prod(shape))
        there = path.is_file()
        if self._known.any() and (path.stat().st_size if there else 0) != 2 * numbers:
            raise self._of_another_size()
        if not numbers:  # an empty file cannot be mapped
            return np.zeros(shape, np.float16)
        return np.memmap(path, np.float16, "r+" if self._known.any() else "w+", shape=shape)

    def _of_another_size(self) -> ImgretError:
        return ImgretError(f"{self._folder} holds answers of another size; remove it, and the teacher is asked again")

    def known(self, images: np.ndarray, windows: np.ndarray) -> np.ndarray:
        """Which of these windows of images have been answered: bool [B]."""
        found: np.ndarray = self._known[images, windows]
        return found

    def put(self, images: np.ndarray, windows: np.ndarray, rows: Tensor, maps: Tensor) -> None:
        """Keep answers: rows [B, D] and maps [B, C, g, g] to windows [B] of images [B]."""
        rounded = rows.cpu().numpy().astype(np.float16)
        for place, (image, window) in enumerate(zip(images, windows, strict=True)):
            if not self._known[image, window]:  # an image may stand in for another, and come twice
                self._rows[image, window] = rounded[place]
                self._maps[image, window] = maps[place].cpu().numpy()
                self._sums[image] += rounded[place]
                self._known[image, window] = True

    def get(self, images: np.ndarray, windows: np.ndarray) -> tuple[Tensor, Tensor]:
        """(rows [B, D], maps [B, C, g, g]) in float32; zeros where nothing is known."""
        rows = self._rows[images, windows].astype(np.float32)
        maps = self._maps[images, windows].astype(np.float32)
        return torch.from_numpy(rows), torch.from_numpy(maps)

    def means(self, images: np.ndarray) -> Tensor:
        """The mean of the known rows of each image: float32 [B, D]."""
        counts = self._known[images].sum(1, keepdims=True).clip(1)
        return torch.from_numpy(self._sums[images] / counts.astype(np.float32))

    def answered(self) -> np.ndarray:
        """The images of which a window is known: int64 [M]."""
        return np.flatnonzero(self._known.any(1))

    def save(self) -> None:
        """Values first, then which of them are known."""
        for values in (self._rows, self._maps):
            if isinstance(values, np.memmap):
                values.flush()
        stored = io.BytesIO()
        np.save(stored, self._known, allow_pickle=False)
        atomic.write_bytes(self._folder / _KNOWN, stored.getvalue())
