"""The augmentations: what may happen to an image before it is learned from.

Each draws all its randomness from the generator it is given and none from Python, numpy or torch at large, so
a sample depends on its own seed and not on which process made it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from imgret.tables import look_up, resolve
from imgret.training.batches import AUGMENTATIONS
from imgret.training.batches.light import as_it_is, phone_light, soft_light
from imgret.training.batches.views import View, phone_view, seen, soft_window, whole

Draw = Callable[[np.random.Generator], View]
Light = Callable[[Tensor, np.random.Generator], Tensor]


@dataclass(frozen=True)
class Augmentation:
    """`view` draws what is seen, `light` changes pixels [3, h, w] uint8 in place of a camera.

    `detail` is how many times the batch's size an image is decoded at, so that the smaller windows stay sharp.
    """

    view: Draw
    light: Light
    detail: float

    def __call__(
        self,
        picture: np.ndarray,
        size: tuple[int, int],
        random: np.random.Generator,
        heat_map: np.ndarray | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """An image [H, W, 3] uint8 RGB -> pixels [3, h, w] uint8 at `size` (w, h), warped and not padded.

        A heat map [H', W'] uint8 of any resolution covers the whole image; its view is the same: [1, h, w]
        float32, 0 to 1.
        """
        view = self.view(random)
        # A copy: what a decoder hands out may be read-only, and torch warns of that.
        pixels = seen(torch.from_numpy(picture.copy()).permute(2, 0, 1), view, size)
        pixels = self.light(pixels.contiguous(), random)
        if heat_map is None:
            return pixels, None
        return pixels, seen(torch.from_numpy(heat_map / np.float32(255))[None], view, size)


def augmentation_called(name: str) -> Augmentation:
    """The augmentation of that name; UnknownNameError with the nearest name otherwise."""
    found: Augmentation = resolve(look_up(AUGMENTATIONS, "augmentation", name))
    return found


def _phone_flip_view(random: np.random.Generator) -> View:
    return replace(phone_view(random), flip=bool(random.random() < 0.5))


NONE = Augmentation(whole, as_it_is, detail=1.25)
SOFT = Augmentation(soft_window, soft_light, detail=1.5)
PHONE = Augmentation(phone_view, phone_light, detail=2.0)
PHONE_FLIP = Augmentation(_phone_flip_view, phone_light, detail=2.0)
