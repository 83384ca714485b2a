"""A model anyone can compute: the mean colour of an image."""

from __future__ import annotations

from torch import Tensor

from imgret.models import ModelCard
from imgret.models.base import DescriptorModel

MEAN_COLOUR = ModelCard(
    "tests.toy:MeanColour", dim=3, summary="mean colour", paper="none", backbone="none", image_size=1024
)


class MeanColour(DescriptorModel):
    """The mean red, green and blue of an image, made unit length: a red image is (1, 0, 0).

    Mean 0 and std 1, so no pixel is changed. For tests: `monkeypatch.setitem(MODELS, "mean-colour",
    MEAN_COLOUR)`, then `load_model("mean-colour", weights="none")`.
    """

    dim = 3

    def describe(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))  # [B, 3]
