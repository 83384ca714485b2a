"""DALG: global tokens of a transformer read local ones, by windows, weights and cross attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imgret.models.base import DescriptorModel
from imgret.nn.backbones import build_pyramid
from imgret.nn.checks import at_least_1
from imgret.nn.cross_attention import CrossBlock
from imgret.nn.pooling import GeM
from imgret.nn.projection import Projection
from imgret.nn.spatial_weighting import SpatialWeighting
from imgret.nn.windows import WindowBlock

FUSIONS = ("cross", "concat", "none")
HEAD_CHANNELS = 32  # of one head inside windows


def window_heads(channels: int) -> int:
    """The heads inside windows: channels / 32, or the next fewer that divide the channels."""
    return next(heads for heads in range(max(1, channels // HEAD_CHANNELS), 0, -1) if channels % heads == 0)


class LocalBranch(nn.Module):
    """The map before last as local tokens: attention in windows, then shifted windows, then a weight each.

    [B, c, h, w] -> [B, hw, width]. Either half may be absent; the linear layer to `width` stays.
    """

    def __init__(
        self, channels: int, width: int, window: int, drop_path: float, window_attention: bool, spatial_attention: bool
    ) -> None:
        super().__init__()
        heads = window_heads(channels)
        shifts = (False, True) if window_attention else ()
        self.windows = nn.Sequential(*(WindowBlock(channels, heads, window, shift, drop_path) for shift in shifts))
        self.spatial = SpatialWeighting(channels) if spatial_attention else None
        self.linear = nn.Linear(channels, width)

    def forward(self, features: Tensor) -> Tensor:
        """The local tokens L, row by row."""
        mixed = self.window_map(features)
        weighted = mixed if self.spatial is None else self.spatial(mixed)
        return self.linear(weighted.flatten(2).transpose(1, 2))

    def window_map(self, features: Tensor) -> Tensor:
        """L_0 [B, c, h, w]: the map after both window blocks."""
        return self.windows(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class CrossFusion(nn.Module):
    """The global tokens T_g = linear(LN(X_4)) after they have read the local ones.

    X_4 [B, c, h, w] and local tokens [B, m, width] -> T'' [B, hw, width].
    """

    def __init__(self, channels: int, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.linear = nn.Linear(channels, width)
        self.block = CrossBlock(width, heads)

    def forward(self, features: Tensor, local: Tensor) -> Tensor:
        """T''."""
        return self.block(self.global_tokens(features), local)

    def received(self, features: Tensor, local: Tensor) -> Tensor:
        """What each local token is given, mean over heads and global tokens: [B, m], rows sum to 1."""
        return self.block.received(self.global_tokens(features), local)

    def global_tokens(self, features: Tensor) -> Tensor:
        """T_g [B, hw, width], row by row."""
        return self.linear(self.norm(features.flatten(2).transpose(1, 2)))


def summed_into(grid: Sequence[int], cells: Tensor) -> Tensor:
    """Cells [B, h, w, C] summed into those of a coarser grid (H, W), each whole into one: [B, H, W, C].

    For a map and the next of half its size, rounded up: cell i goes to cell i // 2, as a stride of 2 does.
    """
    for axis, length in enumerate(grid, 1):
        size = cells.shape[axis]
        to = torch.arange(size, device=cells.device) * length // size
        shape = [*cells.shape[:axis], length, *cells.shape[axis + 1 :]]
        cells = cells.new_zeros(shape).index_add(axis, to, cells)
    return cells


class DALG(DescriptorModel):
    """DALG (Song, Zhu, Yang, He, arXiv:2207.00287): a transformer's global tokens read its local tokens.

    `width` is that of the tokens where the branches meet, `heads` those of the cross attention, `window`
    the side of a window in cells. For ablation `window_attention` and `spatial_attention` switch the halves
    of the local branch, and `fusion` is "cross" (attention), "concat" (the mean local token in place of the
    fused one) or "none" (no local branch at all). `pretrained` starts the trunk from timm's weights. Made
    for one scale, which is what extraction does unless told otherwise.

    Differs from the paper, or chosen where it is silent: the paper's layer sizes could not be read; this
    design meets its abstract. Ours are the trunk and its last two maps, X_3 and X_4; two window blocks, the
    second shifted, with a learnt relative position bias; the spatial attention in DOLG's form; one
    cross-attention block, which reads the local tokens without a layer norm, for that would undo their
    weights; the mean token beside a projected GeM vector; the head; every width and rate. A
    transformer's map takes both signs: GeM drops what is negative, the mean token does not.
    """

    def __init__(
        self,
        backbone: str = "swin_small_patch4_window7_224",
        dim: int = 512,
        width: int = 512,
        window: int = 8,
        heads: int = 8,
        dropout: float = 0.1,
        drop_path: float = 0.1,
        window_attention: bool = True,
        spatial_attention: bool = True,
        fusion: str = "cross",
        pretrained: bool = False,
    ) -> None:
        if fusion not in FUSIONS:
            raise ValueError(f"fusion must be one of {', '.join(FUSIONS)}, got {fusion!r}")
        at_least_1(dim=dim, width=width, window=window, heads=heads)
        trunk, mean, std = build_pyramid(backbone, 2, pretrained)
        super().__init__(mean, std)
        self.dim = dim
        self.trunk = trunk
        fine, coarse = trunk.widths
        has_local = fusion != "none"
        self.local = (
            LocalBranch(fine, width, window, drop_path, window_attention, spatial_attention) if has_local else None
        )
        self.cross = CrossFusion(coarse, width, heads) if fusion == "cross" else None
        self.pool = GeM()
        self.pooled = nn.Linear(coarse, width)
        self.projection = Projection(2 * width if has_local else width, dim, dropout)

    def describe(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, dim]."""
        fine, coarse = self.trunk(images)
        return self.aggregate(fine, coarse)

    def aggregate(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """X_3 [B, c_3, h_3, w_3] and X_4 [B, c_4, h_4, w_4] -> [B, dim]: both vectors, dropout, FC, batch norm."""
        vector = self.pooled(self.pool(coarse).to(self.pooled.weight.dtype))
        if self.local is not None:
            tokens = self.local(fine)
            if self.cross is not None:
                tokens = self.cross(coarse, tokens)
            vector = torch.cat([tokens.mean(1), vector], 1)  # [B, 2 width]
        return self.projection(vector)

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Both halves by cell of X_4: what GeM takes from it, and its token's part of the mean token.

        A token has read local tokens from all over the image, by cross attention, and what it read counts for the
        token's own cell. With "concat" the local tokens themselves are averaged, and lie in the cells of X_4 they are
        nearest to. The rest is biases and the shift of the norm.
        """
        fine, coarse = self.trunk(images)
        halves = F.linear(self.pool.parts(coarse).permute(0, 2, 3, 1), self.pooled.weight.float())
        if self.local is not None:
            tokens = self.local(fine)
            grid, cells = coarse.shape[2:], fine.shape[2:]
            if self.cross is not None:
                tokens, cells = self.cross(coarse, tokens), grid
            of_mean = summed_into(grid, (tokens / tokens.shape[1]).unflatten(1, cells))
            halves = torch.cat([of_mean.float(), halves], 3)  # [B, h_4, w_4, 2 width]
        matrix, shift = self.projection.affine()
        bias = matrix[:, -self.pooled.out_features :] @ self.pooled.bias.double()
        return F.linear(halves, matrix.float()), (bias + shift).float()

    def views(self, images: Tensor) -> dict[str, Tensor]:
        """local: the weight s of each location; global: what cross attention gives it, mean over queries; pooled."""
        fine, coarse = self.trunk(images)
        seen = {}
        if self.local is not None:
            if self.local.spatial is not None:
                seen["local"] = self.local.spatial.weights(self.local.window_map(fine)).squeeze(1)
            if self.cross is not None:
                seen["global"] = self.cross.received(coarse, self.local(fine)).unflatten(1, fine.shape[2:])
        return {**seen, "pooled": self.pool.share(coarse)}

    def view_words(self) -> dict[str, str]:
        """What each of `views` is, in words."""
        vector = "the pooled vector" if self.local is None else "the pooled vector, its GeM half"
        return {
            "local": "the weight of each place in the local branch",
            "global": "the attention each place receives from the global tokens",
            "pooled": f"each place's share of {vector}",
        }
