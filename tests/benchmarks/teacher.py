"""imgret with one model more: the teacher, an ImageNet MobileNetV2 with GeM (p = 3). Run by hand:

    export IMGRET_DATA=path/to/data PYTHONPATH=.
    python tests/benchmarks/teacher.py write teacher.safetensors
    python tests/benchmarks/teacher.py extract photos/ -o store --model teacher.safetensors --precision fp32
    python tests/benchmarks/teacher.py eval gnd.json --store store --images folder
    python tests/benchmarks/teacher.py train default --data $IMGRET_DATA/train -o run \
        --set teacher.model=teacher.safetensors

`write` makes a weights file; every other word is a command of imgret. The network is in the data's `teacher/` folder
and is no part of the project: it is there to compare with, and to learn from.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

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

    def forward(self, images: Tensor) -> Tensor:
        """As the network's own `features`, bit for bit, in two thirds of the time: pads and clamps copy less."""
        net = self.net
        values = {net.graph["input"]: (images * 255 - net.graph["input_zero"]) * net.graph["input_scale"]}
        for op in net.graph["ops"]:
            first = values[op["inp"][0]]
            if op["op"] == "AVERAGE_POOL_2D":
                break
            if op["op"] == "ADD":
                values[op["out"][0]] = first + values[op["inp"][1]]
                continue
            weight, bias = getattr(net, op["key"] + "_weight"), getattr(net, op["key"] + "_bias")
            kernel, stride = weight.shape[-1], op["stride"]
            around = (kernel - 1) // 2 if op["pad"] == 0 and stride == 1 else 0
            if op["pad"] == 0 and stride > 1:
                first = same_padded(first, kernel, stride)
            groups = len(weight) if op["op"] == "DEPTHWISE_CONV_2D" else 1
            found = F.conv2d(first, weight, bias, stride, around, groups=groups)
            if op["act"] != 0 or op["qmin"] > -1e-6:
                found = found.clamp_(max(op["qmin"], -1e9), op["qmax"])
            values[op["out"][0]] = found
        return first


def same_padded(images: Tensor, kernel: int, stride: int) -> Tensor:
    """Zeros around, the odd one below and right: TensorFlow's "same"."""
    down, across = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in images.shape[-2:])
    return F.pad(images, (across // 2, across - across // 2, down // 2, down - down // 2))


class Teacher(DescriptorModel):
    """[B, 3, H, W] in 0..1 -> [B, 1280]."""

    dim = 1280

    def __init__(self, backbone: str | None = None) -> None:
        super().__init__()
        self.trunk, self.pool = Features(), GeM(3.0)

    def describe(self, images: Tensor) -> Tensor:
        return self.pool(self.trunk(images))


def register() -> None:
    """Add `teacher` to the table of models."""
    MODELS["teacher"] = ModelCard(
        f"{__name__}:Teacher", dim=1280, summary="", paper="", backbone="none", image_size=320
    )


def main() -> None:
    register()
    if sys.argv[1:2] == ["write"]:
        from imgret.models import save_weights

        save_weights(Teacher().eval(), sys.argv[2], {"source": "google-coral/edgetpu, MobileNetV2, Apache-2.0"})
    else:
        from imgret.cli import app

        app.main()


if __name__ == "__main__":
    import teacher  # this file under its own name, which a weights file can hold

    teacher.main()
