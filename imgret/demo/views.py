"""Views of a scene as a telephone would take them: another place, another light, a hasty hand."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFilter

from imgret.demo.backdrops import BACKDROPS
from imgret.demo.canvas import noise

SIZES = ((640, 480), (480, 640), (640, 426), (560, 560), (640, 480), (450, 600), (640, 360), (480, 640))
"""Width and height of the views of a scene, in turn."""


def view(master: Image.Image, number: int, focus: tuple[float, float], rng: np.random.Generator) -> bytes:
    """View `number` (0-based) of a scene as the bytes of a JPEG.

    A picture in RGB fills the view, which is taken around `focus` (fractions of its width and height);
    one in RGBA is a thing, laid on a ground of its own. View 0 is the calm one: from the front, in even
    light.
    """
    haste = 0.3 if number == 0 else float(rng.uniform(0.6, 1.0))
    size = SIZES[number % len(SIZES)]
    if number % 4 and size[0] > size[1] and master.height > master.width:
        size = size[::-1]  # mostly, the telephone is turned for a tall thing
    picture = _laid(master, size, haste, rng) if master.mode == "RGBA" else _framed(master, size, focus, haste, rng)
    return _developed(picture, haste, rng)


def _framed(
    master: Image.Image,
    size: tuple[int, int],
    focus: tuple[float, float],
    haste: float,
    rng: np.random.Generator,
) -> Image.Image:
    """A part of the master seen at a slant: [size] RGB."""
    full = np.array(master.size, float)
    frame = np.array(size, float)
    zoom = rng.uniform(0.94 - 0.34 * haste, 0.94) * (full / frame).min()
    corners = _tilted(frame * zoom, 0.1 * haste, 7 * haste, rng)
    low, high = corners.min(0), corners.max(0)
    shrink = min(1.0, float(((full - 2) / (high - low)).min()))
    corners *= shrink
    low, high = low * shrink, high * shrink
    aim = (np.array(focus) + rng.uniform(-0.06, 0.06, 2) * haste) * full
    corners += np.clip(aim, 1 - low, full - 1 - high)
    return master.transform(size, Image.Transform.PERSPECTIVE, _perspective(size, corners), Image.Resampling.BICUBIC)


def _laid(master: Image.Image, size: tuple[int, int], haste: float, rng: np.random.Generator) -> Image.Image:
    """A thing on a table, seen at a slant, with its shadow: [size] RGB."""
    ground = BACKDROPS[int(rng.integers(len(BACKDROPS)))](rng, size).convert("RGBA")
    full, frame = np.array(master.size, float), np.array(size, float)
    part = rng.uniform(1.02 - 0.16 * haste, 1.02)
    corners = _tilted(full * (frame / full).min() * part, 0.1 * haste, 16 * haste, rng)
    low, high = corners.min(0), corners.max(0)
    corners *= min(1.0, float((frame * 0.96 / (high - low)).min()))
    room = np.maximum(0, (frame - np.ptp(corners, 0)) / 2)
    corners += frame / 2 - (corners.min(0) + corners.max(0)) / 2 + rng.uniform(-0.8, 0.8, 2) * room
    back = _perspective_from(corners, master.size)
    thing = master.transform(size, Image.Transform.PERSPECTIVE, back, Image.Resampling.BICUBIC)
    angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(6, 14)
    cast = Image.new("L", size, 0)
    cast.paste(thing.getchannel("A"), (round(reach * np.cos(angle)), round(reach * np.sin(angle))))
    cast = cast.filter(ImageFilter.GaussianBlur(rng.uniform(5, 10))).point([round(level * 0.6) for level in range(256)])
    ground.paste((18, 14, 12, 255), (0, 0), cast)
    ground.paste(thing, (0, 0), thing.getchannel("A"))
    return ground.convert("RGB")


def _tilted(size: np.ndarray, slant: float, turn: float, rng: np.random.Generator) -> np.ndarray:
    """The corners [4, 2] of a rectangle around 0, turned by up to `turn` degrees and seen at a slant."""
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * size / 2
    corners = corners * (1 - rng.uniform(0, slant, (4, 2)))
    angle = np.radians(rng.uniform(-turn, turn))
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return corners @ turned.T


def _perspective(size: tuple[int, int], corners: np.ndarray) -> list[float]:
    """Pillow's eight coefficients: a picture of `size` shows what lies between `corners` [4, 2]."""
    width, height = size
    return _homography(np.array([(0, 0), (width, 0), (width, height), (0, height)], float), corners)


def _perspective_from(corners: np.ndarray, size: tuple[int, int]) -> list[float]:
    """The same the other way round: a picture of `size` appears between `corners` [4, 2]."""
    width, height = size
    return _homography(corners, np.array([(0, 0), (width, 0), (width, height), (0, height)], float))


def _homography(seen: np.ndarray, source: np.ndarray) -> list[float]:
    """u = (ax + by + c) / (gx + hy + 1), v = (dx + ey + f) / (gx + hy + 1) for four pairs of points."""
    rows, values = [], []
    for (x, y), (u, v) in zip(seen.tolist(), source.tolist(), strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.linalg.solve(np.array(rows), np.array(values)).tolist()


def _developed(picture: Image.Image, haste: float, rng: np.random.Generator) -> bytes:
    """Light, colour, focus, sensor and file of a snapshot."""
    if rng.random() < 0.5 * haste:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.3)))
    pixels = np.asarray(picture, np.float32) / 255
    height, width = pixels.shape[:2]
    y, x = (
        np.linspace(-1, 1, height, dtype=np.float32)[:, None],
        np.linspace(-1, 1, width, dtype=np.float32)[None],
    )
    pixels = pixels ** np.float32(np.exp(rng.uniform(-0.25, 0.25) * haste))
    warmth = rng.normal(0, 0.07) * haste
    cast = np.array([1 + warmth, 1 + rng.normal(0, 0.015), 1 - warmth], np.float32)
    direction = rng.uniform(0, 2 * np.pi)
    side = 1 + 0.2 * haste * (x * np.cos(direction) + y * np.sin(direction))
    vignette = 1 - rng.uniform(0.0, 0.3) * haste * (x**2 + y**2) / 2
    pixels = pixels * cast * np.float32(1 + rng.uniform(-0.22, 0.16) * haste) * (side * vignette)[..., None]
    grain = rng.uniform(0.004, 0.022) * haste
    pixels = (
        pixels
        + grain * rng.standard_normal(pixels.shape, np.float32)
        + 0.6 * grain * noise(rng, (height, width), 3, 1)[..., None]
    )
    file = io.BytesIO()
    snapshot = Image.fromarray((pixels.clip(0, 1) * 255 + 0.5).astype(np.uint8))
    snapshot.save(file, "JPEG", quality=int(rng.integers(62, 92)))
    return file.getvalue()
