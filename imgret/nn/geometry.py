"""Where the cells of a trunk's maps lie on the image.

A padded ResNet's cell i is centred on pixel 32 i, where the cell of a patch trunk is centred on 32 i + 16: half a cell
apart, which a picture of attention shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from imgret.nn.backbones import Pyramid, TokenTrunk

_CELLS = 12  # along each side of the probe: an inner cell sees little of the borders


@dataclass(frozen=True)
class Geometry:
    """How a trunk's last map lies on the image: cell i is centred at (i + `first`) steps.

    first    0.5 for patches, 0 for a padded ResNet
    stride   of the last map, in pixels
    whole    the image is first stretched to whole cells; then a step is the side over the cells, else `stride`
    """

    first: float
    stride: int
    whole: bool

    def size(self, side: int) -> int:
        """The length in pixels at which the trunk sees a side of the image."""
        return math.ceil(side / self.stride) * self.stride if self.whole else side

    def centres(self, side: int, cells: int) -> tuple[float, float]:
        """(first centre, step), as parts of the side, of a map with so many cells along `side` pixels.

        Of maps finer than the last the first centre is the same part of a cell.
        """
        if self.whole:
            step = 1 / cells
        else:
            # h = ceil(H / stride) cells of the last map, and twice as many, or less by one, of each map before it.
            finer = 2 ** max(0, math.floor(math.log2(cells * self.stride / side)))
            step = self.stride / finer / side
        return self.first * step, step


def geometry(trunk: Pyramid | TokenTrunk) -> Geometry:
    """How the maps of a trunk lie on the image; measured where convolutions decide it.

    One inner cell is asked by its gradient: its centre of mass on the image is where the cell looks. Patches cut
    from the image itself need not be asked: they lie evenly.
    """
    if isinstance(trunk, TokenTrunk):
        patches: Any = trunk.net.patch_embed
        return Geometry(_first_patch(patches, trunk.stride), trunk.stride, whole=True)
    if trunk.on_grid:
        return Geometry(0.5, trunk.stride, whole=True)
    first = _first(trunk, lambda images: trunk.maps(images)[-1], trunk.stride)
    return Geometry(first, trunk.stride, whole=False)


def _first_patch(patches: Any, stride: int) -> float:
    """As `_first`: in the middle of a patch, be it of pixels or of the cells of the convolutions of a hybrid."""
    if not hasattr(patches, "backbone"):
        return 0.5
    side: int = patches.proj.kernel_size[0]  # of a patch, in cells
    cell = _first(patches.backbone, lambda images: _last(patches.backbone(images)), stride // side)
    return ((side - 1) / 2 + cell) / side


def _last(maps: Any) -> Tensor:
    return maps[-1] if isinstance(maps, (list, tuple)) else maps


def _first(part: nn.Module, cells_of: Callable[[Tensor], Tensor], stride: int) -> float:
    """Where in a cell its centre is, from 0 to 1, to the next quarter: weights are noisy, and random ones more so."""
    side, inner = _CELLS * stride, _CELLS // 2
    mode = part.training
    part.eval()
    try:
        with torch.inference_mode(False), torch.enable_grad():
            noise = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
            image = noise.to(next(part.parameters())).requires_grad_()
            cell = cells_of(image)[0, :, inner, inner]
            (slope,) = torch.autograd.grad(cell.float().square().sum(), image)
    finally:
        part.train(mode)
    # Squares, for what squeeze-and-excitation spreads thinly over the whole image should hardly count.
    weight = slope[0].double().square().sum(0)  # [H, W]
    places = (torch.arange(side, dtype=torch.float64, device=weight.device) + 0.5) / stride
    found = float((weight * (places + places[:, None])).sum() / (2 * weight.sum())) - inner  # mean of x and y
    return min(max(round(4 * found) / 4, 0.0), 1.0) if math.isfinite(found) else 0.5
