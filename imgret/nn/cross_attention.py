"""Tokens that read other tokens: multi-head attention whose keys and values come from elsewhere."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imgret.nn.checks import at_least_1


def feed_forward(width: int, ratio: int = 4) -> nn.Sequential:
    """The two-layer network behind an attention, token by token: linear to ratio x width, GELU, linear back."""
    return nn.Sequential(nn.Linear(width, ratio * width), nn.GELU(), nn.Linear(ratio * width, width))


class CrossAttention(nn.Module):
    """Every token as a mixture of a context: softmax(Q K^T / sqrt(d)) V in each head, d = width / heads.

    Tokens [B, n, width] and a context [B, m, width] -> [B, n, width]. Heads are side by side in the
    channels. The key has no bias: the softmax over keys is blind to what all keys share. ValueError
    unless heads divides width. Vaswani et al., "Attention is all you need" (arXiv:1706.03762), section 3.2.
    """

    def __init__(self, width: int, heads: int = 8) -> None:
        at_least_1(width=width, heads=heads)
        if width % heads:
            raise ValueError(f"heads must divide the width, got {heads} heads for {width} channels")
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.merge = nn.Linear(width, width)

    def attention(self, tokens: Tensor, context: Tensor) -> Tensor:
        """The softmax [B, heads, n, m]: row = token, column = context, rows sum to 1.

        For pictures and tests; `forward` never holds it.
        """
        query, key = self._split(self.query(tokens)), self._split(self.key(context))
        with torch.autocast(tokens.device.type, enabled=False):
            wide = torch.promote_types(query.dtype, torch.float32)
            logits = query.to(wide) @ key.to(wide).transpose(2, 3)  # [B, heads, n, m]
            return (logits * query.shape[3] ** -0.5).softmax(dim=3)

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """The mixtures of all heads, joined and merged by a linear layer; by torch's fused attention."""
        query = self._split(self.query(tokens))
        key, value = self._split(self.key(context)), self._split(self.value(context))
        mixed = F.scaled_dot_product_attention(query, key, value)  # [B, heads, n, d]
        return self.merge(mixed.transpose(1, 2).flatten(2))

    def _split(self, tokens: Tensor) -> Tensor:
        """[B, n, width] -> [B, heads, n, d]."""
        return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)


class CrossBlock(nn.Module):
    """A pre-norm transformer block that reads a context: T' = T + MHA(LN(T), L, L), T'' = T' + MLP(LN(T')).

    Tokens T [B, n, width] and a context L [B, m, width] -> T'' [B, n, width]. L is read as it is: a layer
    norm has no scale, so it would undo weights that L's tokens carry in their length.
    """

    def __init__(self, width: int, heads: int = 8) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = CrossAttention(width, heads)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = feed_forward(width)

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """T''."""
        tokens = tokens + self.attention(self.attention_norm(tokens), context)
        return tokens + self.mlp(self.mlp_norm(tokens))

    def received(self, tokens: Tensor, context: Tensor) -> Tensor:
        """What each token of the context is given, mean over heads and tokens: [B, m], rows sum to 1."""
        return self.attention.attention(self.attention_norm(tokens), context).mean((1, 2))
