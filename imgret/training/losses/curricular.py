"""CurricularFace: easy examples early, hard ones later."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from imgret.training.losses.cosines import (
    cosines,
    labelled_rows,
    mean_cross_entropy,
    positive_scale,
    xavier_centres,
)
from imgret.training.losses.margins import add_margin, clamped, cosine_of_sum, hard_margin, margin_tensor


class CurricularFace(nn.Module):
    """ArcFace whose hard negatives are re-weighted by how far training has come.

    A negative is hard when cos_j > cos(theta_y + m); its logit becomes s cos_j (t + cos_j). t is the running mean
    of the target cosines, t <- 0.99 t + 0.01 mean cos theta_y, from 0: low at first, when hard negatives are
    damped, and rising as the model learns. The target's logit is the hard margin's.

    `margin` is m in radians, in [0, pi / 2], one number or [classes]; `scale` is s; `momentum` is the share of a
    batch in t. t is a buffer and kept in checkpoints; it moves in training mode only, before it is used, by the
    labelled rows of the process's own batch. ValueError for numbers out of range.

    Huang et al., "CurricularFace" (arXiv:2004.00288); that t moves before it is used, and that 0.01 is the share
    of the batch, are as in the authors' code.
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        margin: float | Tensor = 0.5,
        scale: float = 64.0,
        momentum: float = 0.01,
    ) -> None:
        super().__init__()
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must be in [0, 1], got {momentum}")
        self.dim, self.classes, self.momentum = dim, classes, momentum
        self.weight = nn.Parameter(xavier_centres(dim, classes, 1))
        self.scale = positive_scale(scale)
        self.margin: Tensor
        self.register_buffer("margin", margin_tensor(margin, classes))
        self.t: Tensor
        self.register_buffer("t", torch.zeros(()))

    def forward(self, descriptors: Tensor, labels: Tensor) -> Tensor:
        """Descriptors [B, dim], labels int64 [B] -> the mean over labelled rows.

        Rows labelled -1 contribute nothing; without any labelled row the loss is 0, so are its gradients, and t
        stays. ValueError for other shapes and for labels outside [-1, classes).
        """
        with torch.autocast(descriptors.device.type, enabled=False):
            rows, labels = labelled_rows(descriptors, labels, self.dim, self.classes)
            cosine = cosines(rows, self.weight, 1)  # [B', classes]
            margin = (self.margin if self.margin.ndim == 0 else self.margin[labels]).to(cosine.dtype)
            target = clamped(cosine.gather(1, labels.unsqueeze(1)))  # [B', 1]
            if self.training and len(labels):
                self.t.lerp_(target.detach().mean().to(self.t.dtype), self.momentum)
            hard = cosine > cosine_of_sum(target, margin.view(-1, 1))
            weighted = torch.where(hard, cosine * (self.t + cosine), cosine)
            # The target's own column is hard by that test; its logit is psi of the plain cosine.
            restored = weighted.scatter(1, labels.unsqueeze(1), target)
            return mean_cross_entropy(self.scale * add_margin(restored, labels, margin, hard_margin), labels)

    def extra_repr(self) -> str:
        """What `print(loss)` shows."""
        return f"dim={self.dim}, classes={self.classes}, scale={self.scale:g}, momentum={self.momentum:g}"
