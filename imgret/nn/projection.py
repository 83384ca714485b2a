"""The last step of a descriptor: a pooled vector to the dimension asked for."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Projection(nn.Module):
    """Dropout, a fully connected layer, batch norm: [B, channels] -> [B, dim], not normalised.

    The layer starts Xavier-normal without bias, the norm as identity. The norm is computed in the dtype
    of its own weights, which is float32 under autocast.
    """

    def __init__(self, channels: int, dim: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, dim)
        nn.init.xavier_normal_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)
        self.norm = nn.BatchNorm1d(dim)

    def forward(self, pooled: Tensor) -> Tensor:
        """BN(FC(dropout(x)))."""
        rows = self.fc(self.dropout(pooled.to(self.fc.weight.dtype)))
        return self.norm(rows.to(self.norm.weight.dtype))

    def affine(self) -> tuple[Tensor, Tensor]:
        """What it does in eval mode, y = matrix x + shift: (matrix [dim, channels], shift [dim]), float64."""
        gain, shift = norm_affine(self.norm)
        return gain[:, None] * self.fc.weight.double(), gain * self.fc.bias.double() + shift

    def parts(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """What it makes in eval mode of each part of a vector: [B, channels, h, w] -> ([B, h, w, dim], shift [dim]).

        The parts summed over space, plus the shift, are what it makes of the sum.
        """
        matrix, shift = self.affine()
        return F.linear(pooled.permute(0, 2, 3, 1), matrix.to(pooled.dtype)), shift.to(pooled.dtype)

    @torch.no_grad()
    def whiten(self, mean: Tensor, projection: Tensor) -> None:
        """Become y -> P (y - m) of what it was, in eval mode: m [dim], P [k, dim] with k <= dim; rows beyond k give 0.

        The norm of one affine map after another is one: the layer takes the matrix, scaled row by row so that its
        entries lie within -1 and 1 and half precision can hold them, and the norm takes the scales. ValueError for
        other shapes.
        """
        dim = len(self.fc.weight)
        if mean.shape != (dim,) or projection.ndim != 2 or projection.shape[1] != dim or len(projection) > dim:
            raise ValueError(f"expected [{dim}] and [at most {dim}, {dim}], got {mean.shape} and {projection.shape}")
        norm, wide = self.norm, torch.float64
        assert norm.running_mean is not None
        assert norm.running_var is not None
        P = torch.zeros(dim, dim, dtype=wide)
        P[: len(projection)] = projection.to(wide)
        matrix, shift = self.affine()
        weight, bias = P @ matrix, P @ (shift - mean.to(wide))
        scale = weight.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny)
        self.fc.weight.copy_(weight / scale[:, None])
        self.fc.bias.copy_(bias / scale)
        norm.weight.copy_(scale)
        norm.bias.zero_()
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)


def norm_affine(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """What a batch norm does in eval mode, y = gain x + shift: (gain, shift), each [dim], float64."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return gain, norm.bias.double() - gain * norm.running_mean.double()
