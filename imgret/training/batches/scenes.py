"""A view as a thing in the world: smaller, tilted, on top of another picture."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def laid_on(pixels: Tensor, backdrop: Tensor, random: np.random.Generator) -> Tensor:
    """Pixels [3, h, w] uint8 laid on a backdrop of the same shape: [3, h, w].

    The view takes 0.5 to 0.9 of either side, turned by up to 20 degrees, each corner up to a tenth of the side out of
    its place, and lies anywhere it fits with its middle. The distribution is ours.
    """
    height, width = pixels.shape[1:]
    scale = random.uniform(0.5, 0.9)
    angle = np.deg2rad(random.uniform(-20, 20))
    square = np.array([(-1.0, -1.0), (1, -1), (1, 1), (-1, 1)]) / 2  # the view's corners about its middle
    corners = (square + random.uniform(-0.1, 0.1, (4, 2))) * scale
    turn = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
    middle = 0.5 + random.uniform(-0.5, 0.5, 2) * (1 - scale)
    target = (corners @ turn + middle) * (width, height)
    source = (square + 0.5) * (width, height)
    coefficients = homography(target, source)
    view = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    size, how, smooth = (width, height), Image.Transform.PERSPECTIVE, Image.Resampling.BILINEAR
    laid = view.transform(size, how, coefficients, smooth)
    cover = Image.new("L", size, 255).transform(size, how, coefficients, smooth)
    scene = Image.fromarray(backdrop.permute(1, 2, 0).contiguous().numpy())
    scene.paste(laid, mask=cover)
    return torch.from_numpy(np.array(scene)).permute(2, 0, 1).contiguous()


def homography(points: np.ndarray, to: np.ndarray) -> list[float]:
    """(a, ..., h) with x' = (a x + b y + c) / (g x + h y + 1), y' = (d x + e y + f) / (g x + h y + 1).

    It takes the four `points` [4, 2] to the four others.
    """
    rows, values = [], []
    for (x, y), (u, v) in zip(points, to, strict=True):
        rows += [(x, y, 1, 0, 0, 0, -u * x, -u * y), (0, 0, 0, x, y, 1, -v * x, -v * y)]
        values += [u, v]
    return [float(value) for value in np.linalg.solve(np.array(rows), np.array(values))]
