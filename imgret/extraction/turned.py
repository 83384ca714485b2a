"""The eight ways to look at a picture: upright, turned by quarters, and each of them in a mirror."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from imgret.extraction.describe import Describer

VARIANTS = 8


def turned(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """[B, H, W, 3] -> its 8 variants [B, H, W, 3] or [B, W, H, 3].

    First the pictures as they are, then turned by 90, 180 and 270 degrees counter-clockwise, then the same four of
    the pictures mirrored left to right.
    """
    for seen in (pixels, pixels[:, :, ::-1]):
        for quarters in range(4):
            yield np.ascontiguousarray(np.rot90(seen, quarters, axes=(1, 2)))


class TurnedDescriber:
    """A Describer of all eight variants: it takes eight times as long, never more images at once."""

    def __init__(self, describer: Describer) -> None:
        self._describer = describer

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """[B, H, W, 3] uint8 RGB -> [B, 8 D] float32, eight unit descriptors an image in the order of `turned`."""
        return np.concatenate([self._describer(variant) for variant in turned(pixels)], axis=1)
