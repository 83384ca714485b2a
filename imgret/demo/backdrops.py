"""Grounds to lay things on: wood, linen, slate, grass, paper, tiles."""

from __future__ import annotations

import numpy as np
from PIL import Image

from imgret.demo.canvas import noise, rgb


def _picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _grid(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates x [1, W] and y [H, 1]."""
    return np.arange(size[0], dtype=np.float32)[None], np.arange(size[1], dtype=np.float32)[:, None]


def wood(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A table of planks, oak or walnut."""
    x, y = _grid(size)
    base = np.array(rgb(("#a5794c", "#6e4a32", "#c8a878")[int(rng.integers(3))]), np.float32)
    plank = (y / rng.uniform(70, 110)).astype(int)
    tone = rng.uniform(0.82, 1.15, 20)[plank]
    figure = noise(rng, (size[1], size[0]), 26, 5, stretch=14)
    rings = np.sin(figure * 5 + y / 6 + 0 * x)
    seam = np.diff(plank, axis=0, append=plank[-1:]) > 0
    return _picture(base * (tone * (1 + 0.07 * rings + 0.07 * figure) * np.where(seam, 0.5, 1))[..., None])


def linen(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A woven cloth with folds."""
    x, y = _grid(size)
    base = np.array(rgb(("#d9cfbd", "#8fa3ad", "#b8746a", "#5d7a6a")[int(rng.integers(4))]), np.float32)
    weave = np.sin(x * 1.9) * np.sin(y * 1.9)
    folds = noise(rng, (size[1], size[0]), 190, 2, stretch=0.6)
    threads = noise(rng, (size[1], size[0]), 2, 1, stretch=12) + noise(rng, (size[1], size[0]), 24, 1, stretch=0.08)
    return _picture(base * (1 + 0.07 * weave + 0.1 * folds + 0.03 * threads)[..., None])


def slate(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A slab of dark stone."""
    rough = noise(rng, (size[1], size[0]), 90, 7)
    veins = np.exp(-((noise(rng, (size[1], size[0]), 150, 5) / 0.05) ** 2))
    return _picture(np.array([84, 88, 96], np.float32) * (1 + 0.2 * rough)[..., None] + 46 * veins[..., None])


def grass(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A lawn from above."""
    blades = noise(rng, (size[1], size[0]), 9, 3, stretch=0.35)
    patches = noise(rng, (size[1], size[0]), 120, 4)[..., None]
    colour = np.array([98, 132, 58], np.float32) + np.array([22, 12, 4], np.float32) * patches
    return _picture(colour * (1 + 0.26 * blades)[..., None])


def paper(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A desk mat with a printed grid."""
    x, y = _grid(size)
    base = np.array(rgb(("#e9e4d8", "#2f5d50", "#cfd8de")[int(rng.integers(3))]), np.float32)
    step = rng.uniform(22, 34)
    lines = ((x % step < 1.4) | (y % step < 1.4)).astype(np.float32)
    bold = ((x % (5 * step) < 2.2) | (y % (5 * step) < 2.2)).astype(np.float32)
    fibre = noise(rng, (size[1], size[0]), 5, 3)
    return _picture(base * (1 - 0.1 * lines - 0.12 * bold + 0.025 * fibre)[..., None])


def tiles(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A kitchen floor, chequered."""
    x, y = _grid(size)
    side = rng.uniform(80, 120)
    dark = (x // side + y // side) % 2 == 0
    one, two = (("#c2b29c", "#a07a66"), ("#c9cdca", "#8b9aa2"))[int(rng.integers(2))]
    colour = np.where(dark[..., None], np.array(rgb(one), np.float32), np.array(rgb(two), np.float32))
    joint = (x % side < 2.5) | (y % side < 2.5)
    marble = noise(rng, (size[1], size[0]), 70, 6)
    return _picture(np.where(joint[..., None], 120.0, colour * (1 + 0.07 * marble)[..., None]))


BACKDROPS = (wood, linen, slate, grass, paper, tiles)
