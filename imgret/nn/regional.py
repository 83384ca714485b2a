"""Regional-GeM: every cell of a map takes in its neighbourhood before the map is pooled."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from imgret.nn.pooling import GeM


def regional_gem(features: Tensor, p: float = 2.5, side: int = 5, eps: float = 1e-6) -> Tensor:
    """x -> (R + x) / 2, R = (mean over side x side of x^p)^(1/p) around each cell: [B, C, H, W] -> the same shape.

    Stride 1, reflected at the borders. An axis too short to be reflected (at most side // 2 cells) repeats its
    outermost cells instead. Values below eps are raised to eps first, as in `gem`. Half precision is raised to
    float32, whatever autocast says; float64 stays. ValueError unless features has four axes and side is odd.

    Shao et al., "Global features are all you need for image retrieval and reranking" (arXiv:2308.06954). Differs
    from their code, which fails on a map with a side too short to be reflected.
    """
    if features.ndim != 4 or side < 1 or side % 2 == 0:
        raise ValueError(f"features must be [B, C, H, W] and side odd, got {list(features.shape)} and {side}")
    with torch.autocast(features.device.type, enabled=False):
        x = features.to(torch.promote_types(features.dtype, torch.float32)).clamp(min=eps)
        largest = x.amax((2, 3), keepdim=True)  # R(x) = m R(x / m) as in `gem`, and powers cannot overflow
        powers = _bordered((x / largest).pow(p), side // 2)
        return 0.5 * largest * F.avg_pool2d(powers, side, stride=1).pow(1 / p) + 0.5 * x


def _bordered(x: Tensor, width: int) -> Tensor:
    """[B, C, H, W] -> [B, C, H + 2 width, W + 2 width]."""
    height, length = x.shape[2:]
    x = F.pad(x, (0, 0, width, width), "reflect" if height > width else "replicate")
    return F.pad(x, (width, width, 0, 0), "reflect" if length > width else "replicate")


class RegionalGeM(GeM):
    """GeM of the map that `regional_gem` makes: [B, C, H, W] -> [B, C], float32, not normalised."""

    def __init__(self, p: float, eps: float, regional_p: float, side: int) -> None:
        super().__init__(p, eps)
        self.regional_p = regional_p
        self.side = side

    def forward(self, features: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C]."""
        return super().forward(regional_gem(features, self.regional_p, self.side))

    def parts(self, features: Tensor) -> Tensor:
        """The pooled vector by place of the map that is pooled: see `gem_parts`."""
        return super().parts(regional_gem(features, self.regional_p, self.side))

    def share(self, features: Tensor) -> Tensor:
        """The share of each place of the map that is pooled: see `gem_share`."""
        return super().share(regional_gem(features, self.regional_p, self.side))

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"{super().extra_repr()}, regional p={self.regional_p:g}, side={self.side}"
