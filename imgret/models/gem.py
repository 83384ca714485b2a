"""GeM: the baseline, a trunk and generalised-mean pooling, or the trunk's own pooling where it has one."""

from __future__ import annotations

import torch
from torch import Tensor

from imgret.models.base import DescriptorModel
from imgret.nn.backbones import build_pooled_trunk, build_trunk, pools_itself
from imgret.nn.pooling import GeM


class GeMModel(DescriptorModel):
    """Trunk -> GeM -> unit rows (Radenović, Tolias, Chum, arXiv:1711.02512).

    Differs from the paper: no learned whitening inside (that is `imgret whiten`), and the trunk is
    timm's, trained to classify and not fine-tuned for retrieval.

    GeM is for trunks that end in a ReLU: it drops negative values, half of a transformer's map. A trunk that ends
    in a layer norm (transformers, ConvNeXt) pools itself instead, as it was trained to: see `PooledTrunk`. It has
    no p, so p must stay at its default, and no map to show, so `views` is empty.
    """

    def __init__(self, backbone: str = "resnet50", p: float = 3.0, pretrained: bool = False) -> None:
        itself = pools_itself(backbone)
        if itself and p != 3.0:
            raise ValueError(f"backbone {backbone} pools itself and has no p, got {p}")
        trunk, channels, mean, std = (build_pooled_trunk if itself else build_trunk)(backbone, pretrained)
        super().__init__(mean, std)
        self.dim = channels
        self.trunk = trunk
        self.pool = None if itself else GeM(p)

    def describe(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, channels of the trunk]; with GeM every entry is at least eps."""
        found = self.trunk(images)
        return found if self.pool is None else self.pool(found)

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor] | None:
        """What GeM takes from each cell of the trunk's map, and no rest; None where the trunk pools itself.

        A class token or an attention pooling is no sum over places, and timm's networks do not give theirs away.
        """
        if self.pool is None:
            return None
        return self.pool.parts(self.trunk(images)).permute(0, 2, 3, 1), torch.zeros(self.dim, device=images.device)

    def views(self, images: Tensor) -> dict[str, Tensor]:
        """pooled, where GeM pools."""
        return {} if self.pool is None else {"pooled": self.pool.share(self.trunk(images))}

    def view_words(self) -> dict[str, str]:
        """What each of `views` is, in words."""
        return {} if self.pool is None else {"pooled": "each place's share of the pooled vector"}

    @property
    def scale_power(self) -> float:
        """The learned p: GeM gives no negative entry, so scales can be pooled as locations are; else 1."""
        return 1.0 if self.pool is None else float(self.pool.power.detach())
