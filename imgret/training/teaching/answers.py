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
    folder of another size is an ImgretError.
    """

    def __init__(self, folder: Path, images: int, windows: int, dim: int, map_shape: tuple[int, int, int]) -> None:
        self._folder = folder
        self._known = np.zeros((images, windows), bool)
        shapes = {_ROWS: (images, windows, dim), _MAPS: (images, windows, *map_shape)}
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / _KNOWN).is_file():
            known = np.load(folder / _KNOWN, allow_pickle=False)
            sizes = {name: (folder / name).stat().st_size for name in shapes if (folder / name).is_file()}
            if known.shape != self._known.shape or sizes != {name: 2 * int(np.prod(of)) for name, of in shapes.items()}:
                raise ImgretError(f"{folder} holds answers of another size; remove it, and the teacher is asked again")
            self._known = known
        mode = {name: "r+" if (folder / name).is_file() else "w+" for name in shapes}
        self._rows = np.memmap(folder / _ROWS, np.float16, mode[_ROWS], shape=shapes[_ROWS])  # type: ignore[call-overload]
        self._maps = np.memmap(folder / _MAPS, np.float16, mode[_MAPS], shape=shapes[_MAPS])  # type: ignore[call-overload]
        self._sums = np.zeros((images, dim), np.float32)
        for window in range(windows):
            rows = np.flatnonzero(self._known[:, window])
            self._sums[rows] += self._rows[rows, window]

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
        self._rows.flush()
        self._maps.flush()
        stored = io.BytesIO()
        np.save(stored, self._known, allow_pickle=False)
        atomic.write_bytes(self._folder / _KNOWN, stored.getvalue())
