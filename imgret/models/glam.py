"""GLAM: global-local, spatial-channel attention on a trunk's last map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from imgret.models.base import DescriptorModel
from imgret.nn.attention import (
    GlobalChannelAttention,
    GlobalSpatialAttention,
    LocalChannelAttention,
    LocalSpatialAttention,
)
from imgret.nn.backbones import build_trunk
from imgret.nn.checks import at_least_1
from imgret.nn.pooling import GeM
from imgret.nn.projection import Projection

PARTS = ("both", "channel", "spatial", "none")


class GLAM(DescriptorModel):
    """GLAM (Song, Han, Avrithis, "All the attention you need", arXiv:2107.08000).

    `reduced` is c' (None: c / 8). `local_attention` and `global_attention` name the parts present,
    "both", "channel", "spatial" or "none", so every row of the paper's Table 5 can be built; with "none"
    twice it is the paper's baseline. `first_level` gives the undilated level P_0 of the local spatial attention a 1x1
    convolution of its own. `pretrained` starts the trunk from timm's weights.

    Differs from the paper, or chosen where it is silent: c' is c / 8; dropout 0.1; the head is GeM,
    dropout, FC, batch norm, unit length, in this order; P_0 is F' itself (the text has another 1x1
    convolution, the figure none); dilations are 1, 2, 3; both softmaxes run over the key index; eq. 7's
    second term is F_g (printed as the local map again); the fusion starts at equal weights; A_ls starts at
    zero. A_ls and G_s are unbounded, so the fused map can be negative, and GeM drops what is.
    """

    def __init__(
        self,
        backbone: str = "resnet101",
        dim: int = 512,
        reduced: int | None = None,
        local_attention: str = "both",
        global_attention: str = "both",
        first_level: bool = False,
        dropout: float = 0.1,
        pretrained: bool = False,
    ) -> None:
        for part in (local_attention, global_attention):
            if part not in PARTS:
                raise ValueError(f"an attention must be one of {', '.join(PARTS)}, got {part!r}")
        at_least_1(dim=dim, reduced=reduced)
        trunk, channels, mean, std = build_trunk(backbone, pretrained)
        super().__init__(mean, std)
        self.dim = dim
        self.trunk = trunk
        self.local_channel = LocalChannelAttention() if local_attention in ("both", "channel") else None
        self.local_spatial = (
            LocalSpatialAttention(channels, reduced, first_level=first_level)
            if local_attention in ("both", "spatial")
            else None
        )
        self.global_channel = GlobalChannelAttention() if global_attention in ("both", "channel") else None
        self.global_spatial = (
            GlobalSpatialAttention(channels, reduced) if global_attention in ("both", "spatial") else None
        )
        self.has_local, self.has_global = local_attention != "none", global_attention != "none"
        streams = 1 + self.has_local + self.has_global
        self.fusion = nn.Parameter(torch.zeros(streams)) if streams > 1 else None
        self.pool = GeM()
        self.projection = Projection(channels, dim, dropout)

    def describe(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, dim]."""
        return self.aggregate(self.feature_map(images))

    def feature_map(self, images: Tensor) -> Tensor:
        """The fused map F_gl [B, c, h, w] of normalised images: eq. 7."""
        return self.fuse(self.trunk(images))

    def fuse(self, features: Tensor) -> Tensor:
        """F [B, c, h, w], read by both branches -> F_gl [B, c, h, w]: eq. 7."""
        if self.fusion is None:
            return features
        weights = self.fusion_weights()  # local, global, trunk
        fused = weights[-1] * features
        if self.has_local:
            fused = fused + weights[0] * self.local_map(features)
        if self.has_global:
            fused = fused + weights[-2] * self.global_map(features)
        return fused

    def aggregate(self, features: Tensor) -> Tensor:
        """A map [B, c, h, w] -> [B, dim]: GeM, dropout, FC, batch norm."""
        return self.projection(self.pool(features))

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What the head makes of each cell of the fused map; the rest is its biases and the shift of its norm."""
        return self.projection.parts(self.pool.parts(self.feature_map(images)))

    def views(self, images: Tensor) -> dict[str, Tensor]:
        """local: the gain 1 + A_ls of each location; global: what A_gs gives it, mean over queries; pooled."""
        features = self.trunk(images)
        seen = {}
        if self.local_spatial is not None:
            seen["local"] = (1 + self.local_spatial(features)).squeeze(1).clamp(min=0)
        if self.global_spatial is not None:
            received = self.global_spatial.attention(features).mean(2)  # [B, hw keys]
            seen["global"] = received.unflatten(1, features.shape[2:])
        return {**seen, "pooled": self.pool.share(self.fuse(features))}

    def local_map(self, features: Tensor) -> Tensor:
        """F_l = F_lc * A_ls + F_lc with F_lc = F * A_lc + F; an absent part changes nothing."""
        out = features
        if self.local_channel is not None:
            out = out * self.local_channel(features) + out
        if self.local_spatial is not None:
            out = out * self.local_spatial(features) + out  # A_ls of the raw F, not of F_lc
        return out

    def global_map(self, features: Tensor) -> Tensor:
        """F_g = F_gc * G_s + F_gc with F_gc = F * G_c; an absent part changes nothing."""
        out = features
        if self.global_channel is not None:
            out = out * self.global_channel(features)  # eq. 5, without a residual
        if self.global_spatial is not None:
            out = out * self.global_spatial(features) + out  # G_s of the raw F, not of F_gc
        return out

    def fusion_weights(self) -> Tensor:
        """Softmax weights of the streams present, in the order local, global, trunk: they sum to 1."""
        if self.fusion is None:
            return torch.ones(1, device=self.mean.device)
        return self.fusion.softmax(0)

    def view_words(self) -> dict[str, str]:
        """What each of `views` is, in words."""
        return {
            "local": "the gain of each place in the local stream",
            "global": "the attention each place receives in the global stream",
            "pooled": "each place's share of the pooled vector",
        }
