"""The augmentations: what may happen to an image before it is learned from.

Each draws all its randomness from the generators it is given and none from Python, numpy or torch at large, so
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
from imgret.training.batches.light import as_it_is, phone_light, scene_light, soft_light
from imgret.training.batches.scenes import laid_on
from imgret.training.batches.views import View, phone_view, seen, soft_window, whole

Draw = Callable[[np.random.Generator], View]
Light = Callable[[Tensor, np.random.Generator], Tensor]


@dataclass(frozen=True, slots=True)
class Sample:
    """One image as it is learned from.

    pixels    uint8 [3, h, w]
    heat_map  float32 [1, h, w], 0 to 1, where one was given
    plain     uint8 [3, h, w], the same view before light and backdrop
    placed    False where the view lies on a backdrop, so that its places are no longer the view's
    """

    pixels: Tensor
    heat_map: Tensor | None
    plain: Tensor
    placed: bool


@dataclass(frozen=True)
class Augmentation:
    """`view` draws what is seen, `light` changes pixels [3, h, w] uint8 in place of a camera.

    `detail` is how many times the batch's size an image is decoded at, so that the smaller windows stay sharp.
    `scenes` is how often a view is laid on another picture, where there is one to lie on.
    """

    view: Draw
    light: Light
    detail: float
    scenes: float = 0.0

    def __call__(
        self,
        picture: np.ndarray,
        size: tuple[int, int],
        random: np.random.Generator,
        heat_map: np.ndarray | None = None,
        *,
        window: np.random.Generator | None = None,
        backdrop: np.ndarray | None = None,
    ) -> Sample:
        """An image [H, W, 3] uint8 RGB -> a sample at `size` (w, h), warped and not padded.

        A heat map [H', W'] uint8 of any resolution covers the whole image, and is seen through the same view. What is
        seen is drawn from `window` where that is given, all else from `random`. `backdrop` [H", W", 3] is the
        picture that the view may lie on.
        """
        view = self.view(random if window is None else window)
        plain = seen(_channels_first(picture), view, size).contiguous()
        pixels, placed = plain, True
        if backdrop is not None and self.scenes and random.random() < self.scenes:
            pixels, placed = laid_on(plain, seen(_channels_first(backdrop), self.view(random), size), random), False
        pixels = self.light(pixels, random)
        if heat_map is None:
            return Sample(pixels, None, plain, placed)
        return Sample(pixels, seen(torch.from_numpy(heat_map / np.float32(255))[None], view, size), plain, placed)


def _channels_first(picture: np.ndarray) -> Tensor:
    # A copy: what a decoder hands out may be read-only, and torch warns of that.
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)


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
PHONE_SCENES = Augmentation(phone_view, phone_light, detail=2.0, scenes=0.35)
PHONE_GLARE = Augmentation(phone_view, scene_light, detail=2.0, scenes=0.35)
