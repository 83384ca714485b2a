"""Losses on tuples (query, positive, negatives): contrastive and triplet.

Tuples are rows of the batch, int64 [T, 2 + k]: the query, its positive, its k negatives; -1 stands where a negative
is missing. Distances are between unit descriptors, in [0, 2]. A loss is the sum over the pairs of a tuple, and the
mean over tuples, so that neither batch size nor gradient accumulation changes its weight; the code of
Radenović et al. sums over tuples too.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Contrastive(nn.Module):
    """d(q, p)^2 / 2 + sum over negatives of max(0, tau - d(q, n))^2 / 2.

    `tau` is a distance in (0, 2]: a negative further away costs nothing. ValueError otherwise. The code of
    Radenović et al. adds 1e-6 to each difference for the root's sake; here the distance is exact, and a negative
    identical to its query has a gradient of 0: no direction leads away from it.

    Radenović, Tolias, Chum, "Fine-tuning CNN image retrieval with no human annotation" (arXiv:1711.02512);
    tau = 0.85 is their value for ResNet-101.
    """

    def __init__(self, tau: float = 0.85) -> None:
        super().__init__()
        if not 0 < tau <= 2:
            raise ValueError(f"tau must be in (0, 2], the distances between unit vectors, got {tau}")
        self.tau = tau

    def forward(self, descriptors: Tensor, tuples: Tensor) -> Tensor:
        """Descriptors [B, D], tuples int64 [T, 2 + k] -> a scalar; of no tuples, 0 with a gradient of 0."""
        with torch.autocast(descriptors.device.type, enabled=False):
            to_positive, to_negatives, exists = _differences(descriptors, tuples)
            distance = torch.linalg.vector_norm(to_negatives, dim=2)  # [T, k]; its gradient at 0 is 0 in torch
            apart = (self.tau - distance).clamp(min=0).square() * exists
            return (to_positive.square().sum() + apart.sum()) / 2 / max(1, len(tuples))

    def extra_repr(self) -> str:
        """What `print(loss)` shows."""
        return f"tau={self.tau:g}"


class Triplet(nn.Module):
    """sum over negatives of max(0, d(q, p)^2 - d(q, n)^2 + margin).

    `margin` is a difference of squared distances, in (0, 4]; ValueError otherwise.

    Schroff, Kalenichenko, Philbin, "FaceNet" (arXiv:1503.03832), eq. 3; on tuples as in the code of Radenović et al.
    """

    def __init__(self, margin: float = 0.1) -> None:
        super().__init__()
        self.margin = margin_of_squares(margin)

    def forward(self, descriptors: Tensor, tuples: Tensor) -> Tensor:
        """Descriptors [B, D], tuples int64 [T, 2 + k] -> a scalar; of no tuples, 0 with a gradient of 0."""
        with torch.autocast(descriptors.device.type, enabled=False):
            to_positive, to_negatives, exists = _differences(descriptors, tuples)
            near, far = to_positive.square().sum(2), to_negatives.square().sum(2)  # [T, 1], [T, k]
            return ((near - far + self.margin).clamp(min=0) * exists).sum() / max(1, len(tuples))

    def extra_repr(self) -> str:
        """What `print(loss)` shows."""
        return f"margin={self.margin:g}"


def margin_of_squares(margin: float) -> float:
    """A margin between squared distances of unit vectors; ValueError outside (0, 4]."""
    if not 0 < margin <= 4:
        raise ValueError(f"margin must be in (0, 4], a difference of squared distances, got {margin}")
    return margin


def _differences(descriptors: Tensor, tuples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q - p [T, 1, D], q - n [T, k, D] of unit rows in float32 or better, and which negatives exist [T, k]."""
    if descriptors.ndim != 2:
        raise ValueError(f"descriptors must be [B, D], got {list(descriptors.shape)}")
    if tuples.ndim != 2 or tuples.shape[1] < 3 or tuples.dtype != torch.int64:
        raise ValueError(f"tuples must be int64 [T, 2 + k] with k of at least 1, got {list(tuples.shape)}")
    if len(tuples):
        pair_low, low, high = torch.stack([tuples[:, :2].min(), tuples.min(), tuples.max()]).tolist()
        if pair_low < 0 or low < -1 or high >= len(descriptors):
            raise ValueError(
                f"tuples must be rows of the {len(descriptors)} descriptors, with -1 only for a missing negative; "
                f"they run from {low} to {high}"
            )
    unit = F.normalize(descriptors.to(torch.promote_types(descriptors.dtype, torch.float32)))
    members = unit[tuples.clamp(min=0)]  # [T, 2 + k, D]
    return members[:, :1] - members[:, 1:2], members[:, :1] - members[:, 2:], tuples[:, 2:] >= 0
