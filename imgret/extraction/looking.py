"""Looker: one image and the maps of where a model looks in it, as numpy arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from imgret.errors import InputError, WeightsError
from imgret.extraction.describe import resolve_device
from imgret.extraction.job import Say, quiet
from imgret.extraction.seeing import Places, as_batch, places_of, views_of
from imgret.images.decode import DecodeRule, Undecodable, decode
from imgret.images.files import ImageFile
from imgret.models.base import DescriptorModel
from imgret.models.sight import Geometry, seen_size, view_geometry
from imgret.models.weights import load_model


@dataclass(frozen=True)
class Look:
    """Where a model looks in one image.

    id, path   of the image
    pixels     [H, W, 3] uint8 RGB, as decoded
    views      name -> [h, w] float32, not negative: more is more attention (`DescriptorModel.look`)
    words      name -> what that view is, where the model says so
    places     name -> (first centre, step) of the rows of cells and of the columns, as parts of the image's sides
    seen       (height, width) that the model stretched the image to; that of `pixels` unless it had to
    """

    id: str
    path: str
    pixels: np.ndarray
    views: dict[str, np.ndarray]
    words: dict[str, str]
    places: dict[str, Places]
    seen: tuple[int, int]


@dataclass(frozen=True)
class Looker:
    """A model on its device. `identity`, `image_size` and `trained` are those of LoadedDescriber."""

    model: DescriptorModel
    device: torch.device
    identity: dict[str, Any]
    image_size: int
    trained: bool

    @cached_property
    def _shape(self) -> Geometry:
        """Measured once: it takes about as long as a look."""
        return view_geometry(self.model)

    def look(self, image: ImageFile, size: int | None = None) -> Look | Undecodable:
        """Decode an image, its longer side at most `size` pixels (None: the model's own), and look.

        InputError for a model that cannot show where it looks; WeightsError when a map is not finite.
        """
        found = decode(image, DecodeRule(size or self.image_size))
        if isinstance(found, Undecodable):
            return found
        views = self.views(found.pixels)
        decoded = found.pixels.shape[:2]
        places = {name: places_of(self._shape, decoded, view.shape) for name, view in views.items()}
        seen = seen_size(self._shape, *decoded)
        return Look(image.id, image.path, found.pixels, views, self.model.view_words(), places, seen)

    def views(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """[H, W, 3] uint8 RGB -> name -> map [h, w] float32; the errors of `look`."""
        seen = views_of(self.model, as_batch(pixels, self.device, torch.channels_last))
        if not seen:
            raise InputError(
                f"{self.identity['model']} cannot show where it looks: it has no views; try another --model"
            )
        for name, view in seen.items():
            if not np.isfinite(view).all():
                raise WeightsError(
                    f"the view {name!r} of {self.identity['model']} is not finite: its weights are damaged"
                )
        return seen


def load_looker(
    model: str | Path,
    *,
    backbone: str | None = None,
    weights: str | Path = "auto",
    seed: int = 0,
    offline: bool = False,
    device: str = "auto",
    say: Say = quiet,
) -> Looker:
    """The model that `load_model` gives for these arguments, ready to look; its errors."""
    place = resolve_device(device)
    loaded = load_model(model, backbone=backbone, weights=weights, seed=seed, offline=offline, say=say)
    ready = loaded.model.eval().requires_grad_(False).to(place).to(memory_format=torch.channels_last)
    return Looker(ready, place, loaded.identity, loaded.image_size, loaded.trained)
