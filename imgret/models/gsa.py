"""GSA-Net: global self-attention inside the blocks of a convolutional trunk."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imgret.errors import WeightsError
from imgret.models.base import DescriptorModel
from imgret.nn.backbones import build_trunk, runs
from imgret.nn.checks import at_least_1
from imgret.nn.gsa import ContentAttention, GlobalSelfAttention
from imgret.nn.pooling import GeM
from imgret.nn.projection import Projection
from imgret.nn.recording import recorded
from imgret.nn.stages import OTHER, input_shapes, spatial_convolution, stage_blocks

PLACEMENTS = ("parallel", "replace")


def stride_pool(convolution: nn.Conv2d) -> nn.Module:
    """Average pooling to the size a padded convolution gives, ceil(n / stride), counting real pixels only."""
    stride = (convolution.stride[0], convolution.stride[1])
    return nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False) if max(stride) > 1 else nn.Identity()


class AttentionInParallel(nn.Module):
    """conv(x) + gamma * pool(GSA(x)), gamma one scale per channel that starts at zero: nothing changes at first."""

    def __init__(self, convolution: nn.Conv2d, attention: GlobalSelfAttention) -> None:
        super().__init__()
        self.convolution = convolution
        self.attention = attention
        self.pool = stride_pool(convolution)
        self.gamma = nn.Parameter(torch.zeros(convolution.out_channels, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        """[B, c, H, W] -> [B, c', H', W'] of the convolution."""
        attended = self.pool(self.attention(features))
        return self.convolution(features) + self.gamma.to(attended.dtype) * attended


class GSANet(DescriptorModel):
    """GSA-Net (Shen, Bello, Vemulapalli, Jia, Chen, arXiv:2010.03019) as a trunk for retrieval.

    In every block of the last `stages` stages a GSA module joins the last spatial convolution (3x3 in a
    ResNet): `placement` "parallel" adds it, u = conv(x) + gamma GSA(x), and starts exactly as the trunk
    without it, so pretrained weights serve; "replace" takes the convolution out. Where the convolution has
    a stride, average pooling follows the module. Then GeM, dropout, FC, batch norm.

    A module's table of offsets covers the map it reads when the image is a square of `image_side` pixels;
    `offsets` says what becomes of other sizes, "absolute" or "interpolated" (then `image_side` should be the
    side trained at: rows of the table that training never reads stay random). `pos_norm` divides the
    positional sums by the side of the map. `parts` is "both", "content" or "position". `heads` is lowered
    where it does not divide a width. `pretrained` starts the trunk from timm's weights.

    GSA-ResNet-50, to be trained from scratch; "resnet101" for GSA-ResNet-101:

        GSANet("resnet50", placement="replace", stages=4, image_side=224, pos_norm=False)

    Differs from the paper, or chosen where its Figure 1 is silent: "parallel", `pos_norm` and "interpolated"
    are ours, and so is everything after the trunk; d_k = d_out = the width of the convolution; embeddings
    are shared by the heads and cover offsets of both signs; queries have no softmax and no scale; no batch
    norm on Q, K, V; strides are pooled after the module, not before it. A module is cubic in its input:
    float16 overflows where bfloat16 does not.
    """

    def __init__(
        self,
        backbone: str = "resnet50",
        dim: int = 512,
        placement: str = "parallel",
        stages: int = 1,
        image_side: int = 2048,
        offsets: str = "absolute",
        pos_norm: bool = True,
        parts: str = "both",
        heads: int = 8,
        dropout: float = 0.1,
        pretrained: bool = False,
    ) -> None:
        if placement not in PLACEMENTS:
            raise ValueError(f"placement must be one of {', '.join(PLACEMENTS)}, got {placement!r}")
        at_least_1(dim=dim, stages=stages, image_side=image_side, heads=heads)
        trunk, channels, mean, std = build_trunk(backbone, pretrained)
        super().__init__(mean, std)
        self.dim = dim
        self.trunk = trunk
        blocks = [block for stage in range(-stages, 0) for block in stage_blocks(trunk, stage).children()]
        # A bare convolution between blocks only makes the map smaller.
        inside = [spatial_convolution(block) for block in blocks if not isinstance(block, nn.Conv2d)]
        places = [place for place in inside if place is not None]
        shapes = input_shapes(trunk, [convolution for _, _, convolution in places], image_side)
        for (parent, name, convolution), shape in zip(places, shapes, strict=True):
            width, reach = convolution.out_channels, max(shape[2:])
            attention = GlobalSelfAttention(convolution.in_channels, reach, width, heads, offsets, pos_norm, parts)
            if placement == "parallel":
                setattr(parent, name, AttentionInParallel(convolution, attention))
            else:
                setattr(parent, name, nn.Sequential(attention, stride_pool(convolution)))
        counted = next(trunk.parameters()).is_meta  # shapes without numbers, which nothing can be tried on
        if not places or not (counted or all(runs(trunk, *size) for size in ((67, 131), (64, 96)))):
            raise WeightsError(f"{backbone} cannot hold GSA modules in its last stages; {OTHER}")
        self.pool = GeM()
        self.projection = Projection(channels, dim, dropout)

    def describe(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, dim]."""
        return self.projection(self.pool(self.trunk(images)))

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What the head makes of each cell of the trunk's map; the rest is its biases and the shift of its norm."""
        return self.projection.parts(self.pool.parts(self.trunk(images)))

    def views(self, images: Tensor) -> dict[str, Tensor]:
        """global: where the content branches look, mean over key channels and modules, sum 1; pooled."""
        keys = [m.key for m in self.trunk.modules() if isinstance(m, GlobalSelfAttention) and m.key is not None]
        with recorded(keys) as maps:
            features = self.trunk(images)
        seen = {"global": mean_attention(maps)} if maps else {}
        return {**seen, "pooled": self.pool.share(features)}

    def view_words(self) -> dict[str, str]:
        """What each of `views` is, in words."""
        scales = [part.gamma for part in self.trunk.modules() if isinstance(part, AttentionInParallel)]
        acts = not scales or any(scale.any() for scale in scales)
        received = "the attention each place receives, mean over the modules"
        return {
            "global": received if acts else f"{received}; does not act on the descriptor yet (its scale is 0)",
            "pooled": "each place's share of the pooled vector",
        }


def mean_attention(keys: Sequence[Tensor]) -> Tensor:
    """K maps [B, w, H, W] of several modules -> [B, h, w] on the last one's grid, summing to 1.

    Every key channel has the same say, and then every module.
    """
    attentions = [ContentAttention.attention(key).mean(1, keepdim=True) for key in keys]
    resized = [F.interpolate(attention, size=keys[-1].shape[2:], mode="area") for attention in attentions]
    # Averaging cells makes a distribution over fewer of them sum to less than 1.
    return torch.cat([attention / attention.sum((2, 3), keepdim=True) for attention in resized], 1).mean(1)
