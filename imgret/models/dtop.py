"""DToP: class and patch tokens of a transformer's last layers, the patches with enhanced locality."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imgret.models.base import DescriptorModel
from imgret.nn.backbones import build_token_trunk
from imgret.nn.checks import at_least_1
from imgret.nn.class_attention import class_attention, is_plain
from imgret.nn.locality import EnhancedLocality
from imgret.nn.pooling import GeM
from imgret.nn.projection import norm_affine
from imgret.nn.recording import recorded

BRANCHES = ("both", "class", "patch")


class DToP(DescriptorModel):
    """DToP (Song, Yoon, Choi, Avrithis, "Boosting vision transformers for image retrieval", arXiv:2210.11909).

    `layers` is k, the number of last layers read. `branches` names those present: "class" is the global one
    on class tokens, "patch" the local one on patch tokens; with "both" each has half of `dim`, which must
    be even, else one has all of it. `enhanced` says whether the local branch enhances locality, and `expansion`
    is the width of that inverted residual. `pretrained` starts the trunk from timm's weights.

    Differs from the paper, or chosen where it is silent: only its abstract, introduction and part of section 2.2
    could be read. The plan is the paper's: a hybrid trunk, two branches over several last layers, locality
    enhanced in the local one. The rest is a third party's outline or our choice: k = 6; tokens after the final
    LayerNorm; u_c is one FC of all k class tokens, u_p one FC of GeM; every part of `imgret.nn.locality` and
    its constants; dropout 0.1, batch norm, unit length, in this order. LayerNorm and a linear convolution leave
    Y with both signs, and GeM drops what is negative. The batch norms need two images or more to train.
    """

    def __init__(
        self,
        backbone: str = "vit_base_r50_s16_384",
        dim: int = 1536,
        layers: int = 6,
        branches: str = "both",
        enhanced: bool = True,
        expansion: int = 2,
        dropout: float = 0.1,
        pretrained: bool = False,
    ) -> None:
        if branches not in BRANCHES:
            raise ValueError(f"branches must be one of {', '.join(BRANCHES)}, got {branches!r}")
        at_least_1(dim=dim, layers=layers, expansion=expansion)
        if branches == "both" and dim % 2:
            raise ValueError(f"dim must be even to be shared by two branches, got {dim}")
        trunk, mean, std = build_token_trunk(backbone, layers, pretrained)
        super().__init__(mean, std)
        self.dim = dim
        self.trunk = trunk
        self.has_class, self.has_patch = branches != "patch", branches != "class"
        width, rows = trunk.channels, dim // (self.has_class + self.has_patch)
        if self.has_class:
            self.class_fc = _fully_connected(layers * width, rows)
        if self.has_patch:
            self.reduce = nn.Conv2d(layers * width, width, 1)
            self.locality = EnhancedLocality(width, expansion) if enhanced else nn.Identity()
            self.pool = GeM()
            self.patch_fc = _fully_connected(width, rows)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.BatchNorm1d(dim)

    def describe(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, dim]: batch norm of dropout of [u_c; u_p]."""
        classes, patches = self.trunk(images)
        parts = []
        if self.has_class:
            parts.append(self.class_vector(classes))
        if self.has_patch:
            parts.append(self.patch_vector(self.patch_map(patches)))
        rows = self.dropout(torch.cat(parts, 1))
        return self.norm(rows.to(self.norm.weight.dtype))

    def class_vector(self, classes: Tensor) -> Tensor:
        """Global branch: k class tokens [B, k, D], shallow first -> u_c [B, dim / 2]."""
        return self.class_fc(classes.flatten(1))

    def patch_map(self, patches: Tensor) -> Tensor:
        """Local branch: k maps of patch tokens [B, k, D, h, w], shallow first -> Y' [B, D, h, w]."""
        return self.locality(self.reduce(patches.flatten(1, 2)))  # [B, kD, h, w] -> Y -> Y'

    def patch_vector(self, features: Tensor) -> Tensor:
        """Y' [B, D, h, w] -> u_p [B, dim / 2]: GeM and a fully connected layer."""
        return self.patch_fc(self.pool(features).to(self.patch_fc.weight.dtype))

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor] | None:
        """What becomes of each cell of Y'; the rest is u_c, whole, with biases and the shift of the norm.

        So in the class half of the rows no cell has a part: a class token has no place. None without the local branch.
        """
        if not self.has_patch:
            return None
        classes, patches = self.trunk(images)
        gain, shift = (each.float() for each in norm_affine(self.norm))
        by_cell = self.pool.parts(self.patch_map(patches)).permute(0, 2, 3, 1)
        cells = F.linear(by_cell, self.patch_fc.weight.float())  # [B, h, w, dim / 2]
        rest = self.patch_fc.bias.float().expand(len(images), -1)
        if self.has_class:
            of_classes = self.class_vector(classes).float()
            cells = F.pad(cells, (of_classes.shape[1], 0))
            rest = torch.cat([of_classes, rest], 1)
        return gain * cells, gain * rest + shift

    def views(self, images: Tensor) -> dict[str, Tensor]:
        """global: the last layer's attention from class token to patches; local: where u_p comes from in Y'.

        global is missing for trunks whose attention is not plain, such as those with rotary positions.
        """
        net: Any = self.trunk.net
        last = net.blocks[-1]
        with recorded([last.norm1]) as tokens:
            _, patches = self.trunk(images)
        seen = {}
        if self.has_class and is_plain(last.attn):
            received = class_attention(last.attn, tokens[0], net.num_prefix_tokens)  # [B, hw]
            seen["global"] = received.unflatten(1, patches.shape[3:])
        if self.has_patch:
            seen["local"] = self.pool.share(self.patch_map(patches))
        return seen

    def view_words(self) -> dict[str, str]:
        """What each of `views` is, in words."""
        return {
            "global": "the class token's attention in the last layer",
            "local": "each place's share of the pooled patch vector",
        }


def _fully_connected(channels: int, rows: int) -> nn.Linear:
    """A linear layer that starts as `Projection`'s does: Xavier-normal, without bias."""
    layer = nn.Linear(channels, rows)
    nn.init.xavier_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
