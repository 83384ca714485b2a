"""Global self-attention, GSA (Shen, Bello, Vemulapalli, Jia, Chen, arXiv:2010.03019).

Symbols: Q, K, V are maps [B, w, H, W], n the number of heads, d = w / n. Two branches are added: content
attends to all pixels at once, position to the column and then to the row of a pixel. Nothing of size
HW x HW is ever made. Every softmax is computed in float32 or better.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from imgret.nn.checks import at_least_1
from imgret.nn.offsets import RelativeOffsets

PARTS = ("both", "content", "position")
OFFSETS = ("absolute", "interpolated")


def split_heads(maps: Tensor, heads: int) -> Tensor:
    """[B, w, H, W] -> [B, H, W, n, d], a view; a head owns neighbouring channels."""
    return maps.permute(0, 2, 3, 1).unflatten(3, (heads, -1))


def join_heads(tokens: Tensor) -> Tensor:
    """[B, H, W, n, d] -> [B, w, H, W], in channels_last memory format."""
    return tokens.flatten(3).permute(0, 3, 1, 2)


class ContentAttention(nn.Module):
    """Every pixel reads one summary of the whole map: C = Q (softmax(K) V) for each head.

    Q, K, V [B, w, H, W] -> [B, w, H, W]. Each key channel is a softmax over all pixels and says where that
    channel looks; the values seen there are its row of the d x d context. Queries mix the rows as they
    are, without softmax or scale. Moving the pixels about moves the output with them and changes nothing else.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    @staticmethod
    def attention(key: Tensor) -> Tensor:
        """A [B, w, H, W]: the weights of each key channel, summing to 1 over pixels; float32 or better."""
        with torch.autocast(key.device.type, enabled=False):
            wide = torch.promote_types(key.dtype, torch.float32)
            return key.flatten(2).to(wide).softmax(2).unflatten(2, key.shape[2:])

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Q (A V)."""
        weights = split_heads(self.attention(key), self.heads)
        query, value = split_heads(query, self.heads), split_heads(value, self.heads)
        with torch.autocast(value.device.type, enabled=False):
            # Thousands of weights near 1 / HW: in half precision the smallest would be lost.
            context = torch.einsum("bijnd,bijne->bnde", weights, value.to(weights.dtype))
        return join_heads(torch.einsum("bijnd,bnde->bijne", query, context.to(query.dtype)))


class AxialPositionalAttention(nn.Module):
    """Every pixel reads its column and then its row, weighted by where things are: Q, V -> [B, w, H, W].

    Yc[i, j] = sum over t of (Q[i, j] . Rc[t - i]) V[t, j], batch norm over all w channels, then
    Yr[i, j] = sum over t of (Q[i, j] . Rr[t - j]) BN(Yc)[i, t] with the same Q. The embeddings Rc and Rr
    act as keys and are shared by the heads; there is no softmax. `reach` and `interpolated`: see
    `RelativeOffsets`. The embeddings start with deviation 1 / sqrt(d).

    The sums grow with the map. `pos_norm` divides Yc by H and Yr by W, for maps of many sizes. A sum of H
    terms of random sign is sqrt(H) large, so divided by H it would fade to 1 / sqrt(H): the embeddings then
    start sqrt(reach) larger.
    """

    def __init__(self, width: int, reach: int, heads: int, interpolated: bool = False, pos_norm: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.pos_norm = pos_norm
        std = math.sqrt((reach if pos_norm else 1) * heads / width)
        self.column = RelativeOffsets(reach, width // heads, std, interpolated)
        self.norm = nn.BatchNorm2d(width)
        self.row = RelativeOffsets(reach, width // heads, std, interpolated)

    def forward(self, query: Tensor, value: Tensor) -> Tensor:
        """Yr; the order matters, since Q multiplies at both steps."""
        query, value = split_heads(query, self.heads), split_heads(value, self.heads)
        columns = self.norm(join_heads(self.along_columns(query, value, self.column)))
        columns = split_heads(columns, self.heads)
        # A row is a column of the map turned over.
        rows = self.along_columns(query.transpose(1, 2), columns.transpose(1, 2), self.row)
        return join_heads(rows.transpose(1, 2))

    def along_columns(self, query: Tensor, value: Tensor, offsets: RelativeOffsets) -> Tensor:
        """Q, V [B, H, W, n, d] -> [B, H, W, n, d]: each pixel has H logits in every head."""
        side = query.shape[1]
        embeddings = offsets(side)  # [H targets, H sources, d]
        if self.pos_norm:
            embeddings = embeddings / side  # the smallest tensor to divide
        # One product for each target row. Projecting Q on every offset once and picking afterwards takes
        # twice the work or more.
        logits = torch.einsum("bijnd,itd->bijnt", query, embeddings)
        return torch.einsum("bijnt,btjnd->bijnd", logits, value)


class GlobalSelfAttention(nn.Module):
    """The GSA module of the paper's Figure 1: content + position. [B, channels, H, W] -> [B, width, H, W].

    Q, K, V come from 1x1 convolutions without bias. No output projection, no residual, no activation.
    `width` (None: `channels`) is the number of channels of all three. `heads` is lowered to the largest
    divisor it shares with `width`. `reach`, `offsets` ("absolute" or "interpolated") and `pos_norm` are
    described at `RelativeOffsets` and `AxialPositionalAttention`; `parts` leaves one branch out.

    Chosen where Figure 1 is silent: queries are not normalised, heads share the embeddings, and batch norm
    keeps statistics for every channel. ValueError for an unknown word or a number below 1.
    """

    def __init__(
        self,
        channels: int,
        reach: int,
        width: int | None = None,
        heads: int = 8,
        offsets: str = "absolute",
        pos_norm: bool = False,
        parts: str = "both",
    ) -> None:
        super().__init__()
        if offsets not in OFFSETS:
            raise ValueError(f"offsets must be one of {', '.join(OFFSETS)}, got {offsets!r}")
        if parts not in PARTS:
            raise ValueError(f"parts must be one of {', '.join(PARTS)}, got {parts!r}")
        at_least_1(heads=heads, width=width)
        width = channels if width is None else width
        heads = math.gcd(heads, width)
        self.query = nn.Conv2d(channels, width, 1, bias=False)
        self.value = nn.Conv2d(channels, width, 1, bias=False)
        self.key = nn.Conv2d(channels, width, 1, bias=False) if parts != "position" else None
        self.content = ContentAttention(heads)
        self.position = (
            AxialPositionalAttention(width, reach, heads, offsets == "interpolated", pos_norm)
            if parts != "content"
            else None
        )

    def forward(self, features: Tensor) -> Tensor:
        """C + Yr, or the one there is."""
        query, value = self.query(features), self.value(features)
        if self.key is None:
            assert self.position is not None
            return self.position(query, value)
        content = self.content(query, self.key(features), value)
        return content if self.position is None else content + self.position(query, value)
