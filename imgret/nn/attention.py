"""The four attentions of GLAM (Song, Han, Avrithis, "All the attention you need", arXiv:2107.08000).

Sections 3.1 to 3.3 of the paper. Symbols: F is the trunk's map [B, c, h, w], c' the reduced number of
channels. Where the paper leaves a choice open, the class says which reading is built. Every softmax is computed
in float32 or better.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imgret.nn.checks import at_least_1

_TERMS = 18  # of exp on (0, 1): the first one left out is below 1 / 18! = 1.6e-16


def reduced_channels(channels: int, reduced: int | None) -> int:
    """c': as given, else c / 8 (the paper does not say), at least 1; ValueError for less."""
    at_least_1(reduced=reduced)
    return reduced if reduced is not None else max(1, channels // 8)


def _along_channels(kernel: int) -> nn.Conv1d:
    """A convolution that slides along the channel axis of a pooled map: [B, 1, c] -> [B, 1, c]."""
    if kernel % 2 == 0:
        raise ValueError(f"kernel must be odd to keep the number of channels, got {kernel}")
    return nn.Conv1d(1, 1, kernel, padding=kernel // 2)


def _pool(features: Tensor) -> Tensor:
    """Global average pooling, laid out for a convolution along channels: [B, c, h, w] -> [B, 1, c]."""
    return features.mean((2, 3)).unsqueeze(1)


class LocalChannelAttention(nn.Module):
    """One weight in (0, 1) per channel, from its pooled value and its neighbours': A_lc.

    [B, c, h, w] -> [B, c, 1, 1].
    """

    def __init__(self, kernel: int = 3) -> None:
        super().__init__()
        self.conv = _along_channels(kernel)

    def forward(self, features: Tensor) -> Tensor:
        """sigmoid(conv1d(GAP(F)))."""
        weights = self.conv(_pool(features)).sigmoid()  # [B, 1, c]
        return weights.transpose(1, 2).unsqueeze(3)


class LocalSpatialAttention(nn.Module):
    """One score per location from a pyramid of dilated convolutions: A_ls.

    [B, c, h, w] -> [B, 1, h, w], unbounded: the paper describes no activation. Dilations 1, 2, 3 (the
    text; a caption says 1, 3, 5) see 3, 5 and 7 cells. The undilated level P_0 is the reduced map F' itself,
    or, with `first_level`, a 1x1 convolution of it. The last convolution starts at zero, so the attention starts
    as "no change".
    """

    def __init__(
        self,
        channels: int,
        reduced: int | None = None,
        dilations: Sequence[int] = (1, 2, 3),
        first_level: bool = False,
    ) -> None:
        super().__init__()
        width = reduced_channels(channels, reduced)
        self.reduce = nn.Conv2d(channels, width, 1)
        self.first_level = nn.Conv2d(width, width, 1) if first_level else nn.Identity()
        self.pyramid = nn.ModuleList(nn.Conv2d(width, width, 3, padding=d, dilation=d) for d in dilations)
        self.score = nn.Conv2d(width * (1 + len(self.pyramid)), 1, 1)
        nn.init.zeros_(self.score.weight)
        if self.score.bias is not None:
            nn.init.zeros_(self.score.bias)

    def forward(self, features: Tensor) -> Tensor:
        """conv1x1(concat(P_0, P_1, P_2, P_3))."""
        reduced = self.reduce(features)  # F' [B, c', h, w]
        levels = [self.first_level(reduced), *(conv(reduced) for conv in self.pyramid)]
        return self.score(torch.cat(levels, 1))


class GlobalChannelAttention(nn.Module):
    """Every channel as a mixture of all channels: G_c = V A_gc.

    [B, c, h, w] -> [B, c, h, w]. V is the map itself. The softmax runs over the key index, so each
    column of A_gc sums to 1 and an output channel is a convex mixture. The logits are products of
    sigmoids and lie in (0, 1): every weight stays within a factor e of 1/c.

    That range also makes the c x c matrix unnecessary: exp(k q) is the sum of (k q)^n / n!, which splits into
    powers of k and powers of q, and below 1 eighteen terms are exact to float64. So V A_gc takes
    O(c hw) operations instead of O(c^2 hw).
    """

    def __init__(self, kernel: int = 3) -> None:
        super().__init__()
        self.query = _along_channels(kernel)
        self.key = _along_channels(kernel)

    def attention(self, features: Tensor) -> Tensor:
        """A_gc = softmax(k^T q) [B, c, c]: row = key channel, column = query channel, columns sum to 1.

        For pictures and tests; `forward` never holds it.
        """
        key, query = self._gates(features)
        return (key.transpose(1, 2) * query).softmax(dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """V A_gc by the power series of its numerator and denominator."""
        key, query = self._gates(features)  # [B, 1, c] in (0, 1)
        with torch.autocast(features.device.type, enabled=False):
            values = features.flatten(2).to(key.dtype)  # V^T [B, c, hw]
            order = torch.arange(_TERMS, dtype=key.dtype, device=key.device).view(-1, 1)
            # 1 / sqrt(n!), half of 1 / n! for each side; log n! is a sum, for ONNX has no lgamma
            root = (order.clamp(min=1).log().cumsum(0) / -2).exp()
            key, query = root * key.pow(order), root * query.pow(order)  # [B, terms, c]
            above = query.transpose(1, 2) @ (key @ values)  # [B, c, hw]
            below = query.transpose(1, 2) @ key.sum(2, keepdim=True)  # [B, c, 1]
            return (above / below).to(features.dtype).unflatten(2, features.shape[2:])

    def _gates(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """k and q [B, 1, c], float32 or better: the channels differ little, and half precision would lose it."""
        pooled = _pool(features)
        wide = torch.promote_types(features.dtype, torch.float32)
        return self.key(pooled).to(wide).sigmoid(), self.query(pooled).to(wide).sigmoid()


class GlobalSpatialAttention(nn.Module):
    """Every location as a mixture of all locations: G_s = conv1x1(V' A_gs).

    [B, c, h, w] -> [B, c, h, w]. The softmax of K^T Q runs over the key index, so each column of A_gs
    [hw, hw] sums to 1. The logits are not divided by sqrt(c'): the paper gives no such factor.
    """

    def __init__(self, channels: int, reduced: int | None = None) -> None:
        super().__init__()
        width = reduced_channels(channels, reduced)
        self.query = nn.Conv2d(channels, width, 1)
        self.key = nn.Conv2d(channels, width, 1)
        self.value = nn.Conv2d(channels, width, 1)
        self.expand = nn.Conv2d(width, channels, 1)

    def attention(self, features: Tensor) -> Tensor:
        """A_gs [B, hw, hw]: row = key location, column = query location.

        For pictures and tests; `forward` never holds it.
        """
        query, key = self.query(features).flatten(2), self.key(features).flatten(2)  # [B, c', hw]
        with torch.autocast(features.device.type, enabled=False):
            wide = torch.promote_types(query.dtype, torch.float32)
            return (key.transpose(1, 2).to(wide) @ query.to(wide)).softmax(dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """conv1x1(V' softmax(K^T Q)), by torch's fused attention."""
        query, key, value = (
            # [B, c', h, w] -> [B, 1 head, hw, c']: fused attention wants tokens as rows, one after the other in
            # memory; of other rows torch would make the hw x hw matrix.
            conv(features).flatten(2).transpose(1, 2).unsqueeze(1).contiguous()
            for conv in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, scale=1.0)  # softmax over keys
        return self.expand(mixed.squeeze(1).transpose(1, 2).unflatten(2, features.shape[2:]))
