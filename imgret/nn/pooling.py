"""Pooling a feature map over space into one vector per image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# At 0 the mean is undefined and below 1 it favours what is weak; at 20 it is the maximum, nearly.
P_RANGE = (1.0, 20.0)


def gem(features: Tensor, p: Tensor | float, eps: float = 1e-6) -> Tensor:
    """Generalised-mean pooling over space: [B, C, H, W] -> [B, C], not normalised.

    p is a scalar or [C], above 0; 1 is average pooling, large p approaches max pooling. Values below
    eps are raised to eps, so an all-zero map gives eps in every channel. Half precision is raised to
    float32 first, whatever autocast says; float64 stays. ValueError unless features has four axes.

    Radenović, Tolias, Chum, "Fine-tuning CNN image retrieval with no human annotation"
    (arXiv:1711.02512), eq. 3.
    """
    if features.ndim != 4:
        raise ValueError(f"features must be [B, C, H, W], got {list(features.shape)}")
    with torch.autocast(features.device.type, enabled=False):
        x = features.to(torch.promote_types(features.dtype, torch.float32)).clamp(min=eps)
        p = torch.as_tensor(p, dtype=x.dtype, device=x.device)
        # GeM(x) = m GeM(x / m) for any m > 0. With m the maximum, 100^20 cannot overflow float32; m is
        # no function of x here, so no gradient is owed through it.
        largest = x.detach().amax((2, 3), keepdim=True)  # [B, C, 1, 1]
        mean = (x / largest).pow(p.reshape(-1, 1, 1)).mean((2, 3))  # [B, C]
        return largest.flatten(1) * mean.pow(1 / p)


def gem_parts(features: Tensor, p: Tensor | float, eps: float = 1e-6) -> Tensor:
    """A GeM vector f by location: [B, C, H, W] -> [B, C, H, W], above 0, summing over space to `gem`.

    Channel c takes x_c^p / sum x_c^p of f_c from each location: the mean inside the root is a sum over locations,
    and the root is shared out as that sum is.
    """
    pooled = gem(features, p, eps)
    x = features.to(pooled.dtype).clamp(min=eps)
    power = torch.as_tensor(p, dtype=x.dtype, device=x.device).reshape(-1, 1, 1)
    powers = (x / x.amax((2, 3), keepdim=True)).pow(power)  # scaled by the largest, as in `gem`
    return powers * (pooled[:, :, None, None] / powers.sum((2, 3), keepdim=True))


def gem_share(features: Tensor, p: Tensor | float, eps: float = 1e-6) -> Tensor:
    """Where a GeM vector f comes from: [B, C, H, W] -> [B, H, W], not negative, summing to 1 over space.

    The share of a location is what it brings to f in the direction of f, as a part of the whole: see `gem_parts`.
    """
    parts = gem_parts(features, p, eps)
    pooled = parts.sum((2, 3), keepdim=True)
    return (parts * pooled).sum(1) / pooled.square().sum(1)


class GeM(nn.Module):
    """Generalised-mean pooling with one learnable power: [B, C, H, W] -> [B, C], float32, not normalised.

    `p` starts at 3 and is clamped to [1, 20] where it is used, so a wild step of the optimiser cannot
    leave the defined range. Give it its own learning rate and no weight decay when training.
    """

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(float(p)))
        self.eps = eps

    @property
    def power(self) -> Tensor:
        """The power in use: `p` within [1, 20]."""
        return self.p.clamp(*P_RANGE)

    def forward(self, features: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C]."""
        return gem(features, self.power, self.eps)

    def parts(self, features: Tensor) -> Tensor:
        """The pooled vector by location, [B, C, H, W]: see `gem_parts`."""
        return gem_parts(features, self.power, self.eps)

    def share(self, features: Tensor) -> Tensor:
        """The share of the pooled vector that comes from each location: see `gem_share`."""
        return gem_share(features, self.power, self.eps)

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"p={self.p.item():.3f}, eps={self.eps:g}"
