"""Self-attention inside the windows of a map, plain or shifted by half a window.

After Swin (Liu et al., "Swin transformer", arXiv:2103.14030), section 3.2. Maps are [B, h, w, C] here,
channels last, as layer norms and linear layers want them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imgret.nn.cross_attention import feed_forward


class WindowAttention(nn.Module):
    """Multi-head self-attention among the cells of one window: softmax(Q K^T / sqrt(d) + P) V, d = C / heads.

    [B, h, w, C] -> [B, h, w, C], any h and w. P is a learnt bias per head and relative position, query
    minus key; it starts at zero. `shifted` moves the borders up and left by half a window.

    Sides that windows do not divide are filled up with padding that no cell attends to. Shifted windows
    are made by padding on the near sides as well, not by rolling the map round: so the cells of a window are
    always true neighbours, and every window has a cell, so no softmax is empty. The key has no bias: the
    softmax over keys is blind to what all keys share. ValueError unless heads divides C and window is
    positive.
    """

    offsets: Tensor

    def __init__(self, channels: int, heads: int, window: int = 8, shifted: bool = False) -> None:
        if channels % heads:
            raise ValueError(f"heads must divide the width, got {heads} heads for {channels} channels")
        if window < 1:
            raise ValueError(f"a window must have cells, got a side of {window}")
        super().__init__()
        self.heads = heads
        self.window = window
        self.shift = window // 2 if shifted else 0
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels, bias=False)
        self.value = nn.Linear(channels, channels)
        self.merge = nn.Linear(channels, channels)
        self.position = nn.Parameter(torch.zeros(heads, 2 * window - 1, 2 * window - 1))
        steps = torch.arange(window)
        # [query, key] along one side: -(window - 1) .. window - 1, counted from 0
        self.register_buffer("offsets", steps[:, None] - steps + window - 1, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """The mixtures of all heads, joined and merged by a linear layer; by torch's fused attention."""
        height, width = features.shape[1:3]
        # The layers run before the padding: they have nothing to do for cells that are not there.
        query, key, value = (self._split(layer(features)) for layer in (self.query, self.key, self.value))
        bias = torch.where(self._inside(height, width), self._position_bias(), -torch.inf)
        # [windows, heads, cells, cells] -> [1, windows * heads, cells, cells]: the same for every image
        bias = bias.flatten(0, 1).unsqueeze(0).to(query.dtype)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.merge(self._join(mixed, height, width))

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"heads={self.heads}, window={self.window}, shift={self.shift}"

    def _count(self, side: int) -> int:
        """The windows along a side, counting those that padding completes."""
        return (side + self.shift + self.window - 1) // self.window

    def _split(self, features: Tensor) -> Tensor:
        """[B, h, w, C] -> [B, windows * heads, cells, d]; cells = window^2, padding included."""
        height, width = features.shape[1:3]
        rows, columns = self._count(height), self._count(width)
        right, below = columns * self.window - width - self.shift, rows * self.window - height - self.shift
        padded = F.pad(features, (0, 0, self.shift, right, self.shift, below))
        grid = padded.reshape(-1, rows, self.window, columns, self.window, self.heads, features.shape[3] // self.heads)
        return grid.permute(0, 1, 3, 5, 2, 4, 6).flatten(4, 5).flatten(1, 3)

    def _join(self, mixed: Tensor, height: int, width: int) -> Tensor:
        """`_split` undone: [B, windows * heads, cells, d] -> [B, h, w, C], without the padding."""
        rows, columns = self._count(height), self._count(width)
        grid = mixed.reshape(-1, rows, columns, self.heads, self.window, self.window, mixed.shape[3])
        whole = grid.permute(0, 1, 4, 2, 5, 3, 6).flatten(5, 6).flatten(3, 4).flatten(1, 2)
        return whole[:, self.shift : self.shift + height, self.shift : self.shift + width]

    def _inside(self, height: int, width: int) -> Tensor:
        """Which cells of each window lie on the map: bool [windows, 1, 1, cells], as a mask of keys."""
        along = []
        for side in (height, width):
            at = torch.arange(self._count(side) * self.window, device=self.offsets.device) - self.shift
            along.append(((at >= 0) & (at < side)).reshape(-1, self.window))
        rows, columns = along  # [windows along a side, window]
        inside = rows[:, None, :, None] & columns[None, :, None, :]
        return inside.flatten(2).flatten(0, 1)[:, None, None, :]

    def _position_bias(self) -> Tensor:
        """P [heads, cells (query), cells (key)]."""
        table = self.position[:, self.offsets[:, None, :, None], self.offsets[None, :, None, :]]
        return table.flatten(3, 4).flatten(1, 2)  # [heads, y, x, y of key, x of key] before


class DropPath(nn.Module):
    """In training, a residual branch is left out for a whole image with probability `rate`.

    What is kept is divided by 1 - rate, so the mean stays; otherwise nothing happens. Huang et al., "Deep networks
    with stochastic depth" (arXiv:1603.09382). ValueError unless 0 <= rate < 1.
    """

    def __init__(self, rate: float = 0.1) -> None:
        if not 0 <= rate < 1:
            raise ValueError(f"drop_path must be at least 0 and below 1, got {rate}")
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """[B, ...] -> [B, ...]."""
        if not self.training or self.rate == 0:
            return branch
        one_per_image = (branch.shape[0],) + (1,) * (branch.ndim - 1)
        return branch * branch.new_empty(one_per_image).bernoulli_(1 - self.rate) / (1 - self.rate)


class WindowBlock(nn.Module):
    """A pre-norm transformer block inside windows: x' = x + W-MSA(LN(x)), x'' = x' + MLP(LN(x')).

    [B, h, w, C] -> [B, h, w, C]. The MLP is four times as wide inside, with GELU; `drop_path` is the rate of
    both branches.
    """

    def __init__(
        self, channels: int, heads: int, window: int = 8, shifted: bool = False, drop_path: float = 0.1
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, heads, window, shifted)
        self.mlp_norm = nn.LayerNorm(channels)
        self.mlp = feed_forward(channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, features: Tensor) -> Tensor:
        """x''."""
        features = features + self.drop_path(self.attention(self.attention_norm(features)))
        return features + self.drop_path(self.mlp(self.mlp_norm(features)))
