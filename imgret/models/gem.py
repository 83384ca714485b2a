"""GeM: the baseline, a trunk and generalised-mean pooling."""

from __future__ import annotations

from torch import Tensor

from imgret.models.base import DescriptorModel
from imgret.nn.backbones import build_trunk
from imgret.nn.pooling import GeM


class GeMModel(DescriptorModel):
    """Trunk -> GeM -> unit rows (Radenović, Tolias, Chum, arXiv:1711.02512).

    Differs from the paper: no learned whitening inside (that is `imgret whiten`), and the trunk is
    timm's, trained to classify and not fine-tuned for retrieval. Made for trunks that end in a ReLU: GeM
    drops negative values, so half of a transformer's map is lost.
    """

    def __init__(self, backbone: str = "resnet50", p: float = 3.0, pretrained: bool = False) -> None:
        trunk, channels, mean, std = build_trunk(backbone, pretrained)
        super().__init__(mean, std)
        self.dim = channels
        self.trunk = trunk
        self.pool = GeM(p)

    def describe(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, channels of the trunk], every entry at least eps."""
        return self.pool(self.trunk(images))

    def views(self, images: Tensor) -> dict[str, Tensor]:
        """pooled."""
        return {"pooled": self.pool.share(self.trunk(images))}

    def view_words(self) -> dict[str, str]:
        """What each of `views` is, in words."""
        return {"pooled": "each place's share of the pooled vector"}

    @property
    def scale_power(self) -> float:
        """The learned p: no descriptor has a negative entry, so scales can be pooled as locations are."""
        return float(self.pool.power.detach())
