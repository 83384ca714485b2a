"""Seeing: the maps of a model over one image, and where their cells lie on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from imgret.models.base import DescriptorModel
from imgret.models.sight import Geometry, seen_size

Places = tuple[tuple[float, float], tuple[float, float]]
"""(first centre, step) of the rows of cells and of the columns, as parts of the image's sides."""


def as_batch(pixels: np.ndarray, device: torch.device, layout: torch.memory_format) -> Tensor:
    """[H, W, 3] uint8 RGB -> [1, 3, H, W] float32 in 0..1."""
    batch = torch.tensor(pixels, device=device)[None]
    return batch.permute(0, 3, 1, 2).float().div_(255).contiguous(memory_format=layout)


def views_of(model: DescriptorModel, image: Tensor) -> dict[str, np.ndarray]:
    """Where a model looks in one image [1, 3, H, W]: name -> map [h, w] float32, in float32 whatever autocast says."""
    with torch.autocast(image.device.type, enabled=False):
        return {name: view[0].cpu().numpy() for name, view in model.look(image).items()}


def places_of(shape: Geometry, size: Sequence[int], cells: Sequence[int]) -> Places:
    """Where so many rows and columns of cells lie on an image of a size (height, width)."""
    rows, columns = (shape.centres(*pair) for pair in zip(seen_size(shape, *size), cells, strict=True))
    return rows, columns
