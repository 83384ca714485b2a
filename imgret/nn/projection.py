"""The last step of a descriptor: a pooled vector to the dimension asked for."""

from __future__ import annotations

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
