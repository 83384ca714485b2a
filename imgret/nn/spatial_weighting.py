"""One weight per location of a map: the spatial attention of DELG and DOLG."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_EPS = 1e-6  # the shortest vector that is stretched to unit length; below, the gradient would explode


class SpatialWeighting(nn.Module):
    """Unit vectors times a weight: s u / |u|_2, u = BN(conv1x1(x)), s = softplus(conv1x1(ReLU(u))).

    [B, C, h, w] -> [B, C, h, w]; the norm runs over channels, so a location's vector is exactly s long.
    s is above 0 and unbounded. The form is that of DOLG's released code (Yang et al., arXiv:2108.02927),
    after DELG (Cao, Araujo, Sim, arXiv:2001.05027). Norm and softplus are computed in float32 or better.
    The first convolution has no bias: the batch norm behind it would take it away.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.score = nn.Conv2d(channels, 1, 1)

    def weights(self, features: Tensor) -> Tensor:
        """s [B, 1, h, w], float32 or better."""
        return self._weights(self._values(features))

    def forward(self, features: Tensor) -> Tensor:
        """s u / |u|_2."""
        values = self._values(features)
        with torch.autocast(features.device.type, enabled=False):
            wide = torch.promote_types(values.dtype, torch.float32)
            directions = F.normalize(values.to(wide), dim=1, eps=_EPS)
        return (self._weights(values) * directions).to(values.dtype)

    def _values(self, features: Tensor) -> Tensor:
        """u [B, C, h, w]."""
        return self.norm(self.embed(features))

    def _weights(self, values: Tensor) -> Tensor:
        """u [B, C, h, w] -> s [B, 1, h, w]."""
        score = self.score(values.relu())
        return F.softplus(score.to(torch.promote_types(score.dtype, torch.float32)))
