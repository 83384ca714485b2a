"""One image at several scales, its descriptors pooled into one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def multiscale(
    describe: Callable[[Tensor], Tensor], images: Tensor, scales: Sequence[float], pool: Callable[[Tensor], Tensor]
) -> Tensor:
    """Descriptors of `images` [B, 3, H, W] over S scales, pooled: [B, D], unit rows.

    `describe` is called with the images resized by each scale (bilinear, sides cut to whole pixels) and `pool` with
    its answers [S, B, D]; one scale needs no pooling.
    """
    rows = [describe(_resized(images, scale)) for scale in scales]
    return F.normalize(rows[0] if len(rows) == 1 else pool(torch.stack(rows)))


def _resized(images: Tensor, scale: float) -> Tensor:
    if scale == 1.0:
        return images
    size = [max(1, int(side * scale)) for side in images.shape[2:]]
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False)


def mean(rows: Tensor) -> Tensor:
    """[S, B, D] -> [B, D], as all the others here; none is of unit length."""
    return rows.mean(0)


def gem(rows: Tensor, p: float) -> Tensor:
    """(mean_s x_s^p)^(1/p), as locations are pooled; x >= 0. As in Radenović's evaluation of models that end in GeM."""
    return rows.clamp(min=0).pow(p).mean(0).pow(1 / p)


def shifted_gem(rows: Tensor, p: float) -> Tensor:
    """(mean_s (x_s - g)^p)^(1/p) + g, g the least entry of an image: any sign will do.

    Scale-GeM at a finite p, for descriptors that are not unit length (Shao et al., arXiv:2308.06954). Differs from
    their code, where g is the least entry of the whole batch: a descriptor would depend on its neighbours.
    """
    least = rows.amin((0, 2)).unsqueeze(1)  # [B, 1]
    x = rows - least
    largest = x.amax(0).clamp(min=torch.finfo(x.dtype).tiny)  # [B, D]; powers of x / largest cannot overflow
    return largest * (x / largest).pow(p).mean(0).pow(1 / p) + least


def signed(rows: Tensor, p: float = 3.0, eps: float = 1e-6) -> Tensor:
    """The signed root of mean_s sign(x_s) max(|x_s|, eps)^p.

    As in the code of Revaud et al., "Learning with average precision" (arXiv:1906.07589), which raises the mean to
    eps too before the root and so every entry below 0.01 to 0.01; here the root is plain.
    """
    powered = (rows.sign() * rows.abs().clamp(min=eps).pow(p)).mean(0)
    return powered.sign() * powered.abs().pow(1 / p)


def largest(rows: Tensor) -> Tensor:
    """The largest of each entry over unit descriptors: Scale-GeM at p = infinity (arXiv:2308.06954)."""
    return rows.amax(0)
