"""Triplets mined within a batch of P classes with K images of each."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imgret.tables import look_up
from imgret.training.losses.cosines import labelled_rows
from imgret.training.losses.pairs import margin_of_squares


class BatchTriplet(nn.Module):
    """max(0, d(a, p)^2 - d(a, n)^2 + margin) over triplets chosen among the labelled rows of a batch.

    - mining "hard": each anchor with its furthest positive and its nearest negative; the mean over the anchors
      that have both (Hermans, Beyer, Leibe, arXiv:1703.07737, eq. 5, there without the squares);
    - mining "semi-hard": each anchor and positive with the nearest negative that is further than the positive,
      or, where none is, the furthest negative; the mean over pairs (Schroff et al., arXiv:1503.03832, section 3.2,
      which leaves the second case open). Gentler, for the start of training: hard mining alone can
      collapse all descriptors into one.

    `margin` is a difference of squared distances, in (0, 4]; ValueError otherwise, UnknownNameError for another
    mining.
    """

    def __init__(self, margin: float = 0.1, mining: str = "hard") -> None:
        super().__init__()
        self.margin = margin_of_squares(margin)
        self.mine = look_up(_MINING, "mining", mining)
        self.mining = mining

    def forward(self, descriptors: Tensor, labels: Tensor) -> Tensor:
        """Descriptors [B, D], labels int64 [B] -> a scalar; without any triplet, 0 with a gradient of 0.

        Rows labelled -1 are neither anchors nor positives nor negatives. ValueError for other shapes.
        """
        with torch.autocast(descriptors.device.type, enabled=False):
            rows, labels = labelled_rows(descriptors, labels, descriptors.shape[-1])
            unit = F.normalize(rows)
            squared = 2 - 2 * (unit @ unit.T)  # [B', B'], |a - b|^2 of unit vectors
            same = labels.unsqueeze(1) == labels
            positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
            near, far = self.mine(squared, positive, ~same)
            return (near - far + self.margin).clamp(min=0).sum() / max(1, len(near))

    def extra_repr(self) -> str:
        """What `print(loss)` shows."""
        return f"margin={self.margin:g}, mining={self.mining}"


def _hard(squared: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """d(a, p)^2 and d(a, n)^2, one per anchor with both."""
    anchors = positive.any(1) & negative.any(1)
    squared, positive, negative = squared[anchors], positive[anchors], negative[anchors]
    if len(squared) == 0:
        return squared.flatten(), squared.flatten()
    # One row each by index: amax would share the gradient among equals.
    furthest = squared.where(positive, -math.inf).argmax(1, keepdim=True)
    nearest = squared.where(negative, math.inf).argmin(1, keepdim=True)
    return squared.gather(1, furthest).squeeze(1), squared.gather(1, nearest).squeeze(1)


def _semi_hard(squared: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """d(a, p)^2 and d(a, n)^2, one per pair of an anchor that has a negative."""
    anchor, other = (positive & negative.any(1, keepdim=True)).nonzero(as_tuple=True)  # [pairs] each
    near, all_, negative = squared[anchor, other], squared[anchor], negative[anchor]  # [pairs], [pairs, B'] twice
    if len(near) == 0:
        return near, near
    further = negative & (all_ > near.unsqueeze(1))
    nearest = all_.where(further, math.inf).argmin(1)
    furthest = all_.where(negative, -math.inf).argmax(1)
    chosen = torch.where(further.any(1), nearest, furthest)
    return near, all_.gather(1, chosen.unsqueeze(1)).squeeze(1)


_MINING: dict[str, Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "hard": _hard,
    "semi-hard": _semi_hard,
}
