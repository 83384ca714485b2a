"""From pixels to descriptors on a device, the same for training and for mining."""

from __future__ import annotations

import torch
from torch import Tensor, nn

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def as_images(pixels: Tensor, device: torch.device) -> Tensor:
    """uint8 [B, 3, h, w] -> float32 on the device, 0 to 1, channels last."""
    pixels = pixels.to(device, non_blocking=True)
    return pixels.float().div_(255).contiguous(memory_format=torch.channels_last)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The precision of matrix products within the block; "fp32" changes nothing."""
    dtype = PRECISIONS[precision]
    return torch.autocast(device.type, dtype, enabled=dtype is not torch.float32)


class EveryShape(nn.Module):
    """A model called on images of several shapes at once, so that gradients are exchanged once."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *images: Tensor) -> Tensor:
        """Images [B_i, 3, h_i, w_i] -> descriptors [B_1 + B_2 + ..., D] in that order."""
        return torch.cat([self.model(some) for some in images])
