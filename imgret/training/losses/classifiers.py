"""ArcFace and sub-center ArcFace: a cosine classifier with an angular margin on the target."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from imgret.tables import look_up
from imgret.training.losses.cosines import (
    cosines,
    labelled_rows,
    mean_cross_entropy,
    positive_scale,
    xavier_centres,
)
from imgret.training.losses.margins import PSI, add_margin, margin_tensor


class ArcFace(nn.Module):
    """Softmax cross-entropy over s cos_j, with s psi(theta) at the target.

    cos_j is the cosine of the descriptor and class j. `margin` is m in radians, in [0, pi / 2], one number or
    [classes]; `scale` is s; `psi` is "hard", "easy" or "delg" (see `margins`). With `centres` K > 1 a class
    has K centres and cos_j is the largest of its K cosines: sub-center ArcFace, which lets the noise
    of a class gather at a centre of its own.

    `weight` is [classes * K, dim], Xavier-uniform, the centres of a class in adjacent rows; the margin is a
    buffer, kept in checkpoints. ValueError for numbers out of range, UnknownNameError for another psi.

    Deng, Guo, Xue, Zafeiriou, "ArcFace" (arXiv:1801.07698), eq. 3; Deng et al., "Sub-center ArcFace" (ECCV 2020).
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        margin: float | Tensor = 0.5,
        scale: float = 30.0,
        psi: str = "hard",
        centres: int = 1,
    ) -> None:
        super().__init__()
        self.dim, self.classes, self.centres = dim, classes, centres
        self.weight = nn.Parameter(xavier_centres(dim, classes, centres))
        self.scale = positive_scale(scale)
        self.psi = look_up(PSI, "margin function", psi)
        self.margin: Tensor
        self.register_buffer("margin", margin_tensor(margin, classes))

    def forward(self, descriptors: Tensor, labels: Tensor) -> Tensor:
        """Descriptors [B, dim], labels int64 [B] -> the mean over labelled rows.

        Rows labelled -1 contribute nothing; without any labelled row the loss is 0 and so are its gradients.
        ValueError for other shapes and for labels outside [-1, classes).
        """
        with torch.autocast(descriptors.device.type, enabled=False):
            rows, labels = labelled_rows(descriptors, labels, self.dim, self.classes)
            cosine = cosines(rows, self.weight, self.centres)  # [B', classes]
            margin = (self.margin if self.margin.ndim == 0 else self.margin[labels]).to(cosine.dtype)
            return mean_cross_entropy(self.scale * add_margin(cosine, labels, margin, self.psi), labels)

    def extra_repr(self) -> str:
        """What `print(loss)` shows."""
        return f"dim={self.dim}, classes={self.classes}, centres={self.centres}, scale={self.scale:g}"
