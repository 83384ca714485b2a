"""Target logits with an angular margin: psi(theta) from cos theta, and where psi enters the logits.

theta is the angle between a descriptor and its class, m the margin in radians. All work in float32 or better on
cos theta clamped to [-1 + 1e-7, 1 - 1e-7]: at |cos| = 1, sin = sqrt(1 - cos^2) is infinitely steep.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

_BOUND = 1 - 1e-7

Psi = Callable[[Tensor, Tensor], Tensor]


def hard_margin(cosine: Tensor, margin: Tensor) -> Tensor:
    """cos(theta + m) up to theta = pi - m, beyond it cos theta - m sin m; elementwise, margins broadcast.

    Beyond pi - m the cosine of the sum would rise again. The logit jumps there from -1 to -cos m - m sin m
    (-1.117 for m = 0.5). Deng et al., "ArcFace" (arXiv:1801.07698), and its authors' code.
    """
    cosine = clamped(cosine)
    return torch.where(_within_pi(cosine, margin), cosine_of_sum(cosine, margin), cosine - margin * margin.sin())


def easy_margin(cosine: Tensor, margin: Tensor) -> Tensor:
    """cos(theta + m) where cos theta > 0, else cos theta: no margin for what is not yet near its class.

    The logit jumps at theta = pi / 2 from -sin m to 0. The easy margin of the ArcFace authors' code.
    """
    cosine = clamped(cosine)
    return torch.where(cosine > 0, cosine_of_sum(cosine, margin), cosine)


def delg_margin(cosine: Tensor, margin: Tensor) -> Tensor:
    """cos(theta + m) up to theta = pi - m, beyond it cos theta without a penalty.

    DELG's code (Cao, Araujo, Sim, arXiv:2001.05027), there with m = 0.1 and a scale of sqrt(2048) = 45.25.
    """
    cosine = clamped(cosine)
    return torch.where(_within_pi(cosine, margin), cosine_of_sum(cosine, margin), cosine)


PSI: dict[str, Psi] = {"hard": hard_margin, "easy": easy_margin, "delg": delg_margin}


def clamped(cosine: Tensor) -> Tensor:
    """Cosines in float32 or better, at least 1e-7 away from 1 and -1."""
    return cosine.to(torch.promote_types(cosine.dtype, torch.float32)).clamp(-_BOUND, _BOUND)


def cosine_of_sum(cosine: Tensor, margin: Tensor) -> Tensor:
    """cos(theta + m) = cos theta cos m - sin theta sin m, of clamped cosines."""
    sine = ((1 - cosine) * (1 + cosine)).sqrt()
    return cosine * margin.cos() - sine * margin.sin()


def _within_pi(cosine: Tensor, margin: Tensor) -> Tensor:
    """theta <= pi - m, that is cos theta >= cos(pi - m)."""
    return cosine >= -margin.cos()


def add_margin(cosine: Tensor, target: Tensor, margin: Tensor, psi: Psi) -> Tensor:
    """Cosines [B, n] with psi at the target of each row.

    `target` [B] is the column, -1 where the row has none here; `margin` is a scalar or [classes of the rows: B].
    """
    column = target.clamp(min=0).unsqueeze(1)  # [B, 1]
    old = cosine.gather(1, column)
    new = torch.where(target.unsqueeze(1) >= 0, psi(old, margin.view(-1, 1)), old)
    return cosine.scatter(1, column, new)


def margin_tensor(margin: float | Tensor, classes: int) -> Tensor:
    """A margin as a tensor, a scalar or [classes]; ValueError for another shape or outside [0, pi / 2] radians."""
    margins = torch.as_tensor(margin, dtype=torch.get_default_dtype())
    if margins.shape not in ((), (classes,)):
        raise ValueError(f"margin must be one number or [{classes}], got {list(margins.shape)}")
    if not bool(((margins >= 0) & (margins <= math.pi / 2)).all()):
        raise ValueError(
            f"margin must be in radians, in [0, pi / 2], got {float(margins.min()):g} to {float(margins.max()):g}"
        )
    return margins.detach().clone()
