"""A margin per class from how many images it has: rare classes get the larger margin."""

from __future__ import annotations

import torch
from torch import Tensor


def dynamic_margins(counts: Tensor, low: float = 0.05, high: float = 0.5) -> Tensor:
    """Margins [classes] in radians from the numbers of images per class [classes], each at least 1; float32.

    With u_c = n_c^(-1/4), m_c = low + (high - low) (u_c - min u) / (max u - min u): the largest class has `low`,
    the smallest `high`. Where all classes have the same size the formula is 0 / 0; every margin is then
    halfway between. Give the result to `ArcFace` as its `margin`. ValueError for counts that are not [classes]
    or below 1, and for low above high.

    Ha, Liu, Liu, Liao, "Google Landmark Recognition 2020 Competition Third Place Solution" (arXiv:2010.05350);
    power and range as in their code.
    """
    if counts.ndim != 1 or len(counts) == 0:
        raise ValueError(f"counts must be [classes], got {list(counts.shape)}")
    if not bool((counts >= 1).all()):
        raise ValueError(f"counts must be at least 1; class {int((counts < 1).nonzero()[0])} has no image")
    if not low <= high:
        raise ValueError(f"low must not be above high, got {low} and {high}")
    u = counts.double().pow(-0.25)
    least, most = torch.aminmax(u)
    if least == most:
        return torch.full_like(u, (low + high) / 2).float()
    return (low + (high - low) * (u - least) / (most - least)).float()
