"""What a convolution knows and a transformer does not: near cells first. The local branch of DToP (arXiv:2210.11909).

Symbols: Y is the map of patch tokens [B, D, h, w]. The paper's layers could not be read: which parts there are
follows the outline of a third-party re-implementation, and every width is our choice.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

KEPT = 0.3  # share of the rows that a wave leaves alone
GAIN = 1.5  # what the other rows are multiplied by


def _normed(
    channels: int, out: int, activation: nn.Module, kernel: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution, batch norm, activation; the map keeps its size, and the norm brings the bias."""
    around = dilation * (kernel // 2)
    conv = nn.Conv2d(channels, out, kernel, padding=around, dilation=dilation, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out), activation)


class InvertedResidual(nn.Module):
    """Widen, look around in each channel, narrow: [B, D, h, w] -> [B, D, h, w].

    1x1 to eD, batch norm, ReLU6; depthwise 3x3, batch norm, ReLU6; 1x1 to D, batch norm. The block of
    Sandler et al., "MobileNetV2" (arXiv:1801.04381), without its own skip: `EnhancedLocality` has one.
    """

    def __init__(self, channels: int, expansion: int = 2) -> None:
        super().__init__()
        width = expansion * channels
        self.widen = _normed(channels, width, nn.ReLU6())
        self.depthwise = _normed(width, width, nn.ReLU6(), kernel=3, groups=width)
        self.narrow = _normed(width, channels, nn.Identity())  # linear, so both signs come out

    def forward(self, features: Tensor) -> Tensor:
        """narrow(depthwise(widen(Y)))."""
        return self.narrow(self.depthwise(self.widen(features)))


class WaveBlock(nn.Module):
    """In training, a random band of rows is kept and all others grow by half: [B, C, h, w] -> the same.

    The band is round(0.3 h) rows high, at least one, and lies whole inside the map. Each image has a band of
    its own (our choice), so an image is not tied to its batch mates. The identity in eval.

    0.3 and 1.5 are those of Wang et al., "Attentive WaveBlock" (TIP 2022).
    """

    def forward(self, features: Tensor) -> Tensor:
        """Y in the band, 1.5 Y outside."""
        if not self.training:
            return features
        batch, _, height, _ = features.shape
        band = max(1, round(KEPT * height))
        top = torch.randint(height - band + 1, (batch, 1, 1, 1), device=features.device)
        row = torch.arange(height, device=features.device).view(-1, 1)  # [h, 1], beside [B, 1, 1, 1]
        inside = (row >= top) & (row < top + band)  # [B, 1, h, 1]
        return torch.where(inside, features, GAIN * features)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: one map seen at five ranges, [B, D, h, w] -> [B, D, h, w].

    1x1; 3x3 with dilation 6, 12 and 18, each padded by its dilation; the mean of the map. Each range has a
    convolution to D channels, batch norm and ReLU; a last 1x1 joins them. Two choices are ours: the last 1x1 starts
    at zero, and the mean has a bias and no batch norm, which would see one value per image and channel, too
    few in a small batch and none to compare with in a batch of one.

    Chen et al., "Rethinking atrous convolution" (arXiv:1706.05587).
    """

    def __init__(self, channels: int, dilations: Sequence[int] = (6, 12, 18)) -> None:
        super().__init__()
        self.point = _normed(channels, channels, nn.ReLU())
        self.atrous = nn.ModuleList(_normed(channels, channels, nn.ReLU(), 3, d) for d in dilations)
        self.mean = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.ReLU())
        self.join = nn.Conv2d((2 + len(self.atrous)) * channels, channels, 1)
        for parameter in self.join.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor) -> Tensor:
        """conv1x1(concat(point, atrous 6, 12, 18, mean))."""
        ranges = [self.point(features), *(conv(features) for conv in self.atrous)]
        mean = self.mean(features.mean((2, 3), keepdim=True))  # [B, D, 1, 1]
        return self.join(torch.cat([*ranges, mean.expand_as(features)], 1))


class EnhancedLocality(nn.Module):
    """Y' = Y + ASPP(WaveBlock(InvertedResidual(Y))): [B, D, h, w] -> [B, D, h, w]; at the start Y' is Y."""

    def __init__(self, channels: int, expansion: int = 2) -> None:
        super().__init__()
        self.inverted = InvertedResidual(channels, expansion)
        self.wave = WaveBlock()
        self.pyramid = ASPP(channels)

    def forward(self, features: Tensor) -> Tensor:
        """Y -> Y'."""
        return features + self.pyramid(self.wave(self.inverted(features)))
