"""The layers of the models once more, in numpy and float64, from a torch layer's weights alone.

Maps are [B, C, H, W], tokens [B, n, C]. No torch layer is run, so a model can be held against its equations.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def off_start(model: nn.Module) -> Any:
    """In float64 and eval mode, every parameter and every running statistic random."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.double().eval().parameters():
            parameter.normal_(std=0.4, generator=generator)
        for part in model.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                part.running_mean.normal_(generator=generator)
                part.running_var.uniform_(0.5, 2, generator=generator)
            if type(part).__name__ == "GeM":
                part.p.fill_(2.7)
    return model


def conv(layer: Any, x: np.ndarray, dilation: int = 1) -> np.ndarray:
    """A square convolution that keeps the size, full or depthwise, one product for each tap."""
    weight, (height, width) = array(layer.weight), x.shape[2:]
    size = weight.shape[2]
    around = dilation * (size // 2)
    padded = np.pad(x, ((0, 0), (0, 0), (around, around), (around, around)))
    taps = "oc,bchw->bohw" if weight.shape[1] == x.shape[1] else "oc,bohw->bohw"
    out = np.zeros((len(x), len(weight), height, width))
    for i in range(size):
        for j in range(size):
            at = padded[:, :, i * dilation : i * dilation + height, j * dilation : j * dilation + width]
            out += np.einsum(taps, weight[:, :, i, j], at)
    return out if layer.bias is None else out + array(layer.bias)[:, None, None]


def along_channels(layer: Any, means: np.ndarray) -> np.ndarray:
    """Three taps over the channels: [B, c] -> [B, c]."""
    padded, weight = np.pad(means, ((0, 0), (1, 1))), array(layer.weight)[0, 0]
    return sum(weight[i] * padded[:, i : i + means.shape[1]] for i in range(3)) + array(layer.bias)


def linear(layer: Any, x: np.ndarray) -> np.ndarray:
    return x @ array(layer.weight).T + (0 if layer.bias is None else array(layer.bias))


def batch_norm(layer: Any, x: np.ndarray) -> np.ndarray:
    """With the running statistics; rows [B, C] or maps."""
    mean, variance, weight, bias = (
        array(values).reshape(1, -1, *(1,) * (x.ndim - 2))
        for values in (layer.running_mean, layer.running_var, layer.weight, layer.bias)
    )
    return (x - mean) / np.sqrt(variance + layer.eps) * weight + bias


def layer_norm(layer: Any, x: np.ndarray) -> np.ndarray:
    deviation = np.sqrt(x.var(-1, keepdims=True) + layer.eps)
    return (x - x.mean(-1, keepdims=True)) / deviation * array(layer.weight) + array(layer.bias)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    raised = np.exp(x - x.max(axis, keepdims=True))
    return raised / raised.sum(axis, keepdims=True)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def gem(x: np.ndarray, p: float = 2.7) -> np.ndarray:
    return (np.maximum(x, 1e-6) ** p).mean((2, 3)) ** (1 / p)


def tokens(x: np.ndarray) -> np.ndarray:
    """Map -> [B, hw, C], row by row."""
    return x.reshape(*x.shape[:2], -1).transpose(0, 2, 1)


def split(x: np.ndarray, heads: int) -> np.ndarray:
    """[B, n, C] -> [B, heads, n, d]."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)


def attend(layer: Any, x: np.ndarray, context: np.ndarray, bias: Any = 0.0) -> np.ndarray:
    """softmax(Q K^T / sqrt(d) + bias) V in each of the heads, joined and merged."""
    query, key = split(linear(layer.query, x), layer.heads), split(linear(layer.key, context), layer.heads)
    logits = query @ key.transpose(0, 1, 3, 2) / math.sqrt(query.shape[3]) + bias
    mixed = softmax(logits, 3) @ split(linear(layer.value, context), layer.heads)
    return linear(layer.merge, mixed.transpose(0, 2, 1, 3).reshape(x.shape))


def feed_forward(layers: Any, x: np.ndarray) -> np.ndarray:
    return linear(layers[2], gelu(linear(layers[0], x)))
