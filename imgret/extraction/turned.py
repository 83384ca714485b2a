"""The eight ways to look at a picture: upright, turned by quarters, and each of them in a mirror."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

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

    ahead = 0
    settled = True

    def __init__(self, describer: Describer) -> None:
        self._describer = describer

    @property
    def device(self) -> torch.device:
        return self._describer.device

    def begin(self, pixels: np.ndarray | torch.Tensor) -> Callable[[], np.ndarray]:
        """[B, H, W, 3] uint8 RGB -> [B, 8 D] float32, eight unit descriptors an image in the order of `turned`."""
        if not isinstance(pixels, np.ndarray):
            pixels = pixels.cpu().numpy()
        waits = [self._describer.begin(variant) for variant in turned(pixels)]
        return lambda: np.concatenate([wait() for wait in waits], axis=1)
