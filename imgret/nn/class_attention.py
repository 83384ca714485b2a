"""What the class token of a vision transformer attends to: its weights, which fused attention never holds.

Dosovitskiy et al., "An image is worth 16x16 words" (arXiv:2010.11929), appendix A.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

PLAIN = "timm.layers.attention.Attention"  # by name: only `backbones` may import timm


def is_plain(attention: nn.Module) -> bool:
    """Whether `attention_weights` knows this layer; others rotate queries and keys or add position biases."""
    return f"{type(attention).__module__}.{type(attention).__qualname__}" == PLAIN


def attention_weights(attention: nn.Module, tokens: Tensor, queries: slice = slice(None)) -> Tensor:
    """softmax(q k^T / sqrt(d)): tokens [B, N, D] as the layer is given them -> [B, heads, queries, N keys].

    For pictures and tests: recomputed from a layer that `is_plain`, in float32 or better. Rows sum to 1.
    """
    layer: Any = attention
    joint = layer.qkv(tokens).unflatten(2, (3, layer.num_heads, -1))  # [B, N, 3, heads, d]
    query, key, _ = joint.permute(2, 0, 3, 1, 4)  # [B, heads, N, d] each
    query, key = layer.q_norm(query[:, :, queries]), layer.k_norm(key)
    with torch.autocast(tokens.device.type, enabled=False):
        wide = torch.promote_types(query.dtype, torch.float32)
        return (layer.scale * query.to(wide) @ key.to(wide).transpose(2, 3)).softmax(dim=3)


def class_attention(attention: nn.Module, tokens: Tensor, prefix: int = 1) -> Tensor:
    """From the class token to the patches, mean over heads: tokens [B, prefix + hw, D] -> [B, hw].

    The first of the `prefix` tokens is the class token, any others are registers. The softmax is over all tokens, so
    what the class token keeps for the prefix is missing from the sum.
    """
    return attention_weights(attention, tokens, slice(1))[:, :, 0, prefix:].mean(1)
