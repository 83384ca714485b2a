"""A model whose attention anyone can compute: it looks where an image is bright."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from imgret.models import ModelCard
from tests.toy import MeanColour

WATCHER = ModelCard("tests.watcher:Watcher", dim=3, summary="brightness", paper="none", backbone="none", image_size=64)


class Watcher(MeanColour):
    """MeanColour with two views on cells of 8 x 8 pixels: "local" is the mean of red, "global" that of all colours."""

    def views(self, images: Tensor) -> dict[str, Tensor]:
        cells = F.avg_pool2d(images, 8, ceil_mode=True)  # [B, 3, h, w]
        return {"local": cells[:, 0], "global": cells.mean(1)}


class Diverged(MeanColour):
    """A model whose training went wrong."""

    def views(self, images: Tensor) -> dict[str, Tensor]:
        return {"global": images[:, 0] / 0}
