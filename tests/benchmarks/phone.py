"""The phone of the benchmark reshoot.py: where its camera stands, and what it does to a picture.

Lengths on the table are in long sides of the sheet that is photographed, around its centre, y down. Directions and
turns are in degrees, pixels are those of the finished photograph.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

LONG, SHORT = 640, 480
SQUARE = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) / 2


def homography(
    tilt: float, towards: float, turn: float, focal: float, at: Sequence[float], distance: float
) -> np.ndarray:
    """H = K [r1 r2 t], [3, 3]: the table's point (X, Y, 1) to pixels, up to scale.

    The sheet is turned by `turn` in its plane, then tilted by `tilt` around the axis in direction `towards` (degrees).
    Its centre is `distance` deep and seen at `at`, pixels from the middle of the picture; `focal` is in pixels.
    """
    tilt, towards, turn = np.radians((tilt, towards, turn))
    rotation = _about_z(towards) @ _about_x(tilt) @ _about_z(turn - towards)
    centre = distance * np.array([at[0] / focal, at[1] / focal, 1])
    return np.diag([focal, focal, 1]) @ np.column_stack([rotation[:, :2], centre])


def _about_z(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])


def _about_x(angle: float) -> np.ndarray:
    return np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])


def project(H: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [N, 2] through a homography: [N, 2]."""
    seen = np.column_stack([points, np.ones(len(points))]) @ H.T
    return seen[:, :2] / seen[:, 2:]


def aim(shape: np.ndarray, rng: np.random.Generator) -> tuple[tuple[int, int], np.ndarray]:
    """A frame (width, height) and H into its pixels, so that a sheet of `shape` (width, height) takes 30 to 80 % of it.

    Tried again, a little smaller, until all corners are in the frame, or, in three of ten photographs, all but one.
    """
    corners = SQUARE * shape
    points = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, 21)] * 2), -1).reshape(-1, 2) * shape
    tilt, outside, share = rng.uniform(10, 50), int(rng.random() < 0.3), rng.uniform(0.3, 0.8)
    while True:
        frame = (LONG, SHORT) if rng.random() < 0.5 else (SHORT, LONG)
        towards, turn, focal = rng.uniform(0, 360), rng.uniform(-25, 25), LONG * rng.uniform(0.8, 1.2)
        camera, distance = (tilt, towards, turn, focal, frame * rng.uniform(-0.15, 0.15, 2)), 3.0
        for _ in range(12):  # nearly, the area falls with the square of the distance
            x, y = project(homography(*camera, distance), corners).T
            distance *= np.sqrt((x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2 / (share * LONG * SHORT))
        H = np.array([(1, 0, frame[0] / 2), (0, 1, frame[1] / 2), (0, 0, 1)]) @ homography(*camera, distance)
        seen, filled = (((at > 0) & (at < frame)).all(1) for at in (project(H, corners), project(H, points)))
        if seen.sum() == 4 - outside and filled.mean() > 0.9:
            return frame, H
        share = max(0.3, share * 0.99)


def blurred(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Out of focus, or moved by up to 11 pixels."""
    if rng.random() < 0.5:
        return picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 2)))
    length, angle = rng.uniform(3, 11), rng.uniform(0, np.pi)
    total = np.zeros((picture.height, picture.width, 3), np.float32)
    for step in np.linspace(-length / 2, length / 2, 15):
        shift = (1, 0, step * np.cos(angle), 0, 1, step * np.sin(angle))
        moved = picture.transform(picture.size, Image.Transform.AFFINE, shift, Image.Resampling.BILINEAR)
        total += np.asarray(moved)
    return Image.fromarray((total / 15 + 0.5).astype(np.uint8))


def lit(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Light that falls off, a shadow's edge, glare, exposure and cast, and the noise of a sensor; in linear light."""
    x, y = np.meshgrid(np.linspace(-1, 1, photo.width), np.linspace(-1, 1, photo.height))
    toward, edge, slant = rng.uniform(0, 2 * np.pi, 3)
    light = np.exp(rng.uniform(0.2, 0.9) * (x * np.cos(toward) + y * np.sin(toward)))
    beyond = x * np.cos(edge) + y * np.sin(edge) - rng.uniform(-0.5, 0.5)
    light *= 1 - rng.uniform(0.3, 0.7) / (1 + np.exp(-beyond / rng.uniform(0.01, 0.15)))
    light *= np.exp(rng.uniform(-0.7, 0.6)) / light.mean()
    (u, v), (wide, high) = rng.uniform(-0.6, 0.6, 2), rng.uniform(0.08, 0.3, 2)
    along, across = (x - u) * np.cos(slant) + (y - v) * np.sin(slant), (y - v) * np.cos(slant) - (x - u) * np.sin(slant)
    glare = rng.uniform(0, 1.2) * np.exp(-((along / wide) ** 2 + (across / high) ** 2))
    cast = np.exp(rng.normal(0, 0.12, 3))
    linear = (np.asarray(photo) / 255) ** 2.2 * light[..., None] * cast + glare[..., None]
    seen = linear.clip(0, 1) ** (1 / 2.2 * np.exp(rng.uniform(-0.3, 0.3)))
    seen += rng.uniform(0.01, 0.05) * rng.standard_normal(seen.shape) * (1.2 - seen)  # dark parts are noisier
    return Image.fromarray((seen.clip(0, 1) * 255 + 0.5).astype(np.uint8))
