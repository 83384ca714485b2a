"""imgret with one model more: the teacher, an ImageNet MobileNetV2 with GeM (p = 3), to compare with. Run by hand:

    IMGRET_DATA=path/to/data python tests/benchmarks/teacher.py extract photos/ -o store --model teacher \
        --weights none --image-size 320 --precision fp32
    IMGRET_DATA=path/to/data python tests/benchmarks/teacher.py eval gnd.json --store store --images folder

Every command of imgret is there. The network is in the data's `teacher/` folder and is no part of the project.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from imgret.models import MODELS, ModelCard
from imgret.models.base import DescriptorModel
from imgret.nn.pooling import GeM


class Teacher(DescriptorModel):
    """[B, 3, H, W] in 0..1 -> [B, 1280]."""

    dim = 1280

    def __init__(self, backbone: str | None = None) -> None:
        super().__init__()
        sys.path.insert(0, str(Path(os.environ["IMGRET_DATA"]) / "teacher"))
        from mobilenet_v2 import MobileNetV2

        self.net, self.pool = MobileNetV2(), GeM(3.0)

    def describe(self, images: torch.Tensor) -> torch.Tensor:
        return self.pool(self.net.features(images * 255))


def register() -> None:
    """Add `teacher` to the table of models."""
    MODELS["teacher"] = ModelCard(
        f"{__name__}:Teacher", dim=1280, summary="", paper="", backbone="none", image_size=224
    )


if __name__ == "__main__":
    from imgret.cli.app import main

    register()
    main()
