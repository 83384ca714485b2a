"""A loss that draws attention to where people looked."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def map_supervision(maps: Sequence[Tensor], clicks: Tensor, has_map: Tensor) -> Tensor:
    """How far attentions S are from maps of where to look, as a scalar in float32 or better; 0 to 2.

    `maps` are one S [B, C, h, w] per layer, `clicks` is [B, 1, H, W], not negative and smooth (it is sampled at
    the cells of each layer, bilinearly, corners on corners), `has_map` is [B] bool: other images cost nothing.
    With A = mean_c S^2, M the clicks at the layer's size, and |.| the norm over locations, the loss is the mean
    over layers and images that have a map of

        | A / |A| - M / |M| |^2 = 2 - 2 cos(A, M),

    0 when no image has one. Norms below 1e-8 count as 1e-8. ValueError for no layer or other shapes.

    After Linsley, Shiebler, Eberhardt, Serre (arXiv:1805.08819). The authors' released code divides each map by
    the root of its plain sum, so c times a map is sqrt(c) times the result, and adds up over the batch; with the
    true norm and the mean, neither the scale of a map, nor its size, nor the batch's changes the weight of the
    loss. It depends on the direction of A alone, so its slope grows as S shrinks (clip gradients), and at
    S = 0, an identity gate before its first step, there is none: another loss must move a and m first.
    """
    if not maps:
        raise ValueError("map_supervision needs the attention of at least one layer")
    batch = maps[0].shape[0]
    if clicks.ndim != 4 or clicks.shape[:2] != (batch, 1) or has_map.shape != (batch,):
        raise ValueError(
            f"clicks must be [{batch}, 1, H, W] and has_map [{batch}], "
            f"got {list(clicks.shape)} and {list(has_map.shape)}"
        )
    wide = torch.promote_types(maps[0].dtype, torch.float32)
    # What stands in for a missing map may be anything, even NaN, and 0 * NaN is NaN.
    clicks = clicks.to(wide).where(has_map[:, None, None, None], 0.0)
    images = has_map.sum().clamp(min=1)
    losses = []
    for attention in maps:
        found = attention.to(wide).square().mean(1)  # A [B, h, w]
        wanted = F.interpolate(clicks, size=found.shape[1:], mode="bilinear", align_corners=True)
        distance = (_unit(found) - _unit(wanted)).square().sum(1)  # [B]
        losses.append((distance * has_map).sum() / images)
    return torch.stack(losses).mean()


def _unit(maps: Tensor) -> Tensor:
    """Maps [B, ...] -> rows [B, locations] of unit length."""
    return F.normalize(maps.flatten(1), dim=1, eps=1e-8)
