"""The global-and-local attention of GALA and the gate made of it.

Linsley, Shiebler, Eberhardt, Serre, "Learning what and where to attend" (arXiv:1805.08819). Symbols: X is a
map [B, C, h, w], g says what (one value per channel), l says where (one value per location), S is the attention.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from imgret.nn.checks import at_least_1


class Tanh(nn.Module):
    """tanh(x) = 2 sigmoid(2x) - 1, which costs processors less than torch's tanh."""

    def forward(self, x: Tensor) -> Tensor:
        """Exact at 0; elsewhere to the precision of the dtype near 1, not near 0."""
        return (2 * x).sigmoid().mul(2).sub(1)


SQUASHES = {"tanh": Tanh, "sigmoid": nn.Sigmoid}


class GlobalLocalAttention(nn.Module):
    """S = squash(a (g + l) + m g l), with a and m learned per channel: [B, C, h, w] -> [B, C, h, w].

    g = W2 ReLU(W1 GAP(X)) is one value per channel, l = V2 ReLU(V1 X) one per location; both go through
    C / `reduction` channels. The authors' released code differs in three ways, and each is an argument:
    `local_kernel` 5 (any odd size) puts a square convolution with a ReLU of its own between V1 and V2, `squash`
    "sigmoid" gives S in (0, 1) instead of (-1, 1), and `global_relu` puts a ReLU after W2 too, so g is never
    negative. ValueError for an even kernel or another squash.

    Convolutions start normal with deviation 1 / sqrt(fan-in), a and m with deviation 1 and so of either sign, all cut
    at two deviations; W1 and W2 start Xavier-uniform, biases at zero.
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 4,
        local_kernel: int = 1,
        squash: str = "tanh",
        global_relu: bool = False,
    ) -> None:
        super().__init__()
        at_least_1(reduction=reduction, local_kernel=local_kernel)
        if local_kernel % 2 == 0:
            raise ValueError(f"local_kernel must be odd to keep the size of the map, got {local_kernel}")
        if squash not in SQUASHES:
            raise ValueError(f"squash must be one of {', '.join(SQUASHES)}, got {squash!r}")
        width = max(1, channels // reduction)
        self.global_path = nn.Sequential(nn.Linear(channels, width), nn.ReLU(), nn.Linear(width, channels))
        if global_relu:
            self.global_path.append(nn.ReLU())
        self.local_path = nn.Sequential(nn.Conv2d(channels, width, 1), nn.ReLU())
        if local_kernel > 1:
            self.local_path.extend([nn.Conv2d(width, width, local_kernel, padding=local_kernel // 2), nn.ReLU()])
        self.local_path.append(nn.Conv2d(width, 1, 1))
        self.additive = nn.Parameter(torch.empty(channels, 1, 1))  # a
        self.multiplicative = nn.Parameter(torch.empty(channels, 1, 1))  # m
        self.squash = SQUASHES[squash]()
        self._start()

    def _start(self) -> None:
        for weights in (self.additive, self.multiplicative):
            nn.init.trunc_normal_(weights)
        for layer in (*self.global_path, *self.local_path):
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
            elif isinstance(layer, nn.Conv2d):
                std = layer.weight[0].numel() ** -0.5
                nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
            if isinstance(layer, (nn.Linear, nn.Conv2d)) and layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> Tensor:
        """S of a map, in float32 or better from g and l on."""
        wide = torch.promote_types(features.dtype, torch.float32)
        what = self.global_path(features.mean((2, 3)))[:, None, None].to(wide)  # g [B, 1, 1, C]
        where = self.local_path(features).permute(0, 2, 3, 1).to(wide)  # l [B, h, w, 1]
        # a (g + l) + m g l is a line in l: written as one, two operations see a whole map instead of five. With the
        # channels last, as trunks run, so that the product with the map goes straight through memory.
        a, m = self.additive.flatten().to(wide), self.multiplicative.flatten().to(wide)
        return self.squash(torch.addcmul(a * what, a + m * what, where)).permute(0, 3, 1, 2)


class GALAGate(nn.Module):
    """A map multiplied by its attention: X -> Y of the same shape and dtype.

    `identity` gives Y = X (1 + S) and sets a and m to zero, so that Y starts as X to the last bit and a
    pretrained network is not disturbed; ValueError unless S is a tanh, since a sigmoid would start at 1.5 X.
    Without it Y = X S, as in the paper: random signs at the start, for training from scratch.
    """

    def __init__(self, attention: GlobalLocalAttention, identity: bool = True) -> None:
        super().__init__()
        if identity:
            if not isinstance(attention.squash, Tanh):
                raise ValueError("an identity gate needs squash='tanh': a sigmoid of zero is 0.5, not 0")
            nn.init.zeros_(attention.additive)
            nn.init.zeros_(attention.multiplicative)
        self.attention = attention
        self.identity = identity

    def forward(self, features: Tensor) -> Tensor:
        """X (1 + S) or X S."""
        gain = self.attention(features).to(features.dtype)
        # X + X S, not X (1 + S): in half precision 1 + S would round a small S away.
        return torch.addcmul(features, features, gain) if self.identity else features * gain
