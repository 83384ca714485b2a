"""What part of an image is seen, and from where: drawn once, applied to the image and to its heat map alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torchvision.transforms.v2 import functional as F

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class View:
    """A window of an image, in fractions of its height and width, so that it fits any resolution.

    The window may reach over the edges; what lies outside is black. `corners` are the points (x, y) of the
    window, in fractions of it, that come to lie on the corners of the result: top left, top right, bottom
    right, bottom left; None: the window's own. `flip` mirrors left and right at the end.
    """

    top: float = 0.0
    left: float = 0.0
    height: float = 1.0
    width: float = 1.0
    corners: tuple[Point, Point, Point, Point] | None = None
    flip: bool = False


WHOLE = View()


def seen(picture: Tensor, view: View, size: tuple[int, int]) -> Tensor:
    """The view of a picture [C, H, W], any dtype, warped to `size` (width, height): [C, height, width].

    The window's edges are rounded to whole pixels of the picture, and it has at least one.
    """
    height, width = picture.shape[1:]
    top, left = round(view.top * height), round(view.left * width)
    bottom, right = round((view.top + view.height) * height), round((view.left + view.width) * width)
    window = max(1, bottom - top), max(1, right - left)
    if (top, left, *window) == (0, 0, height, width):
        picture = F.resize(picture, [size[1], size[0]], antialias=True)
    else:
        picture = F.resized_crop(picture, top, left, *window, [size[1], size[0]], antialias=True)
    if view.corners is not None:
        picture = _stretched(picture, view.corners)
    return F.horizontal_flip(picture) if view.flip else picture


def _stretched(picture: Tensor, corners: tuple[Point, Point, Point, Point]) -> Tensor:
    """The four-sided part of a picture stretched over all of it."""
    bottom, right = picture.shape[1:]  # torchvision's points lie between pixels, from 0 to the width
    start = [[x * right, y * bottom] for x, y in corners]
    end = [[0, 0], [right, 0], [right, bottom], [0, bottom]]
    return F.perspective(picture, start, end)


def whole(random: np.random.Generator) -> View:  # noqa: ARG001
    """The whole image, always."""
    return WHOLE


def soft_window(random: np.random.Generator) -> View:
    """A window 0.8 to 1.2 times as high and, independently, as wide as the image, anywhere it fits.

    A larger window contains the image, a smaller one lies within it, both at random places.
    Yokoo et al. (arXiv:2003.11211) in their code; that places are uniform is our reading.
    """
    height, width = random.uniform(0.8, 1.2, 2)
    top, left = random.uniform(size=2) * (1 - height, 1 - width)
    return View(float(top), float(left), float(height), float(width))


def phone_view(random: np.random.Generator) -> View:
    """As another person with a phone might frame it: a fifth to all of the image, tilted up to 15 degrees, askew.

    The window keeps the image's aspect up to a factor from 3/4 to 4/3; each corner then moves inwards by up
    to a tenth, and the four turn about the middle. The distribution is ours.
    """
    area, stretch = random.uniform(0.2, 1.0), np.exp(random.uniform(-1, 1) * np.log(4 / 3))
    height, width = min(1.0, np.sqrt(area * stretch)), min(1.0, np.sqrt(area / stretch))
    top, left = random.uniform(size=2) * (1 - height, 1 - width)
    inward = random.uniform(0, 0.1, (4, 2))
    points = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) - 0.5
    points = points - np.sign(points) * inward
    angle = np.deg2rad(random.uniform(-15, 15))
    turn = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
    a, b, c, d = ((float(x), float(y)) for x, y in points @ turn + 0.5)
    return View(float(top), float(left), float(height), float(width), (a, b, c, d))
