"""Drawn pictures for tests: no photograph is ever needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def textured(seed: int, width: int = 64, height: int = 48) -> Image.Image:
    """A picture of its own colours and texture, the same for the same seed."""
    random = np.random.default_rng(seed)
    base = random.integers(0, 200, 3)
    coarse = random.integers(0, 56, (6, 8, 3)) + base
    small = Image.fromarray(coarse.astype(np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def save(folder: Path, name: str, seed: int, size: tuple[int, int] = (64, 48)) -> Path:
    """Write a textured picture; the folder is made when it is missing."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    textured(seed, *size).save(path)
    return path


def corners() -> Image.Image:
    """40 x 20, left half red and right half blue, the lower right corner green: no symmetry at all."""
    picture = Image.new("RGB", (40, 20), "blue")
    picture.paste("red", (0, 0, 20, 20))
    picture.paste("lime", (30, 10, 40, 20))
    return picture
