"""imgret with one more model, `teacher`: the ImageNet MobileNetV2 of the data's `teacher/` folder, GeM-pooled. By hand:

    IMGRET_DATA=path/to/data python tests/benchmarks/with_teacher.py write runs/teacher.safetensors
    IMGRET_DATA=path/to/data python tests/benchmarks/with_teacher.py extract PHOTOS -o st --model runs/teacher.safetensors
    IMGRET_DATA=path/to/data python tests/benchmarks/with_teacher.py train default --data $IMGRET_DATA/train -o runs/default

`write` makes a weights file; every other word is a command of imgret.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from imgret.models import MODELS, ModelCard
from imgret.models.base import DescriptorModel
from imgret.nn.pooling import GeM


class Features(nn.Module):
    """Images [B, 3, H, W] in 0..1 -> the last map [B, 1280, h, w] of the folder's network."""

    channels = 1280

    def __init__(self) -> None:
        super().__init__()
        sys.path.insert(0, str(Path(os.environ["IMGRET_DATA"]) / "teacher"))
        from mobilenet_v2 import MobileNetV2

        self.net = MobileNetV2()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """As `MobileNetV2.features`, to the bit but for rounding, in half the time: it pads and clamps in place."""
        net = self.net
        values = {net.graph["input"]: (images * 255 - net.graph["input_zero"]) * net.graph["input_scale"]}
        for op in net.graph["ops"]:
            first = values[op["inp"][0]]
            if op["op"] == "AVERAGE_POOL_2D":
                return first
            if op["op"] == "ADD":
                values[op["out"][0]] = first + values[op["inp"][1]]
                continue
            weight, bias = getattr(net, op["key"] + "_weight"), getattr(net, op["key"] + "_bias")
            kernel, stride = weight.shape[-1], op["stride"]
            around: int | tuple[int, int] = (kernel - 1) // 2 if op["pad"] == 0 and stride == 1 else 0
            if op["pad"] == 0 and stride > 1:
                first = same_padded(first, kernel, stride)
            groups = len(weight) if op["op"] == "DEPTHWISE_CONV_2D" else 1
            found = F.conv2d(first, weight, bias, stride, around, groups=groups)
            if op["act"] != 0 or op["qmin"] > -1e-6:
                found = found.clamp_(max(op["qmin"], -1e9), op["qmax"])
            values[op["out"][0]] = found
        raise ValueError("the graph has no last map")


def same_padded(images: torch.Tensor, kernel: int, stride: int) -> torch.Tensor:
    """Zeros around, one more below and right than above and left where the number is odd, as TensorFlow has it."""
    missing = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in images.shape[-2:]]
    (top, bottom), (left, right) = ((one // 2, one - one // 2) for one in missing)
    return F.pad(images, (left, right, top, bottom))


class Teacher(DescriptorModel):
    """[B, 3, H, W] in 0..1 -> [B, 1280]."""

    dim = 1280

    def __init__(self, backbone: str | None = None) -> None:
        super().__init__()
        self.trunk, self.pool = Features(), GeM(3.0)

    def describe(self, images: torch.Tensor) -> torch.Tensor:
        return self.pool(self.trunk(images))


def register() -> None:
    """A row for the teacher in the table of models."""
    where = Path(__file__).stem
    sys.modules.setdefault(where, sys.modules[__name__])
    MODELS["teacher"] = ModelCard(f"{where}:Teacher", dim=1280, summary="", paper="", backbone="none", image_size=320)


if __name__ == "__main__":
    Teacher.__module__ = Path(__file__).stem
    register()
    if sys.argv[1:2] == ["write"]:
        from imgret.models import save_weights

        save_weights(Teacher().eval(), sys.argv[2], {"source": "google-coral/edgetpu MobileNetV2, Apache-2.0"})
    else:
        from imgret.cli.app import main

        main()
