"""The smallest trunk each model can stand on: timm's own test networks, 0.3 to 0.4 million parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from imgret.models import MODELS
from imgret.models.base import DescriptorModel
from imgret.models.weights import build

# A model that needs another kind of trunk than a ResNet says so here.
OTHER_TRUNKS = {"dtop": "test_vit"}


def tiny_backbone(name: str) -> str:
    """The trunk for tests of the model called `name`."""
    return OTHER_TRUNKS.get(name, "test_resnet")


def tiny(name: str, seed: int = 0, **arguments: Any) -> DescriptorModel:
    """The model called `name` on its smallest trunk, the same on every call, no parameter at zero."""
    backbone = {} if MODELS[name].backbone == "none" else {"backbone": tiny_backbone(name)}
    model = build(name, {**backbone, **arguments}, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1, generator=generator)  # gates at zero would hide what is behind them
    return model


def images(*shape: int) -> Tensor:
    """Uniform noise [B, 3, H, W]: all descriptors of noise are nearly the same."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def stripes_and_box() -> Tensor:
    """Two images [2, 3, 67, 131] with little in common: cyan and red stripes, and an orange box on black.

    Their descriptors are 0.17 to 0.25 apart, those of noise 0.01 to 0.04, about what bfloat16 does to one.
    """
    pair = torch.zeros(2, 3, 67, 131)
    pair[0, :, :, ::8] = 1
    pair[0, 0] = 1 - pair[0, 0]
    pair[1, :, 10:40, 30:90] = torch.tensor([0.9, 0.2, 0.1]).view(3, 1, 1)
    return pair
